//! Where the time goes: seconds by phase since the last report.

use std::collections::BTreeMap;
use std::time::Instant;

/// A part of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From tokens to the loss.
    Forward,
    /// From the loss to gradients, recomputation included.
    Backward,
    /// Clipping and the step.
    Optimiser,
    /// Waiting for batches.
    Data,
    /// Reading or keeping the outputs of frozen blocks.
    Prefix,
    /// Validation.
    Eval,
    /// Kept sets and rank telemetry.
    Probes,
    /// Checkpoints.
    Saves,
    /// Sample answers.
    Samples,
}

impl Phase {
    /// The name in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimiser => "optimiser",
            Self::Data => "data",
            Self::Prefix => "prefix",
            Self::Eval => "eval",
            Self::Probes => "probes",
            Self::Saves => "saves",
            Self::Samples => "samples",
        }
    }
}

/// Adds up time by phase.
#[derive(Debug, Default)]
pub struct PhaseClock {
    secs: BTreeMap<Phase, f64>,
}

impl PhaseClock {
    /// Runs `work` and counts its time to `phase`.
    pub fn time<T>(&mut self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(phase, start);
        result
    }

    /// Counts the time since `start` to `phase`.
    pub fn add(&mut self, phase: Phase, start: Instant) {
        *self.secs.entry(phase).or_default() += start.elapsed().as_secs_f64();
    }

    /// Seconds by name since the last call, and starts anew.
    pub fn take(&mut self) -> BTreeMap<String, f64> {
        std::mem::take(&mut self.secs).into_iter().map(|(phase, secs)| (phase.name().to_owned(), secs)).collect()
    }
}
