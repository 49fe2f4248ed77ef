//! What frozen factors hold that cannot be made again: columns found in data, matrices that came from a file.
//!
//! Place in the data flow: checkpoints keep it with the rest of an adapter's memory (`follow.rs`).

use super::SlotAdapter;
use super::held::{Held, values};
use crate::Result;
use crate::adapter::Find;
use crate::slots::Part;
use candle_core::{Device, Tensor};

/// Parts that all layers may share, and what a matrix of a file is remembered as.
const SHARED: [(Part, &str); 2] = [(Part::A, "shared.a"), (Part::B, "shared.b")];

impl SlotAdapter {
    /// Name and values of what is held. Drawn columns are drawn again, found ones are not found again.
    pub(super) fn found(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        if let (true, Some(columns)) = (self.slots.gathers().is_some(), self.part(Part::A).and_then(Held::columns)) {
            let columns: Vec<f32> = columns.iter().map(|column| *column as f32).collect();
            let count = columns.len();
            all.push((format!("columns.{}", self.name), Tensor::from_vec(columns, count, &Device::Cpu)?));
        }
        for (part, key) in SHARED {
            if let Some(whole) = self.part(part).and_then(Held::given) {
                all.push((key.to_owned(), whole.clone()));
            }
        }
        if let Some(weighed) = &self.weighed {
            all.extend(weighed.remembered(&self.name)?);
        }
        Ok(all)
    }

    /// Takes it from a checkpoint, where it is there.
    pub(super) fn take_found(&mut self, find: &Find<'_>) -> Result<()> {
        if let Some(columns) = find(&format!("columns.{}", self.name))?
            && let Some(held) = self.part_mut(Part::A)
        {
            let columns: Vec<u32> = values(&columns)?.into_iter().map(|column| column as u32).collect();
            held.pick(&columns)?;
        }
        for (part, key) in SHARED {
            if let Some(held) = self.part_mut(part)
                && let Some(whole) = find(key)?
            {
                held.give(&whole)?;
            }
        }
        self.take_weighed(find)
    }
}
