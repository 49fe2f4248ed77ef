//! A project's data as token rows: read, recognised, tokenised, split and weighted.
//!
//! The result is the same for the same files, codec, settings and seed, whatever the number of threads
//! and whether it came from the cache.

mod file;
mod request;
pub(crate) mod split;

pub(crate) use file::{BATCH_ROWS, EncodedFile, EncodedRow, plan_of};
pub use request::{LoadRequest, Progress, ValidationSource};

use crate::codec::{TemplateOrigin, TextCodec};
use crate::error::DataError;
use crate::read::{DataFile, Files, list};
use crate::schema::Schema;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use temper_protocol::event::PreviewRow;

/// A row set aside: file, line, reason.
pub type Quarantined = temper_protocol::event::QuarantineRow;

/// Most rows set aside that are kept with their reasons; the rest is counted.
pub(crate) const MOST_QUARANTINED: usize = 1000;

/// A token row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Ids.
    pub ids: Vec<u32>,
    /// Whether predicting the id of the same place counts; never for the first.
    pub trained: Vec<bool>,
    /// Index into [`Dataset::files`].
    pub file: u32,
    /// Line (row for Parquet) in that file, counted from 1.
    pub line: u64,
}

impl Example {
    /// How many of its tokens are trained.
    #[must_use]
    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().filter(|flag| **flag).count()
    }
}

/// Figures over a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows set aside.
    pub bad_rows: u64,
    /// Rows cut at the length limit.
    pub cut_rows: u64,
    /// Rows that are right but not for this kind of training.
    pub left_out: u64,
    /// Neighbouring turns of one speaker that were joined.
    pub repairs: u64,
    /// Tokens in all, training and validation.
    pub tokens: u64,
    /// Tokens trained (or measured, for validation).
    pub trained_tokens: u64,
    /// Tokens of the middle row.
    pub median_tokens: u64,
    /// Tokens of the longest row.
    pub longest_tokens: u64,
    /// Files taken from the cache.
    pub cached_files: usize,
}

/// A data set ready for batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Training rows.
    pub train: Vec<Example>,
    /// Validation rows.
    pub validation: Vec<Example>,
    /// Rows set aside, the first 1,000 of each file.
    pub quarantine: Vec<Quarantined>,
    /// Figures.
    pub stats: Stats,
    /// What a person should know, in sentences.
    pub warnings: Vec<String>,
    /// Files read, by [`Example::file`].
    pub files: Vec<PathBuf>,
    /// Schema of the first file with rows.
    pub schema: Schema,
    /// Confidence in it, 0 to 1.
    pub confidence: f64,
    /// Role to column.
    pub mapping: BTreeMap<String, String>,
    /// First rows as people read them.
    pub previews: Vec<PreviewRow>,
    /// Hash over the content of all rows in order.
    pub fingerprint: u64,
}

/// Files read so far with the index of each.
struct Reading<'a> {
    request: &'a LoadRequest,
    codec: &'a TextCodec,
    paths: Vec<PathBuf>,
    encoded: Vec<EncodedFile>,
    done: u64,
    total: u64,
}

impl Reading<'_> {
    fn read(
        &mut self,
        file: &DataFile,
        progress: &mut dyn FnMut(Progress),
        cancel: &dyn Fn() -> bool,
    ) -> Result<usize, DataError> {
        let (base, total) = (self.done, self.total);
        let mut tell = |bytes: u64| {
            progress(Progress { stage: "tokenising", done: (base + bytes).min(total), total, unit: "bytes" });
        };
        let encoded = file::load(file, self.request, self.codec, &mut tell, cancel)?;
        self.done += std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
        self.paths.push(file.path.clone());
        self.encoded.push(encoded);
        Ok(self.encoded.len() - 1)
    }
}

impl Dataset {
    /// Loads a data set.
    ///
    /// # Errors
    /// [`DataError`] when a file cannot be used, no row is good (with the first reasons), or `cancel`
    /// says so.
    pub fn load(
        request: &LoadRequest,
        codec: &TextCodec,
        progress: &mut dyn FnMut(Progress),
        cancel: &dyn Fn() -> bool,
    ) -> Result<Self, DataError> {
        if request.max_tokens < 2 {
            return Err(DataError::Setting {
                what: format!("rows of {} tokens have nothing to predict", request.max_tokens),
                place: "data.max_tokens".to_owned(),
                action: "set at least 2".to_owned(),
            });
        }
        let sources: Vec<(Files, f64)> = request
            .train
            .iter()
            .map(|(path, weight)| list(path).map(|files| (files, *weight)))
            .collect::<Result<_, DataError>>()?;
        let validation = match &request.validation {
            ValidationSource::Path(path) => {
                let mut files = list(path)?;
                files.validation.append(&mut files.train);
                files.validation
            }
            ValidationSource::Share(_) => sources.iter().flat_map(|(files, _)| files.validation.clone()).collect(),
        };
        let size = |file: &DataFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
        let train_files =
            sources.iter().flat_map(|(files, weight)| files.train.iter().map(move |file| (file, *weight)));
        let train_files: Vec<(&DataFile, f64)> = train_files.collect();
        let total = train_files.iter().map(|(file, _)| size(file)).chain(validation.iter().map(size)).sum();
        let mut reading = Reading { request, codec, paths: Vec::new(), encoded: Vec::new(), done: 0, total };
        let mut weights = Vec::new();
        for (file, weight) in train_files {
            reading.read(file, progress, cancel)?;
            weights.push(weight);
        }
        let train_count = weights.len();
        for file in &validation {
            reading.read(file, progress, cancel)?;
        }
        if cancel() {
            return Err(DataError::Cancelled);
        }
        let share = match request.validation {
            ValidationSource::Share(share) if validation.is_empty() => share,
            _ => 0.0,
        };
        Self::build(reading, &weights, train_count, share)
    }

    fn build(reading: Reading<'_>, weights: &[f64], train_count: usize, share: f64) -> Result<Self, DataError> {
        let Reading { request, codec, paths, encoded, .. } = reading;
        if encoded.iter().take(train_count).all(|file| file.rows.is_empty()) {
            return Err(no_good_row(&paths, &encoded, train_count));
        }
        let mut data = Self {
            train: Vec::new(),
            validation: Vec::new(),
            quarantine: Vec::new(),
            stats: Stats::default(),
            warnings: Vec::new(),
            files: paths,
            schema: Schema::Text,
            confidence: 0.0,
            mapping: BTreeMap::new(),
            previews: Vec::new(),
            fingerprint: 0,
        };
        data.describe(&encoded);
        data.warn(&encoded, codec, request);
        let side = split::Split::new(
            encoded.iter().take(train_count).flat_map(|file| file.rows.iter().map(|row| row.key)),
            share,
            request.seed,
        );
        let mut training_keys = BTreeSet::new();
        let mut validation_keys = Vec::new();
        let mut fingerprint = Vec::new();
        for (index, file) in encoded.into_iter().enumerate() {
            let from_train = index < train_count;
            let weight = weights.get(index).copied().unwrap_or(1.0);
            let copies = split::Copies::new(&file.rows, weight, request.seed);
            for row in file.rows {
                let for_validation = !from_train || side.is_validation(row.key);
                let times = if for_validation { 1 } else { copies.of(row.key) };
                let key = row.key;
                let example = Example { ids: row.ids, trained: row.trained, file: index as u32, line: row.line };
                if for_validation {
                    validation_keys.push(key);
                    data.validation.push(example);
                } else {
                    training_keys.insert(key);
                    data.train.extend(std::iter::repeat_n(example, times));
                }
                fingerprint.push(crate::random::combine(&[key, u64::from(for_validation), times as u64]));
            }
        }
        data.fingerprint = crate::random::combine(&fingerprint);
        let shared = validation_keys.iter().filter(|key| training_keys.contains(*key)).count();
        if shared > 0 {
            data.warnings.push(format!(
                "{shared} of {} validation rows also occur in the training data: the validation loss is too good",
                validation_keys.len()
            ));
        }
        if data.train.is_empty() {
            return Err(DataError::data(
                "no training row is left after splitting and weighting",
                "[data]",
                "raise the weights or lower data.validation",
            ));
        }
        data.count();
        Ok(data)
    }

    fn describe(&mut self, encoded: &[EncodedFile]) {
        for (index, (file, path)) in encoded.iter().zip(&self.files).enumerate() {
            self.stats.bad_rows += file.bad_rows;
            self.stats.left_out += file.left_out;
            self.stats.repairs += file.repairs;
            self.stats.cut_rows += file.rows.iter().filter(|row| row.cut).count() as u64;
            self.stats.cached_files += usize::from(file.from_cache);
            let rows = file.quarantine.iter();
            self.quarantine.extend(rows.map(|(line, reason)| Quarantined {
                file: path.clone(),
                line: *line,
                reason: reason.clone(),
            }));
            // How many rows lie before those of another file is not counted.
            let numbered = |row: &PreviewRow| PreviewRow { row: row.row.filter(|_| index == 0), ..row.clone() };
            self.previews.extend(file.previews.iter().map(numbered));
        }
        let first = encoded.iter().find(|file| !file.rows.is_empty());
        if let Some((file, plan)) = first.and_then(|file| Some((file, file.plan.as_ref()?))) {
            self.schema = plan.schema;
            self.confidence = plan.confidence;
            self.mapping = plan.mapping(&file.columns);
        }
    }

    fn warn(&mut self, encoded: &[EncodedFile], codec: &TextCodec, request: &LoadRequest) {
        let plans = encoded.iter().filter_map(|file| file.plan.as_ref());
        let schemas: BTreeSet<Schema> = plans.clone().map(|plan| plan.schema).collect();
        self.warnings.extend(schemas.iter().filter_map(|schema| schema.warning()).map(ToOwned::to_owned));
        let chat = |schema: &Schema| !matches!(schema, Schema::Text | Schema::Segments | Schema::RawCompletion);
        if schemas.iter().any(chat) && codec.template_origin() == TemplateOrigin::Plain {
            self.warnings.push(
                "the model has no chat template: a plain one (User: ... Assistant: ...) is used and exported with it"
                    .to_owned(),
            );
        }
        if schemas.iter().any(chat) && codec.special().turn_end.is_none() {
            self.warnings.push(
                "the chat template ends answers without a special token: the model may not learn to stop".to_owned(),
            );
        }
        if let Some(plan) = plans.clone().find(|plan| plan.confidence < 0.6) {
            self.warnings.push(format!(
                "the schema \"{}\" is a guess ({:.0} % sure): check the preview, or set data.schema and [data.columns]",
                plan.schema.name(),
                plan.confidence * 100.0
            ));
        }
        let mut count = |number: u64, text: &str| {
            if number > 0 {
                self.warnings.push(format!("{number} {text}"));
            }
        };
        count(self.stats.bad_rows, "rows were set aside; their lines and reasons are listed");
        count(self.stats.cut_rows, &format!("rows are longer than {} tokens and lost their end", request.max_tokens));
        count(self.stats.left_out, "rows are labelled bad and were left out");
        count(self.stats.repairs, "turns followed one of the same speaker and were joined with it");
    }

    fn count(&mut self) {
        let mut lengths: Vec<u64> =
            self.train.iter().chain(&self.validation).map(|example| example.ids.len() as u64).collect();
        lengths.sort_unstable();
        self.stats.tokens = lengths.iter().sum();
        self.stats.trained_tokens =
            self.train.iter().chain(&self.validation).map(|example| example.trained_tokens() as u64).sum();
        self.stats.median_tokens = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
        self.stats.longest_tokens = lengths.last().copied().unwrap_or(0);
    }

    /// Rows per bin of equal width from 0 to the longest row.
    #[must_use]
    pub fn histogram(&self, bins: usize) -> Vec<u64> {
        let mut counts = vec![0; bins];
        let longest = self.stats.longest_tokens.max(1);
        for example in self.train.iter().chain(&self.validation) {
            let bin = (example.ids.len() as u64 * bins as u64 / longest).min((bins as u64).saturating_sub(1));
            if let Some(count) = counts.get_mut(bin as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// The error of a data set without a good row: how many there were and the first reasons.
fn no_good_row(paths: &[PathBuf], encoded: &[EncodedFile], train_count: usize) -> DataError {
    let bad: u64 = encoded.iter().take(train_count).map(|file| file.bad_rows).sum();
    let left_out: u64 = encoded.iter().take(train_count).map(|file| file.left_out).sum();
    let files = encoded.iter().take(train_count).zip(paths);
    let mut reasons: Vec<String> = Vec::new();
    for (file, path) in files {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        reasons.extend(file.quarantine.iter().take(3).map(|(line, reason)| format!("{name} line {line}: {reason}")));
    }
    reasons.truncate(3);
    let what = if bad == 0 && left_out == 0 {
        "the data has no rows".to_owned()
    } else if bad == 0 {
        format!("all {left_out} rows are labelled bad, none is left to train on")
    } else {
        format!("none of {bad} rows can be used: {}", reasons.join("; "))
    };
    let place = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    let action = "repair the rows, raise data.max_tokens, or map the columns in [data.columns]";
    DataError::data(what, place, action)
}
