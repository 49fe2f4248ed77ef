//! Bases that are rounded together with a start, in the measure of what was seen of the data.
//!
//! Place in the data flow: `mod.rs` asks for the start of a repair. What it was weighed by cannot be found again without the
//! data: a checkpoint remembers it, and a run that goes on, or whoever loads the result, makes the same weight of it
//! ([`crate::LinearSite::restore`]).

use super::SlotAdapter;
use super::calibrate::{self, Starts};
use super::held::values;
use crate::adapter::Find;
use crate::frozen::FrozenWeight;
use crate::layer_stats::Fisher;
use crate::repair::{Rounds, Shape, Weighing};
use crate::rng::Stream;
use crate::site::Layer;
use crate::slots::{Calibration, Slots};
use crate::storage::StorageKind;
use crate::{NnError, Result};
use candle_core::{Device, Tensor};

/// How much rows and columns count, and what was rounded to.
#[derive(Debug, Clone)]
pub(super) struct Weighed {
    /// (out).
    rows: Vec<f32>,
    /// (in).
    cols: Vec<f32>,
    storage: Option<StorageKind>,
    /// Whether it came from a checkpoint and the weight that is held was not yet made of it.
    is_new: bool,
}

impl Weighed {
    pub(super) fn of(fisher: &Fisher, storage: Option<StorageKind>) -> Self {
        let (rows, cols) = fisher.weights();
        Self { rows, cols, storage, is_new: false }
    }

    /// By names for a checkpoint: rows, columns, and the letters of the storage's name.
    pub(super) fn remembered(&self, name: &str) -> Result<Vec<(String, Tensor)>> {
        let vector = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        let mut all = vec![
            (format!("fisher_rows.{name}"), vector(&self.rows)?),
            (format!("fisher_cols.{name}"), vector(&self.cols)?),
        ];
        if let Some(storage) = self.storage {
            let letters: Vec<f32> = storage.name().bytes().map(f32::from).collect();
            all.push((format!("rounded_to.{name}"), vector(&letters)?));
        }
        Ok(all)
    }
}

/// Factors and, where it is another one, the weight to hold, for a calibration that repairs; none where no original is
/// known.
pub(super) fn repaired(
    name: &str,
    slots: &Slots,
    below: Layer<'_>,
    seed: u64,
    weighed: Option<&Weighed>,
) -> Result<Option<(Starts, Option<FrozenWeight>)>> {
    let Calibration::Repair { rounds, from_nothing, iterations, storage, .. } = slots.calibration else {
        return Ok(None);
    };
    let storage = weighed.map_or(storage, |weighed| weighed.storage);
    let own = below.frozen().filter(|layer| storage.is_some() && !layer.weight.kind.is_memory_only());
    let source = below.source().or_else(|| own.map(|layer| &*layer.weight));
    let (Some(source), Some(layer)) = (source, below.frozen()) else { return Ok(None) };
    let mut stream = Stream::new(seed, &format!("calibration/{name}"));
    let (out_features, in_features) = (below.out_features(), below.in_features());
    let shape = Shape { out_features, in_features, rank: slots.rank(), iterations };
    let rounds = Rounds { most: rounds, from_nothing, storage };
    let wide = |weights: &[f32]| weights.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let sides = weighed.map(|weighed| (wide(&weighed.rows), wide(&weighed.cols)));
    let weighing = match &sides {
        Some((rows, cols)) => Weighing::Separable { rows, cols },
        None => Weighing::Plain,
    };
    let scale = slots.scale.value(slots.rank());
    calibrate::repaired((source, &layer.weight), shape, rounds, (scale, weighing), &mut stream).map(Some)
}

impl SlotAdapter {
    /// Takes what a checkpoint remembers, where it does.
    pub(super) fn take_weighed(&mut self, find: &Find<'_>) -> Result<()> {
        let own = |what: &str| find(&format!("{what}.{}", self.name));
        let (Some(rows), Some(cols)) = (own("fisher_rows")?, own("fisher_cols")?) else { return Ok(()) };
        let storage = match own("rounded_to")? {
            None => None,
            Some(letters) => {
                let name: String = values(&letters)?.into_iter().map(|letter| char::from(letter as u8)).collect();
                let known =
                    StorageKind::ALL.into_iter().chain([StorageKind::Nf4Double]).find(|kind| kind.name() == name);
                let refuse = || NnError::Adapter {
                    site: self.name.clone(),
                    what: format!("was rounded to {name:?}, which this program does not know: take a newer one"),
                };
                Some(known.ok_or_else(refuse)?)
            }
        };
        let mut found = Weighed { rows: values(&rows)?, cols: values(&cols)?, storage, is_new: false };
        found.is_new = self
            .weighed
            .as_ref()
            .is_none_or(|known| (&known.rows, &known.cols, known.storage) != (&found.rows, &found.cols, found.storage));
        self.weighed = Some(found);
        Ok(())
    }

    /// The weight to hold, where what a checkpoint remembers has not been made into one.
    pub(super) fn weighed_base(&self, below: Layer<'_>) -> Result<Option<FrozenWeight>> {
        let Some(weighed) = self.weighed.as_ref().filter(|weighed| weighed.is_new) else { return Ok(None) };
        match repaired(&self.name, &self.slots, below, self.seed, Some(weighed))? {
            Some((_, base)) => Ok(base),
            None => Err(NnError::Adapter {
                site: self.name.clone(),
                what: "was rounded by what was seen of the data, and its original is not known: load the model as its file \
                       has it"
                    .to_owned(),
            }),
        }
    }
}
