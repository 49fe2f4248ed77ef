//! Forward and backward, one stage at a time.
//!
//! Place in the data flow: tokens of a micro-step in, loss out, gradients added to a [`Grads`]. The forward
//! pass keeps each stage's input; a stage's graph is either kept as well or built again when backward
//! arrives there (Chen et al. 2016, "Training deep nets with sublinear memory cost", with one segment per
//! stage). Backward starts at the head, hands the gradient of each stage's input to the stage below through
//! [`seed_gradient`], drops each graph at once and stops at the lowest stage that trains anything. A block that carries
//! nothing but plain changes has no graph at all: it is a [`FusedBlock`], whose backward pass is called directly.

use crate::error::Result;
use crate::imitate::{Away, ParentStates};
use crate::phases::{Phase, PhaseClock};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use temper_methods::Imitation;
use temper_models::{AttentionSizes, Flow, Model, Stage};
use temper_nn::fused::{BlockKept, FusedBlock};
use temper_nn::ops::{seed_gradient, with_slice};
use temper_nn::{ForwardContext, Grads, Param, device};

/// The tokens of one forward pass.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// (batch · width), row by row.
    pub ids: Arc<[u32]>,
    /// What follows each token; [`temper_nn::ops::IGNORE`] where nothing is trained.
    pub targets: Arc<[u32]>,
    /// Shape, positions and borders.
    pub ctx: ForwardContext,
    /// Numbers of the examples in the order of their segments, row by row; empty for text that is none.
    pub examples: Arc<[u32]>,
}

impl Tokens {
    /// The first row alone, of which at most `most` tokens: what a figure that any text shows is measured on.
    #[must_use]
    pub fn beginning(&self, most: usize) -> Self {
        let width = self.ctx.width.min(most.max(1));
        let mut row: Vec<u32> = self.ctx.borders.first().cloned().unwrap_or_default();
        row.iter_mut().for_each(|border| *border = (*border).min(width as u32));
        row.dedup();
        let segments = row.len().saturating_sub(1);
        let first = |values: &Arc<[u32]>, most: usize| values.iter().take(most).copied().collect();
        Self {
            ids: first(&self.ids, width),
            targets: first(&self.targets, width),
            ctx: ForwardContext::with_borders(width, vec![row]),
            examples: first(&self.examples, segments),
        }
    }
}

/// What a micro-step measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MicroLoss {
    /// Sum of the cross-entropy over trained tokens, nats.
    pub loss_sum: f64,
    /// Sum of the adapters' extra losses.
    pub extra_loss: f64,
    /// While it imitates: sum over trained tokens of the divergence from its parent, nats; else 0.
    pub divergence: f64,
    /// While it imitates features: sum over trained tokens of their mean squared distance from its parent's; else 0.
    pub features: f64,
}

/// Drives the stages of a model. Knows which parameters belong to which stage.
pub struct Driver {
    embed: Vec<Param>,
    blocks: Vec<Vec<Param>>,
    head: Vec<Param>,
    /// Lowest stage with something to train: 0 the embedding, 1 the first block, one more than the number
    /// of blocks the head.
    lowest: usize,
    /// Blocks from here up keep their activations; those below compute them again in the backward pass.
    kept_from: usize,
    /// Whether blocks that allow it are run without a graph.
    fuse: bool,
    /// What is learnt from the model as its file has it.
    imitation: Option<Imitation>,
}

/// What the forward pass keeps of a block.
enum Kept {
    /// Its input; the graph is built again.
    Input(Flow),
    /// Its graph.
    Graph { inputs: Inputs, output: Flow },
    /// A block without a graph: its input (batch, width, hidden), and what its backward pass needs unless that is
    /// computed again.
    Fused { block: Box<FusedBlock>, input: Tensor, kept: Option<Box<BlockKept>> },
}

/// The differentiable fields of a flow as variables.
#[derive(Default)]
pub(crate) struct Inputs {
    hidden: Option<Var>,
    side: Vec<(String, Var)>,
}

/// Gradients of the fields of a flow.
#[derive(Default)]
pub(crate) struct FlowGradient {
    hidden: Option<Tensor>,
    side: BTreeMap<String, Tensor>,
}

impl FlowGradient {
    /// Adds `factor · more` to the gradient of the hidden states.
    pub(crate) fn add(&mut self, more: &Tensor, factor: f64) -> Result<()> {
        let more = more.affine(factor, 0.0)?;
        self.hidden = Some(match self.hidden.take() {
            Some(hidden) => (hidden + more)?,
            None => more,
        });
        Ok(())
    }
}

impl Inputs {
    /// Makes the fields of `flow` variables and returns the flow made of them.
    pub(crate) fn track(flow: Flow) -> Result<(Self, Flow)> {
        let hidden = Var::from_tensor(&flow.hidden)?;
        let mut tracked = Flow::new(hidden.as_tensor().clone());
        tracked.token_sizes = flow.token_sizes;
        let mut side = Vec::with_capacity(flow.side.len());
        for (name, tensor) in flow.side {
            let var = Var::from_tensor(&tensor)?;
            tracked.side.insert(name.clone(), var.as_tensor().clone());
            side.push((name, var));
        }
        Ok((Self { hidden: Some(hidden), side }, tracked))
    }

    /// Takes their gradients out of `store`.
    pub(crate) fn gradients(&self, store: &mut GradStore) -> FlowGradient {
        let mut take = |var: &Var| store.remove(var.as_tensor()).map(|gradient| gradient.detach());
        FlowGradient {
            hidden: self.hidden.as_ref().and_then(&mut take),
            side: self.side.iter().filter_map(|(name, var)| Some((name.clone(), take(var)?))).collect(),
        }
    }
}

impl Driver {
    /// A driver of `model` as it is now: to be made anew when parameters come or go. All blocks keep their activations,
    /// or with `recompute` none.
    #[must_use]
    pub fn new(model: &Model, recompute: bool) -> Self {
        Self::keeping(model, if recompute { 0 } else { model.blocks.len() })
    }

    /// The same with activations kept in the `kept_blocks` highest blocks: those whose backward pass comes first, so that
    /// their memory is free again before the others need theirs. The result is the same bit for bit.
    #[must_use]
    pub fn keeping(model: &Model, kept_blocks: usize) -> Self {
        let kept_from = model.blocks.len().saturating_sub(kept_blocks);
        let embed = model.embed.params();
        let blocks: Vec<Vec<Param>> = model.blocks.iter().map(|block| block.params()).collect();
        let lowest = if embed.is_empty() {
            blocks.iter().position(|params| !params.is_empty()).map_or(blocks.len() + 1, |index| index + 1)
        } else {
            0
        };
        Self { embed, blocks, head: model.head.params(), lowest, kept_from, fuse: true, imitation: None }
    }

    /// A driver of the same model after parameters came, went or changed their masks.
    #[must_use]
    pub fn refreshed(&self, model: &Model) -> Self {
        let kept_blocks = model.blocks.len().saturating_sub(self.kept_from);
        Self { fuse: self.fuse, ..Self::keeping(model, kept_blocks) }
    }

    /// The same with every block run as a graph of single operations: what fused blocks are compared with.
    #[must_use]
    pub fn unfused(mut self) -> Self {
        self.fuse = false;
        self
    }

    /// From here on the loss is that of an imitation, or the cross-entropy alone.
    pub fn imitate(&mut self, imitation: Option<Imitation>) {
        self.imitation = imitation;
    }

    /// Number of the lowest block that gradients reach; the number of blocks when only the head is trained.
    #[must_use]
    pub fn lowest_block(&self) -> usize {
        self.lowest.saturating_sub(1)
    }

    /// Hidden states (batch, width, hidden) that the lowest trained block is given: what may be kept between epochs.
    /// `None` when every block is trained, a block below passes on more than hidden states, or a prompt stands between
    /// the tokens.
    ///
    /// # Errors
    /// Shapes that do not fit, or tokens outside the vocabulary.
    pub fn prefix(&self, model: &Model, tokens: &Tokens) -> Result<Option<Tensor>> {
        let frozen = self.lowest_block();
        if frozen == 0 {
            return Ok(None);
        }
        let inside = model.inside(&tokens.ctx);
        if inside.is_longer() {
            return Ok(None);
        }
        let mut flow = model.embed.forward(&tokens.ids, &tokens.ctx)?.detach();
        for block in model.blocks.iter().take(frozen) {
            flow = plain_forward(block.as_ref(), flow, inside.ctx(), self.fuse)?;
            if !flow.side.is_empty() || flow.extra_loss.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(flow.hidden))
    }

    /// How large the entries are that each block's attention compares; `None` for blocks without attention.
    ///
    /// # Errors
    /// As [`Self::micro_step`].
    pub fn attention_sizes(&self, model: &Model, tokens: &Tokens) -> Result<Vec<Option<AttentionSizes>>> {
        let inside = model.inside(&tokens.ctx);
        let mut flow = model.embed.forward(&tokens.ids, &tokens.ctx)?.detach();
        let mut sizes = Vec::with_capacity(model.blocks.len());
        for block in &model.blocks {
            sizes.push(block.attention_sizes(&flow, inside.ctx())?);
            flow = plain_forward(block.as_ref(), flow, inside.ctx(), self.fuse)?;
        }
        Ok(sizes)
    }

    /// Runs one micro-step: adds the gradients of `scale · (sum of losses) + extra_scale · (extra losses)` to
    /// `grads`.
    ///
    /// # Errors
    /// Shapes that do not fit, or tokens outside the vocabulary.
    pub fn micro_step(
        &self,
        model: &Model,
        tokens: &Tokens,
        scales: (f64, f64),
        grads: &mut Grads,
        clock: &mut PhaseClock,
    ) -> Result<MicroLoss> {
        self.micro_step_from(None, model, tokens, scales, grads, clock)
    }

    /// As [`Self::micro_step`], with the hidden states of [`Self::prefix`] where they are known.
    ///
    /// # Errors
    /// As [`Self::micro_step`].
    pub fn micro_step_from(
        &self,
        prefix: Option<Tensor>,
        model: &Model,
        tokens: &Tokens,
        (scale, extra_scale): (f64, f64),
        grads: &mut Grads,
        clock: &mut PhaseClock,
    ) -> Result<MicroLoss> {
        let start = Instant::now();
        let parent = self.imitation.map(|imitation| ParentStates::of(model, tokens, imitation)).transpose()?;
        let inside = model.inside(&tokens.ctx);
        let (embedded, kept, last, mut extra_loss, mut away) =
            self.forward(prefix, model, tokens, inside.ctx(), parent.as_ref())?;
        let inputs_needed = self.lowest <= self.blocks.len();
        let (inputs, hidden) = if inputs_needed {
            let (inputs, flow) = Inputs::track(last)?;
            (inputs, flow.hidden)
        } else {
            (Inputs::default(), last.hidden)
        };
        let hidden = inside.leave(hidden)?;
        let (loss, loss_sum, divergence) = match &parent {
            Some(parent) => parent.loss(model, &hidden, tokens)?,
            None => {
                let loss = model.head.loss(&hidden, &tokens.targets)?;
                let sum = f64::from(loss.to_scalar::<f32>()?);
                (loss, sum, 0.0)
            }
        };
        let mut features = 0.0;
        drop(parent);
        clock.add(Phase::Forward, start);

        let start = Instant::now();
        let mut store = loss.affine(scale, 0.0)?.backward()?;
        drop((loss, hidden));
        grads.collect(&self.head, &mut store)?;
        let mut gradient = inputs.gradients(&mut store);
        drop((store, inputs));
        for (stage, kept) in kept.into_iter().rev() {
            if let Some(away) = away.remove(&stage) {
                features += away.sum;
                gradient.add(&away.gradient, scale)?;
            }
            let (inputs, output) = match kept {
                Kept::Graph { inputs, output } => (inputs, output),
                Kept::Input(input) => self.run(model, stage, input, inside.ctx())?,
                Kept::Fused { block, input, kept } => {
                    gradient = self.fused_backward(stage, &block, &input, kept, gradient, inside.ctx(), grads)?;
                    if tokens.ctx.training {
                        extra_loss += add_losses(model, stage, extra_scale, grads)?;
                    }
                    continue;
                }
            };
            if let Some(extra) = &output.extra_loss {
                extra_loss += f64::from(extra.to_scalar::<f32>()?);
            }
            let Some(seed) = seed_of(&output, &gradient, extra_scale)? else {
                gradient = FlowGradient::default();
                continue;
            };
            drop(output);
            let mut store = seed.backward()?;
            drop(seed);
            if let Some(params) = self.blocks.get(stage) {
                grads.collect(params, &mut store)?;
            }
            gradient = inputs.gradients(&mut store);
        }
        if let Some(embedded) = embedded
            && let Some(seed) = seed_of(&embedded, &gradient, extra_scale)?
        {
            drop(embedded);
            let mut store = seed.backward()?;
            grads.collect(&self.embed, &mut store)?;
        }
        clock.add(Phase::Backward, start);
        Ok(MicroLoss { loss_sum, extra_loss, divergence, features })
    }

    /// Up to the head: the embedding's graph when it is trained, what was kept of each block that is, the
    /// last block's output, the extra losses of blocks that are not visited again, and how far trained blocks are from a
    /// parent's. `ctx` is the pass inside.
    #[expect(clippy::type_complexity, reason = "the five parts are taken apart at once by the only caller")]
    fn forward(
        &self,
        prefix: Option<Tensor>,
        model: &Model,
        tokens: &Tokens,
        ctx: &ForwardContext,
        parent: Option<&ParentStates>,
    ) -> Result<(Option<Flow>, Vec<(usize, Kept)>, Flow, f64, BTreeMap<usize, Away>)> {
        let (first, mut flow, embedded) = match prefix {
            Some(hidden) => (self.lowest_block(), Flow::new(hidden.to_device(&device::current())?), None),
            None => {
                let output = model.embed.forward(&tokens.ids, &tokens.ctx)?;
                (0, output.detach(), (self.lowest == 0).then_some(output))
            }
        };
        let mut kept = Vec::with_capacity(self.blocks.len());
        let mut extra_loss = 0.0;
        let mut all_away = BTreeMap::new();
        for (stage, block) in model.blocks.iter().enumerate().skip(first) {
            flow.extra_loss = None;
            let trained = stage + 1 >= self.lowest;
            if self.fuse
                && flow.hidden.device().is_cpu()
                && flow.side.is_empty()
                && let Some(block) = block.fused(ctx)?
            {
                let input = flow.hidden;
                let (hidden, keep) = fused_forward(&block, &input, ctx, trained && stage >= self.kept_from)?;
                flow = Flow::new(hidden);
                if trained {
                    kept.push((stage, Kept::Fused { block: Box::new(block), input, kept: keep.map(Box::new) }));
                }
            } else if !trained {
                flow = block.forward(flow, ctx)?.detach();
                if let Some(extra) = &flow.extra_loss {
                    extra_loss += f64::from(extra.to_scalar::<f32>()?);
                }
            } else if stage < self.kept_from {
                kept.push((stage, Kept::Input(flow.clone())));
                // The graph that the trained parameters record dies here, before the next block's begins.
                flow = block.forward(flow, ctx)?.detach();
            } else {
                let (inputs, output) = self.run(model, stage, flow, ctx)?;
                flow = output.detach();
                kept.push((stage, Kept::Graph { inputs, output }));
            }
            if trained && let Some(away) = parent.map(|parent| parent.away(stage, &flow.hidden)).transpose()?.flatten()
            {
                all_away.insert(stage, away);
            }
        }
        Ok((embedded, kept, flow, extra_loss, all_away))
    }

    /// Gradient of the input of a block without a graph.
    #[expect(clippy::too_many_arguments, reason = "the parts of one block's backward pass")]
    fn fused_backward(
        &self,
        stage: usize,
        block: &FusedBlock,
        input: &Tensor,
        kept: Option<Box<BlockKept>>,
        gradient: FlowGradient,
        ctx: &ForwardContext,
        grads: &mut Grads,
    ) -> Result<FlowGradient> {
        let Some(hidden) = gradient.hidden else { return Ok(FlowGradient::default()) };
        let mut values = hidden.flatten_all()?.to_vec1::<f32>()?;
        drop(hidden);
        let wanted = stage + 1 > self.lowest;
        with_slice(input, |x| {
            let kept = match kept {
                Some(kept) => *kept,
                None => block.recompute(x, &ctx.positions)?,
            };
            block.backward(x, &ctx.positions, kept, &mut values, wanted, grads)
        })??;
        let hidden = wanted.then(|| Tensor::from_vec(values, input.dims(), input.device())).transpose()?;
        Ok(FlowGradient { hidden, side: BTreeMap::new() })
    }

    /// Runs a block so that its graph is recorded, from variables when a stage below needs their gradients.
    fn run(&self, model: &Model, stage: usize, input: Flow, ctx: &ForwardContext) -> Result<(Inputs, Flow)> {
        let Some(block) = model.blocks.get(stage) else {
            return Err(temper_protocol::Problem::internal(format!("there is no stage {stage}")).into());
        };
        let (inputs, input) = if stage + 1 > self.lowest { Inputs::track(input)? } else { (Inputs::default(), input) };
        Ok((inputs, block.forward(input, ctx)?))
    }
}

/// Adds the gradients of the extra losses of a block's adapters, times `scale`: what a fused block leaves out. They depend
/// on the adapters' own parameters alone. Returns their sum.
fn add_losses(model: &Model, stage: usize, scale: f64, grads: &mut Grads) -> Result<f64> {
    let mut sum = 0.0;
    for site in model.blocks.get(stage).map(|block| block.sites()).unwrap_or_default() {
        let Some(loss) = site.extra_loss()? else { continue };
        sum += f64::from(loss.to_scalar::<f32>()?);
        if loss.track_op() {
            let mut store = loss.affine(scale, 0.0)?.backward()?;
            grads.collect(&site.params(), &mut store)?;
        }
    }
    Ok(sum)
}

/// Hidden states after a block without a graph, and what its backward pass needs with `keep`.
fn fused_forward(
    block: &FusedBlock,
    input: &Tensor,
    ctx: &ForwardContext,
    keep: bool,
) -> Result<(Tensor, Option<BlockKept>)> {
    let (values, kept) = with_slice(input, |x| block.forward(x, &ctx.positions, keep))??;
    Ok((Tensor::from_vec(values, input.dims(), input.device())?, kept))
}

/// Runs a block that nothing is asked of but its output.
pub(crate) fn plain_forward(block: &dyn Stage, flow: Flow, ctx: &ForwardContext, fuse: bool) -> Result<Flow> {
    if fuse
        && flow.hidden.device().is_cpu()
        && flow.side.is_empty()
        && let Some(block) = block.fused(ctx)?
    {
        return Ok(Flow::new(fused_forward(&block, &flow.hidden, ctx, false)?.0));
    }
    Ok(block.forward(flow, ctx)?.detach())
}

/// The scalar whose backward pass gives the fields of `output` their gradients and its extra loss the
/// gradient `extra_scale`. `None` when nothing of it is wanted or nothing is tracked.
pub(crate) fn seed_of(output: &Flow, gradient: &FlowGradient, extra_scale: f64) -> Result<Option<Tensor>> {
    let mut terms = Vec::new();
    let mut seed = |tensor: &Tensor, gradient: Option<&Tensor>| -> Result<()> {
        if let Some(gradient) = gradient
            && tensor.track_op()
        {
            terms.push(seed_gradient(tensor, gradient)?);
        }
        Ok(())
    };
    seed(&output.hidden, gradient.hidden.as_ref())?;
    for (name, tensor) in &output.side {
        seed(tensor, gradient.side.get(name))?;
    }
    if let Some(extra) = output.extra_loss.as_ref().filter(|extra| extra.track_op()) {
        terms.push(extra.affine(extra_scale, 0.0)?);
    }
    let mut sum: Option<Tensor> = None;
    for term in terms {
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    Ok(sum)
}

/// Hidden states (batch, width, hidden) before the head, without any graph beyond one stage's.
///
/// # Errors
/// Shapes that do not fit, or tokens outside the vocabulary.
pub fn hidden(model: &Model, ids: &Arc<[u32]>, ctx: &ForwardContext) -> Result<Tensor> {
    let inside = model.inside(ctx);
    let mut flow = model.embed.forward(ids, ctx)?.detach();
    for block in &model.blocks {
        flow = plain_forward(block.as_ref(), flow, inside.ctx(), true)?;
    }
    Ok(inside.leave(flow.hidden)?)
}

/// Bytes that one token of a micro-step keeps alive per block when activations are kept: the f32 inputs and
/// outputs of its operations. With d hidden, q and k width of queries and of keys, f width of the gated MLP: two norms,
/// two projections, two residual sums and the input's copy make 7 d; queries, their rotation and attention 3 q; keys,
/// their rotation and values 3 k; gate, up and their product 3 f. Norms behind the halves add 2 d, norms on the heads
/// q and k.
#[must_use]
pub fn kept_bytes_per_token(model: &Model) -> f64 {
    let config = model.config.as_llama();
    let keys = config.kv_heads * config.head_dim;
    let behind = if config.family.has("layers.{}.attn_post_norm") { 2 } else { 0 };
    let on_heads = usize::from(config.family.has("layers.{}.attn.q_norm"));
    let floats = (7 + behind) * config.hidden_size
        + (3 + on_heads) * (config.query_width() + keys)
        + 3 * config.intermediate_size;
    (floats * size_of::<f32>()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_the_first_row_cut_with_its_segments() {
        let ids: Vec<u32> = (0..12).collect();
        let ctx = ForwardContext::with_borders(6, vec![vec![0, 2, 5], vec![0, 6]]);
        let examples = vec![7, 8, 9].into();
        let whole = Tokens { ids: ids.clone().into(), targets: ids.into(), ctx, examples };
        let cut = whole.beginning(4);
        assert_eq!((&cut.ids[..], &cut.targets[..], &cut.examples[..]), (&[0, 1, 2, 3][..], &[0, 1, 2, 3][..], &[7, 8][..]));
        assert_eq!((cut.ctx.batch, cut.ctx.width), (1, 4));
        assert_eq!((&cut.ctx.positions[..], cut.ctx.borders.as_slice()), (&[0, 1, 0, 1][..], &[vec![0, 2, 4]][..]));
        let first = whole.beginning(2);
        assert_eq!((&first.examples[..], first.ctx.borders.as_slice()), (&[7][..], &[vec![0, 2]][..]));
        let all = whole.beginning(100);
        assert_eq!((all.ctx.width, &all.ctx.positions[..]), (6, &[0, 1, 0, 1, 2, 0][..]));
    }
}
