//! What a run measures before its first step, remembered for the next run that starts from the same.
//!
//! Place in the data flow: [`crate::session`] makes a [`Start`] of what the run starts from; validation, kept sets and
//! sample answers ask it before they measure, and hand in what they measured. A remembered figure is the one that
//! measuring would give, bit for bit: its key holds everything that decides it, namely the program, the base's content
//! and how it is held, the method with its settings and seed, the threads, and the tokens with their layout.

use crate::base_cache::BaseCache;
use crate::driver::Tokens;
use crate::error::Result;
use crate::hashes::Hashes;
use crate::request::TrainRequest;
use crate::tensor_file::hex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use temper_protocol::Project;

/// What a run starts from, and where figures of it are kept.
pub struct Start {
    pub(crate) cache: BaseCache,
    /// Decides what the base answers.
    base: String,
    /// Decides what the model with an untrained method on it answers.
    method: String,
    /// Whether an untrained method is what the run starts with: what another adapter answers is not remembered.
    untrained: bool,
    /// Hash of the base's files, with those of the adapters that lie frozen on it.
    pub(crate) base_hash: String,
}

impl Start {
    /// The start of a run of `request` by the program with hash `program` on a base that came from a `format`.
    /// Without that hash nothing is remembered: another build may compute other digits.
    #[must_use]
    pub fn new(request: &TrainRequest, hashes: &Hashes, program: &str, format: &str) -> Self {
        let folder = request.base_cache_dir.clone().filter(|_| !program.is_empty());
        let project = &request.project;
        // A random base depends on the seed, one from files does not.
        let seed = if request.is_random() { project.train.seed.to_string() } else { String::new() };
        let base = format!(
            "{program}\0{}{}\0{} {format}\0{seed}\0{} threads, {}, {:?}",
            hashes.base,
            beneath_of(request, hashes),
            project.model.base,
            rayon::current_num_threads(),
            std::env::consts::ARCH,
            temper_nn::device::current().location(),
        );
        let untrained = project.train.from.is_none();
        Self {
            cache: BaseCache::new(folder),
            method: method_of(project),
            base,
            untrained,
            base_hash: hashes.base.clone() + &beneath_of(request, hashes),
        }
    }

    /// The same for a method that starts from what it sees of the run's data: other rows, or rows laid otherwise, give
    /// another start.
    #[must_use]
    pub fn with_data(mut self, hashes: &Hashes, project: &Project) -> Self {
        let data = serde_json::to_string(&project.data).unwrap_or_default();
        self.method.push_str(&format!("\0{}\0{data}\0{} rows", hashes.data, project.train.batch));
        self
    }

    /// Key of a figure of the base alone over `tokens`.
    pub(crate) fn base_key<'a>(&self, what: &str, tokens: impl IntoIterator<Item = &'a Tokens>) -> String {
        key(&[what, &self.base], tokens)
    }

    /// Key of a figure of the model as it starts over `tokens`.
    pub(crate) fn key<'a>(&self, what: &str, tokens: impl IntoIterator<Item = &'a Tokens>) -> String {
        key(&[what, &self.base, &self.method], tokens)
    }

    /// The figure under `key`: remembered, or measured and remembered.
    ///
    /// # Errors
    /// What `measure` says.
    pub(crate) fn known<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        measure: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !self.untrained {
            return measure();
        }
        if let Some(known) = self.cache.value(key) {
            return Ok(known);
        }
        let measured = measure()?;
        self.cache.keep_value(key, &measured);
        Ok(measured)
    }
}

/// What decides the part of the base that adapters left which lie frozen on it; empty without any.
fn beneath_of(request: &TrainRequest, hashes: &Hashes) -> String {
    if hashes.adapters.is_empty() {
        return String::new();
    }
    let weights = request.project.model.adapters.iter().map(|adapter| format!(" {}", adapter.weight()));
    format!("+{}{}", hashes.adapters, weights.collect::<String>())
}

/// Everything that decides what an untrained method makes of the base.
fn method_of(project: &Project) -> String {
    // Settings are plain values and always have a text.
    let method = serde_json::to_string(&project.method).unwrap_or_default();
    format!("{method}\0seed {}", project.train.seed)
}

fn key<'a>(parts: &[&str], tokens: impl IntoIterator<Item = &'a Tokens>) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        // With its length, so that no two lists of parts collide.
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    parts.iter().for_each(|part| add(part.as_bytes()));
    let numbers = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    for Tokens { ids, targets, ctx, .. } in tokens {
        add(&(ctx.batch as u64).to_le_bytes());
        add(&(ctx.width as u64).to_le_bytes());
        add(&numbers(ids));
        add(&numbers(targets));
        add(&numbers(&ctx.positions));
        ctx.borders.iter().for_each(|borders| add(&numbers(borders)));
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use temper_nn::ForwardContext;

    fn request() -> TrainRequest {
        TrainRequest {
            project: Project::new("name", "model.gguf", &["data.jsonl".to_owned()], "lora"),
            project_dir: PathBuf::new(),
            run: 1,
            run_dir: PathBuf::new(),
            model_path: PathBuf::new(),
            data_sources: Vec::new(),
            validation_path: None,
            probes: Vec::new(),
            cache_dir: None,
            base_cache_dir: None,
            resume: None,
            beneath: None,
            start_from: None,
            max_steps: None,
        }
    }

    fn tokens(ids: &[u32]) -> Tokens {
        let ctx = ForwardContext::plain(1, ids.len());
        Tokens { ids: ids.into(), targets: ids.into(), ctx, examples: [].into() }
    }

    #[test]
    fn where_the_start_depends_on_the_data_so_does_its_key_and_the_bases_does_not() {
        let of = |data: &str, batch: usize| {
            let mut request = request();
            request.project.train.batch = batch;
            let hashes = Hashes { data: data.to_owned(), ..Hashes::default() };
            let start = Start::new(&request, &hashes, "program", "gguf").with_data(&hashes, &request.project);
            (start.base_key("hidden", [&tokens(&[1])]), start.key("loss", [&tokens(&[1])]))
        };
        let usual = of("some", 4);
        assert_eq!(usual, of("some", 4));
        for other in [of("other", 4), of("some", 8)] {
            assert!(other.0 == usual.0 && other.1 != usual.1);
        }
    }

    #[test]
    fn a_key_holds_everything_that_decides_the_figure_and_nothing_else() {
        let hashes = Hashes { base: "base".to_owned(), ..Hashes::default() };
        let usual = tokens(&[1, 2, 3]);
        let keys = |change: &dyn Fn(&mut TrainRequest), hashes: &Hashes, program: &str, tokens: &Tokens| {
            let mut request = request();
            change(&mut request);
            let start = Start::new(&request, hashes, program, "gguf");
            (start.base_key("hidden", [tokens]), start.key("loss", [tokens]))
        };
        let (base, loss) = keys(&|_| (), &hashes, "program", &usual);
        // Learning rate, steps and name decide nothing that is measured before the first step.
        let same = keys(
            &|request| {
                request.project.name = "other".to_owned();
                request.project.train.lr_peak = 1.0;
                request.project.train.steps = 7;
            },
            &hashes,
            "program",
            &usual,
        );
        assert_eq!(same, (base.clone(), loss.clone()));
        let other_base = Hashes { base: "other".to_owned(), ..Hashes::default() };
        let beneath = Hashes { adapters: "some".to_owned(), ..hashes.clone() };
        let held = |request: &mut TrainRequest| request.project.model.base = "f32".to_owned();
        for (what, changed) in [
            ("base", keys(&|_| (), &other_base, "program", &usual)),
            ("adapters beneath", keys(&|_| (), &beneath, "program", &usual)),
            ("storage", keys(&held, &hashes, "program", &usual)),
            ("program", keys(&|_| (), &hashes, "another", &usual)),
            ("tokens", keys(&|_| (), &hashes, "program", &tokens(&[1, 2, 4]))),
        ] {
            assert!(changed.0 != base && changed.1 != loss, "{what}");
        }
        let seeded = keys(&|request| request.project.train.seed += 1, &hashes, "program", &usual);
        assert!(seeded.0 == base && seeded.1 != loss, "a base from files does not depend on the seed");
        let method = keys(&|request| request.project.method.id = "full".to_owned(), &hashes, "program", &usual);
        assert!(method.0 == base && method.1 != loss);
        let random = |seed: u64| {
            keys(
                &|request| {
                    request.project.model.path = "random:config.json".to_owned();
                    request.project.train.seed = seed;
                },
                &hashes,
                "program",
                &usual,
            )
        };
        assert_ne!(random(1).0, random(2).0, "a random base does");
        assert_ne!(base, loss);
    }
}
