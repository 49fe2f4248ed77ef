//! A model as a list of stages, and everything that is done with it as a whole.

use crate::config::{LlamaConfig, ModelConfig};
use crate::family::PartKind;
use crate::llama::{BlockStage, EmbedStage, HeadStage};
use crate::names::{self, Slot};
use crate::rope::{Rope, RopeTables};
use crate::source::ModelSource;
use crate::stage::{Flow, Stage};
use crate::weights::{BaseKind, Weights, collect};
use crate::{ModelError, Progress, Result, files, hf, insert, random};
use candle_core::Tensor;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use temper_nn::{ForwardContext, FrozenWeight, LinearSite, Param, ParamSet, StorageKind};

/// A model: embedding, blocks, head.
pub struct Model {
    /// What it is.
    pub config: ModelConfig,
    /// Tokens to hidden states.
    pub embed: EmbedStage,
    /// The blocks, first to last.
    pub blocks: Vec<Box<dyn Stage>>,
    /// Hidden states to loss or logits.
    pub head: HeadStage,
    /// Where it came from.
    pub source: ModelSource,
    /// Its tensors in the order of the source.
    slots: Vec<Slot>,
    /// How the source stores each tensor.
    stored: BTreeMap<String, StorageKind>,
    /// Names of linear layers and slots that hold what adapters left that lie frozen on them.
    settled: BTreeSet<String>,
}

/// How a model holds its frozen matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Storage of most values of the linear layers; f32 when none of them is frozen.
    pub linear: StorageKind,
    /// Storage of the embedding, which a tied head shares.
    pub table: StorageKind,
    /// Bytes of all frozen matrices in memory.
    pub bytes: u64,
    /// Bytes of the same matrices in the source.
    pub source_bytes: u64,
}

/// A tensor of a model, to be written to a file.
pub struct NamedWeight<'a> {
    /// Names, shape, order of rows in a GGUF file.
    pub slot: &'a Slot,
    /// How the source stores it.
    pub stored: StorageKind,
    /// The linear layer it belongs to, with the adapters on it.
    pub site: Option<&'a LinearSite>,
    /// Whether the tensor itself is trained.
    pub trained: bool,
    model: &'a Model,
}

impl NamedWeight<'_> {
    /// Current values in the logical layout, adapters not included.
    ///
    /// # Errors
    /// The weight cannot be read.
    pub fn read(&self) -> Result<Vec<f32>> {
        self.model.read_weight(&self.slot.name)
    }
}

impl Model {
    /// Reads a GGUF file, a Hugging Face folder, or a `.safetensors` file with config.json beside it. Matrices stay
    /// mapped unless `base` asks for another storage. Every value is checked to be finite.
    ///
    /// # Errors
    /// Everything that can be wrong with such a file, naming it and the tensor or setting.
    pub fn load(path: &Path, base: BaseKind, progress: &mut Progress<'_>) -> Result<Self> {
        let model = Self::from_source(ModelSource::open(path)?, base, progress)?;
        model.verify_finite(progress)?;
        Ok(model)
    }

    /// Builds the model of an opened source, without looking at the values of its matrices.
    ///
    /// # Errors
    /// The configuration or the tensors do not fit the graph.
    pub fn from_source(source: ModelSource, base: BaseKind, progress: &mut Progress<'_>) -> Result<Self> {
        let Some(config) = source.config()? else {
            return Err(ModelError::Request("a new model is made from a configuration".to_owned()));
        };
        let weights = collect(&config, &source, base, progress)?;
        let source = if base == BaseKind::Auto { source } else { source.reopen()? };
        Self::assemble(config, source, weights)
    }

    /// A new model: every matrix normal with standard deviation 0.02, those that write into the residual stream
    /// (`attn.o`, `mlp.down`) divided by √(2 · layers) (Radford et al. 2019, GPT-2), norms 1, biases 0. Each tensor has
    /// a random stream of its own under its name, so the same seed gives the same bytes.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn random(config: &LlamaConfig, seed: u64) -> Result<Self> {
        Self::random_as(config, seed, BaseKind::Auto)
    }

    /// As [`Self::random`], with matrices held as `base` says; `auto` is f32.
    ///
    /// # Errors
    /// The configuration contradicts itself, or its sizes do not fit the storage.
    pub fn random_as(config: &LlamaConfig, seed: u64, base: BaseKind) -> Result<Self> {
        config.check().map_err(|why| ModelError::config(Path::new("(new model)"), why))?;
        let weights = random::weights(config, seed, base)?;
        Self::assemble(config.clone(), ModelSource::Random, weights)
    }

    /// A new model from a config.json, held as `base` says: what `random:CONFIG.json` stands for.
    ///
    /// # Errors
    /// The file cannot be read, the configuration is unknown or contradicts itself, or its sizes do not fit the storage.
    pub fn random_from_file(config_path: &Path, seed: u64, base: BaseKind) -> Result<Self> {
        let config = hf::config_from_hf(&files::json(config_path)?, config_path)?;
        Self::random_as(&config, seed, base)
    }

    fn assemble(config: LlamaConfig, source: ModelSource, mut weights: Weights) -> Result<Self> {
        let writing_order = names::slots(&config);
        let mut by_name: BTreeMap<&str, &Slot> = writing_order.iter().map(|slot| (slot.name.as_str(), slot)).collect();
        let slots: Vec<Slot> = weights.order.iter().filter_map(|name| by_name.remove(name.as_str()).cloned()).collect();
        let stored = std::mem::take(&mut weights.stored);
        let tables = |rope: &Rope| Arc::new(RopeTables::new(rope.clone(), config.head_dim, config.context));
        let (rope, local_rope) = (tables(&config.rope), config.local.as_ref().map(|local| tables(&local.rope)));
        let embed = EmbedStage::new(weights.matrix("embed")?, config.embedding_scale());
        let mut blocks: Vec<Box<dyn Stage>> = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let rope = local_rope.as_ref().filter(|_| config.is_local(layer)).unwrap_or(&rope);
            blocks.push(Box::new(BlockStage::new(&config, layer, &writing_order, &mut weights, rope)?));
        }
        let own_head = if config.tied { None } else { Some(weights.matrix("head")?) };
        let head = HeadStage::new(&config, weights.vector("norm")?, own_head, embed.table());
        let settled = BTreeSet::new();
        Ok(Self { config: ModelConfig::Llama(config), embed, blocks, head, source, slots, stored, settled })
    }

    /// Hidden states before the head, of `tokens` (batch * width, row by row).
    ///
    /// # Errors
    /// A token outside the vocabulary, or shapes that do not fit.
    pub fn forward_hidden(&self, tokens: &Arc<[u32]>, ctx: &ForwardContext) -> Result<Flow> {
        let inside = self.inside(ctx);
        let mut flow = self.embed.forward(tokens, ctx)?;
        for block in &self.blocks {
            flow = block.forward(flow, inside.ctx())?;
        }
        flow.hidden = inside.leave(flow.hidden)?;
        Ok(flow)
    }

    /// Sum over trained positions of the cross-entropy in nats, a scalar; the adapters' extra losses not included.
    ///
    /// # Errors
    /// A token outside the vocabulary, or shapes that do not fit.
    pub fn loss(&self, tokens: &Arc<[u32]>, targets: &Arc<[u32]>, ctx: &ForwardContext) -> Result<Tensor> {
        self.head.loss(&self.forward_hidden(tokens, ctx)?.hidden, targets)
    }

    /// Logits (batch, width, vocabulary), without gradient.
    ///
    /// # Errors
    /// A token outside the vocabulary, or shapes that do not fit.
    pub fn logits(&self, tokens: &Arc<[u32]>, ctx: &ForwardContext) -> Result<Tensor> {
        let hidden = self.forward_hidden(tokens, ctx)?.hidden;
        Ok(self.head.logits(&hidden)?.reshape((ctx.batch, ctx.width, self.config.vocab_size()))?)
    }

    /// Every linear layer, in the order of the graph.
    #[must_use]
    pub fn sites(&self) -> Vec<&LinearSite> {
        self.blocks.iter().flat_map(|block| block.sites()).collect()
    }

    /// Every linear layer, to put adapters on.
    pub fn sites_mut(&mut self) -> Vec<&mut LinearSite> {
        self.blocks.iter_mut().flat_map(|block| block.sites_mut()).collect()
    }

    /// The linear layer of that name.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<&LinearSite> {
        self.blocks.iter().flat_map(|block| block.sites()).find(|site| site.name() == name)
    }

    /// The linear layer of that name, to put an adapter on.
    pub fn site_mut(&mut self, name: &str) -> Option<&mut LinearSite> {
        self.blocks.iter_mut().flat_map(|block| block.sites_mut()).find(|site| site.name() == name)
    }

    /// Names of everything that [`Self::promote`] can select: sites, norms, `embed`, and `head` unless tied; in the
    /// order of the graph.
    #[must_use]
    pub fn promotable(&self) -> Vec<String> {
        let slots = names::slots(self.config.as_llama());
        let mut names: Vec<String> = slots.into_iter().map(|slot| slot.site.unwrap_or(slot.name)).collect();
        names.dedup();
        names
    }

    /// Makes every weight trained whose name is selected (see [`Self::promotable`]): f32 variables with the values
    /// of the frozen weights. A tied table is one parameter, `embed`.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        self.embed.promote(select)?;
        for block in &mut self.blocks {
            block.promote(select)?;
        }
        self.head.promote(select)
    }

    /// Makes the adapters on linear layers part of their weights where a weight can hold them: what is put on top stands on
    /// frozen weights. Switched off, the model answers as its base, as before.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn fold(&mut self) -> Result<()> {
        Ok(self.sites_mut().into_iter().try_for_each(LinearSite::fold)?)
    }

    /// Makes `share` of everything that is trained now part of the frozen weights: adapters that are finished lie beneath
    /// what comes next, give no gradient, and belong to what the model answers when it is switched off.
    ///
    /// # Errors
    /// Something that no frozen weight can hold: an insertion, a trained token table, a change that depends on the input.
    pub fn settle(&mut self, share: f64) -> Result<()> {
        if let Some((insertion, _)) = self.folded_insertions()?.first() {
            let stage = &insertion.stage;
            return Err(ModelError::Request(format!("what was inserted at {stage} is no change of a weight")));
        }
        let tables = [self.embed.table(), self.head.table()];
        if let Some(table) = tables.into_iter().find(|table| table.is_trained()) {
            return Err(ModelError::Request(format!("the table {} is trained as a whole", table.name())));
        }
        let mut settled = self.trained_weights();
        settled.extend(self.sites().into_iter().filter(|site| site.is_adapted()).map(|site| site.name().to_owned()));
        for block in &mut self.blocks {
            block.settle(share)?;
        }
        self.head.settle(share)?;
        self.settled.extend(settled);
        Ok(())
    }

    /// Whether a tensor holds what an adapter left that lies frozen on it, so that it is no longer the file's.
    #[must_use]
    pub fn is_settled(&self, slot: &Slot) -> bool {
        self.settled.contains(&slot.name) || slot.site.as_ref().is_some_and(|site| self.settled.contains(site))
    }

    /// Everything trained, adapters included, each once.
    ///
    /// # Errors
    /// Two parameters share a name.
    pub fn params(&self) -> Result<ParamSet> {
        let mut all = self.embed.params();
        all.extend(self.blocks.iter().flat_map(|block| block.params()));
        all.extend(self.head.params());
        Ok(ParamSet::new(insert::once(all))?)
    }

    /// The trained parameter of that name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Param> {
        let blocks = self.blocks.iter().flat_map(|block| block.params());
        self.embed.params().into_iter().chain(blocks).chain(self.head.params()).find(|param| param.name == name)
    }

    /// Switches adapters, insertions and trained weights on or off in forward passes: off, the model answers as its base.
    pub fn set_enabled(&self, enabled: bool) {
        self.embed.set_enabled(enabled);
        self.blocks.iter().for_each(|block| block.set_enabled(enabled));
        self.head.set_enabled(enabled);
    }

    /// Number of parameters, adapters not included; a tied table counts once.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        names::parameter_count(self.config.as_llama())
    }

    /// Number of trained parameters; those that masks hold are not.
    ///
    /// # Errors
    /// Two parameters share a name.
    pub fn trained_parameter_count(&self) -> Result<u64> {
        Ok(self.params()?.trained()? as u64)
    }

    /// Every frozen matrix, also those that a trained copy stands before; a tied table once.
    #[must_use]
    pub fn frozen(&self) -> Vec<Arc<FrozenWeight>> {
        let sites = self.blocks.iter().flat_map(|block| block.sites());
        let linear = sites.filter_map(|site| site.frozen().map(|layer| Arc::clone(&layer.weight)));
        let mut all = vec![Arc::clone(self.embed.table().frozen())];
        all.extend(linear);
        if !self.config.tied() {
            all.push(Arc::clone(self.head.table().frozen()));
        }
        all
    }

    /// Bytes of the frozen matrices as they are held.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.frozen().iter().map(|weight| weight.memory_bytes() as u64).sum()
    }

    /// Storage of most of the parameters, as the source has them; none if there is no source.
    #[must_use]
    pub fn main_storage(&self) -> Option<StorageKind> {
        self.most_common_storage(|_| true)
    }

    /// Storage of most values of the linear layers, as the source has them; none if there is no source.
    #[must_use]
    pub fn linear_storage(&self) -> Option<StorageKind> {
        self.most_common_storage(|slot| slot.kind == PartKind::Linear)
    }

    fn most_common_storage(&self, counts: impl Fn(&Slot) -> bool) -> Option<StorageKind> {
        if matches!(self.source, ModelSource::Random) {
            return None;
        }
        let mut by_kind: BTreeMap<StorageKind, usize> = BTreeMap::new();
        for slot in self.slots.iter().filter(|slot| counts(slot)) {
            if let Some(kind) = self.stored.get(&slot.name) {
                *by_kind.entry(*kind).or_default() += slot.shape.iter().product::<usize>();
            }
        }
        by_kind.into_iter().max_by_key(|(_, elements)| *elements).map(|(kind, _)| kind)
    }

    /// How the frozen matrices are held in memory, beside what the source has.
    #[must_use]
    pub fn held(&self) -> Held {
        let sites = self.blocks.iter().flat_map(|block| block.sites());
        let mut by_kind: BTreeMap<StorageKind, usize> = BTreeMap::new();
        for layer in sites.filter_map(|site| site.frozen()) {
            *by_kind.entry(layer.weight.kind).or_default() += layer.weight.elements();
        }
        let linear = by_kind.into_iter().max_by_key(|(_, elements)| *elements);
        let in_source = self.slots.iter().filter(|slot| slot.shape.len() == 2).filter_map(|slot| {
            let kind = self.stored.get(&slot.name)?;
            Some(kind.bytes_for(slot.shape.iter().product())? as u64)
        });
        Held {
            linear: linear.map_or(StorageKind::F32, |(kind, _)| kind),
            table: self.embed.table().frozen().kind,
            bytes: self.memory_bytes(),
            source_bytes: in_source.sum(),
        }
    }

    /// Every tensor in the order of the source.
    #[must_use]
    pub fn named_weights(&self) -> Vec<NamedWeight<'_>> {
        let trained = self.trained_weights();
        self.slots
            .iter()
            .map(|slot| NamedWeight {
                slot,
                stored: self.stored.get(&slot.name).copied().unwrap_or(StorageKind::F32),
                site: slot.site.as_deref().and_then(|name| self.site(name)),
                trained: trained.contains(&slot.name),
                model: self,
            })
            .collect()
    }

    /// Current values of a tensor by its slot name, in the logical layout, adapters not included.
    ///
    /// # Errors
    /// There is no such tensor, or it cannot be read.
    pub fn read_weight(&self, name: &str) -> Result<Vec<f32>> {
        let (embed, head, norm) = (self.embed.table(), self.head.table(), self.head.norm());
        if name == embed.name() {
            return embed.read();
        }
        if name == head.name() {
            return head.read();
        }
        if name == norm.name() {
            return norm.read();
        }
        for block in &self.blocks {
            if let Some(values) = block.read_weight(name)? {
                return Ok(values);
            }
        }
        Err(ModelError::Request(format!("the model has no weight {name}")))
    }

    /// Slot names of the tensors that are trained themselves, adapters not included; in the order of the graph.
    #[must_use]
    pub fn trained_weights(&self) -> Vec<String> {
        let mut all = Vec::new();
        let (embed, head, norm) = (self.embed.table(), self.head.table(), self.head.norm());
        if embed.is_trained() {
            all.push(embed.name().to_owned());
        }
        all.extend(self.blocks.iter().flat_map(|block| block.trained_weights()));
        if norm.is_trained() {
            all.push(norm.name().to_owned());
        }
        if head.is_trained() && head.name() != embed.name() {
            all.push(head.name().to_owned());
        }
        all
    }

    /// Checks that every value of every frozen weight is a finite number: what a damaged scale, or a file saved from
    /// a failed training, would otherwise spread over all results.
    ///
    /// # Errors
    /// The first tensor that holds a value that is not, by its name in the file.
    pub fn verify_finite(&self, progress: &mut Progress<'_>) -> Result<()> {
        let refuse = |tensor: String| ModelError::NonFinite { path: self.source.path().to_owned(), tensor };
        for slot in self.slots.iter().filter(|slot| slot.shape.len() == 1 || slot.kind == PartKind::Norm) {
            if self.read_weight(&slot.name)?.iter().any(|value| !value.is_finite()) {
                return Err(refuse(self.source.name_of(slot)));
            }
        }
        let frozen = self.frozen();
        let total = self.memory_bytes();
        let mut done = 0;
        for weight in frozen {
            if !all_finite(&weight)? {
                return Err(refuse(weight.name.clone()));
            }
            done += weight.memory_bytes() as u64;
            progress("checking the weights", done, total);
        }
        Ok(())
    }
}

/// Whether every value of a matrix is finite; a block of rows at a time on every thread.
fn all_finite(weight: &FrozenWeight) -> Result<bool> {
    const BLOCK_VALUES: usize = 1 << 16;
    let rows = (BLOCK_VALUES / weight.cols.max(1)).max(1);
    let blocks = (0..weight.rows.div_ceil(rows)).into_par_iter();
    let finite = blocks.map_init(Vec::new, |values: &mut Vec<f32>, block| {
        let range = block * rows..weight.rows.min((block + 1) * rows);
        values.resize(range.len() * weight.cols, 0.0);
        weight.read_rows(range, values)?;
        Ok::<_, ModelError>(values.iter().all(|value| value.is_finite()))
    });
    finite.try_reduce(|| true, |a, b| Ok(a && b))
}
