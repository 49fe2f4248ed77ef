//! Comparisons on one layer: for each method a goal of the structure that it is made for and one of another structure. A
//! method that wins everywhere would be a defect.
//!
//! Expected numbers are those of a prototype in double precision of the same definitions, means of three to four seeds.

use crate::compare::{Comparison, Job, Method, Side};
use crate::layer::{self, FewShot, Goal, RATES};
use temper_protocol::Value;

/// Rates of plain gradient descent: each twice the one before.
const PLAIN_RATES: &[f64] = &[1e-3, 2e-3, 4e-3, 8e-3, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096];
/// Rates of 30 steps with moments.
const SHORT_RATES: &[f64] = &[1e-3, 3e-3, 1e-2, 3e-2, 0.1];

fn integer(key: &'static str, value: i64) -> (&'static str, Value) {
    (key, Value::Integer(value))
}

fn text(key: &'static str, value: &str) -> (&'static str, Value) {
    (key, Value::Text(value.to_owned()))
}

/// A method whose strength is 1.
fn of_rank(id: &'static str, rank: i64) -> Method {
    Method::new(id, &[integer("rank", rank), ("alpha", Value::Number(rank as f64))])
}

/// A method towards one goal, the best of three rates.
struct Towards(Goal, usize);

impl Towards {
    fn side(&self, label: &'static str, method: Method, expected: f64) -> Side {
        self.at(label, method, expected, RATES)
    }

    fn at(&self, label: &'static str, method: Method, expected: f64, rates: &'static [f64]) -> Side {
        let job = Job::Layer(layer::Job { method, goal: self.0, steps: self.1, rates, stays: false });
        Side { label, job, at: 0, expected: Some(expected) }
    }
}

const DENSE: Towards = Towards(Goal::Dense, 400);
const RANK_4: Towards = Towards(Goal::LowRank(4), 400);
/// Every kind of change of a weight.
const ANY: [(&str, Goal); 9] = [
    ("dense", Goal::Dense),
    ("rank 4", Goal::LowRank(4)),
    ("products", Goal::Products),
    ("curve", Goal::Curve),
    ("blocks", Goal::Blocks),
    ("pivots", Goal::Pivots),
    ("principal", Goal::Principal),
    ("rows", Goal::Rows),
    ("recombined", Goal::Recombined),
];
const EARLY_DENSE: Towards = Towards(Goal::Dense, 20);
const EARLY_RANK_4: Towards = Towards(Goal::LowRank(4), 20);
const EARLY_PRINCIPAL: Towards = Towards(Goal::Principal, 20);

pub(crate) fn comparisons() -> Vec<Comparison> {
    [low_rank(), starts(), kronecker_and_blocks(), scales(), few_numbers(), sketches(), steps()]
        .into_iter()
        .flatten()
        .collect()
}

fn low_rank() -> Vec<Comparison> {
    let lora = |rank: i64, expected: f64| DENSE.side("LoRA", Method::lora(rank), expected);
    vec![
        Comparison::new(
            "lora: a change of rank 4 is solved by rank 4",
            vec![RANK_4.side("rank 4", Method::lora(4), 0.0)],
            |left| left[0] < 0.01,
        ),
        Comparison::new(
            "lora: of a dense change the more is left the smaller the rank",
            vec![
                DENSE.side("rank 1", Method::lora(1), 0.76),
                DENSE.side("rank 4", Method::lora(4), 0.52),
                DENSE.side("rank 8", Method::lora(8), 0.36),
            ],
            |left| left[0] > left[1] && left[1] > left[2] && left[0] < 0.95,
        ),
        rank_stabilised("lora: with alpha over rank 64 times the rank shrinks the change below .3", false, |norms| {
            norms[1] < 0.3 * norms[0]
        }),
        rank_stabilised("lora: with the rank-stabilised scale it stays above .7", true, |norms| {
            norms[1] > 0.7 * norms[0]
        }),
        Comparison::new(
            "lora: LoRA+ gains nothing at this width",
            [("ratio 1", 1.0, 0.469), ("ratio 16", 16.0, 0.484)]
                .map(|(label, ratio, expected)| {
                    let mut method = Method::lora(8);
                    method.settings.push(("lora_plus_ratio", Value::Number(ratio)));
                    EARLY_DENSE.at(label, method, expected, &[3e-4, 1e-3, 3e-3, 1e-2, 3e-2])
                })
                .into(),
            |left| left[1] > 0.9 * left[0],
        )
        .told(),
        Comparison::new(
            "dora: of a dense change at most .02 more is left than by LoRA",
            vec![DENSE.side("DoRA", of_rank("dora", 4), 0.505), lora(4, 0.522)],
            |left| left[0] <= left[1] + 0.02,
        ),
        Comparison::new(
            "dora: a change of rank 4 is solved",
            vec![RANK_4.side("DoRA", of_rank("dora", 4), 0.0)],
            |left| left[0] < 0.01,
        ),
        Comparison::new(
            "full: a change of any kind is solved",
            ANY.map(|(label, goal)| Towards(goal, 400).side(label, Method::new("full", &[]), 0.0)).into(),
            |left| left.iter().all(|left| *left < 0.01),
        ),
        Comparison::new(
            "lamda: freezing costs less than .02 of a dense change",
            vec![
                DENSE.side("with freezing", lamda(22), 0.395),
                DENSE.side("without", lamda(22).without_rules(), 0.381),
            ],
            |left| left[0] < left[1] + 0.02,
        ),
        Comparison::new(
            "lamda: 484 numbers at the end leave less than LoRA's 512",
            vec![DENSE.side("LaMDA of rank 22", lamda(22), 0.395), lora(4, 0.52)],
            |left| left[0] < left[1],
        ),
        Comparison::new(
            "lamda: at equal rank LoRA leaves less",
            vec![DENSE.side("LaMDA of rank 8", lamda(8), 0.66), lora(8, 0.36)],
            |left| left[0] > left[1],
        ),
        Comparison::new(
            "paca: of a dense change 512 numbers leave more than LoRA's and less than all",
            vec![DENSE.side("8 columns", of_rank("paca", 8), 0.67), lora(4, 0.52)],
            |left| left[0] > left[1] && left[0] < 0.97,
        ),
    ]
}

fn lamda(rank: i64) -> Method {
    let mut method = of_rank("lamda", rank);
    method.settings.extend([("freeze_share", Value::Number(0.3)), integer("iterations", 0)]);
    method
}

/// The norm of the change after ten steps at one rate with rank 1 and with rank 64.
fn rank_stabilised(name: &'static str, rslora: bool, holds: fn(&[f64]) -> bool) -> Comparison {
    let expected = if rslora { [0.163, 0.227] } else { [0.163, 0.029] };
    let side = |label, rank, expected| {
        let settings = [integer("rank", rank), ("alpha", Value::Number(1.0)), ("rslora", Value::Flag(rslora))];
        let (method, goal) = (Method::new("lora", &settings), Goal::Dense);
        let job = layer::Job { method, goal, steps: 10, rates: &[3e-3], stays: true };
        Side { label, job: Job::Layer(job), at: 1, expected: Some(expected) }
    };
    Comparison::new(name, vec![side("rank 1", 1, expected[0]), side("rank 64", 64, expected[1])], holds)
}

fn pissa() -> Method {
    let mut method = of_rank("pissa", 8);
    method.settings.push(integer("iterations", 0));
    method
}

fn eva() -> Method {
    let mut method = of_rank("eva", 8);
    method.settings.push(integer("most", 1));
    method
}

fn starts() -> Vec<Comparison> {
    let early = |name, towards: &Towards, method: Method, [ours, theirs]: [f64; 2], holds| {
        Comparison::new(
            name,
            vec![towards.side("it", method, ours), towards.side("LoRA", Method::lora(8), theirs)],
            holds,
        )
    };
    vec![
        early(
            "pissa: 20 steps go further where principal directions move",
            &EARLY_PRINCIPAL,
            pissa(),
            [0.051, 0.148],
            |left| left[0] < left[1],
        ),
        early("pissa: 20 steps towards a dense change", &EARLY_DENSE, pissa(), [0.556, 0.469], |left| {
            left[0] > left[1]
        }),
        early("pissa: on a dense change 400 steps leave more", &DENSE, pissa(), [0.525, 0.362], |left| {
            left[0] > left[1]
        }),
        early("eva: 20 steps leave .9 of a dense change", &EARLY_DENSE, eva(), [0.397, 0.469], |left| {
            left[0] <= 0.9 * left[1]
        }),
        early("eva: 20 steps leave .9 of a change of rank 4", &EARLY_RANK_4, eva(), [0.101, 0.134], |left| {
            left[0] <= 0.9 * left[1]
        }),
        early("eva: 20 steps leave .9 of a principal change", &EARLY_PRINCIPAL, eva(), [0.115, 0.148], |left| {
            left[0] <= 0.9 * left[1]
        }),
        early("eva: 400 steps leave no more of a dense change", &DENSE, eva(), [0.36, 0.36], |left| {
            left[0] <= 1.02 * left[1]
        }),
    ]
}

fn kronecker_and_blocks() -> Vec<Comparison> {
    const PRODUCTS: Towards = Towards(Goal::Products, 400);
    const BLOCKS: Towards = Towards(Goal::Blocks, 400);
    let soka = |terms: i64, start: &str| {
        Method::new("soka", &[integer("max_terms", terms), text("start", start), integer("iterations", 0)])
    };
    let (bat, miss) = (|| Method::new("bat", &[integer("rank", 8)]), || Method::new("miss", &[integer("rank", 8)]));
    vec![
        Comparison::new(
            "soka: two products are found by two terms, not by LoRA of twice the numbers",
            vec![
                PRODUCTS.side("two terms", soka(2, "zero"), 0.0),
                PRODUCTS.side("LoRA of rank 4", Method::lora(4), 0.48),
                PRODUCTS.side("from the weight", soka(2, "weight"), 0.39),
            ],
            |left| left[0] < 0.01 && left[1] > 0.3 && left[2] > left[0],
        ),
        Comparison::new(
            "soka: a change of rank 4 is LoRA's",
            vec![RANK_4.side("four terms", soka(4, "zero"), 0.46), RANK_4.side("LoRA of rank 4", Method::lora(4), 0.0)],
            |left| left[0] > 0.3 && left[1] < 0.01,
        ),
        Comparison::new(
            "bat: a change of its blocks is solved, by MiSS nearly, by LoRA of as many numbers not",
            vec![
                BLOCKS.side("Bat", bat(), 0.0),
                BLOCKS.side("MiSS", miss(), 0.065),
                BLOCKS.side("LoRA of rank 4", Method::lora(4), 0.25),
            ],
            |left| left[0] < 0.01 && left[0] < left[1] && left[1] < left[2],
        ),
        Comparison::new(
            "bat: a dense change is LoRA's, also before MiSS",
            vec![
                DENSE.side("Bat", bat(), 0.65),
                DENSE.side("MiSS", miss(), 0.66),
                DENSE.side("LoRA of rank 4", Method::lora(4), 0.52),
            ],
            |left| left[0] > left[2] && left[1] > left[2] && left[0].max(left[1]) < 0.97,
        ),
    ]
}

fn scales() -> Vec<Comparison> {
    let all = Value::List(vec!["all-linear".to_owned()]);
    let ia3 = || Method::new("ia3", &[("targets", all.clone())]);
    vec![
        Comparison::new(
            "ia3: scaled rows are solved",
            vec![Towards(Goal::Rows, 400).side("IA3", ia3(), 0.0)],
            |left| left[0] < 0.01,
        ),
        Comparison::new("ia3: a dense change is hardly touched", vec![DENSE.side("IA3", ia3(), 0.94)], |left| {
            left[0] > 0.85 && left[0] < 1.0
        }),
        Comparison::new(
            "bitfit: a shift of the outputs is solved",
            vec![Towards(Goal::Shift, 400).side("BitFit", Method::new("bitfit", &[]), 0.0)],
            |left| left[0] < 1e-3,
        ),
        Comparison::new(
            "bitfit: a change of the weight is out of reach",
            vec![DENSE.side("BitFit", Method::new("bitfit", &[]), 1.0)],
            |left| (left[0] - 1.0).abs() < 1e-3,
        ),
    ]
}

fn few_numbers() -> Vec<Comparison> {
    const PIVOTS: Towards = Towards(Goal::Pivots, 400);
    let vera = |rank: i64| Method::new("vera", &[integer("rank", rank)]);
    let nola =
        |bases: i64| Method::new("nola", &[integer("bases", bases), integer("rank", 8), ("alpha", Value::Number(8.0))]);
    vec![
        Comparison::new(
            "loldu: 16 numbers solve a change of 16 pivots, LoRA's and VeRA's 128 do not",
            vec![
                PIVOTS.side("16 pivots", of_rank("loldu", 16), 0.0),
                PIVOTS.side("LoRA of rank 1", Method::lora(1), 0.60),
                PIVOTS.side("VeRA of rank 64", vera(64), 0.77),
            ],
            |left| left[0] < 0.01 && left[1] > 0.2 && left[2] > 0.2,
        ),
        Comparison::new(
            "loldu: 64 numbers do nearly nothing to a dense change",
            vec![DENSE.side("64 pivots", of_rank("loldu", 64), 0.94)],
            |left| left[0] > 0.8 && left[0] < 1.0,
        ),
        Comparison::new(
            "vera: a larger rank fits more, rank 128 about as much as LoRA of rank 1",
            vec![
                DENSE.side("rank 16", vera(16), 0.88),
                DENSE.side("rank 128", vera(128), 0.74),
                DENSE.side("LoRA of rank 1", Method::lora(1), 0.76),
            ],
            |left| left[0] > left[1] && left[0] < 1.0 && (left[1] / left[2] - 1.0).abs() < 0.25,
        ),
        Comparison::new(
            "nola: 128 numbers are about LoRA's 128, 32 are fewer than LoRA can have",
            vec![
                DENSE.side("128", nola(64), 0.77),
                DENSE.side("LoRA of rank 1", Method::lora(1), 0.76),
                DENSE.side("32", nola(16), 0.94),
            ],
            |left| (left[0] / left[1] - 1.0).abs() < 0.25 && left[2] > left[0] && left[2] < 1.0,
        ),
        Comparison::new(
            "nola: random bases lose on a change of low rank",
            vec![RANK_4.side("128", nola(64), 0.68), RANK_4.side("LoRA of rank 1", Method::lora(1), 0.42)],
            |left| left[0] > left[1],
        ),
    ]
}

fn sketches() -> Vec<Comparison> {
    const CURVE: Towards = Towards(Goal::Curve, 400);
    let sketch = |bits: &str| Method::new("sketchtune", &[text("bits", bits), text("groups", "1")]);
    vec![
        Comparison::new(
            "sketchtune: a curve through the weights is met by 1024 numbers, not by LoRA's",
            vec![CURVE.side("4 bits", sketch("4"), 0.028), CURVE.side("LoRA of rank 8", Method::lora(8), 0.24)],
            |left| left[0] < 0.05 && left[0] < left[1],
        ),
        Comparison::new(
            "sketchtune: and by 512 better than by LoRA's",
            vec![CURVE.side("3 bits", sketch("3"), 0.16), CURVE.side("LoRA of rank 4", Method::lora(4), 0.38)],
            |left| left[0] < left[1],
        ),
        Comparison::new(
            "sketchtune: a change of low rank is LoRA's",
            vec![RANK_4.side("4 bits", sketch("4"), 0.51), RANK_4.side("LoRA of rank 8", Method::lora(8), 0.0)],
            |left| left[0] > left[1] && left[1] < 0.01,
        ),
        Comparison::new(
            "sketchtune: a dense change is LoRA's",
            vec![DENSE.side("4 bits", sketch("4"), 0.525), DENSE.side("LoRA of rank 8", Method::lora(8), 0.36)],
            |left| left[0] > left[1],
        ),
    ]
}

fn steps() -> Vec<Comparison> {
    let pro = |form: &str| {
        let mut method = of_rank("lora-pro", 8);
        method.settings.push(text("form", form));
        method
    };
    let plain = |name, goal, [ours, theirs]: [f64; 2]| {
        let towards = Towards(goal, 30);
        let sides = vec![
            towards.at("LoRA-Pro", pro("sgd"), ours, PLAIN_RATES),
            towards.at("LoRA", Method::lora(8).with_plain_steps(), theirs, PLAIN_RATES),
        ];
        Comparison::new(name, sides, |left| left[0] <= 0.85 * left[1])
    };
    let moments = |name, goal, [ours, theirs]: [f64; 2]| {
        let towards = Towards(goal, 30);
        let sides = vec![
            towards.at("LoRA-Pro", pro("adam"), ours, SHORT_RATES),
            towards.at("LoRA", Method::lora(8), theirs, SHORT_RATES),
        ];
        Comparison::new(name, sides, |left| left[0] <= left[1])
    };
    let late = Towards(Goal::LowRank(16), 200);
    vec![
        plain("lora-pro: 30 plain steps leave .85 of LoRA's at rank 4", Goal::LowRank(4), [0.07, 0.13]),
        plain("lora-pro: 30 plain steps leave .85 of LoRA's at rank 16", Goal::LowRank(16), [0.174, 0.341]),
        plain("lora-pro: 30 plain steps leave .85 of LoRA's on a dense change", Goal::Dense, [0.38, 0.46]),
        moments("lora-pro: 30 steps with moments leave no more at rank 4", Goal::LowRank(4), [0.021, 0.033]).told(),
        moments("lora-pro: 30 steps with moments leave no more at rank 16", Goal::LowRank(16), [0.174, 0.203]).told(),
        moments("lora-pro: 30 steps with moments on a dense change", Goal::Dense, [0.389, 0.388]).told(),
        Comparison::new(
            "lora-pro: after 200 steps both are alike",
            vec![
                late.at("LoRA-Pro", pro("adam"), 0.1, SHORT_RATES),
                late.at("LoRA", Method::lora(8), 0.1, SHORT_RATES),
            ]
            .into_iter()
            .map(|side| Side { expected: None, ..side })
            .collect(),
            |left| (left[0] / left[1] - 1.0).abs() < 0.15,
        )
        .told(),
    ]
}

pub(crate) fn few_shot_comparisons() -> Vec<Comparison> {
    let hydra = |parallel: i64, sequential: i64| {
        let settings =
            [integer("rank", parallel), integer("sequential_rank", sequential), ("alpha", Value::Number(2.0))];
        Method::new("hydra", &settings)
    };
    // 512 numbers each.
    let few = |name, goal, examples, [ours, theirs, behind]: [f64; 3], holds| {
        let side = |label, method, expected| {
            let job = Job::FewShot(FewShot { method, goal, examples, steps: 200 });
            Side { label, job, at: 0, expected: Some(expected) }
        };
        let sides = vec![
            side("Hydra", hydra(2, 2), ours),
            side("LoRA", Method::lora(4), theirs),
            side("behind alone", hydra(2, 4).behind_alone(), behind),
        ];
        Comparison::new(name, sides, holds)
    };
    vec![
        few(
            "hydra: 16 examples of recombined outputs leave .9 of LoRA's, what is behind alone leaves less still",
            Goal::Recombined,
            16,
            [0.382, 0.467, 0.311],
            |left| left[0] < 0.9 * left[1] && left[2] < left[0],
        ),
        few(
            "hydra: 48 examples of recombined outputs leave .9 of LoRA's, what is behind alone leaves less still",
            Goal::Recombined,
            48,
            [0.085, 0.126, 0.064],
            |left| left[0] < 0.9 * left[1] && left[2] < left[0],
        ),
        few(
            "hydra: 48 examples of an unrelated change are LoRA's, and last that of what is behind alone",
            Goal::LowRank(4),
            48,
            [0.204, 0.174, 0.219],
            |left| left[0] > left[1] && left[2] > left[0],
        ),
    ]
}
