//! What happens beside the gradient of the loss: extra losses, maps of gradients and values, and rules that change an
//! adapter while the run goes on.
//!
//! Place in the data flow: fields of [`super::Slots`]. Nothing here holds a tensor: `slot_adapter` computes losses, maps
//! and scores, [`crate::rules`] follows the rules of a whole model after each optimiser step. Times are steps and shares
//! of all steps, never seconds.

/// A part of a chain that a loss, a map or a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The inner factor, (rank, in).
    A,
    /// The outer factor, (out, rank).
    B,
    /// What stands between them.
    Core,
    /// The values of single entries.
    Values,
}

/// What becomes of the gradients of a chain's factors before the optimiser sees them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GradientMap {
    /// They stay as they are.
    Own,
    /// Those of A and B are replaced by the pair whose step changes the weight as closely to its own gradient as a step of
    /// the two factors can (LoRA-Pro). Needs a chain of two trained factors and nothing else.
    LoraPro {
        /// Whether the change that the pair stands for goes through moments of the size of the weight, as AdamW's, and only
        /// then becomes a pair again.
        moments: bool,
    },
    /// The factors and the gate between them move in turn, a step each (DiffoRA): a gate is chosen on rows that the factors
    /// have not just been fitted to. Before a share of all steps only the factors move; once the gate is held, all steps
    /// are theirs.
    InTurn {
        /// Share of all steps.
        from: f64,
    },
}

/// What is done to values after each optimiser step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Proximal {
    /// Nothing.
    None,
    /// Each value moves towards 0 by `amount` and stays there when it reaches it.
    SoftThreshold {
        /// Whose values.
        part: Part,
        /// How far.
        amount: f64,
    },
}

/// What is added to the loss for the adapter itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ExtraLoss {
    /// Nothing.
    None,
    /// `weight · mean |values|`.
    L1 {
        /// Whose values.
        part: Part,
        /// Factor.
        weight: f64,
    },
    /// `weight · (‖A Aᵀ − I‖ + ‖Bᵀ B − I‖)`, Frobenius norms: directions that stay apart.
    Orthogonal {
        /// Factor.
        weight: f64,
    },
    /// `weight · ‖P‖_*`, the sum of the singular values of the matrix P of the picked entries, the weight's own values
    /// included. At each step one of `of` sites has it, drawn with the seed: the one whose number it is.
    Nuclear {
        /// Factor.
        weight: f64,
        /// How many sites take part.
        of: usize,
        /// Number of this one.
        index: usize,
    },
    /// `weight · Σ ‖A − I / bond‖²` over the small matrices of a ring: a transform that stays near the identity.
    Identity {
        /// Factor.
        weight: f64,
    },
    /// `weight · σ(g)` for a gate g that is not held: what an open gate costs.
    Open {
        /// Factor.
        weight: f64,
    },
    /// `weight · E Σ f_e P_e` of a router of E experts over the tokens of the last training pass, with the shares f_e of its
    /// choices and the means P_e of its softmax: experts that are all used. The one loss that depends on the input.
    Balance {
        /// Factor.
        weight: f64,
    },
}

/// A change of the adapter while the run goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// When it is looked at.
    pub when: When,
    /// Whether each site decides alone or all sites that carry the same rule share what there is.
    pub scope: Scope,
    /// What decides who comes first.
    pub score: Score,
    /// What is done.
    pub action: Action,
}

impl Rule {
    /// Whether it sets directions to zero and leaves the best.
    pub(crate) fn keeps_top(&self) -> bool {
        matches!(self.action, Action::KeepTop { .. })
    }

    /// Whether it is scored by the gradient of the whole weight.
    pub(crate) fn sees_weight(&self) -> bool {
        matches!(self.score, Score::ChangeSensitivity { .. })
    }
}

/// When a rule is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Once, before anything is attached.
    Before,
    /// After optimiser steps: every `steps` from a share of all steps on, and a last time at another one.
    Every {
        /// Steps between two looks, at least 1.
        steps: u64,
        /// First step as a share of all.
        from: f64,
        /// Last step as a share of all.
        until: f64,
    },
}

/// Who shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Each site decides alone.
    Site,
    /// One budget over all sites.
    Model,
}

/// What decides who comes first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Score {
    /// The order in which directions stand.
    Index,
    /// How much of the energy of the weight the leading directions hold.
    Explained,
    /// How far the gate is open.
    Gate,
    /// How far each entry has moved, |θ − θ₀|.
    Moved,
    /// Of each direction, |value · gradient|: of its entry of the core, and on average of its row of A and column of B. The
    /// running mean (decay beta1) times the running mean distance from it (decay beta2).
    Sensitivity {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the distance.
        beta2: f64,
    },
    /// Of the whole change, Σ |ΔW ∘ ∂L/∂W| / √entries, smoothed in the same way. The gradient of the whole weight costs a
    /// product more per layer and token.
    ChangeSensitivity {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the distance.
        beta2: f64,
    },
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// Sets the core's entry to 0 for all directions but the best; they may come back until the last look, which holds them
    /// at 0. The budget falls from all directions to `target` a site on average as a cubic (AdaLoRA).
    KeepTop {
        /// Directions a site on average at the end.
        target: usize,
    },
    /// Each site trains `by` directions ahead whose entry of the core is held near 0. At each look the best `sites` sites
    /// let theirs go and get new ones, until there are `target` a site on average; then what is left ahead is dropped
    /// (IncreLoRA).
    Grow {
        /// Directions a site on average at the end.
        target: usize,
        /// How many sites grow at a time.
        sites: usize,
        /// By how many directions each.
        by: usize,
    },
    /// Holds the first directions of a factor as they are, more from look to look, all at the last one (LaMDA).
    Freeze {
        /// Which factor.
        part: Part,
    },
    /// Gives each site the width at which its leading directions hold `share` of the energy, scaled so that all sites
    /// together have no more directions than before and taken from half, once and twice the width (LaMDA++).
    SetRank {
        /// Share in (0, 1).
        share: f64,
    },
    /// Gives each sum of Kronecker products as many terms as its weight's own decomposition asks for: the fewest that hold
    /// `share` of the energy, or those before the bend of the spectrum if that is fewer, at most as many as before (SoKA).
    SetTerms {
        /// Share in (0, 1).
        share: f64,
        /// Terms a site at least.
        least: usize,
    },
    /// At its last look keeps the share of all entries of all sites that have moved furthest, puts them back to where they
    /// began and leaves the others as they were (LT-SFT). A site of which none is kept loses its change.
    KeepEntries {
        /// Share in (0, 1].
        share: f64,
    },
    /// At its last look holds the entries that have grown larger than the largest was when they were picked, and begins
    /// anew with the optimiser's memory of the others (SaRA).
    HoldGrown,
    /// At its last look keeps the share of all sites whose gates are open furthest, opens those for good and takes the
    /// change off the others (DiffoRA).
    KeepSites {
        /// Share in (0, 1].
        share: f64,
        /// Whether the factors of those that stay begin again from their first values.
        fresh: bool,
    },
    /// Shares the directions of all sites out anew, by how much of the inputs' spread each explains: as many in all as
    /// before, at most `most` times as many on one site, none where no component makes it (EVA).
    ShareOut {
        /// Largest width over the width before.
        most: usize,
    },
}

/// Whether a rule is looked at after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Due {
    No,
    /// Yes, at this share of the way from its first to its last step.
    Yes(f64),
    /// For the last time.
    Last,
}

impl When {
    /// Whether a look is due after step `step` of `total`.
    pub(crate) fn due(self, step: u64, total: u64) -> Due {
        let Self::Every { steps, from, until } = self else { return Due::No };
        let place = |share: f64| (share * total as f64).round() as u64;
        let (first, last) = (place(from), place(until).max(1));
        if step == last {
            return Due::Last;
        }
        let on_time = step >= first && step < last && (step - first).is_multiple_of(steps.max(1));
        if on_time { Due::Yes((step - first) as f64 / (last - first) as f64) } else { Due::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_due_by_steps_and_shares_of_all_steps() {
        let when = When::Every { steps: 10, from: 0.1, until: 0.6 };
        let due = |step| when.due(step, 200);
        assert_eq!((due(19), due(25), due(121), due(200)), (Due::No, Due::No, Due::No, Due::No));
        assert_eq!((due(20), due(70), due(120)), (Due::Yes(0.0), Due::Yes(0.5), Due::Last));
        assert_eq!(When::Before.due(0, 200), Due::No);
        // The last look comes even where its step is none of the others, and in a run of one step.
        assert_eq!(When::Every { steps: 7, from: 0.0, until: 1.0 }.due(30, 30), Due::Last);
        assert_eq!(When::Every { steps: 7, from: 0.0, until: 0.0 }.due(1, 30), Due::Last);
    }
}
