//! A run that trains on: it starts with the values of another adapter.
//!
//! Place in the data flow: after the method was attached and before anything is measured. A checkpoint or snapshot of a run is
//! read by the names of its parameters; an adapter folder is put on the model beside the method, its values are carried over
//! layer by layer, and it is taken off again. Where a method's parts are no adapters on layers, or layers share something,
//! the folder's values are filled into them where they are.

use crate::error::Result;
use crate::request::StartFrom;
use crate::saved::Saved;
use temper_models::Model;
use temper_nn::adapter::Adapter;
use temper_nn::{LinearSite, ParamSet};
use temper_protocol::{Code, Problem};

/// Gives what is trained on `model` the values of `from`; returns what is trained, whose shapes may be others now.
///
/// # Errors
/// A damaged file, or an adapter that is not of the method's structure.
pub(crate) fn take_over(model: &mut Model, from: &StartFrom) -> Result<ParamSet> {
    match from {
        StartFrom::Checkpoint(folder) => {
            Saved::read(folder)?.put_on(model)?;
            Ok(model.params()?)
        }
        StartFrom::Filled(_, fill) => {
            fill(model)?;
            Ok(model.params()?)
        }
        StartFrom::Adapter(name, read) => {
            let held: Vec<Vec<Box<dyn Adapter>>> =
                model.sites_mut().into_iter().map(LinearSite::take_adapters).collect();
            read(model)?;
            let mut faults = Vec::new();
            for (site, ours) in model.sites_mut().into_iter().zip(held) {
                faults.extend(carry_over(
                    site.name(),
                    ours.last().map(|one| &**one),
                    site.adapters().last().map(|one| &**one),
                )?);
                site.detach_all();
                ours.into_iter().for_each(|adapter| site.attach_adapter(adapter));
            }
            if !faults.is_empty() {
                let what = format!("the adapter is not of the method's structure: {}", faults.join("; "));
                let action = "train on with the method and the settings that made it";
                return Err(Problem::new(Code::AdapterInvalid, what, name, action).into());
            }
            Ok(model.params()?)
        }
    }
}

/// Carries the values of `theirs` over to `ours` on the site called `name`. Says what does not fit.
fn carry_over(name: &str, ours: Option<&dyn Adapter>, theirs: Option<&dyn Adapter>) -> Result<Option<String>> {
    let (ours, theirs) = match (ours, theirs) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Ok(Some(format!("{name} is changed by it and not by the method"))),
        (Some(_), None) => return Ok(Some(format!("{name} is changed by the method and not by it"))),
        (Some(ours), Some(theirs)) => (ours.params(), theirs.params()),
    };
    let same = ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(one, other)| one.role == other.role && one.var.dims() == other.var.dims());
    if !same {
        return Ok(Some(format!("{name} has factors of other shapes")));
    }
    for (one, other) in ours.iter().zip(&theirs) {
        one.var.set(other.var.as_tensor())?;
    }
    Ok(None)
}
