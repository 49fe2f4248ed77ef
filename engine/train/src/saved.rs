//! What a run was at a step, as it lies on the disk: a checkpoint or a snapshot.
//!
//! Place in the data flow: whoever wants the adapter of a step without going on with its run comes here; see
//! [`crate::snapshots::nearest`] for which of them is there.

use crate::checkpoint::{Loaded, Meta, load, read_meta, remember, resolve};
use crate::error::Result;
use crate::saving::fill;
use crate::snapshots::{Snapshot, is_snapshot};
use std::path::Path;
use temper_models::Model;

/// A state that was read.
pub(crate) enum Saved {
    Checkpoint(Box<Loaded>),
    Snapshot(Snapshot),
}

impl Saved {
    /// Reads a snapshot file, a checkpoint folder, or the best checkpoint of a run folder.
    ///
    /// # Errors
    /// Nothing whole there.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        if is_snapshot(path) {
            return Ok(Self::Snapshot(Snapshot::read(path)?));
        }
        Ok(Self::Checkpoint(Box::new(load(&resolve(path)?)?)))
    }

    /// Everything but tensors of a snapshot file or a checkpoint folder.
    ///
    /// # Errors
    /// Nothing whole there.
    pub(crate) fn meta_of(path: &Path) -> Result<Meta> {
        if is_snapshot(path) {
            return Ok(Snapshot::read(path)?.frame.meta.clone());
        }
        read_meta(path)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Checkpoint(loaded) => &loaded.path,
            Self::Snapshot(snapshot) => &snapshot.path,
        }
    }

    /// Everything but tensors.
    pub(crate) fn meta(&self) -> &Meta {
        match self {
            Self::Checkpoint(loaded) => &loaded.meta,
            Self::Snapshot(snapshot) => &snapshot.frame.meta,
        }
    }

    /// Makes the adapters of a model with the run's method on it what they were.
    ///
    /// # Errors
    /// Adapters of another structure.
    pub(crate) fn put_on(&self, model: &mut Model) -> Result<()> {
        match self {
            Self::Checkpoint(loaded) => {
                loaded.remember(model.sites_mut())?;
                fill(&model.params()?, &loaded.weights)
            }
            Self::Snapshot(snapshot) => {
                let (trained, remembered) = (snapshot.part(true), snapshot.part(false));
                remember(&trained, Some(&remembered), model.sites_mut())?;
                fill(&model.params()?, &trained)
            }
        }
    }
}
