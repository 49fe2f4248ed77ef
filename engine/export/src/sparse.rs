//! Changes of single entries leave: values and their places in a native folder, so that several can be put on one model.
//!
//! Place in the data flow: `insertions.rs` comes here for the layers of a native folder. Such changes add up in any order:
//! that of a language and that of a task, each trained over the same base or the second on top of another language's.

use crate::error::{ExportError, Result};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use temper_models::Model;
use temper_nn::slots::{Delta, Factor, Init, Picked, Scatter, Slots};

/// A layer with changed entries as a native folder describes it. Its tensors are `rows.SITE`, `cols.SITE` and `SITE.values`,
/// one number an entry, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SparseLayer {
    /// Name of the layer here.
    site: String,
    /// How many entries.
    entries: usize,
    /// Rows and columns of the weight, which no tensor beside it says; folders of before it was written have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<[usize; 2]>,
}

/// The layers of which single entries are changed, and their tensors by name; none where there are none.
///
/// # Errors
/// [`ExportError::NotRepresentable`] where something else is trained beside them.
pub(crate) fn layers(model: &Model) -> Result<(Vec<SparseLayer>, BTreeMap<String, Tensor>)> {
    let (mut layers, mut tensors) = (Vec::new(), BTreeMap::new());
    let adapted: Vec<_> = model.sites().into_iter().filter(|site| site.is_adapted()).collect();
    let mut others = model.trained_weights();
    for site in adapted {
        let entries = match site.adapters() {
            [adapter] => adapter.entries()?,
            _ => None,
        };
        let Some(entries) = entries else {
            others.push(site.name().to_owned());
            continue;
        };
        let name = site.name();
        layers.push(SparseLayer {
            site: name.to_owned(),
            entries: entries.values.elem_count(),
            shape: Some([site.out_features(), site.in_features()]),
        });
        tensors.insert(format!("rows.{name}"), entries.rows);
        tensors.insert(format!("cols.{name}"), entries.cols);
        tensors.insert(format!("{name}.values"), entries.values);
    }
    match others.first() {
        Some(name) if !layers.is_empty() => Err(ExportError::NotRepresentable {
            what: format!("{name} carries something beside changes of single entries"),
            action: "export to hf or gguf as a merged model".to_owned(),
        }),
        _ => Ok((layers, tensors)),
    }
}

/// Puts the layers of a native folder on top of what a model carries; `values` has its tensors.
///
/// # Errors
/// [`ExportError::Adapter`] for layers that the model does not have, and tensors that are missing or do not fit.
pub(crate) fn attach(
    model: &mut Model,
    layers: &[SparseLayer],
    values: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<()> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let slots = Slots {
        delta: Delta::Scatter(Scatter { picked: Picked::All, values: Factor::trained(Init::Zeros).without_decay() }),
        ..Slots::default()
    };
    if 3 * layers.len() != values.len() {
        return Err(broken(format!("it holds {} tensors for {} layers, three each", values.len(), layers.len())));
    }
    for layer in layers {
        let name = &layer.site;
        let site = model.site_mut(name).ok_or_else(|| broken(format!("the model has no layer {name}")))?;
        let size = [site.out_features(), site.in_features()];
        if let Some(shape) = layer.shape.filter(|shape| *shape != size) {
            return Err(broken(format!("{name} is {size:?} here, and its entries are those of a weight of {shape:?}")));
        }
        let read = |key: String| -> Result<Tensor> {
            let value = values.get(&key).ok_or_else(|| broken(format!("{key} is missing")))?;
            let value = value.to_dtype(DType::F32)?.contiguous()?;
            if value.dims() != [layer.entries] {
                return Err(broken(format!("{key} is {:?} instead of {} numbers", value.dims(), layer.entries)));
            }
            if layer.entries > 0 && !value.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Err(broken(format!("{key} holds numbers that are not finite")));
            }
            Ok(value)
        };
        let (rows, cols) = (read(format!("rows.{name}"))?, read(format!("cols.{name}"))?);
        let own = read(format!("{name}.values"))?;
        check_places(&rows, &cols, size).map_err(|what| broken(format!("{name}: {what}")))?;
        site.attach(&slots, 0)?;
        // Only the one on top takes places: those below keep theirs.
        let mut adapters = site.take_adapters();
        let restored = match adapters.last_mut() {
            Some(last) => last.restore(&|key| {
                let of = |what: &str, value: &Tensor| key.starts_with(what).then(|| value.clone());
                Ok(of("rows.", &rows).or_else(|| of("cols.", &cols)))
            }),
            None => Ok(()),
        };
        let params = adapters.last().map(|last| last.params()).unwrap_or_default();
        adapters.into_iter().for_each(|adapter| site.attach_adapter(adapter));
        restored.map_err(|error| broken(format!("{name}: {error}")))?;
        let [param] = params.as_slice() else { return Err(broken(format!("{name} took no values"))) };
        param.var.set(&own)?;
    }
    Ok(())
}

/// Refuses places that are not in the weight, not whole numbers, or not one after the other row by row.
fn check_places(rows: &Tensor, cols: &Tensor, [most_rows, most_cols]: [usize; 2]) -> Result<(), String> {
    let list = |tensor: &Tensor| tensor.to_vec1::<f32>().map_err(|error| error.to_string());
    let within = |value: f32, most: usize| value >= 0.0 && value.fract() == 0.0 && (value as usize) < most;
    let mut last = None;
    for (row, col) in list(rows)?.into_iter().zip(list(cols)?) {
        if !within(row, most_rows) || !within(col, most_cols) {
            return Err(format!("the place ({row}, {col}) is none of a weight of {most_rows} x {most_cols}"));
        }
        let place = (row as usize, col as usize);
        if last.is_some_and(|last| last >= place) {
            return Err(format!("the place ({row}, {col}) comes twice or out of order"));
        }
        last = Some(place);
    }
    Ok(())
}
