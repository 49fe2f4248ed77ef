//! Hidden states behind the layers that nothing trains, kept on disk so that later epochs begin there.
//!
//! Place in the data flow: between the batches and the driver. Below the lowest trained block a row's hidden states
//! depend on its tokens alone, and with borders between segments not even on its neighbours in a packed row. So they
//! are written once per example, in the epoch that first meets it, and read from then on whatever row the example is
//! packed into. What is read is what the blocks would give, to the rounding of a matrix product whose number of rows
//! differs.
//!
//! The file has no name: it is gone when the run's process is, and a resumed run fills a new one. It is never needed:
//! an error on it ends the cache and not the run.

use crate::driver::{Driver, Tokens};
use crate::error::{Result, TrainError};
use crate::meter::free_disk_mib;
use crate::phases::{Phase, PhaseClock};
use candle_core::{Device, Tensor};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use temper_data::Loader;
use temper_models::Model;
use temper_nn::ops::with_slice;
use temper_protocol::project::Train;
use temper_protocol::{Code, Problem};

/// Share of the free disk that the file may take.
const DISK_SHARE: f64 = 0.5;
const MIB: f64 = 1024.0 * 1024.0;

/// The hidden states of examples behind the frozen blocks.
#[derive(Debug)]
pub struct PrefixCache {
    file: File,
    /// First token of each example in the file, and the end.
    starts: Vec<u64>,
    present: Vec<bool>,
    hidden: usize,
    /// The block that the states go into.
    block: usize,
}

/// One example's place in a batch.
struct Segment {
    example: usize,
    /// First token in the file.
    from: u64,
    /// First position in the batch, and how many.
    place: usize,
    count: usize,
}

/// Disk that the cache of a run would take, MiB: 0 when every block is trained or no example comes twice.
#[must_use]
pub fn needed_mib(loader: &Loader, train: &Train, total_steps: u64, model: &Model, driver: &Driver) -> f64 {
    if driver.lowest_block() == 0
        || train.prefix_cache_mib == 0
        || total_steps <= loader.steps_per_epoch(train.accumulate)
    {
        return 0.0;
    }
    let tokens: usize = loader.examples().iter().map(|example| example.ids.len()).sum();
    tokens as f64 * (model.config.hidden_size() * size_of::<f32>()) as f64 / MIB
}

impl PrefixCache {
    /// The cache of a run in `folder`; `None` when it has nothing to keep.
    ///
    /// # Errors
    /// Why there is none although it would help, in words: no room, or no file.
    pub fn for_run(
        folder: &Path,
        loader: &Loader,
        train: &Train,
        total_steps: u64,
        (model, driver): (&Model, &Driver),
    ) -> std::result::Result<Option<Self>, String> {
        let needed_mib = needed_mib(loader, train, total_steps, model, driver);
        if needed_mib == 0.0 {
            return Ok(None);
        }
        let free_mib = free_disk_mib(folder);
        let limit = if needed_mib > train.prefix_cache_mib as f64 {
            format!("train.prefix_cache_mib allows {}", train.prefix_cache_mib)
        } else if needed_mib > DISK_SHARE * free_mib {
            format!("only {free_mib:.0} MiB are free")
        } else {
            let lengths: Vec<usize> = loader.examples().iter().map(|example| example.ids.len()).collect();
            return Self::create(folder, &lengths, model, driver).map(Some).map_err(|error| Problem::from(error).what);
        };
        Err(format!(
            "the outputs of the {} frozen blocks would take {needed_mib:.0} MiB of disk, and {limit}: they are computed \
             again in every epoch",
            driver.lowest_block()
        ))
    }

    /// An empty cache in `folder` for examples of these lengths, tokens.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(folder: &Path, lengths: &[usize], model: &Model, driver: &Driver) -> Result<Self> {
        let mut starts = Vec::with_capacity(lengths.len() + 1);
        let mut end = 0;
        starts.push(end);
        starts.extend(lengths.iter().map(|length| {
            end += *length as u64;
            end
        }));
        let file = tempfile::tempfile_in(folder).map_err(|error| failed(&error))?;
        let present = vec![false; lengths.len()];
        Ok(Self { file, starts, present, hidden: model.config.hidden_size(), block: driver.lowest_block() })
    }

    /// Whether the states belong below the lowest block that `driver` trains: false once a method has moved it.
    #[must_use]
    pub fn fits(&self, driver: &Driver) -> bool {
        self.block == driver.lowest_block()
    }

    /// Hidden states (batch, width, hidden) of a batch, 0 in its padding; `None` when an example has not been met yet
    /// or the batch is not made of examples.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&mut self, tokens: &Tokens) -> Result<Option<Tensor>> {
        let Some(segments) = self.segments(tokens) else { return Ok(None) };
        if segments.iter().any(|segment| self.present.get(segment.example) != Some(&true)) {
            return Ok(None);
        }
        let (batch, width) = (tokens.ctx.batch, tokens.ctx.width);
        let mut values = vec![0_f32; batch * width * self.hidden];
        for segment in segments {
            let range = segment.place * self.hidden..(segment.place + segment.count) * self.hidden;
            let Some(target) = values.get_mut(range) else { return Ok(None) };
            self.seek(segment.from)?;
            self.file.read_exact(bytemuck::cast_slice_mut(target)).map_err(|error| failed(&error))?;
        }
        Ok(Some(Tensor::from_vec(values, (batch, width, self.hidden), &Device::Cpu)?))
    }

    /// Keeps the states of a batch's examples.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn store(&mut self, tokens: &Tokens, hidden: &Tensor) -> Result<()> {
        let Some(segments) = self.segments(tokens) else { return Ok(()) };
        with_slice(hidden, |values| {
            for segment in segments {
                if self.present.get(segment.example) != Some(&false) {
                    continue;
                }
                let range = segment.place * self.hidden..(segment.place + segment.count) * self.hidden;
                let Some(source) = values.get(range) else { continue };
                self.seek(segment.from)?;
                self.file.write_all(bytemuck::cast_slice(source)).map_err(|error| failed(&error))?;
                if let Some(present) = self.present.get_mut(segment.example) {
                    *present = true;
                }
            }
            Ok(())
        })?
    }

    /// The states of a batch: read, or computed by the frozen blocks and kept.
    ///
    /// # Errors
    /// The file cannot be read or written; shapes that do not fit.
    pub fn states(
        &mut self,
        model: &Model,
        driver: &Driver,
        tokens: &Tokens,
        clock: &mut PhaseClock,
    ) -> Result<Option<Tensor>> {
        if let Some(hidden) = clock.time(Phase::Prefix, || self.load(tokens))? {
            return Ok(Some(hidden));
        }
        let hidden = clock.time(Phase::Forward, || driver.prefix(model, tokens))?;
        if let Some(hidden) = &hidden {
            clock.time(Phase::Prefix, || self.store(tokens, hidden))?;
        }
        Ok(hidden)
    }

    /// Where the examples of a batch lie; `None` when the batch's segments are not all known examples.
    fn segments(&self, tokens: &Tokens) -> Option<Vec<Segment>> {
        let mut examples = tokens.examples.iter();
        let mut segments = Vec::with_capacity(tokens.examples.len());
        for (row, borders) in tokens.ctx.borders.iter().enumerate() {
            for border in borders.windows(2) {
                let [start, end] = *border else { continue };
                let example = *examples.next()? as usize;
                let (from, to) = (*self.starts.get(example)?, *self.starts.get(example + 1)?);
                let count = end.checked_sub(start)? as usize;
                if to - from != count as u64 {
                    return None;
                }
                let place = row * tokens.ctx.width + start as usize;
                segments.push(Segment { example, from, place, count });
            }
        }
        examples.next().is_none().then_some(segments).filter(|segments| !segments.is_empty())
    }

    fn seek(&mut self, token: u64) -> Result<()> {
        let place = SeekFrom::Start(token * (self.hidden * size_of::<f32>()) as u64);
        self.file.seek(place).map(|_place| ()).map_err(|error| failed(&error))
    }
}

fn failed(error: &std::io::Error) -> TrainError {
    let action = "free disk space, or set train.prefix_cache_mib = 0";
    let what = format!("keeping the outputs of the frozen blocks failed: {error}");
    Problem::new(Code::Io, what, "the run's folder", action).into()
}
