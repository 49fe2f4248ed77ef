//! A classifier of images, and everything that is done with it as a whole.

use super::config::VisionConfig;
use super::files;
use super::head::{ClassifierHead, Labels};
use super::parts::{self, Parts as _};
use super::slots::{VisionSlot, VisionWeights};
use crate::capability::refusal;
use crate::stage::{Flow, Seen, Stage};
use crate::{ModelError, Result, cnn, insert, vit};
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use temper_nn::insertion::{SkipSearch, most_pairs};
use temper_nn::{ForwardContext, Insertion, Inserts, LinearSite, Param, ParamSet};

/// A classifier of images: a stem, blocks, a head.
pub struct VisionModel {
    /// What it is.
    pub config: VisionConfig,
    /// Images to tokens or maps: the stem and the blocks, first to last.
    pub stages: Vec<Box<dyn Stage>>,
    /// Tokens or maps to classes.
    pub head: ClassifierHead,
    slots: Vec<VisionSlot>,
}

impl VisionModel {
    /// A new model. Each tensor has a random stream of its own under its name: the same seed gives the same bytes.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn random(config: &VisionConfig, seed: u64) -> Result<Self> {
        config.check().map_err(|why| ModelError::config(Path::new("(new model)"), why))?;
        Self::assemble(config.clone(), VisionWeights::random(&config.slots(), seed))
    }

    /// Reads a folder with config.json and safetensors: one of transformers' `ViTForImageClassification`, or one that
    /// [`Self::save`] wrote. Every weight is held in f32.
    ///
    /// # Errors
    /// No vision model, settings that the graph does not have, or tensors that are missing, extra or of another shape.
    pub fn load(path: &Path) -> Result<Self> {
        let (config, weights) = files::read(path)?;
        Self::assemble(config, weights)
    }

    /// Writes config.json and model.safetensors into `dir`, adapters folded into the weights. Each file appears under
    /// its name when it is whole.
    ///
    /// # Errors
    /// An adapter that cannot be folded, a value that is not finite, or a folder that cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        files::write(self, dir)
    }

    fn assemble(config: VisionConfig, mut weights: VisionWeights) -> Result<Self> {
        let slots = config.slots();
        let (stages, mut head) = match &config {
            VisionConfig::Vit(config) => vit::build(config, &mut weights)?,
            VisionConfig::Cnn(config) => cnn::build(config, &mut weights)?,
        };
        head.push("", weights.site("head")?)?;
        for (task, _) in &config.classes().tasks {
            head.push(task, weights.site(&format!("head.{task}"))?)?;
        }
        Ok(Self { config, stages, head, slots })
    }

    /// Adds a head for a further task and returns its number. Its values follow from `seed` and its name.
    ///
    /// # Errors
    /// A name that is taken or has a dot, or no classes.
    pub fn add_task(&mut self, name: &str, labels: Vec<String>, seed: u64) -> Result<usize> {
        if name.is_empty() || self.head.tasks().contains(&name) {
            return Err(ModelError::Request(format!("there is a task called {name:?} already")));
        }
        let mut config = self.config.clone();
        config.classes_mut().tasks.push((name.to_owned(), labels));
        config.check().map_err(ModelError::Request)?;
        let slots = config.slots();
        let new: Vec<VisionSlot> = slots.iter().filter(|slot| !self.slots.contains(slot)).cloned().collect();
        let site = VisionWeights::random(&new, seed).site(&format!("head.{name}"))?;
        self.head.push(name, site)?;
        (self.config, self.slots) = (config, slots);
        Ok(self.head.tasks().len() - 1)
    }

    /// A pass without noise over `batch` images.
    #[must_use]
    pub fn context(&self, batch: usize) -> ForwardContext {
        ForwardContext::plain(batch, self.config.positions())
    }

    /// Tokens (batch, width, hidden) or maps of `images` (batch, channels, height, width), before the head.
    ///
    /// # Errors
    /// Images of another size.
    pub fn forward(&self, images: &Tensor, ctx: &ForwardContext) -> Result<Flow> {
        let mut flow = Flow::new(images.clone());
        for stage in &self.stages {
            flow = stage.forward(flow, ctx)?;
        }
        Ok(flow)
    }

    /// Logits (batch, classes) of a task, without gradient.
    ///
    /// # Errors
    /// Images of another size, or no such task.
    pub fn logits(&self, images: &Tensor, task: usize) -> Result<Tensor> {
        let ctx = self.context(images.dim(0)?);
        Ok(self.head.logits(&self.forward(images, &ctx)?, task, &ctx)?.detach())
    }

    /// Sum over labelled images of the cross-entropy in nats, a scalar; the adapters' extra losses not included.
    ///
    /// # Errors
    /// Shapes that do not fit, or a class that does not exist.
    pub fn loss(&self, images: &Tensor, labels: &Labels, ctx: &ForwardContext) -> Result<Tensor> {
        let logits = self.head.logits(&self.forward(images, ctx)?, labels.task, ctx)?;
        self.head.loss_of(&logits, labels)
    }

    /// Linear layers and convolutions of stem and blocks, in the order of the graph; the classifiers are the head's own.
    #[must_use]
    pub fn sites(&self) -> Vec<&LinearSite> {
        self.stages.iter().flat_map(|stage| stage.sites()).collect()
    }

    /// Linear layers and convolutions of stem and blocks, to put adapters on.
    pub fn sites_mut(&mut self) -> Vec<&mut LinearSite> {
        self.stages.iter_mut().flat_map(|stage| stage.sites_mut()).collect()
    }

    /// The linear layer or convolution of that name.
    pub fn site_mut(&mut self, name: &str) -> Option<&mut LinearSite> {
        self.sites_mut().into_iter().find(|site| site.name() == name)
    }

    /// Names of everything that [`Self::promote`] can select, in the order of the slots.
    #[must_use]
    pub fn promotable(&self) -> Vec<String> {
        let buffer = |name: &&str| name.ends_with(".mean") || name.ends_with(".variance");
        let names = self.slots.iter().map(|slot| slot.name.as_str()).filter(|name| !buffer(name));
        let module =
            |name: &str| name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).map(str::to_owned);
        let mut names: Vec<String> = names.map(|name| module(name).unwrap_or_else(|| name.to_owned())).collect();
        names.dedup();
        names
    }

    /// Makes every weight trained whose name is selected: f32 variables with the values of the frozen weights. A norm of
    /// channels that is trained normalises by the batch while training; one that is not keeps its statistics.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        for stage in &mut self.stages {
            stage.promote(select)?;
        }
        parts::promote(&mut self.head, select)
    }

    /// Everything trained, adapters included, each once.
    ///
    /// # Errors
    /// Two parameters share a name.
    pub fn params(&self) -> Result<ParamSet> {
        let stages = self.stages.iter().flat_map(|stage| stage.params());
        Ok(ParamSet::new(insert::once(stages.chain(self.head_params()).collect()))?)
    }

    /// Builds each insertion in its stage; see [`crate::Model::insert_all`].
    ///
    /// # Errors
    /// No such stage, or one that has no place for what is inserted; more tokens to merge than there are.
    pub fn insert_all(&mut self, insertions: &[Insertion], seed: u64) -> Result<()> {
        let mut shared = insert::Shared::new();
        for insertion in insertions {
            insert::into_stages(&mut self.stages, insertion, seed, &mut shared)?;
        }
        for task in self.branched() {
            if !self.head.tasks().contains(&task) {
                let what =
                    format!("a task called {task:?} is to get a path of its own, but the model has no head for it");
                return Err(ModelError::Request(what));
            }
        }
        let mut tokens = self.config.positions();
        for (stage, left) in self.tokens() {
            let (pairs, most) = (tokens - left, most_pairs(tokens, self.config.protected()));
            if pairs > most {
                let what =
                    format!("{pairs} pairs of tokens are to merge in {stage}, which has {tokens} tokens: {most} can");
                return Err(ModelError::Request(what));
            }
            tokens = left;
        }
        Ok(())
    }

    /// Tokens of an image that leave each stage, by its name: fewer from stage to stage where some merge.
    #[must_use]
    pub fn tokens(&self) -> Vec<(&str, usize)> {
        let mut tokens = self.config.positions();
        let after = self.stages.iter().map(|stage| {
            tokens = tokens.saturating_sub(stage.inserts().map_or(0, Inserts::pairs));
            (stage.name(), tokens)
        });
        after.collect()
    }

    /// Names of the tasks that have something of their own in a stage.
    #[must_use]
    pub fn branched(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for task in self.stages.iter().filter_map(|stage| stage.inserts()).flat_map(Inserts::tasks) {
            if !all.contains(&task) {
                all.push(task);
            }
        }
        all
    }

    /// Names of the blocks that a search may leave out, and its settings.
    #[must_use]
    pub fn searched(&self) -> Vec<(String, SkipSearch)> {
        let of = |stage: &dyn Stage| Some((stage.name().to_owned(), stage.inserts()?.search()?));
        self.stages.iter().filter_map(|stage| of(stage.as_ref())).collect()
    }

    /// Leaves exactly these out of the blocks that can be: passes from now on go through the nets in their places.
    pub fn leave_out(&self, names: &[&str]) {
        for stage in &self.stages {
            if let Some(inserts) = stage.inserts() {
                inserts.set_skipped(names.contains(&stage.name()));
            }
        }
    }

    /// Names of the blocks that are left out.
    #[must_use]
    pub fn left_out(&self) -> Vec<&str> {
        let out = |stage: &dyn Stage| stage.inserts().and_then(Inserts::skippable).is_some_and(|skip| skip.skipped);
        self.stages.iter().filter(|stage| out(stage.as_ref())).map(|stage| stage.name()).collect()
    }

    /// Multiplications of a pass over one image in each stage with an attention, as it runs now: fewer where tokens merge or
    /// a block is left out. What adapters beside the layers cost is not in it.
    #[must_use]
    pub fn multiplications(&self) -> Vec<(&str, u64)> {
        let mut before = self.config.positions();
        let mut all = Vec::new();
        for (stage, (name, after)) in self.stages.iter().zip(self.tokens()) {
            let hidden = stage.points().1.hidden;
            if stage.points().1.kv_heads > 0 {
                let skip = stage.inserts().and_then(Inserts::skippable).filter(|skip| skip.skipped);
                let count = match skip {
                    Some(skip) => 2 * before * hidden * skip.width,
                    None => {
                        let layers = |mlp: bool| -> usize {
                            let sites = stage.sites().into_iter().filter(|site| site.name().contains(".mlp.") == mlp);
                            sites.map(|site| site.in_features() * site.out_features()).sum()
                        };
                        before * layers(false) + 2 * before * before * hidden + after * layers(true)
                    }
                };
                all.push((name, count as u64));
            }
            before = after;
        }
        all
    }

    /// Everything inserted, as it leaves for a file, in the order of the graph.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn folded_insertions(&self) -> Result<Vec<insert::Folded>> {
        let mut all = Vec::new();
        for stage in &self.stages {
            let Some(inserts) = stage.inserts() else { continue };
            for (what, tensors) in inserts.folded()? {
                all.push((Insertion { stage: stage.name().to_owned(), what }, tensors));
            }
        }
        Ok(all)
    }

    /// Everything trained in the head.
    #[must_use]
    pub fn head_params(&self) -> Vec<Param> {
        parts::params(&self.head)
    }

    /// Switches adapters and trained weights on or off in forward passes: off, the model answers as its base.
    pub fn set_enabled(&self, enabled: bool) {
        self.stages.iter().for_each(|stage| stage.set_enabled(enabled));
        parts::set_enabled(&self.head, enabled);
    }

    /// Moves the running statistics of the norms towards what they saw in a batch; see [`Stage::follow`].
    pub fn follow(&mut self, buffers: &BTreeMap<String, Seen>) {
        self.stages.iter_mut().for_each(|stage| stage.follow(buffers));
    }

    /// Every tensor in writing order.
    #[must_use]
    pub fn slots(&self) -> &[VisionSlot] {
        &self.slots
    }

    /// Current values of a tensor by its slot name, adapters not included.
    ///
    /// # Errors
    /// There is no such tensor, or it cannot be read.
    pub fn read_weight(&self, name: &str) -> Result<Vec<f32>> {
        for stage in &self.stages {
            if let Some(values) = stage.read_weight(name)? {
                return Ok(values);
            }
        }
        let found = parts::read_weight(&self.head, name)?;
        found.ok_or_else(|| ModelError::Request(format!("the model has no weight {name}")))
    }

    /// Every linear layer, the classifiers included.
    pub(crate) fn all_sites(&self) -> Vec<&LinearSite> {
        self.sites().into_iter().chain(self.head.linear()).collect()
    }

    /// Number of parameters; running statistics and adapters are none.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        let is_buffer = |slot: &&VisionSlot| slot.name.ends_with(".mean") || slot.name.ends_with(".variance");
        self.slots.iter().filter(|slot| !is_buffer(slot)).map(|slot| slot.elements() as u64).sum()
    }

    /// Why a method that declares these families cannot work on it; none when it can.
    #[must_use]
    pub fn refusal(&self, families: &[&str]) -> Option<String> {
        refusal(families, self.config.family(), self.config.capabilities())
    }
}
