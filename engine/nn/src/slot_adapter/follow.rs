//! What an adapter does around an optimiser step beside taking it: thresholds, scores, and the edits that rules ask for.
//!
//! Place in the data flow: the hooks of [`crate::Adapter`] that [`super::SlotAdapter`] hands on. Scores are taken from the
//! clipped gradients of the factors, edits come after the step, so that what is new starts clean.

use super::gradient::{Pair, WholeMoments};
use super::held::{Held, values};
use super::mix::HeldMix;
use super::{Change, SlotAdapter};
use crate::adapter::{Adapter as _, Edit, Edited, Find};
use crate::optim::OptimiserEdit;
use crate::param::{Grads, Param};
use crate::rng::Stream;
use crate::rules::At;
use crate::slots::{Delta, Factor, Part, Proximal, Score};
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

const PARTS: [Part; 4] = [Part::A, Part::B, Part::Core, Part::Values];
/// A gate at which σ is 1 in f32.
const OPEN: f64 = 40.0;

/// What is remembered between steps beside the parameters.
#[derive(Default)]
pub(super) struct Memory {
    /// By parameter, or under the adapter's name for the whole change.
    scores: BTreeMap<String, Smoothed>,
    /// Directions that the last look left in use; empty before it.
    kept: Vec<bool>,
    moments: Option<WholeMoments>,
    /// Steps taken, where a loss is drawn by them.
    pub(super) step: u64,
}

/// A running mean and the running mean distance from it.
struct Smoothed {
    mean: Vec<f32>,
    distance: Vec<f32>,
}

impl Smoothed {
    fn take_in(&mut self, values: &[f32], beta1: f64, beta2: f64) {
        let (beta1, beta2) = (beta1 as f32, beta2 as f32);
        for ((mean, distance), value) in self.mean.iter_mut().zip(&mut self.distance).zip(values) {
            *mean = beta1 * *mean + (1.0 - beta1) * value;
            *distance = beta2 * *distance + (1.0 - beta2) * (value - *mean).abs();
        }
    }

    /// The score of each value.
    fn scores(&self) -> impl Iterator<Item = f64> {
        self.mean.iter().zip(&self.distance).map(|(mean, distance)| f64::from(*mean) * f64::from(*distance))
    }
}

impl SlotAdapter {
    pub(super) fn part(&self, part: Part) -> Option<&Held> {
        match &self.change {
            Change::LowRank(chain) => chain.single().and_then(|triple| triple.part(part)),
            Change::Scatter(scatter) => (part == Part::Values).then_some(scatter.values()),
            Change::None | Change::Kron(_) | Change::LookUp(_) => None,
        }
    }

    pub(super) fn part_mut(&mut self, part: Part) -> Option<&mut Held> {
        match &mut self.change {
            Change::LowRank(chain) => chain.single_mut().and_then(|triple| triple.part_mut(part)),
            Change::Scatter(scatter) => (part == Part::Values).then_some(scatter.values_mut()),
            Change::None | Change::Kron(_) | Change::LookUp(_) => None,
        }
    }

    /// Name and values of a part that is trained.
    pub(super) fn trained(&self, part: Part) -> Option<(&str, &Tensor)> {
        self.part(part).and_then(Held::trained_values).map(|(name, var)| (name, var.as_tensor()))
    }

    fn refuse(&self, what: &str) -> NnError {
        NnError::Adapter { site: self.name.clone(), what: what.to_owned() }
    }

    fn values_of(&self, part: Part) -> Result<(String, Tensor)> {
        let (name, tensor) = self.trained(part).ok_or_else(|| self.refuse("has no such trained part"))?;
        Ok((name.to_owned(), tensor.detach()))
    }

    /// Holds what the rules want held from the start.
    pub(super) fn hold_back(&mut self) -> Result<()> {
        let (held, width) = (self.slots.held_back(), self.slots.rank());
        if held == 0 {
            return Ok(());
        }
        let mask = mask_of((0..width).map(|at| at + held < width))?;
        if let Some(core) = self.part_mut(Part::Core) {
            core.set_mask(Some(mask));
        }
        Ok(())
    }

    pub(super) fn mask_grads(&self, grads: &mut Grads) -> Result<()> {
        for part in PARTS {
            if let Some(held) = self.part(part)
                && let (Some(mask), Some((name, _))) = (held.mask(), held.trained_values())
            {
                grads.mask(name, mask)?;
            }
        }
        Ok(())
    }

    pub(super) fn look(&mut self, grads: &Grads) -> Result<()> {
        let scores: Vec<Score> = self.slots.rules.iter().map(|rule| rule.score).collect();
        for score in scores {
            match score {
                Score::Index | Score::Explained | Score::Gate | Score::Moved => {}
                Score::Sensitivity { beta1, beta2 } => {
                    for part in PARTS {
                        let Some((name, tensor)) = self.trained(part) else { continue };
                        let Some(gradient) = grads.get(name) else { continue };
                        let seen = values(&(tensor.detach() * gradient)?.abs()?)?;
                        let name = name.to_owned();
                        self.smoothed(name, seen.len()).take_in(&seen, beta1, beta2);
                    }
                }
                Score::ChangeSensitivity { beta1, beta2 } => {
                    let seen = self.change_sensitivity()? as f32;
                    self.smoothed(self.name.clone(), 1).take_in(&[seen], beta1, beta2);
                }
            }
        }
        Ok(())
    }

    fn smoothed(&mut self, name: String, count: usize) -> &mut Smoothed {
        let none = || Smoothed { mean: vec![0.0; count], distance: vec![0.0; count] };
        let smoothed = self.memory.scores.entry(name).or_insert_with(none);
        if smoothed.mean.len() != count {
            *smoothed = none();
        }
        smoothed
    }

    /// Σ |ΔW ∘ ∂L/∂W| / √entries over what was seen since the last step; 0 where no gradient came by.
    fn change_sensitivity(&self) -> Result<f64> {
        let (Change::LowRank(chain), Some(seen)) = (&self.change, &self.seen) else { return Ok(0.0) };
        let Some(gradient) = seen.take() else { return Ok(0.0) };
        let (a, b, scale) = chain.joined()?;
        let change = values(&b.matmul(&a)?)?;
        let products = change.iter().zip(&gradient).map(|(change, gradient)| f64::from(change * gradient).abs());
        Ok(scale.abs() * products.sum::<f64>() / (change.len().max(1) as f64).sqrt())
    }

    fn scale(&self) -> f64 {
        match &self.change {
            Change::LowRank(chain) => chain.scale(),
            Change::None | Change::Kron(_) | Change::Scatter(_) | Change::LookUp(_) => 1.0,
        }
    }

    pub(super) fn rule_scores(&self, score: Score) -> Result<Vec<f64>> {
        let of = |name: &str| self.memory.scores.get(name);
        match score {
            Score::Index | Score::Explained => Ok(Vec::new()),
            Score::Moved => match &self.change {
                Change::Scatter(scatter) => scatter.moved(),
                Change::None | Change::LowRank(_) | Change::Kron(_) | Change::LookUp(_) => Ok(Vec::new()),
            },
            Score::Gate => Ok(values(&self.values_of(Part::Core)?.1)?.into_iter().map(f64::from).collect()),
            Score::ChangeSensitivity { .. } => Ok(of(&self.name).into_iter().flat_map(Smoothed::scores).collect()),
            Score::Sensitivity { .. } => {
                let ((a_name, a), (b_name, _), (core_name, core)) =
                    (self.values_of(Part::A)?, self.values_of(Part::B)?, self.values_of(Part::Core)?);
                let (rank, cols) = (core.elem_count(), a.dim(1)?.max(1));
                let mut sums = vec![0f64; rank];
                let mut add = |at: usize, value: f64| {
                    if let Some(sum) = sums.get_mut(at) {
                        *sum += value;
                    }
                };
                for (at, score) in of(&core_name).into_iter().flat_map(Smoothed::scores).enumerate() {
                    add(at, score);
                }
                for (at, score) in of(&a_name).into_iter().flat_map(Smoothed::scores).enumerate() {
                    add(at / cols, score / cols as f64);
                }
                let b_scores: Vec<f64> = of(&b_name).into_iter().flat_map(Smoothed::scores).collect();
                let rows = (b_scores.len() / rank.max(1)).max(1) as f64;
                for (at, score) in b_scores.into_iter().enumerate() {
                    add(at % rank.max(1), score / rows);
                }
                Ok(sums)
            }
        }
    }

    /// Takes away the gradient of what is not on turn, so that the optimiser leaves it alone.
    pub(super) fn in_turn(&self, grads: &mut Grads, from: f64, at: At) -> Result<()> {
        let held = self.part(Part::Core).is_some_and(|core| core.mask().is_some());
        if held {
            return Ok(());
        }
        let warm = at.step as f64 > (from * at.total as f64).round();
        let off_turn: &[Part] = if warm && at.step.is_multiple_of(2) { &[Part::A, Part::B] } else { &[Part::Core] };
        for part in off_turn {
            grads.remove(&self.values_of(*part)?.0);
        }
        Ok(())
    }

    pub(super) fn paired(&mut self, grads: &mut Grads, moments: bool) -> Result<()> {
        let ((a_name, a), (b_name, b)) = (self.values_of(Part::A)?, self.values_of(Part::B)?);
        let (Some(grad_a), Some(grad_b)) = (grads.get(&a_name), grads.get(&b_name)) else { return Ok(()) };
        let mut pair = Pair::new(&a, &b, grad_a, grad_b, self.scale())?;
        if moments {
            let reached = pair.reached()?;
            let whole = match self.memory.moments.take() {
                Some(whole) => whole,
                None => WholeMoments::new(reached.dims())?,
            };
            let step = self.memory.moments.insert(whole).step(&reached)?;
            pair = pair.under(&step)?;
        }
        let (inner, outer) = pair.adjusted(true)?;
        grads.set(&a_name, &inner.to_dtype(candle_core::DType::F32)?);
        grads.set(&b_name, &outer.to_dtype(candle_core::DType::F32)?);
        Ok(())
    }

    pub(super) fn threshold(&mut self) -> Result<()> {
        let Proximal::SoftThreshold { part, amount } = self.slots.proximal else { return Ok(()) };
        let Some((_, tensor)) = self.trained(part) else { return Ok(()) };
        let amount = amount as f32;
        let moved: Vec<f32> = values(tensor)?.into_iter().map(|value| soft_threshold(value, amount)).collect();
        let moved = Tensor::from_vec(moved, tensor.dims(), &Device::Cpu)?;
        if let Some((_, var)) = self.part(part).and_then(Held::trained_values) {
            var.set(&moved)?;
        }
        Ok(())
    }

    /// For each direction whether it is in use: not trained ahead with its entry held.
    pub(super) fn in_use(&self) -> Result<Vec<bool>> {
        let Some(core) = self.part(Part::Core) else { return Ok(Vec::new()) };
        let count = core.trained_values().map_or(0, |(_, var)| var.elem_count());
        match core.mask() {
            None => Ok(vec![true; count]),
            Some(mask) => Ok(values(mask)?.into_iter().map(|value| value != 0.0).collect()),
        }
    }

    pub(super) fn edited(&mut self, edit: &Edit) -> Result<Edited> {
        match edit {
            Edit::Keep { kept, hold } => self.keep(kept, *hold),
            Edit::Grow { free } => self.grow(*free),
            Edit::DropHeld => self.drop_held(),
            Edit::Freeze { part, share } => self.freeze(*part, *share),
            Edit::Open { fresh } => self.open(*fresh),
            Edit::Pick { numbers } => {
                let name = self.values_of(Part::Values)?.0;
                if let Change::Scatter(scatter) = &mut self.change {
                    scatter.pick(numbers)?;
                }
                Ok(Edited { moved: true, params: true, optimiser: vec![OptimiserEdit::Forget { name }] })
            }
            Edit::HoldGrown => {
                let Change::Scatter(scatter) = &mut self.change else { return Ok(Edited::default()) };
                let small = scatter.small()?;
                scatter.values_mut().set_mask(Some(mask_of(small.into_iter())?));
                let name = self.values_of(Part::Values)?.0;
                Ok(Edited { moved: true, params: true, optimiser: vec![OptimiserEdit::Forget { name }] })
            }
            Edit::Remove => {
                let forget = |param: Param| OptimiserEdit::Forget { name: param.name };
                let optimiser = self.params().into_iter().map(forget).collect();
                Ok(Edited { moved: true, params: true, optimiser })
            }
        }
    }

    fn keep(&mut self, kept: &[bool], hold: bool) -> Result<Edited> {
        let (_, core) = self.values_of(Part::Core)?;
        let left: Vec<f32> =
            values(&core)?.into_iter().zip(kept).map(|(value, kept)| if *kept { value } else { 0.0 }).collect();
        let left = Tensor::from_vec(left, core.dims(), &Device::Cpu)?;
        if let Some(core) = self.part_mut(Part::Core) {
            if let Some((_, var)) = core.trained_values() {
                var.set(&left)?;
            }
            if hold {
                core.set_mask(Some(mask_of(kept.iter().copied())?));
            }
        }
        let all = vec![true; kept.len()];
        let before = if self.memory.kept.is_empty() { &all } else { &self.memory.kept };
        let moved = before != kept;
        self.memory.kept = kept.to_vec();
        Ok(Edited { moved, params: hold, optimiser: Vec::new() })
    }

    /// Lets `free` of the directions trained ahead go, and puts as many new ones behind.
    fn grow(&mut self, free: usize) -> Result<Edited> {
        let chain = match &self.slots.delta {
            Delta::Chain(chain) => chain.clone(),
            Delta::None
            | Delta::Tile
            | Delta::Kron(_)
            | Delta::Hadamard(..)
            | Delta::Tucker(_)
            | Delta::Scatter(_)
            | Delta::LookUp { .. } => {
                return Err(self.refuse("cannot grow"));
            }
        };
        let in_use = self.in_use()?;
        let ((a_name, a), (b_name, b), (core_name, core)) =
            (self.values_of(Part::A)?, self.values_of(Part::B)?, self.values_of(Part::Core)?);
        let (width, cols, rows) = (in_use.len(), a.dim(1)?, b.dim(0)?);
        let draw = |name: &str, factor: &Factor, shape: [usize; 2], fan_in: usize| -> Result<Tensor> {
            // The width is part of the name: every growth has values of its own, also after a resume.
            let mut stream = Stream::new(self.seed, &format!("grow/{name}/{width}"));
            let drawn = factor.init().values(shape.iter().product(), fan_in, &mut stream);
            Ok(Tensor::from_vec(drawn, &shape, &Device::Cpu)?)
        };
        let new_a = draw(&a_name, &chain.a, [free, cols], cols)?;
        let new_b = draw(&b_name, &chain.b, [rows, free], width)?;
        // What the last entry is held at now.
        let held = values(&core)?.last().copied().unwrap_or(0.0);
        let core = Tensor::cat(&[&core, &Tensor::full(held, free, &Device::Cpu)?], 0)?;
        let mut left = free;
        let freed = in_use.into_iter().map(|used| {
            let now = used || left > 0;
            left -= usize::from(now && !used);
            now
        });
        let mask = mask_of(freed.collect::<Vec<_>>().into_iter().chain(std::iter::repeat_n(false, free)))?;
        let places: Vec<Option<usize>> = (0..width).map(Some).chain(std::iter::repeat_n(None, free)).collect();
        let values = (Tensor::cat(&[&a, &new_a], 0)?, Tensor::cat(&[&b, &new_b], 1)?, core);
        self.put((a_name, b_name, core_name), values, Some(mask), (&places, width))
    }

    fn drop_held(&mut self) -> Result<Edited> {
        let in_use = self.in_use()?;
        if in_use.iter().all(|used| *used) {
            return Ok(Edited::default());
        }
        let ((a_name, a), (b_name, b), (core_name, core)) =
            (self.values_of(Part::A)?, self.values_of(Part::B)?, self.values_of(Part::Core)?);
        let kept: Vec<usize> = in_use.iter().enumerate().filter_map(|(at, used)| used.then_some(at)).collect();
        let numbers: Vec<u32> = kept.iter().filter_map(|at| u32::try_from(*at).ok()).collect();
        let numbers = Tensor::new(numbers, &Device::Cpu)?;
        let values = (a.index_select(&numbers, 0)?, b.index_select(&numbers, 1)?, core.index_select(&numbers, 0)?);
        let places: Vec<Option<usize>> = kept.into_iter().map(Some).collect();
        self.put((a_name, b_name, core_name), values, None, (&places, in_use.len()))
    }

    /// Puts parts of another width in place. `places` has the direction that each one was before, of `before` in all.
    fn put(
        &mut self,
        (a_name, b_name, core_name): (String, String, String),
        (a, b, core): (Tensor, Tensor, Tensor),
        mask: Option<Tensor>,
        (places, before): (&[Option<usize>], usize),
    ) -> Result<Edited> {
        let (width, cols, rows) = (places.len(), a.dim(1)?, b.dim(0)?);
        let number = |at: usize| u32::try_from(at).ok();
        let by_rows = places
            .iter()
            .flat_map(|place| (0..cols).map(move |col| place.and_then(|place| number(place * cols + col))));
        let by_columns = (0..rows)
            .flat_map(|row| places.iter().map(move |place| place.and_then(|place| number(row * before + place))));
        let optimiser = vec![
            OptimiserEdit::Move { name: a_name, shape: vec![width, cols], from: by_rows.collect() },
            OptimiserEdit::Move { name: b_name, shape: vec![rows, width], from: by_columns.collect() },
            OptimiserEdit::Move {
                name: core_name,
                shape: vec![width],
                from: places.iter().map(|place| place.and_then(number)).collect(),
            },
        ];
        for (part, values) in [(Part::A, &a), (Part::B, &b), (Part::Core, &core)] {
            if let Some(held) = self.part_mut(part) {
                held.replace(values)?;
            }
        }
        if let Some(core) = self.part_mut(Part::Core) {
            core.set_mask(mask);
        }
        Ok(Edited { moved: true, params: true, optimiser })
    }

    fn freeze(&mut self, part: Part, share: f64) -> Result<Edited> {
        let (name, tensor) = self.values_of(part)?;
        let dims = tensor.dims().to_vec();
        let (rows, cols) = tensor.dims2()?;
        let width = if part == Part::A { rows } else { cols };
        let count = ((width as f64 * share) as usize).min(width);
        let free = |at: usize| if part == Part::A { at / cols.max(1) >= count } else { at % cols.max(1) >= count };
        let mask = mask_of((0..rows * cols).map(free))?.reshape(dims.as_slice())?;
        let Some(held) = self.part_mut(part) else { return Ok(Edited::default()) };
        let before = match held.mask() {
            Some(mask) => values(mask)?.into_iter().filter(|value| *value == 0.0).count(),
            None => 0,
        };
        if before == count * (rows * cols).checked_div(width).unwrap_or(0) {
            return Ok(Edited::default());
        }
        held.set_mask(Some(mask));
        let edit = if count == width {
            OptimiserEdit::Forget { name }
        } else {
            let from = (0..rows * cols).map(|at| if free(at) { u32::try_from(at).ok() } else { None });
            OptimiserEdit::Move { name, shape: dims, from: from.collect() }
        };
        Ok(Edited { moved: false, params: true, optimiser: vec![edit] })
    }

    /// Opens the gate for good, and begins again where asked for.
    fn open(&mut self, fresh: bool) -> Result<Edited> {
        let (name, gate) = self.values_of(Part::Core)?;
        let mut optimiser = vec![OptimiserEdit::Forget { name }];
        if let Some(held) = self.part_mut(Part::Core) {
            if let Some((_, var)) = held.trained_values() {
                var.set(&gate.affine(0.0, OPEN)?)?;
            }
            held.set_mask(Some(mask_of(std::iter::once(false))?));
        }
        let Delta::Chain(chain) = &self.slots.delta else { return Err(self.refuse("has no gate")) };
        for (part, factor) in [(Part::A, &chain.a), (Part::B, &chain.b)].into_iter().filter(|_| fresh) {
            let (name, tensor) = self.values_of(part)?;
            // As it was drawn at first.
            let mut stream = Stream::new(self.seed, &format!("init/{name}"));
            let drawn = factor.init().values(tensor.elem_count(), tensor.dim(1)?, &mut stream);
            if let Some((_, var)) = self.part(part).and_then(Held::trained_values) {
                var.set(&Tensor::from_vec(drawn, tensor.dims(), &Device::Cpu)?)?;
            }
            optimiser.push(OptimiserEdit::Forget { name });
        }
        Ok(Edited { moved: true, params: true, optimiser })
    }

    pub(super) fn remembered(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        let vector = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        for part in PARTS {
            if let Some(held) = self.part(part)
                && let (Some(mask), Some((name, _))) = (held.mask(), held.trained_values())
            {
                all.push((format!("mask.{name}"), mask.clone()));
            }
        }
        all.extend(self.found()?);
        if let Change::Scatter(scatter) = &self.change
            && let Some((rows, cols)) = scatter.remembered()?
        {
            all.push((format!("rows.{}", self.name), rows));
            all.push((format!("cols.{}", self.name), cols));
        }
        if let Some(routed) = self.mix.as_ref().map(HeldMix::remembered).transpose()?.flatten() {
            all.push((format!("routed.{}", self.name), routed));
        }
        if self.memory.step > 0 {
            all.push((format!("step.{}", self.name), vector(&[self.memory.step as f32])?));
        }
        for (name, smoothed) in &self.memory.scores {
            all.push((format!("score.{name}"), vector(&smoothed.mean)?));
            all.push((format!("distance.{name}"), vector(&smoothed.distance)?));
        }
        if !self.memory.kept.is_empty() {
            all.push((format!("kept.{}", self.name), mask_of(self.memory.kept.iter().copied())?));
        }
        if let (Change::LowRank(chain), true) = (&self.change, self.slots.gathers().is_some())
            && let Some((a, b)) = chain.taken()
        {
            all.push((format!("taken_a.{}", self.name), a.clone()));
            all.push((format!("taken_b.{}", self.name), b.clone()));
        }
        if let Some(moments) = &self.memory.moments {
            all.push((format!("first.{}", self.name), moments.first.clone()));
            all.push((format!("second.{}", self.name), moments.second.clone()));
            all.push((format!("steps.{}", self.name), vector(&[moments.steps as f32])?));
        }
        Ok(all)
    }

    pub(super) fn recalled(&mut self, find: &Find<'_>) -> Result<()> {
        let mut memory = Memory::default();
        // Of a step that was not taken nothing is left.
        drop(self.seen.as_ref().and_then(|seen| seen.take()));
        self.take_found(find)?;
        let own = |what: &str| find(&format!("{what}.{}", self.name));
        if let Some(step) = own("step")? {
            memory.step = values(&step)?.first().copied().unwrap_or(0.0) as u64;
        }
        if let Some(mix) = &self.mix {
            mix.recall(own("routed")?.as_ref())?;
        }
        if let (Some(rows), Some(cols)) = (own("rows")?, own("cols")?)
            && let Change::Scatter(scatter) = &mut self.change
        {
            scatter.recall(&rows, &cols)?;
        }
        let mut names = vec![self.name.clone()];
        for part in PARTS {
            let Some((name, dims)) = self.trained(part).map(|(name, tensor)| (name.to_owned(), tensor.dims().to_vec()))
            else {
                continue;
            };
            let (saved, mask) = (find(&name)?, find(&format!("mask.{name}"))?);
            if let Some(held) = self.part_mut(part) {
                if let Some(saved) = saved.filter(|saved| saved.dims() != dims && saved.rank() == dims.len()) {
                    held.replace(&saved)?;
                }
                held.set_mask(mask);
            }
            names.push(name);
        }
        for name in names {
            let (mean, distance) = (find(&format!("score.{name}"))?, find(&format!("distance.{name}"))?);
            if let (Some(mean), Some(distance)) = (mean, distance) {
                let smoothed = Smoothed { mean: values(&mean)?, distance: values(&distance)? };
                memory.scores.insert(name, smoothed);
            }
        }
        if let Some(kept) = find(&format!("kept.{}", self.name))? {
            memory.kept = values(&kept)?.into_iter().map(|value| value != 0.0).collect();
        }
        let own = |what: &str| find(&format!("{what}.{}", self.name));
        if let (Some(a), Some(b)) = (own("taken_a")?, own("taken_b")?)
            && let Change::LowRank(chain) = &mut self.change
        {
            chain.set_taken(a, b);
        }
        if let (Some(first), Some(second), Some(steps)) = (own("first")?, own("second")?, own("steps")?) {
            let steps = values(&steps)?.first().copied().unwrap_or(0.0) as u64;
            memory.moments = Some(WholeMoments { steps, first, second });
        }
        self.memory = memory;
        Ok(())
    }
}

/// `sign(v) · max(|v| − amount, 0)`.
fn soft_threshold(value: f32, amount: f32) -> f32 {
    if value > amount {
        value - amount
    } else if value < -amount {
        value + amount
    } else {
        0.0
    }
}

/// 1 for what is trained, 0 for what is held.
fn mask_of(trained: impl Iterator<Item = bool>) -> Result<Tensor> {
    let values: Vec<f32> = trained.map(|trained| if trained { 1.0 } else { 0.0 }).collect();
    let count = values.len();
    Ok(Tensor::from_vec(values, count, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_moves_towards_zero_and_stops_there() {
        let xi = 0.25f32;
        let cases =
            [(0.0, 0.0), (0.5, 0.0), (-0.5, 0.0), (1.0, 0.0), (-1.0, 0.0), (1.5, 0.5), (-1.5, -0.5), (3.0, 2.0)];
        for (times, expected) in cases {
            assert_eq!(soft_threshold(times * xi, xi), expected * xi, "at {times} thresholds");
        }
        assert_eq!(soft_threshold(-3.0 * xi, xi), -2.0 * xi);
    }

    #[test]
    fn a_smoothed_score_follows_its_two_recurrences() {
        let mut smoothed = Smoothed { mean: vec![0.0], distance: vec![0.0] };
        let (mut mean, mut distance) = (0f64, 0f64);
        for value in [1.0, 3.0, 2.0] {
            smoothed.take_in(&[value], 0.85, 0.9);
            mean = 0.85 * mean + 0.15 * f64::from(value);
            distance = 0.9 * distance + 0.1 * (f64::from(value) - mean).abs();
        }
        let found = smoothed.scores().next().unwrap();
        assert!((found / (mean * distance) - 1.0).abs() < 1e-5, "{found}");
    }
}
