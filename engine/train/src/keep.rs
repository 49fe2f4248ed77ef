//! What follows when more is forgotten than the budget allows.

use crate::exact::Exact;
use crate::state::Keep;

/// Most returns to a checkpoint because of the budget; after them the run stops.
pub const MOST_ROLL_BACKS: u64 = 3;

/// What the loop does after a measurement of the kept sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Go on.
    Nothing,
    /// Say so and go on.
    Warn,
    /// Halve the learning rate and go on.
    SlowDown,
    /// Mix kept texts into the batches from here on.
    Replay,
    /// Return to the newest checkpoint within the budget and go on at half the rate.
    RollBack,
    /// Write a checkpoint and end.
    Stop,
    /// End after the last roll-back allowed: the budget cannot be kept with these settings.
    GiveUp,
}

/// Records a measurement of `forgetting` (worst set minus base, nats) and decides what follows.
pub fn react(keep: &mut Keep, forgetting: f64, step: u64, budget_nats: f64, on_exceed: &str) -> Reaction {
    let was_exceeded = keep.exceeded;
    keep.forgetting = Exact(forgetting);
    keep.measured_step = step;
    // Written so that a measurement that is not a number is not within any budget.
    let within = forgetting <= budget_nats;
    keep.exceeded = !within;
    if !keep.exceeded {
        return Reaction::Nothing;
    }
    match on_exceed {
        "slow-down" => Reaction::SlowDown,
        "replay" if !keep.replaying => {
            keep.replaying = true;
            Reaction::Replay
        }
        "roll-back" if keep.roll_backs < MOST_ROLL_BACKS => Reaction::RollBack,
        "roll-back" => Reaction::GiveUp,
        "stop" => Reaction::Stop,
        _ if was_exceeded => Reaction::Nothing,
        _ => Reaction::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_the_budget_nothing_happens() {
        for choice in ["warn", "slow-down", "replay", "roll-back", "stop"] {
            let mut keep = Keep::default();
            assert_eq!(react(&mut keep, 0.05, 10, 0.05, choice), Reaction::Nothing, "{choice}");
            assert_eq!((keep.measured_step, keep.forgetting.0, keep.exceeded), (10, 0.05, false));
        }
    }

    #[test]
    fn each_choice_has_its_own_consequence() {
        let react_to = |choice: &str| react(&mut Keep::default(), 0.06, 1, 0.05, choice);
        assert_eq!(react_to("warn"), Reaction::Warn);
        assert_eq!(react_to("slow-down"), Reaction::SlowDown);
        assert_eq!(react_to("replay"), Reaction::Replay);
        assert_eq!(react_to("roll-back"), Reaction::RollBack);
        assert_eq!(react_to("stop"), Reaction::Stop);
        assert_eq!(react(&mut Keep::default(), f64::NAN, 1, 0.05, "stop"), Reaction::Stop);
    }

    #[test]
    fn a_warning_comes_once_until_the_budget_was_kept_again() {
        let mut keep = Keep::default();
        let said: Vec<Reaction> =
            [0.1, 0.2, 0.0, 0.1].iter().map(|nats| react(&mut keep, *nats, 1, 0.05, "warn")).collect();
        assert_eq!(said, [Reaction::Warn, Reaction::Nothing, Reaction::Nothing, Reaction::Warn]);
    }

    #[test]
    fn replay_starts_once_and_roll_backs_end() {
        let mut keep = Keep::default();
        assert_eq!(react(&mut keep, 0.1, 1, 0.05, "replay"), Reaction::Replay);
        assert!(keep.replaying);
        assert_eq!(react(&mut keep, 0.1, 2, 0.05, "replay"), Reaction::Nothing);
        let mut keep = Keep { roll_backs: MOST_ROLL_BACKS, ..Keep::default() };
        assert_eq!(react(&mut keep, 0.1, 1, 0.05, "roll-back"), Reaction::GiveUp);
    }
}
