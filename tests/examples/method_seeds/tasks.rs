//! Several tasks over one small random encoder of images of 4 x 4: what tasks share and what is their own.
//!
//! Tasks that disagree ask for other pairs of pixels of the same images and are told by the loss on these; tasks that are
//! related ask for one pair with something of their own beside it, from few images each, and are told by the share of other
//! images that they get right. The encoder is frozen, classifiers are trained.

use crate::compare::{self, Comparison, Method, Side};
use crate::layer::normal;
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use temper_models::vision::config::Classes;
use temper_models::{Labels, VisionConfig, VisionModel, VitConfig};
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads};
use temper_protocol::Value;
use temper_tests::fashion::method;
use temper_train::images::{ImageDriver, Pictures, attach};

const PIXELS: usize = 16;
const STEPS: usize = 120;
/// Images of each related task.
const FEW: usize = 64;
/// Images that related tasks are measured on.
const HELD_OUT: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Two tasks.
    Disagree,
    /// Three tasks.
    Related,
}

/// A method for several tasks. Record: see the constants.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    method: Method,
    kind: Kind,
    rates: &'static [f64],
}

/// Mean over tasks of the loss, or of the share of others that is wrong.
const SCORE: usize = 0;
/// How many numbers are trained beside the classifiers.
const NUMBERS: usize = 1;

/// Images, (count, 1, 4, 4), and their pixels: all alike, or all but two of them quiet.
fn images(seed: u64, name: &str, count: usize, kind: Kind) -> Result<(Tensor, Vec<Vec<f32>>)> {
    let size = |at: usize| if kind == Kind::Disagree || at == 0 || at == 5 { 1f32 } else { 0.25 };
    let sizes = Tensor::from_vec((0..PIXELS).map(size).collect(), (1, PIXELS), &Device::Cpu)?;
    let pixels = normal(seed, name, count, PIXELS)?.broadcast_mul(&sizes)?;
    Ok((pixels.reshape((count, 1, 4, 4))?, pixels.to_vec2()?))
}

/// Whether a pair of pixels has one sign, `more` of another pixel added to the product.
fn classes(pixels: &[Vec<f32>], (left, right): (usize, usize), more: f32, other: usize) -> Vec<u32> {
    let of = |row: &[f32], at: usize| row.get(at).copied().unwrap_or(0.0);
    pixels.iter().map(|row| u32::from(of(row, left) * of(row, right) + more * of(row, other) > 0.0)).collect()
}

impl Kind {
    fn tasks(self) -> usize {
        if self == Self::Disagree { 2 } else { 3 }
    }

    fn answers(self, task: usize, pixels: &[Vec<f32>]) -> Vec<u32> {
        match (self, task) {
            (Self::Disagree, 0) => classes(pixels, (0, 5), 0.0, 0),
            (Self::Disagree, _) => classes(pixels, (2, 15), 0.0, 0),
            (Self::Related, 0) => classes(pixels, (0, 5), 0.0, 0),
            (Self::Related, 1) => classes(pixels, (0, 5), 1.0, 2),
            (Self::Related, _) => classes(pixels, (0, 5), 1.0, 15),
        }
    }
}

impl Job {
    pub(crate) fn run(&self, seed: u64) -> Result<Vec<f64>> {
        let mut best = (f64::INFINITY, 0.0);
        for lr in self.rates {
            let found = self.trained(seed, *lr)?;
            if found.0 < best.0 {
                best = found;
            }
        }
        Ok(vec![best.0, best.1])
    }

    fn trained(&self, seed: u64, lr: f64) -> Result<(f64, f64)> {
        let classes = Classes::numbered(4, 1, 2);
        let config = VitConfig { intermediate_size: 48, ..VitConfig::new(classes, 2, 24, 3, 3) };
        let mut model = VisionModel::random(&VisionConfig::Vit(config), seed)?;
        for task in ["b", "c"].into_iter().take(self.kind.tasks() - 1) {
            model.add_task(task, vec!["no".to_owned(), "yes".to_owned()], seed)?;
        }
        attach(&mut model, &method(self.method.id, &self.method.settings), 0, seed)?;
        model.promote(&|name| name.starts_with("head"))?;
        let params = model.params()?;
        let mut batches = Vec::new();
        for task in 0..self.kind.tasks() {
            // Tasks that disagree see the same images.
            let (name, count) = match self.kind {
                Kind::Disagree => ("images".to_owned(), 48),
                Kind::Related => (format!("images {task}"), FEW),
            };
            let (images, pixels) = images(seed, &name, count, self.kind)?;
            let labels = vec![Labels { task, classes: self.kind.answers(task, &pixels).into() }];
            let ctx = ForwardContext { training: true, seed, ..model.context(count) };
            batches.push(Pictures { pixels: images, labels, ctx });
        }
        let (driver, mut optimiser) = (ImageDriver::new(&model, false), AdamW::new(AdamWConfig::default()));
        let shown: usize = batches.iter().map(|batch| batch.ctx.batch).sum();
        let mut last = 0.0;
        for _ in 0..STEPS {
            let mut grads = Grads::new();
            last = 0.0;
            for batch in &batches {
                last +=
                    driver.micro_step(&model, batch, (1.0 / shown as f64, 1.0), &mut grads)?.loss_sum / shown as f64;
            }
            optimiser.step(&params, &grads, lr)?;
        }
        let numbers: usize =
            params.iter().filter(|param| !param.name.starts_with("head")).map(|param| param.elements()).sum();
        let score = if self.kind == Kind::Disagree { last } else { self.wrong(&model, seed)? };
        Ok((score, numbers as f64))
    }

    /// Share of other images that the tasks get wrong.
    fn wrong(&self, model: &VisionModel, seed: u64) -> Result<f64> {
        let (images, pixels) = images(seed, "held out", HELD_OUT, self.kind)?;
        let mut wrong = 0;
        for task in 0..self.kind.tasks() {
            let answers: Vec<Vec<f32>> = model.logits(&images, task)?.to_vec2()?;
            ensure!(answers.len() == HELD_OUT, "{} answers", answers.len());
            let said = answers.iter().map(|row| u32::from(row.get(1) > row.first()));
            wrong += said.zip(self.kind.answers(task, &pixels)).filter(|(said, right)| said != right).count();
        }
        Ok(wrong as f64 / (HELD_OUT * self.kind.tasks()) as f64)
    }
}

pub(crate) fn comparisons() -> Vec<Comparison> {
    let (text, integer) = (|value: &str| Value::Text(value.to_owned()), Value::Integer);
    let side = |label, method: &Method, kind, rates, at| {
        let job = Job { method: method.clone(), kind, rates };
        Side { label, job: compare::Job::Tasks(job), at, expected: None }
    };
    let own = Method::new(
        "mtlora",
        &[
            ("tasks", text("own,b")),
            ("rank", integer(1)),
            ("task_rank", integer(5)),
            ("also", text("nothing")),
            ("mode", text("matrix-v2")),
            ("dropout", Value::Number(0.0)),
        ],
    );
    let shared = Method::new("lora", &[("rank", integer(3)), ("alpha", Value::Number(12.0))]);
    let adapters = |share: &str, width: i64| {
        let settings = [("tasks", text("own,b,c")), ("share_tasks", text(share)), ("width", integer(width))];
        Method::new("adapter", &settings)
    };
    let (each, one) = (adapters("none", 4), adapters("both", 4));
    let generated = Method::new(
        "polyhistor",
        &[("tasks", text("own,b,c")), ("task_width", integer(8)), ("rank", integer(4)), ("reduction", integer(4))],
    );
    let apart: &[f64] = &[3e-3];
    let related: &[f64] = &[3e-3, 1e-2];
    vec![
        Comparison::new(
            "mtlora: tasks that disagree gain by changes of their own at equal size",
            vec![
                side("shared and own", &own, Kind::Disagree, apart, SCORE),
                side("shared alone", &shared, Kind::Disagree, apart, SCORE),
                side("numbers", &own, Kind::Disagree, apart, NUMBERS),
                side("shared alone's", &shared, Kind::Disagree, apart, NUMBERS),
            ],
            |found| found[0] < found[1] && found[2] <= found[3],
        ),
        Comparison::new(
            "adapter: related tasks with few images do no worse with one adapter than with one each, at a third of the size",
            vec![
                side("shared, wrong", &one, Kind::Related, related, SCORE),
                side("one each, wrong", &each, Kind::Related, related, SCORE),
                side("numbers", &one, Kind::Related, related, NUMBERS),
                side("one each's", &each, Kind::Related, related, NUMBERS),
            ],
            |found| found[0] <= found[1] && (3.0 * found[2] - found[3]).abs() < 0.5,
        ),
        Comparison::new(
            "polyhistor: related tasks do no worse with generated adapters than with their own of equal size",
            vec![
                side("generated, wrong", &generated, Kind::Related, related, SCORE),
                side("own, wrong", &each, Kind::Related, related, SCORE),
                side("numbers", &generated, Kind::Related, related, NUMBERS),
                side("own's", &each, Kind::Related, related, NUMBERS),
            ],
            |found| found[0] <= found[1] && (found[2] / found[3] - 1.0).abs() < 0.1,
        )
        .missed(),
    ]
}
