//! Everything inserted into one stage, and what its graph asks of it.

use super::bottleneck::HeldBottleneck;
use super::branch::HeldBranch;
use super::coupling::HeldCoupling;
use super::key_values::{self, HeldPrefix};
use super::laplacian::{Attended, HeldLaplacian};
use super::merge::HeldMerge;
use super::prompt::HeldPrompt;
use super::skip::HeldSkip;
use super::{Branched, Insert, InsertDims, Point, Prefix, Skip, SkipSearch, TaskLowRank, TaskPart};
use crate::fused::{FusedFactor, FusedInsert, FusedPrefix};
use crate::ops::AttentionSpec;
use crate::param::{Param, Role};
use crate::rng::Stream;
use crate::slots::Init;
use crate::{NnError, Result};
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many rows of an embedding, drawn from a stream.
pub type Vocabulary<'a> = dyn Fn(usize, &mut Stream) -> Result<Tensor> + 'a;

/// Something inserted as it leaves for a file, with its tensors by the names of its parameters.
pub type FoldedInsert = (Insert, Vec<(String, Tensor)>);

/// Where something is put, and what building it needs.
pub struct At<'a> {
    /// Name of the stage.
    stage: &'a str,
    /// Sizes of the stage.
    pub(super) dims: InsertDims,
    /// Seed of the run.
    seed: u64,
    /// Parameters that several stages have in common, by name.
    shared: &'a mut BTreeMap<String, Param>,
    /// Rows of the embedding, for what starts from them.
    pub(super) vocabulary: Option<&'a Vocabulary<'a>>,
    /// How many insertions of the same kind the stage has at the same point already.
    below: usize,
}

/// Name of a parameter, and whether it is common to all stages.
#[derive(Clone)]
pub(super) struct Place {
    name: String,
    shared: bool,
}

impl Place {
    /// The name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The same with an ending.
    pub(super) fn with(&self, ending: &str) -> Self {
        Self { name: format!("{}{ending}", self.name), shared: self.shared }
    }
}

impl<'a> At<'a> {
    /// In a stage of these sizes.
    pub fn new(stage: &'a str, dims: InsertDims, seed: u64, shared: &'a mut BTreeMap<String, Param>) -> Self {
        Self { stage, dims, seed, shared, vocabulary: None, below: 0 }
    }

    /// The same with rows of an embedding at hand.
    #[must_use]
    pub fn with_vocabulary(mut self, vocabulary: &'a Vocabulary<'a>) -> Self {
        self.vocabulary = Some(vocabulary);
        self
    }

    /// The place of a part. In a block `layers.3.mlp_out.down`, elsewhere the point alone says where it is; what stages
    /// have in common is `shared.mlp_out.down`. Further insertions at a point are told apart by a number.
    pub(super) fn place(&self, point: Point, part: &str, shared: bool) -> Place {
        let more = if self.below == 0 { String::new() } else { format!("+{}", self.below) };
        let point = point.name();
        let stage = match (shared, self.stage) {
            (true, _) => "shared.".to_owned(),
            (false, "embed" | "head") => String::new(),
            (false, stage) => format!("{stage}."),
        };
        Place { name: format!("{stage}{point}{more}.{part}"), shared }
    }

    /// Random numbers under a name.
    pub(super) fn stream(&self, name: &str) -> Stream {
        Stream::new(self.seed, &format!("init/{name}"))
    }

    /// A parameter at a place: a new one, or the one that another stage has put there already.
    pub(super) fn param(&mut self, place: &Place, shape: &[usize], init: Init, role: Role) -> Result<Param> {
        let name = &place.name;
        if let Some(known) = self.shared.get(name).filter(|_| place.shared) {
            if known.var.dims() != shape {
                let what = format!("{:?} in another stage, {shape:?} in {}", known.var.dims(), self.stage);
                return Err(NnError::Param { name: name.clone(), what });
            }
            return Ok(known.clone());
        }
        let fan_in = shape.last().copied().unwrap_or(1);
        let values = init.values(shape.iter().product(), fan_in, &mut self.stream(name));
        let var = Var::from_vec(values, shape, &Device::Cpu)?;
        let param = Param::new(name.clone(), var, role, !matches!(role, Role::Bias | Role::Norm));
        if place.shared {
            self.shared.insert(name.clone(), param.clone());
        }
        Ok(param)
    }
}

enum Held {
    Bottleneck(HeldBottleneck),
    Prefix(HeldPrefix),
    Prompt(HeldPrompt),
    Coupling(HeldCoupling),
    Laplacian(Box<HeldLaplacian>),
    Merge(HeldMerge),
    Skip(HeldSkip),
    Branch(HeldBranch),
}

/// What is inserted into a stage, in the order in which it was.
pub struct Inserts {
    all: Vec<Held>,
    enabled: AtomicBool,
}

/// What is inserted into a block, as its fused halves carry it.
#[derive(Default)]
pub struct FusedInserts {
    /// Before the keys and values of every segment.
    pub prefix: Option<FusedPrefix>,
    /// Beside what the attention half adds.
    pub attn_out: Option<FusedInsert>,
    /// Beside what the MLP half adds.
    pub mlp_out: Option<FusedInsert>,
}

impl Default for Inserts {
    fn default() -> Self {
        Self { all: Vec::new(), enabled: AtomicBool::new(true) }
    }
}

impl Inserts {
    /// Builds `insert` at its point. A block has every point but `embed_out` and `head_in`, the stages around them have
    /// these alone; `points` are those of the stage.
    ///
    /// # Errors
    /// A point that the stage does not have, or that is not known where it would be read; sizes of zero.
    pub fn attach(&mut self, insert: &Insert, points: &[Point], at: &mut At<'_>) -> Result<()> {
        let point = insert.point();
        let refuse = |what: String| Err(NnError::Adapter { site: format!("{}.{}", at.stage, point.name()), what });
        if !points.contains(&point) {
            return refuse("lies at a point that this stage does not have".to_owned());
        }
        if let Insert::Bottleneck(bottleneck) = insert
            && !readable(bottleneck.adds).contains(&bottleneck.reads)
        {
            return refuse(format!("cannot read {}, which is not at hand there", bottleneck.reads.name()));
        }
        if matches!(insert, Insert::Laplacian(_) | Insert::Skip(_) | Insert::Branch(_)) && !at.dims.open {
            return refuse("needs a block of an encoder, whose attention sees every token".to_owned());
        }
        let size = match insert {
            Insert::Bottleneck(bottleneck) => bottleneck.width.min(at.dims.hidden),
            Insert::Prefix(Prefix { length, through }) => {
                (*length).min(through.unwrap_or(1)).min(at.dims.kv_heads * at.dims.head_dim)
            }
            Insert::Prompt(prompt) => prompt.length.min(at.dims.hidden),
            Insert::Coupling(coupling) => coupling.width.min(at.dims.hidden / 2),
            Insert::Laplacian(laplacian) => laplacian.reduction.min(at.dims.kv_heads * at.dims.head_dim),
            Insert::Merge(merge) => merge.pairs.min(at.dims.hidden),
            Insert::Skip(skip) => skip.width.min(at.dims.hidden),
            Insert::Branch(branch) => branch.tasks.len().min(match &branch.what {
                Branched::Bottleneck(bottleneck) => bottleneck.width.min(at.dims.hidden),
                Branched::LowRank(low_rank) => low_rank.rank.min(at.dims.inner),
            }),
        };
        if size == 0 {
            return refuse("has a size of zero".to_owned());
        }
        if matches!(insert, Insert::Merge(_)) && self.all.iter().any(|held| matches!(held, Held::Merge(_))) {
            return refuse("merges tokens that something there merges already".to_owned());
        }
        let same = |other: &Insert| other.point() == point && discriminant(other) == discriminant(insert);
        at.below = self.all.iter().filter(|held| same(&held.insert())).count();
        self.all.push(match insert {
            Insert::Bottleneck(what) => Held::Bottleneck(HeldBottleneck::build(what, at)?),
            Insert::Prefix(what) => Held::Prefix(HeldPrefix::build(what, at)?),
            Insert::Prompt(what) => Held::Prompt(HeldPrompt::build(what, at)?),
            Insert::Coupling(what) => Held::Coupling(HeldCoupling::build(what, at)?),
            Insert::Laplacian(what) => Held::Laplacian(Box::new(HeldLaplacian::build(what, at)?)),
            Insert::Merge(what) => Held::Merge(HeldMerge::build(what, at)?),
            Insert::Skip(what) => Held::Skip(HeldSkip::build(what, at)?),
            Insert::Branch(what) => Held::Branch(HeldBranch::build(what, at)?),
        });
        Ok(())
    }

    /// What a forward pass uses now: nothing when it is switched off.
    fn active(&self) -> &[Held] {
        if self.enabled.load(Ordering::Relaxed) { &self.all } else { &[] }
    }

    /// Whether a forward pass is changed by anything here.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.active().is_empty()
    }

    /// Whether nothing was inserted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What is inserted as fused halves carry it; none where something here needs the graph of the whole block.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn fused(&self) -> Result<Option<FusedInserts>> {
        let mut all = FusedInserts::default();
        let mut params = Vec::new();
        for held in self.active() {
            let place = match held {
                Held::Bottleneck(held) if held.what.adds == Point::AttnOut => &mut all.attn_out,
                Held::Bottleneck(held) if held.what.adds == Point::MlpOut => &mut all.mlp_out,
                Held::Prefix(prefix) => {
                    params.extend(prefix.params().into_iter().cloned());
                    continue;
                }
                _ => return Ok(None),
            };
            // A second one there would read what the first one adds.
            match (held, place.is_none()) {
                (Held::Bottleneck(held), true) => *place = Some(held.fused()),
                _ => return Ok(None),
            }
        }
        if let Some((keys, values)) = self.key_values()? {
            let key_values = FusedFactor::folded(Tensor::stack(&[keys, values], 0)?, params)?;
            all.prefix = Some(FusedPrefix { key_values, count: self.prefix_length() });
        }
        Ok(Some(all))
    }

    /// Switches everything here on or off in forward passes.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// The value at `point` with everything that adds to it there. `readable` are values that a parallel bottleneck may
    /// read, by their points.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn apply(&self, point: Point, mut value: Tensor, readable: &[(Point, &Tensor)]) -> Result<Tensor> {
        for held in self.active() {
            match held {
                Held::Bottleneck(held) if held.what.adds == point => {
                    let read = readable.iter().find(|(known, _)| *known == held.what.reads);
                    value = held.add(&value, read.map_or(&value, |(_, read)| read))?;
                }
                Held::Coupling(_) if held.insert().point() != point => {}
                Held::Coupling(held) => value = held.forward(&value)?,
                // Everything else has a place of its own in the graph.
                _ => {}
            }
        }
        Ok(value)
    }

    /// What an attention adds, (B, T, hidden), with what is made of its queries, keys and values.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn beside_attention(&self, mut added: Tensor, attended: Attended<'_>) -> Result<Tensor> {
        for held in self.active() {
            if let Held::Laplacian(laplacian) = held {
                added = laplacian.add(&added, attended)?;
            }
        }
        Ok(added)
    }

    fn branches(&self) -> impl Iterator<Item = &HeldBranch> {
        self.active().iter().filter_map(|held| if let Held::Branch(branch) = held { Some(branch) } else { None })
    }

    /// Names of the tasks that have something of their own here.
    #[must_use]
    pub fn tasks(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for task in self.branches().flat_map(|branch| &branch.what.tasks) {
            if !all.contains(&task.as_str()) {
                all.push(task);
            }
        }
        all
    }

    /// The value at `point` with what a task adds to it there.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn of_task(&self, point: Point, mut value: Tensor, task: &str) -> Result<Tensor> {
        for branch in self.branches() {
            value = branch.add(point, value, task)?;
        }
        Ok(value)
    }

    /// How a task changes single layers; none where it does not.
    #[must_use]
    pub fn layers_of_task(&self, task: &str) -> Option<&TaskLowRank> {
        self.branches().find_map(|branch| match &branch.what.what {
            Branched::LowRank(low_rank) if branch.what.tasks.iter().any(|known| known == task) => Some(low_rank),
            _ => None,
        })
    }

    /// What a task adds beside a layer with input `x` (.., in), (.., out); none where it adds nothing.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn beside_layer(&self, part: TaskPart, x: &Tensor, task: &str) -> Result<Option<Tensor>> {
        for branch in self.branches() {
            if let Some(added) = branch.beside(part, x, task)? {
                return Ok(Some(added));
            }
        }
        Ok(None)
    }

    /// What can stand in the place of the block.
    fn skip(&self) -> Option<&HeldSkip> {
        self.all.iter().find_map(|held| if let Held::Skip(skip) = held { Some(skip) } else { None })
    }

    /// The stream (.., hidden) after the net in the place of the block; none while the block itself runs.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn instead(&self, x: &Tensor) -> Result<Option<Tensor>> {
        if !self.enabled.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.skip().filter(|skip| skip.is_skipped()).map(|skip| skip.instead(x)).transpose()
    }

    /// How the block can be left out: none if it cannot, and no search if that is settled.
    #[must_use]
    pub fn skippable(&self) -> Option<Skip> {
        self.skip().map(HeldSkip::what)
    }

    /// The search that decides whether the block is left out.
    #[must_use]
    pub fn search(&self) -> Option<SkipSearch> {
        self.skippable()?.search
    }

    /// Leaves the block out or not, where it can be.
    pub fn set_skipped(&self, skipped: bool) {
        if let Some(skip) = self.skip() {
            skip.set_skipped(skipped);
        }
    }

    /// How many pairs of tokens become one between the halves of the block.
    #[must_use]
    pub fn pairs(&self) -> usize {
        let pairs = |held: &Held| if let Held::Merge(merge) = held { merge.what.pairs } else { 0 };
        self.active().iter().map(pairs).sum()
    }

    /// The tokens that are left of `x` (B, T, hidden) between the halves of a block whose attention had these keys (B, T,
    /// heads, head width), and how many of the first tokens each stands for; `sizes` says that of `x`, none for one each.
    /// None where nothing merges.
    ///
    /// # Errors
    /// More pairs than the tokens make.
    pub fn merge(&self, x: &Tensor, keys: &Tensor, sizes: Option<&Tensor>) -> Result<Option<(Tensor, Tensor)>> {
        let merge =
            self.active().iter().find_map(|held| if let Held::Merge(merge) = held { Some(merge) } else { None });
        merge.map(|merge| merge.merge(x, keys, sizes)).transpose()
    }

    /// Trained keys and values before every segment, (count, kv heads, head width) each; none without a prefix.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn key_values(&self) -> Result<Option<(Tensor, Tensor)>> {
        let mut parts = Vec::new();
        for held in self.active() {
            if let Held::Prefix(prefix) = held {
                parts.push(prefix.values()?);
            }
        }
        if parts.len() < 2 {
            return Ok(parts.pop());
        }
        let (keys, values): (Vec<Tensor>, Vec<Tensor>) = parts.into_iter().unzip();
        Ok(Some((Tensor::cat(&keys, 0)?, Tensor::cat(&values, 0)?)))
    }

    /// How many keys stand before every segment.
    #[must_use]
    pub fn prefix_length(&self) -> usize {
        let length = |held: &Held| if let Held::Prefix(prefix) = held { prefix.what.length } else { 0 };
        self.active().iter().map(length).sum()
    }

    /// Attention of `q` (B, T, H, Dh) over `k`, `v` (B, T, Hkv, Dh), with the prefix if there is one.
    ///
    /// # Errors
    /// Shapes or segments that do not fit.
    pub fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: AttentionSpec) -> Result<Tensor> {
        match self.key_values()? {
            None => crate::ops::attention(q, k, v, &std::sync::Arc::new(spec)),
            Some(prefix) => key_values::attention(q, k, v, &prefix, &spec),
        }
    }

    /// Rows before the embeddings of every segment, (count, hidden); none without a prompt.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn prompt(&self) -> Result<Option<Tensor>> {
        let mut rows = Vec::new();
        for held in self.active() {
            if let Held::Prompt(prompt) = held {
                rows.push(prompt.rows.var.as_tensor().clone());
            }
        }
        if rows.len() < 2 {
            return Ok(rows.pop());
        }
        Ok(Some(Tensor::cat(&rows, 0)?))
    }

    /// How many rows stand before the embeddings of every segment.
    #[must_use]
    pub fn prompt_length(&self) -> usize {
        let length = |held: &Held| if let Held::Prompt(prompt) = held { prompt.what.length } else { 0 };
        self.active().iter().map(length).sum()
    }

    /// Everything trained here. What stages have in common is listed by each of them.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        self.all.iter().flat_map(Held::params).collect()
    }

    /// What was inserted, as it leaves for a file: nets that make a prefix are gone, their result is its keys and values.
    /// With each the tensors by the names that its parameters have when it is built again, f32.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn folded(&self) -> Result<Vec<FoldedInsert>> {
        let mut all = Vec::with_capacity(self.all.len());
        for held in &self.all {
            if let Held::Branch(branch) = held {
                let (what, tensors) = branch.folded()?;
                all.push((Insert::Branch(what), tensors));
                continue;
            }
            let own = held.params().into_iter().map(|param| (param.name, param.var.as_tensor().detach()));
            let tensors = match held {
                Held::Prefix(prefix) => {
                    let (keys, values) = prefix.values()?;
                    let flat = |part: &Tensor| part.detach().contiguous()?.flatten_from(1);
                    let name = own.map(|(name, _)| name).find(|name| !name.starts_with("shared."));
                    let name = name.as_deref().and_then(|name| name.rsplit_once('.')).map_or("", |(place, _)| place);
                    vec![(format!("{name}.keys"), flat(&keys)?), (format!("{name}.values"), flat(&values)?)]
                }
                _ => own.collect(),
            };
            all.push((held.insert().folded(), tensors));
        }
        Ok(all)
    }
}

impl Held {
    fn insert(&self) -> Insert {
        match self {
            Self::Bottleneck(held) => Insert::Bottleneck(held.what.clone()),
            Self::Prefix(held) => Insert::Prefix(held.what.clone()),
            Self::Prompt(held) => Insert::Prompt(held.what.clone()),
            Self::Coupling(held) => Insert::Coupling(held.what.clone()),
            Self::Laplacian(held) => Insert::Laplacian(held.what.clone()),
            Self::Merge(held) => Insert::Merge(held.what.clone()),
            Self::Skip(held) => Insert::Skip(held.what()),
            Self::Branch(held) => Insert::Branch(held.what.clone()),
        }
    }

    fn params(&self) -> Vec<Param> {
        match self {
            Self::Bottleneck(held) => held.net.params().cloned().collect(),
            Self::Prefix(held) => held.params().into_iter().cloned().collect(),
            Self::Prompt(held) => vec![held.rows.clone()],
            Self::Coupling(held) => held.params().cloned().collect(),
            Self::Laplacian(held) => held.params().map(Param::clone).to_vec(),
            Self::Merge(held) => held.params(),
            Self::Skip(held) => held.params().cloned().collect(),
            Self::Branch(held) => held.params(),
        }
    }
}

impl Insert {
    /// Without what only training needs.
    fn folded(self) -> Self {
        match self {
            Self::Prefix(Prefix { length, .. }) => Self::Prefix(Prefix { length, through: None }),
            Self::Skip(skip) => Self::Skip(Skip { search: None, ..skip }),
            other => other,
        }
    }
}

/// What a bottleneck that adds at a point may read.
fn readable(adds: Point) -> &'static [Point] {
    match adds {
        Point::EmbedOut => &[Point::EmbedOut],
        Point::AttnIn => &[Point::AttnIn],
        Point::AttnKv => &[],
        Point::AttnOut => &[Point::AttnOut, Point::AttnIn],
        Point::MlpIn => &[Point::MlpIn],
        Point::MlpOut => &[Point::MlpOut, Point::MlpIn],
        Point::Block => &[Point::Block],
        Point::HeadIn => &[Point::HeadIn],
        // Tokens merge there; nothing is added.
        Point::Between => &[],
    }
}
