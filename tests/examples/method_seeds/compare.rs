//! Comparisons of methods as data, and what runs them: every bench once per method and seed, on two threads.
//!
//! A comparison names what is trained on which bench, what was expected of it, and when it holds. It is a gate, a report
//! where nothing was promised, or one that does not come out here, which the method's page then says with its numbers.

use crate::{forget, language, layer, small_net, spread, tasks};
use anyhow::{Result, anyhow};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use temper_methods::{Plan, SiteDims, find};
use temper_nn::rng::Stream;
use temper_nn::slots::{Delta, Scale};
use temper_protocol::{Value, Values};

/// Seeds of everything that is drawn.
const SEEDS: [u64; 3] = [1, 2, 3];

/// A method of the registry with settings.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    pub(crate) id: &'static str,
    pub(crate) settings: Vec<(&'static str, Value)>,
    twist: Twist,
}

/// What is taken away from a method to have something to hold it against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twist {
    None,
    /// Nothing changes while it trains.
    NoRules,
    /// The factors move by their gradients as they are, without Adam.
    PlainSteps,
    /// What is behind the layer is all there is: no change of the weight beside it.
    BehindAlone,
    /// Half of the layers, drawn by the seed, stay as they are.
    HalfByChance,
}

impl Method {
    pub(crate) fn new(id: &'static str, settings: &[(&'static str, Value)]) -> Self {
        Self { id, settings: settings.to_vec(), twist: Twist::None }
    }

    /// LoRA with a scale of 1.
    pub(crate) fn lora(rank: i64) -> Self {
        Self::new("lora", &[("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64))])
    }

    pub(crate) fn without_rules(self) -> Self {
        Self { twist: Twist::NoRules, ..self }
    }

    pub(crate) fn with_plain_steps(self) -> Self {
        Self { twist: Twist::PlainSteps, ..self }
    }

    pub(crate) fn behind_alone(self) -> Self {
        Self { twist: Twist::BehindAlone, ..self }
    }

    pub(crate) fn on_half_by_chance(self) -> Self {
        Self { twist: Twist::HalfByChance, ..self }
    }

    pub(crate) fn values(&self) -> Values {
        Values(self.settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    /// What it does to layers.
    pub(crate) fn plan(&self, sites: &[SiteDims], seed: u64) -> Result<Plan> {
        let mut plan = find(self.id)?.plan(&self.values(), sites, seed)?;
        if self.twist == Twist::HalfByChance {
            Stream::new(seed, "half").shuffle(&mut plan.adapters);
            plan.adapters.truncate(sites.len() / 2);
        }
        for (_, slots) in &mut plan.adapters {
            // Without a change beside the layer its rank would be none, and with it the strength.
            let strength = Scale::Fixed(slots.scale.value(slots.rank()));
            match (self.twist, &mut slots.delta) {
                (Twist::None | Twist::HalfByChance, _) => {}
                (Twist::BehindAlone, delta) => (*delta, slots.scale) = (Delta::None, strength),
                (Twist::NoRules, _) => slots.rules.clear(),
                (Twist::PlainSteps, Delta::Chain(chain)) => {
                    (chain.a, chain.b) = (chain.a.moved_plainly(), chain.b.moved_plainly());
                }
                (Twist::PlainSteps, _) => return Err(anyhow!("{} has no factors to move plainly", self.id)),
            }
        }
        Ok(plan)
    }
}

/// A bench and what is trained on it. Each gives a record of numbers, which its file explains.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    Layer(layer::Job),
    FewShot(layer::FewShot),
    Spread(spread::Job),
    Forget(forget::Job),
    Language(language::Job),
    Tasks(tasks::Job),
    SmallNet(small_net::Job),
}

impl Job {
    fn run(&self, seed: u64) -> Result<Vec<f64>> {
        match self {
            Self::Layer(job) => job.run(seed),
            Self::FewShot(job) => job.run(seed),
            Self::Spread(job) => job.run(seed),
            Self::Forget(job) => job.run(seed),
            Self::Language(job) => job.run(seed),
            Self::Tasks(job) => job.run(seed),
            Self::SmallNet(job) => job.run(seed),
        }
    }
}

/// One of the things that are compared: which number of the record of which job.
pub(crate) struct Side {
    pub(crate) label: &'static str,
    pub(crate) job: Job,
    pub(crate) at: usize,
    pub(crate) expected: Option<f64>,
}

/// What a comparison is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It must hold.
    Gate,
    /// Only told.
    Report,
    /// It was expected and does not hold here.
    Missed,
}

/// See the file's head.
pub(crate) struct Comparison {
    /// The method's id, then what is claimed.
    pub(crate) name: &'static str,
    pub(crate) sides: Vec<Side>,
    /// Of the means over seeds, in the order of the sides.
    pub(crate) holds: fn(&[f64]) -> bool,
    pub(crate) kind: Kind,
}

impl Comparison {
    pub(crate) fn new(name: &'static str, sides: Vec<Side>, holds: fn(&[f64]) -> bool) -> Self {
        Self { name, sides, holds, kind: Kind::Gate }
    }

    /// The same, only told.
    pub(crate) fn told(self) -> Self {
        Self { kind: Kind::Report, ..self }
    }

    /// The same, known not to hold.
    pub(crate) fn missed(self) -> Self {
        Self { kind: Kind::Missed, ..self }
    }
}

/// A job's record, or why there is none, and its seconds.
type Done = (std::result::Result<Vec<f64>, String>, f64);

fn key(job: &Job, seed: u64) -> String {
    format!("{job:?} {seed}")
}

/// Runs what the comparisons need, each once.
fn run_all(comparisons: &[Comparison]) -> BTreeMap<String, Done> {
    let mut jobs: BTreeMap<String, (&Job, u64)> = BTreeMap::new();
    for side in comparisons.iter().flat_map(|comparison| &comparison.sides) {
        for seed in SEEDS {
            jobs.insert(key(&side.job, seed), (&side.job, seed));
        }
    }
    let jobs: Vec<(String, (&Job, u64))> = jobs.into_iter().collect();
    let (next, (send, received)) = (AtomicUsize::new(0), mpsc::sync_channel(jobs.len().max(1)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (send, jobs, next) = (send.clone(), &jobs, &next);
            scope.spawn(move || {
                while let Some((key, (job, seed))) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let found = job.run(*seed).map_err(|error| format!("{error:#}"));
                    if send.send((key.clone(), (found, begun.elapsed().as_secs_f64()))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        received.iter().collect()
    })
}

/// The line of a comparison, and whether it stands.
fn judge(comparison: &Comparison, done: &BTreeMap<String, Done>) -> Result<(String, bool)> {
    let (mut told, mut means, mut secs) = (Vec::new(), Vec::new(), 0.0);
    for side in &comparison.sides {
        let mut numbers = Vec::new();
        for seed in SEEDS {
            let (found, took) = done.get(&key(&side.job, seed)).ok_or_else(|| anyhow!("{} did not run", side.label))?;
            let record = found.as_ref().map_err(|why| anyhow!("{}, seed {seed}: {why}", side.label))?;
            numbers.push(*record.get(side.at).ok_or_else(|| anyhow!("{} has no number {}", side.label, side.at))?);
            secs += took;
        }
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let each: Vec<String> = numbers.iter().map(|number| short(*number)).collect();
        let expected = side.expected.map_or(String::new(), |expected| format!("; expected {}", short(expected)));
        told.push(format!("{} {} ({}{expected})", side.label, short(mean), each.join(" ")));
        means.push(mean);
    }
    let holds = means.iter().all(|mean| mean.is_finite()) && (comparison.holds)(&means);
    let (mark, stands, remark) = match (comparison.kind, holds) {
        (Kind::Gate, true) => ("PASS", true, ""),
        (Kind::Gate, false) => ("FAIL", false, ""),
        (Kind::Report, _) => ("info", true, ""),
        (Kind::Missed, false) => ("info", true, "; does not come out here, see its page"),
        (Kind::Missed, true) => ("info", true, "; comes out now, its page says otherwise"),
    };
    Ok((format!("[{mark}] {}: {}{remark}; {secs:.1} s", comparison.name, told.join(", ")), stands))
}

/// A number as short as it can be read.
fn short(number: f64) -> String {
    if number.abs() >= 10.0 {
        format!("{number:.1}")
    } else if number.abs() > 1.0 {
        format!("{number:.4}")
    } else if number == 0.0 || number.abs() >= 0.01 || !number.is_finite() {
        format!("{number:.3}")
    } else {
        format!("{number:.5}")
    }
}

/// Runs comparisons and says how each comes out; how many gates failed.
#[expect(clippy::print_stdout, reason = "its result is what it prints")]
pub(crate) fn compare(comparisons: &[Comparison]) -> usize {
    let done = run_all(comparisons);
    let mut failed = 0;
    for comparison in comparisons {
        match judge(comparison, &done) {
            Ok((line, stands)) => {
                println!("{line}");
                failed += usize::from(!stands);
            }
            Err(error) => {
                println!("[FAIL] {}: {error:#}", comparison.name);
                failed += 1;
            }
        }
    }
    failed
}
