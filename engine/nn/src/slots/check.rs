//! Slots that no layer could be built from, and choices that do not go together.
//!
//! Place in the data flow: every adapter is checked before it is built; the error names the site and what is wrong.

use super::{
    Action, Base, Calibration, Chain, Core, Delta, ExtraLoss, Factor, GradientMap, Init, Kron, KronFactor, Left, Map,
    Mix, Normaliser, Part, Picked, Proximal, Right, Slots, Source,
};
use crate::{NnError, Result};

impl Slots {
    /// Refuses values that no layer could be built from; `site` is only named in the error.
    ///
    /// # Errors
    /// [`NnError`] that names the site and the slot.
    pub fn check(&self, site: &str) -> Result<()> {
        let refuse = |what: String| Err(NnError::Adapter { site: site.to_owned(), what });
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("dropout {} is not in [0, 1)", self.dropout));
        }
        let chains: Vec<&Chain> = match &self.delta {
            Delta::None
            | Delta::Tile
            | Delta::Kron(_)
            | Delta::Tucker(_)
            | Delta::Scatter(_)
            | Delta::LookUp { .. } => Vec::new(),
            Delta::Chain(chain) => vec![chain],
            Delta::Hadamard(first, second) => vec![first, second],
        };
        let left = match &self.left {
            Left::None => None,
            Left::LowRank(chain) => Some(&**chain),
        };
        if chains.into_iter().chain(left).any(|chain| chain.rank == 0) {
            return refuse("a chain needs a rank of at least 1".to_owned());
        }
        match &self.delta {
            Delta::Kron(kron) if kron.terms == 0 => return refuse("a sum of products needs one at least".to_owned()),
            Delta::Tile if self.right == Right::None => {
                return refuse("tiles are the blocks of a right transform, and there is none".to_owned());
            }
            Delta::Tucker(tucker) if tucker.rank == 0 || tucker.modes.iter().any(|mode| mode.rank == 0) => {
                return refuse("a Tucker product needs ranks of at least 1".to_owned());
            }
            Delta::LookUp { groups, bits, .. } if *groups == 0 || !(1..=crate::ops::MOST_BITS).contains(bits) => {
                return refuse(format!("there are no tables of {bits} bits in {groups} groups"));
            }
            Delta::LookUp { .. } if self.calibration != Calibration::Sketch || self.base != Base::Dropped => {
                return refuse("a table stands for a sketched weight, in its place".to_owned());
            }
            Delta::None
            | Delta::Chain(_)
            | Delta::Hadamard(..)
            | Delta::Kron(_)
            | Delta::Tile
            | Delta::Tucker(_)
            | Delta::Scatter(_)
            | Delta::LookUp { .. } => {}
        }
        let scale = self.scale.value(self.rank());
        if !scale.is_finite() {
            return refuse(format!("the scale {scale} is not a finite number"));
        }
        let stands = match self.base {
            Base::Original => true,
            Base::Residual => matches!(self.delta, Delta::Chain(_) | Delta::Kron(_)),
            Base::Dropped => {
                let starts_from_it = self.calibration != Calibration::None && self.normaliser == Normaliser::None;
                starts_from_it && matches!(self.delta, Delta::Chain(_) | Delta::LookUp { .. })
            }
        };
        if !stands {
            return refuse("this change can neither be taken off the weight nor stand for it".to_owned());
        }
        let calibrated = self.factors().into_iter().any(|factor| factor.init() == Init::Calibrated);
        if calibrated && self.calibration == Calibration::None {
            return refuse("a factor waits for a calibration that is not asked for".to_owned());
        }
        let fits = match self.calibration {
            Calibration::None => true,
            Calibration::Svd { .. }
            | Calibration::Qr
            | Calibration::Lu
            | Calibration::Components { .. }
            | Calibration::Context { .. } => matches!(self.delta, Delta::Chain(_)),
            Calibration::Energy { .. } => {
                matches!(&self.delta, Delta::Chain(chain) if chain.a.source == Source::Select)
            }
            Calibration::Repair { .. } | Calibration::Compensate { .. } => match &self.delta {
                Delta::Chain(chain) => chain.core == Core::None && self.base == Base::Original,
                _ => false,
            },
            Calibration::Kronecker { .. } => {
                matches!(self.delta, Delta::Kron(Kron { u: KronFactor::Full(_), v: KronFactor::Full(_), .. }))
            }
            Calibration::Sketch => matches!(self.delta, Delta::LookUp { .. }),
        };
        if !fits || self.calibration != Calibration::None && scale <= 0.0 {
            return refuse(format!("a calibrated start needs its structure and a scale above 0, not {scale}"));
        }
        let energy = self.complement();
        if !(0.0..1.0).contains(&energy) {
            return refuse(format!("a share of {energy} of the weight's energy is not in [0, 1)"));
        }
        self.check_rules().map_or(Ok(()), refuse)?;
        self.check_mix().map_or(Ok(()), refuse)?;
        // A transform reads the layer as it is: no other slot may stand between them.
        let transformed = left.is_some() || self.right != Right::None;
        let alone = self.normaliser == Normaliser::None && self.base == Base::Original;
        if transformed && !alone || left.is_some() && self.right != Right::None {
            return refuse("a transform goes with neither a normaliser, a residual base nor another one".to_owned());
        }
        Ok(())
    }

    /// What a router asks of the rest and does not hold: experts are the directions of a plain chain over the weight as it
    /// is, and nothing looks at that chain as one change.
    fn check_mix(&self) -> Option<String> {
        let Mix::Routed(router) = &self.mix else { return None };
        let Delta::Chain(chain) = &self.delta else {
            return Some("experts are parts of a chain, and there is none".to_owned());
        };
        let alone = self.only_adds() && self.calibration == Calibration::None && self.bias.is_none();
        let still = self.rules.is_empty() && self.gradient == GradientMap::Own && self.proximal == Proximal::None;
        if !alone || !still || chain.core != Core::None {
            return Some("a router goes with a plain chain and with nothing that changes it or its layer".to_owned());
        }
        if !router.fits(chain.rank) {
            let (experts, top) = (router.experts, router.top);
            return Some(format!("{top} of {experts} experts cannot share {} directions", chain.rank));
        }
        None
    }

    /// What losses, maps and rules ask of the change and does not hold.
    fn check_rules(&self) -> Option<String> {
        let chain = match &self.delta {
            Delta::Chain(chain) => Some(chain),
            Delta::None
            | Delta::Tile
            | Delta::Kron(_)
            | Delta::Hadamard(..)
            | Delta::Tucker(_)
            | Delta::Scatter(_)
            | Delta::LookUp { .. } => None,
        };
        let dense = |factor: &Factor| matches!((factor.source, factor.map), (Source::Dense(_), Map::None));
        let scatter = match &self.delta {
            Delta::Scatter(scatter) if dense(&scatter.values) => Some(scatter.picked),
            _ => None,
        };
        let has = |part: Part| {
            part == Part::Values && scatter.is_some()
                || chain.is_some_and(|chain| match (part, &chain.core) {
                    (Part::A, _) => dense(&chain.a),
                    (Part::B, _) => dense(&chain.b),
                    (Part::Core, Core::Diagonal(core) | Core::Dense(core) | Core::Gate(core)) => dense(core),
                    (Part::Core, Core::None) | (Part::Values, _) => false,
                })
        };
        let diagonal = chain.is_some_and(|chain| matches!(chain.core, Core::Diagonal(_)));
        let all = has(Part::A) && has(Part::B) && has(Part::Core) && diagonal && self.base == Base::Original;
        let pair = has(Part::A) && has(Part::B) && chain.is_some_and(|chain| chain.core == Core::None);
        let gate = chain.is_some_and(|chain| matches!(chain.core, Core::Gate(_))) && has(Part::A) && has(Part::B);
        let mapped = match self.gradient {
            GradientMap::Own => true,
            GradientMap::LoraPro { .. } => pair && self.only_adds(),
            GradientMap::InTurn { .. } => gate,
        };
        if !mapped {
            return Some(
                "a map of the factors' gradients needs a chain of trained factors that it is made for".to_owned(),
            );
        }
        let loss = match self.loss {
            ExtraLoss::None => true,
            ExtraLoss::L1 { part, .. } => has(part),
            ExtraLoss::Orthogonal { .. } => has(Part::A) && has(Part::B),
            ExtraLoss::Open { .. } => gate,
            ExtraLoss::Nuclear { .. } => matches!(scatter, Some(Picked::Smallest { .. })),
            ExtraLoss::Identity { .. } => matches!(self.right, Right::Ring { .. }),
            ExtraLoss::Balance { weight } => matches!(self.mix, Mix::Routed(_)) && weight >= 0.0 && weight.is_finite(),
        };
        let proximal = match self.proximal {
            Proximal::None => true,
            Proximal::SoftThreshold { part, amount } => has(part) && amount >= 0.0 && amount.is_finite(),
        };
        if !loss || !proximal {
            return Some("an extra loss or a threshold is about a part that is not trained".to_owned());
        }
        for rule in &self.rules {
            let fits = match rule.action {
                Action::KeepTop { target } => all && target >= 1,
                Action::Grow { target, sites, by } => all && target.min(sites).min(by) >= 1 && self.rank() > by,
                Action::Freeze { part } => part != Part::Core && has(part),
                Action::ShareOut { most } => chain.is_some() && most >= 1,
                Action::KeepEntries { share } => scatter == Some(Picked::All) && share > 0.0 && share <= 1.0,
                Action::HoldGrown => matches!(scatter, Some(Picked::Smallest { .. })),
                Action::SetRank { share } => chain.is_some() && (0.0..1.0).contains(&share),
                Action::SetTerms { share, .. } => matches!(self.delta, Delta::Kron(_)) && (0.0..1.0).contains(&share),
                Action::KeepSites { share, .. } => gate && self.base == Base::Original && share > 0.0 && share <= 1.0,
            };
            if !fits {
                return Some(format!("a rule finds nothing to work on: {:?}", rule.action));
            }
        }
        None
    }
}
