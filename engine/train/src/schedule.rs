//! The learning rate as a pure function of the step, so that a resumed run needs no schedule state.

use temper_protocol::project::Train;

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Stays at the peak.
    Constant,
    /// Falls in a straight line to the floor.
    Linear,
    /// Falls along half a cosine to the floor (Loshchilov and Hutter 2017, without restarts).
    Cosine,
    /// Stays at the peak, then falls over the last share of the steps as 1 - sqrt(progress)
    /// (Hägele et al. 2024, section 4), which they measured to end lower than a straight line.
    WarmupStableDecay,
}

/// A learning-rate schedule over steps counted from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    shape: Shape,
    lr_peak: f64,
    floor_share: f64,
    warmup_steps: u64,
    total_steps: u64,
    decay_steps: u64,
}

impl Schedule {
    /// The schedule of a project's `[train]` table over `total_steps`. A warm-up longer than the run is
    /// cut to it.
    #[must_use]
    pub fn new(train: &Train, total_steps: u64) -> Self {
        let shape = match train.schedule.as_str() {
            "constant" => Shape::Constant,
            "linear" => Shape::Linear,
            "wsd" => Shape::WarmupStableDecay,
            _ => Shape::Cosine,
        };
        let total_steps = total_steps.max(1);
        let warmup_steps = train.warmup_steps.min(total_steps);
        let decay_steps = (train.decay_share.clamp(0.0, 1.0) * total_steps as f64).round() as u64;
        Self {
            shape,
            lr_peak: train.lr_peak,
            floor_share: train.lr_floor.clamp(0.0, 1.0),
            warmup_steps,
            total_steps,
            decay_steps: decay_steps.min(total_steps - warmup_steps),
        }
    }

    /// The learning rate of `step`, counted from 1. Past the end it stays at its last value.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        let step = step.clamp(1, self.total_steps);
        if step <= self.warmup_steps {
            return self.lr_peak * step as f64 / self.warmup_steps as f64;
        }
        let share = |from: u64, over: u64| (step.saturating_sub(from)) as f64 / over.max(1) as f64;
        let progress = share(self.warmup_steps, self.total_steps - self.warmup_steps);
        let fall = match self.shape {
            Shape::Constant => return self.lr_peak,
            Shape::Linear => 1.0 - progress,
            Shape::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Shape::WarmupStableDecay => 1.0 - share(self.total_steps - self.decay_steps, self.decay_steps).sqrt(),
        };
        self.lr_peak * (self.floor_share + (1.0 - self.floor_share) * fall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn train(schedule: &str, warmup_steps: u64, lr_floor: f64, decay_share: f64) -> Train {
        Train { schedule: schedule.to_owned(), warmup_steps, lr_floor, decay_share, lr_peak: 1e-3, ..Train::default() }
    }

    #[test]
    fn known_values() {
        let cosine = Schedule::new(&train("cosine", 10, 0.1, 0.2), 110);
        assert!((cosine.lr(1) - 1e-4).abs() < 1e-12, "the first step is not wasted on a rate of 0");
        assert!((cosine.lr(10) - 1e-3).abs() < 1e-12);
        assert!((cosine.lr(60) - 0.55e-3).abs() < 1e-12, "half way: half of peak plus floor");
        assert!((cosine.lr(110) - 1e-4).abs() < 1e-12);
        assert!((cosine.lr(5000) - 1e-4).abs() < 1e-12);
        let linear = Schedule::new(&train("linear", 0, 0.0, 0.2), 4);
        let values: Vec<f64> = (1..=4).map(|step| linear.lr(step)).collect();
        for (value, expected) in values.iter().zip([0.75e-3, 0.5e-3, 0.25e-3, 0.0]) {
            assert!((value - expected).abs() < 1e-12, "{values:?}");
        }
        let wsd = Schedule::new(&train("wsd", 0, 0.0, 0.25), 16);
        assert!((wsd.lr(12) - 1e-3).abs() < 1e-12, "stable up to the decay");
        assert!((wsd.lr(13) - 0.5e-3).abs() < 1e-12, "1 - sqrt(1/4)");
        assert!(wsd.lr(16).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn stays_between_floor_and_peak_rises_then_never_rises_again(
            shape in prop::sample::select(vec!["constant", "linear", "cosine", "wsd"]),
            total in 1_u64..400, warmup in 0_u64..500, floor in 0.0_f64..=1.0, share in 0.0_f64..=1.0,
        ) {
            let schedule = Schedule::new(&train(shape, warmup, floor, share), total);
            let values: Vec<f64> = (1..=total).map(|step| schedule.lr(step)).collect();
            let warm = warmup.min(total) as usize;
            for (index, lr) in values.iter().enumerate() {
                prop_assert!(lr.is_finite() && *lr >= 0.0 && *lr <= 1e-3 * (1.0 + 1e-12));
                if index + 1 > warm {
                    prop_assert!(*lr >= 1e-3 * floor * (1.0 - 1e-12));
                }
                if index > 0 {
                    let before = values[index - 1];
                    if index < warm { prop_assert!(*lr > before) } else { prop_assert!(*lr <= before * (1.0 + 1e-12)) }
                }
            }
            if warm >= 1 {
                prop_assert!((values[warm - 1] - 1e-3).abs() < 1e-12, "the peak is reached at the end of the warm-up");
            }
            let decays = shape == "linear" || shape == "cosine" || (shape == "wsd" && schedule.decay_steps > 0);
            if decays && (total as usize) > warm {
                prop_assert!((values[total as usize - 1] - 1e-3 * floor).abs() < 1e-12);
            }
        }
    }
}
