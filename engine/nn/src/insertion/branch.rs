//! Paths of single tasks through a block: what one task has beside what all tasks share.
//!
//! Place in the data flow: a block runs the shared stream, then for each task here the task's own; a head with a task of that
//! name reads the latter. Task t has, at a point of the block or beside three of its layers,
//!
//! ```text
//! bottleneck:  h ← h + s · (act(h D_tᵀ + b_d) U_tᵀ + b_u)      D_t or U_t may be the same for all tasks
//! generated:   D_t = S_D ⊗ (L(v_t) R(v_t)), U_t likewise       L, R linear in v_t and the same in all blocks, S per block
//! low rank:    y_t = W x + s · B_t A_t x_t (+ the shared change of the layer)
//! ```
//!
//! Sung et al. 2021, "VL-Adapter" (which layers tasks share); Liu et al. 2022, "Polyhistor" (generated); Agiza et al. 2024,
//! "MTLoRA" (low rank).

use super::bottleneck::{act, plus};
use super::inserts::At;
use super::{Branch, Branched, Generated, Point, TaskBottleneck, TaskLowRank, TaskPart};
use crate::ops::{linear_trained, low_rank};
use crate::param::{Param, Role};
use crate::slots::Init;
use crate::{NnError, Result};
use candle_core::Tensor;

/// What some tasks have of their own at a place.
pub(super) struct HeldBranch {
    pub(super) what: Branch,
    /// In the order of the tasks.
    parts: Vec<Part>,
}

enum Part {
    Bottleneck {
        down: Box<Layer>,
        up: Box<Layer>,
    },
    /// First and second factor beside each of [`TaskPart::ALL`].
    LowRank(Vec<(Param, Param)>),
}

/// `x Wᵀ + b`, with W held or generated.
struct Layer {
    weight: Weight,
    bias: Option<Param>,
}

enum Weight {
    /// (out, in).
    Held(Param),
    /// From the vector of a task (1, k).
    Generated {
        /// Name of the matrix in a file.
        name: String,
        /// q.
        rank: usize,
        vector: Param,
        /// (rows · q, k): to the first factor (rows, q).
        left: Param,
        /// (q · cols, k): to the second factor (q, cols).
        right: Param,
        /// (m, m), the block's own: out = m · rows, in = m · cols.
        scale: Param,
    },
}

/// A tensor and its name in a file.
type Named = (String, Tensor);

/// Name of a task in names of parameters.
fn tag(task: &str) -> String {
    if task.is_empty() { "own".to_owned() } else { format!("task_{task}") }
}

impl HeldBranch {
    pub(super) fn build(what: &Branch, at: &mut At<'_>) -> Result<Self> {
        let mut parts: Vec<Part> = Vec::with_capacity(what.tasks.len());
        for task in &what.tasks {
            let part = match &what.what {
                Branched::Bottleneck(bottleneck) => Part::bottleneck(bottleneck, &tag(task), parts.first(), at)?,
                Branched::LowRank(low_rank) => Part::low_rank(low_rank, &tag(task), at)?,
            };
            parts.push(part);
        }
        Ok(Self { what: what.clone(), parts })
    }

    fn part(&self, task: &str) -> Option<&Part> {
        self.what.tasks.iter().position(|known| known == task).and_then(|place| self.parts.get(place))
    }

    /// `value` (.., hidden) at a point with what the task adds to it there.
    pub(super) fn add(&self, point: Point, value: Tensor, task: &str) -> Result<Tensor> {
        let Branched::Bottleneck(what) = &self.what.what else { return Ok(value) };
        let Some(Part::Bottleneck { down, up }) = self.part(task).filter(|_| what.adds == point) else {
            return Ok(value);
        };
        let change = up.forward(&act(what.activation, &down.forward(&value)?)?)?;
        let change = if what.scale == 1.0 { change } else { change.affine(what.scale, 0.0)? };
        plus(&value, &change)
    }

    /// `s · B_t A_t x` (.., out) beside a layer; none where the task has nothing.
    pub(super) fn beside(&self, part: TaskPart, x: &Tensor, task: &str) -> Result<Option<Tensor>> {
        let Branched::LowRank(what) = &self.what.what else { return Ok(None) };
        let Some(Part::LowRank(factors)) = self.part(task) else { return Ok(None) };
        let Some((a, b)) = factors.get(part as usize) else { return Ok(None) };
        Ok(Some(low_rank(x, &a.var, &b.var, what.scale as f32, None)?))
    }

    /// Each once.
    pub(super) fn params(&self) -> Vec<Param> {
        let mut all: Vec<Param> = Vec::new();
        for param in self.parts.iter().flat_map(Part::params) {
            if all.iter().all(|known| known.name != param.name) {
                all.push(param.clone());
            }
        }
        all
    }

    /// As it leaves for a file: generated layers as the matrices that they are.
    pub(super) fn folded(&self) -> Result<(Branch, Vec<Named>)> {
        let detached = |params: Vec<Param>| -> Vec<Named> {
            params.into_iter().map(|param| (param.name, param.var.as_tensor().detach())).collect()
        };
        let Branched::Bottleneck(what @ TaskBottleneck { generated: Some(_), .. }) = &self.what.what else {
            return Ok((self.what.clone(), detached(self.params())));
        };
        let mut tensors = Vec::new();
        for part in &self.parts {
            if let Part::Bottleneck { down, up } = part {
                for layer in [down, up] {
                    if let Weight::Generated { name, .. } = &layer.weight {
                        tensors.push((name.clone(), layer.weight.matrix()?.detach()));
                    }
                }
            }
        }
        let tasks = self.what.tasks.clone();
        let what = Branched::Bottleneck(TaskBottleneck { generated: None, ..what.clone() });
        Ok((Branch { tasks, what }, tensors))
    }
}

impl Part {
    /// `first` is the first task's, whose layers the others may share.
    fn bottleneck(what: &TaskBottleneck, tag: &str, first: Option<&Self>, at: &mut At<'_>) -> Result<Self> {
        let (hidden, width) = (at.dims.hidden, what.width);
        let known = |pick: fn(&Self) -> Option<&Layer>| first.and_then(pick);
        let mut layer = |name: &str, shape: (usize, usize), shared: bool, known: Option<&Layer>| {
            Layer::build(what, at, (name, tag), shape, (shared, known))
        };
        let down = layer("down", (width, hidden), what.share.down(), known(Self::down))?;
        let up = layer("up", (hidden, width), what.share.up(), known(Self::up))?;
        Ok(Self::Bottleneck { down: Box::new(down), up: Box::new(up) })
    }

    fn low_rank(what: &TaskLowRank, tag: &str, at: &mut At<'_>) -> Result<Self> {
        let (hidden, inner) = (at.dims.hidden, at.dims.inner);
        let factors = TaskPart::ALL.map(|part| -> Result<(Param, Param)> {
            let (rows, cols) = match part {
                TaskPart::Out => (hidden, hidden),
                TaskPart::Up => (inner, hidden),
                TaskPart::Down => (hidden, inner),
            };
            let place =
                |at: &At<'_>, factor: &str| at.place(Point::Block, &format!("{tag}.{}_{factor}", part.name()), false);
            let (a, b) = (place(at, "a"), place(at, "b"));
            let a = at.param(&a, &[what.rank, cols], Init::KaimingUniform, Role::FactorA)?;
            Ok((a, at.param(&b, &[rows, what.rank], Init::Zeros, Role::FactorB)?))
        });
        Ok(Self::LowRank(factors.into_iter().collect::<Result<_>>()?))
    }

    fn down(&self) -> Option<&Layer> {
        if let Self::Bottleneck { down, .. } = self { Some(down.as_ref()) } else { None }
    }

    fn up(&self) -> Option<&Layer> {
        if let Self::Bottleneck { up, .. } = self { Some(up.as_ref()) } else { None }
    }

    fn params(&self) -> Vec<&Param> {
        match self {
            Self::Bottleneck { down, up } => down.params().into_iter().chain(up.params()).collect(),
            Self::LowRank(factors) => factors.iter().flat_map(|(a, b)| [a, b]).collect(),
        }
    }
}

impl Layer {
    /// `name` is `down` or `up`, `tag` the task's; a layer that is `shared` is the first task's.
    fn build(
        what: &TaskBottleneck,
        at: &mut At<'_>,
        (name, tag): (&str, &str),
        (rows, cols): (usize, usize),
        (shared, first): (bool, Option<&Self>),
    ) -> Result<Self> {
        let role = if name == "down" { Role::FactorA } else { Role::FactorB };
        if let Some(generated) = &what.generated {
            let first = first.map(|layer| &layer.weight);
            return Ok(Self {
                weight: Weight::generated(generated, what.adds, at, (name, tag), (rows, cols), first)?,
                bias: None,
            });
        }
        if let Some(Self { weight: Weight::Held(weight), bias }) = first.filter(|_| shared) {
            return Ok(Self { weight: Weight::Held(weight.clone()), bias: bias.clone() });
        }
        let init = if name == "down" { Init::KaimingUniform } else { Init::Zeros };
        let place = at.place(what.adds, &format!("{}.{name}", if shared { "tasks" } else { tag }), false);
        let weight = at.param(&place, &[rows, cols], init, role)?;
        let bias = what.bias.then(|| at.param(&place.with("_bias"), &[rows], Init::Zeros, Role::Bias)).transpose()?;
        Ok(Self { weight: Weight::Held(weight), bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear_trained(x, &self.weight.matrix()?, self.bias.as_ref().map(|bias| bias.var.as_tensor()))
    }

    fn params(&self) -> Vec<&Param> {
        let weight = match &self.weight {
            Weight::Held(param) => vec![param],
            Weight::Generated { vector, left, right, scale, .. } => vec![vector, left, right, scale],
        };
        weight.into_iter().chain(&self.bias).collect()
    }
}

impl Weight {
    /// A matrix (rows, cols) that the vector of a task makes. `first` is the first task's in this block.
    fn generated(
        what: &Generated,
        point: Point,
        at: &mut At<'_>,
        (name, tag): (&str, &str),
        (rows, cols): (usize, usize),
        first: Option<&Self>,
    ) -> Result<Self> {
        let Generated { task_width: k, rank: q, copies: m } = *what;
        if !rows.is_multiple_of(m.max(1)) || !cols.is_multiple_of(m.max(1)) || m == 0 || k == 0 || q == 0 {
            let what = format!("makes matrices of {rows} x {cols} out of {m} x {m} parts, which do not fill them");
            return Err(NnError::Adapter { site: format!("{}.{name}", point.name()), what });
        }
        let common = |at: &At<'_>, part: &str| at.place(point, &format!("{name}_{part}"), true);
        let (left, right) = (common(at, "left"), common(at, "right"));
        let vector = at.place(Point::Block, &format!("{tag}.vector"), true);
        let file = at.place(point, &format!("{tag}.{name}"), false);
        let normal = |features: usize| Init::Gaussian { std: 1.0 / (features as f64).sqrt() };
        // The second layer starts at zero; the first as large as Kaiming's start makes it.
        let (first_init, second_init) =
            if name == "down" { (normal(k), normal(k * q * cols)) } else { (Init::Zeros, normal(k * q)) };
        let scale = match first {
            Some(Self::Generated { scale, .. }) => scale.clone(),
            _ => {
                let place = at.place(point, &format!("{name}_scale"), false);
                at.param(&place, &[m, m], normal(1), Role::Core)?
            }
        };
        // A step of AdamW moves all k terms of a sum alike: the generated entries move by a learning rate only when each
        // term moves by 1/k of it, and those of the vector, whose factors are 1/√k, by 1/√k.
        let paced = |param: Param, lr_ratio: f64| Param { lr_ratio, ..param };
        let slow = 1.0 / k as f64;
        Ok(Self::Generated {
            name: file.name().to_owned(),
            rank: q,
            vector: paced(at.param(&vector, &[1, k], normal(1), Role::Core)?, slow.sqrt()),
            left: paced(at.param(&left, &[rows / m * q, k], first_init, Role::FactorB)?, slow),
            right: paced(at.param(&right, &[q * (cols / m), k], second_init, Role::FactorA)?, slow),
            scale,
        })
    }

    /// (out, in).
    fn matrix(&self) -> Result<Tensor> {
        match self {
            Self::Held(param) => Ok(param.var.as_tensor().clone()),
            Self::Generated { vector, left, right, scale, rank, .. } => {
                let (m, vector) = (scale.var.dim(0)?, vector.var.as_tensor());
                let left = linear_trained(vector, &left.var, None)?.reshape(((), *rank))?;
                let right = linear_trained(vector, &right.var, None)?.reshape((*rank, ()))?;
                let small = linear_trained(&left, &right.t()?.contiguous()?, None)?;
                let (rows, cols) = small.dims2()?;
                let blocks = scale.var.reshape((m, 1, m, 1))?.broadcast_mul(&small.reshape((1, rows, 1, cols))?)?;
                Ok(blocks.contiguous()?.reshape((m * rows, m * cols))?)
            }
        }
    }
}
