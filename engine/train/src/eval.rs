//! Losses without training: validation while a run goes on, and the metrics of the `eval` command.
//!
//! No dropout, no graph beyond one stage's, the same rows in the same order each time.

use crate::driver::{Tokens, hidden};
use crate::error::Result;
use crate::prepare::tokens_of;
use crate::scores::{Mean, Pair, compare_positions, ratio, score_positions};
use candle_core::Tensor;
use temper_data::{Example, eval_batches};
use temper_models::Model;
use temper_nn::ForwardContext;
use temper_nn::ops::{IGNORE, with_slice};
use temper_protocol::{Code, Problem};

/// Logits held at once, bytes.
const LOGIT_BYTES: usize = 16 << 20;

/// Metrics of the `eval` command.
pub const METRICS: [&str; 5] = ["nll", "ppl", "kl", "acc", "flips"];

/// How rows are laid into batches.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Rows of a batch.
    pub batch: usize,
    /// Longest row, tokens.
    pub max_tokens: usize,
    /// Several examples in a row.
    pub packing: bool,
    /// Id that fills short rows.
    pub pad_id: u32,
}

/// Validation rows, laid out once.
pub struct Validation {
    batches: Vec<Tokens>,
    trained_tokens: u64,
}

/// At most `most` items, spread evenly over all.
#[must_use]
pub fn spread<T: Clone>(items: &[T], most: usize) -> Vec<T> {
    if items.len() <= most {
        return items.to_vec();
    }
    (0..most).filter_map(|index| items.get(index * items.len() / most)).cloned().collect()
}

impl Validation {
    /// At most `rows` of `examples`. `None` when no token of them counts.
    #[must_use]
    pub fn new(examples: &[Example], rows: usize, layout: Layout) -> Option<Self> {
        let counted: Vec<&Example> = examples.iter().filter(|example| example.trained_tokens() > 0).collect();
        let chosen: Vec<Example> = spread(&counted, rows).into_iter().cloned().collect();
        let batches = eval_batches(&chosen, layout.batch, layout.max_tokens, layout.packing, layout.pad_id);
        let trained_tokens = batches.iter().map(|batch| batch.trained_tokens as u64).sum();
        let batches = batches.into_iter().map(|batch| tokens_of(batch, false, 0, 0, 0)).collect();
        (trained_tokens > 0).then_some(Self { batches, trained_tokens })
    }

    /// Its batches.
    pub(crate) fn batches(&self) -> &[Tokens] {
        &self.batches
    }

    /// Positions of all batches, padding included: what measuring once costs.
    #[must_use]
    pub fn positions(&self) -> u64 {
        self.batches.iter().map(|tokens| tokens.ids.len() as u64).sum()
    }

    /// Mean loss, nats per trained token. `between` is called before each batch and may end the work.
    ///
    /// # Errors
    /// What `between` says, or tokens the model does not know.
    pub fn loss(&self, model: &Model, between: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let mut sum = 0.0;
        for tokens in &self.batches {
            between()?;
            let hidden = hidden(model, &tokens.ids, &tokens.ctx)?;
            sum += f64::from(model.head.loss(&hidden, &tokens.targets)?.to_scalar::<f32>()?);
        }
        Ok(sum / self.trained_tokens as f64)
    }
}

impl Validation {
    /// Loss of each row, nats summed over its trained tokens, and how many those are.
    ///
    /// # Errors
    /// What `between` says, or tokens the model does not know.
    pub(crate) fn row_losses(
        &self,
        model: &Model,
        between: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Vec<f64>, Vec<u64>)> {
        let (mut losses, mut counts) = (Vec::new(), Vec::new());
        for tokens in &self.batches {
            between()?;
            let (now, targets) = counted_hidden(model, tokens)?;
            let mut scores = compare(model, &now, None, &targets)?.into_iter().map(|pair| pair.now.loss);
            for row in tokens.targets.chunks(tokens.ctx.width.max(1)) {
                let counted = row.iter().filter(|target| **target != IGNORE).count();
                losses.push(scores.by_ref().take(counted).sum());
                counts.push(counted as u64);
            }
        }
        Ok((losses, counts))
    }
}

/// Switches a model back on when it goes out of scope.
pub struct AsBase<'a>(&'a Model);

impl<'a> AsBase<'a> {
    /// Makes the model answer as its base for as long as the result lives.
    #[must_use]
    pub fn of(model: &'a Model) -> Self {
        model.set_enabled(false);
        Self(model)
    }
}

impl Drop for AsBase<'_> {
    fn drop(&mut self) {
        self.0.set_enabled(true);
    }
}

/// Hidden states (positions, hidden) of the positions of a batch that have a target, and their targets.
///
/// # Errors
/// Tokens the model does not know.
pub fn counted_hidden(model: &Model, tokens: &Tokens) -> Result<(Tensor, Vec<u32>)> {
    let hidden = hidden(model, &tokens.ids, &tokens.ctx)?;
    let counted = tokens.targets.iter().zip(0_u32..).filter(|(target, _)| **target != IGNORE);
    let (targets, places): (Vec<u32>, Vec<u32>) = counted.map(|(target, place)| (*target, place)).unzip();
    let (batch, width, features) = hidden.dims3()?;
    let places = Tensor::from_vec(places, targets.len(), hidden.device())?;
    Ok((hidden.reshape((batch * width, features))?.index_select(&places, 0)?, targets))
}

/// Scores positions from their hidden states (positions, hidden), block by block, against those that the base
/// has at the same positions. Without `base` the model is compared with itself.
///
/// # Errors
/// Shapes that do not fit.
pub fn compare(model: &Model, now: &Tensor, base: Option<&Tensor>, targets: &[u32]) -> Result<Vec<Pair>> {
    let vocabulary = model.config.vocab_size();
    let block = (LOGIT_BYTES / size_of::<f32>() / vocabulary.max(1)).max(1);
    let mut all = Vec::with_capacity(targets.len());
    for (index, targets) in targets.chunks(block).enumerate() {
        let logits = |hidden: &Tensor| -> Result<Tensor> {
            Ok(model.head.logits(&hidden.narrow(0, index * block, targets.len())?)?)
        };
        let now = logits(now)?;
        match base {
            Some(base) => {
                let base = {
                    let _as_base = AsBase::of(model);
                    logits(base)?
                };
                let pairs = with_slice(&base, |base| {
                    with_slice(&now, |now| compare_positions(base, now, vocabulary, targets))
                })??;
                all.extend(pairs);
            }
            None => {
                let scores = with_slice(&now, |now| score_positions(now, vocabulary, targets))?;
                all.extend(scores.into_iter().map(|score| Pair { now: score, base: score, kl: 0.0 }));
            }
        }
    }
    Ok(all)
}

/// What each token costs, nats, given those before it: -ln p(token). The first one has none: NaN.
///
/// # Errors
/// Tokens the model does not know.
pub fn token_losses(model: &Model, ids: &[u32]) -> Result<Vec<f64>> {
    let mut losses = vec![f64::NAN; ids.len().min(1)];
    if ids.len() > 1 {
        let targets: Vec<u32> = ids.iter().skip(1).copied().chain(std::iter::once(IGNORE)).collect();
        let ctx = ForwardContext::plain(1, ids.len());
        let tokens = Tokens { ids: ids.into(), targets: targets.into(), ctx, examples: Vec::<u32>::new().into() };
        let (hidden, targets) = counted_hidden(model, &tokens)?;
        losses.extend(compare(model, &hidden, None, &targets)?.into_iter().map(|pair| pair.now.loss));
    }
    Ok(losses)
}

/// Sums over the trained tokens of a row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowScore {
    /// How many they are.
    pub tokens: f64,
    /// Loss, nats.
    pub loss: f64,
    /// Those that are the most likely ones.
    pub right: f64,
    /// Divergence from the base, nats.
    pub kl: f64,
    /// Those that are right in the base and wrong now.
    pub flips: f64,
}

/// At most `rows` of the examples that have a trained token, spread evenly.
#[must_use]
pub fn counted_rows(examples: &[Example], rows: usize) -> Vec<Example> {
    let counted: Vec<&Example> = examples.iter().filter(|example| example.trained_tokens() > 0).collect();
    spread(&counted, rows).into_iter().cloned().collect()
}

/// What the model makes of each row, compared with its base only `with_base`. `between` is told rows done and rows in all
/// before each batch and may end the work.
///
/// # Errors
/// What `between` says, or tokens the model does not know.
pub fn row_scores(
    model: &Model,
    rows: &[Example],
    layout: Layout,
    with_base: bool,
    between: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<RowScore>> {
    let total = rows.len() as u64;
    let mut sums: Vec<RowScore> = Vec::with_capacity(rows.len());
    for batch in eval_batches(rows, layout.batch, layout.max_tokens, false, layout.pad_id) {
        between(sums.len() as u64, total)?;
        let tokens = tokens_of(batch, false, 0, 0, 0);
        let (now, targets) = counted_hidden(model, &tokens)?;
        let base = if with_base {
            let _as_base = AsBase::of(model);
            Some(counted_hidden(model, &tokens)?.0)
        } else {
            None
        };
        let mut compared = compare(model, &now, base.as_ref(), &targets)?.into_iter();
        for row in tokens.targets.chunks(tokens.ctx.width.max(1)) {
            let counted = row.iter().filter(|target| **target != IGNORE).count();
            let mut sum = RowScore::default();
            for Pair { now, base, kl } in compared.by_ref().take(counted) {
                sum.tokens += 1.0;
                sum.loss += now.loss;
                sum.right += f64::from(now.correct());
                sum.kl += kl;
                sum.flips += f64::from(base.correct() && !now.correct());
            }
            sums.push(sum);
        }
    }
    Ok(sums)
}

/// A metric over rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Name, one of [`METRICS`].
    pub metric: String,
    /// Value and standard error over rows.
    pub mean: Mean,
}

/// Measures `metrics` over at most `rows` of `examples`:
/// `nll` nats per trained token, `ppl` its exponential, `acc` share of trained tokens that are the most likely
/// one, `kl` divergence from the base in nats per trained token, `flips` share of trained tokens right in the
/// base and wrong now.
///
/// # Errors
/// An unknown metric, rows without a trained token, or what `between` says.
pub fn measure(
    model: &Model,
    examples: &[Example],
    rows: usize,
    layout: Layout,
    metrics: &[String],
    between: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<Measured>> {
    if let Some(unknown) = metrics.iter().find(|metric| !METRICS.contains(&metric.as_str())) {
        let what = format!("there is no metric \"{unknown}\"");
        let action = format!("choose of: {}", METRICS.join(", "));
        return Err(Problem::new(Code::Usage, what, "--metrics", action).into());
    }
    let with_base = metrics.iter().any(|metric| metric == "kl" || metric == "flips");
    let chosen = counted_rows(examples, rows);
    let sums = row_scores(model, &chosen, layout, with_base, between)?;
    if sums.is_empty() {
        let what = "no token of the data counts";
        return Err(Problem::new(Code::DataInvalid, what, "--data", "give data with answers or text").into());
    }
    let mean = |column: fn(&RowScore) -> f64| {
        let rows: Vec<(f64, f64)> = sums.iter().map(|row| (column(row), row.tokens)).collect();
        ratio(&rows)
    };
    let of = |metric: &str| match metric {
        "acc" => mean(|row| row.right),
        "kl" => mean(|row| row.kl),
        "flips" => mean(|row| row.flips),
        "ppl" => {
            let nll = mean(|row| row.loss);
            let value = nll.value.exp();
            // First-order propagation through the exponential.
            Mean { value, stderr: value * nll.stderr, rows: nll.rows }
        }
        _ => mean(|row| row.loss),
    };
    Ok(metrics.iter().map(|metric| Measured { metric: metric.clone(), mean: of(metric) }).collect())
}
