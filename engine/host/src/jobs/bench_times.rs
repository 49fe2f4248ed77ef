//! What a step of a method takes beside a step of LoRA with as many numbers.
//!
//! Place in the data flow: a comparison of methods (see [`super::bench_methods`]) calls [`measure`] for each method that it
//! trained. Times of trainings that lie minutes apart say as much about the machine as about the methods; here the three
//! measurements of a ratio stand side by side: LoRA, the method, LoRA again, each `temper bench train` in a process of its
//! own over the same random tokens.

use super::child;
use crate::job::JobContext;
use serde::{Deserialize, Serialize};
use temper_protocol::command::MethodsBench;
use temper_protocol::{Event, Problem, Project};

/// What others are compared with.
pub(super) const REFERENCE: &str = "lora";
/// Steps a measurement, of which the first is not counted.
const STEPS: u64 = 7;

/// Time of a method beside LoRA's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Timing {
    /// Method id.
    pub(super) method: String,
    /// Rank of the LoRA on all linear layers that trains about as many numbers.
    pub(super) lora_rank: u64,
    /// Seconds a step, the median, of LoRA before and after.
    pub(super) lora_secs: [f64; 2],
    /// Seconds a step, the median, of the method.
    pub(super) secs: f64,
}

impl Timing {
    /// Time of a step over LoRA's.
    pub(super) fn over(&self) -> f64 {
        self.secs * 2.0 / self.lora_secs.iter().sum::<f64>()
    }
}

/// The rank at which LoRA trains about `numbers`, where `numbers_per_rank` come with each rank.
fn rank_for(numbers: u64, numbers_per_rank: f64) -> u64 {
    // At most some ten thousand: the width of a model.
    (numbers as f64 / numbers_per_rank).round().max(1.0) as u64
}

/// Measures `method`, which trains `numbers`; LoRA trains `numbers_per_rank` a rank.
///
/// # Errors
/// A process that cannot be started or heard, what ended it, or cancelling.
pub(super) fn measure(
    order: &MethodsBench,
    project: &Project,
    (method, numbers): (&str, u64),
    numbers_per_rank: f64,
    context: &JobContext,
) -> Result<Timing, Problem> {
    let rank = rank_for(numbers, numbers_per_rank);
    let reference = ["--rank".to_owned(), rank.to_string()];
    let own = settings(order);
    let before = secs(order, project, REFERENCE, &reference, context)?;
    let of_method = secs(order, project, method, &own, context)?;
    let after = secs(order, project, REFERENCE, &reference, context)?;
    Ok(Timing { method: method.to_owned(), lora_rank: rank, lora_secs: [before, after], secs: of_method })
}

/// The settings that the order has for all methods.
fn settings(order: &MethodsBench) -> Vec<String> {
    let of_method = order.set.iter().filter_map(|(key, value)| Some((key.strip_prefix("method.")?, value)));
    of_method.flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect()
}

fn secs(
    order: &MethodsBench,
    project: &Project,
    method: &str,
    settings: &[String],
    context: &JobContext,
) -> Result<f64, Problem> {
    let train = &project.train;
    let mut words: Vec<String> = ["bench", "train", "--model", &order.model, "--method", method]
        .into_iter()
        .chain(["--base", &project.model.base, "--optim-state", &train.optim_state])
        .map(str::to_owned)
        .collect();
    let numbers = [
        ("--batch", order.batch as u64),
        ("--seq", order.seq as u64),
        ("--steps", STEPS),
        ("--threads", order.threads as u64),
    ];
    words.extend(numbers.iter().flat_map(|(flag, number)| [(*flag).to_owned(), number.to_string()]));
    words.extend((train.recompute == "on").then(|| "--recompute".to_owned()));
    words.extend_from_slice(settings);
    let mut measured = None;
    child::run(&words, context, &mut |_, event| {
        if let Event::Bench(bench) = event {
            measured = Some(bench.step_secs);
        }
        false
    })?;
    measured
        .filter(|secs| *secs > 0.0)
        .ok_or_else(|| Problem::internal(format!("bench train of {method} said no time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_as_many_numbers_and_at_least_one_direction() {
        assert_eq!(rank_for(320_000, 20_000.0), 16);
        assert_eq!(rank_for(329_000, 20_000.0), 16);
        assert_eq!(rank_for(700, 20_000.0), 1);
    }

    #[test]
    fn a_ratio_takes_the_mean_of_both_references() {
        let timing = Timing { method: "m".to_owned(), lora_rank: 2, lora_secs: [1.0, 3.0], secs: 3.0 };
        assert_eq!(timing.over(), 1.5);
    }
}
