//! Where the rank goes: measurements of the adapted sites, few enough to cost little.

use crate::error::Result;
use crate::watch::Watch;
use temper_models::Model;
use temper_nn::ops::with_slice;
use temper_nn::slots::{Part, Proximal};
use temper_nn::{LinearSite, Role, Throttle};
use temper_protocol::Event;
use temper_protocol::event::ExpertLoad;

/// Operations that one round may cost.
const ROUND_OPERATIONS: f64 = 4e9;
/// Operations of a decomposition over m n min(m, n).
const DECOMPOSITION: f64 = 20.0;

/// How many sites are measured at a time: all of them when the changes are of low rank; some, in turn, when whole
/// weights have to be decomposed.
fn throttle(sites: &[&LinearSite], whole_weights: bool) -> Throttle {
    let cost = |site: &LinearSite| {
        let (rows, cols) = (site.out_features() as f64, site.in_features() as f64);
        DECOMPOSITION * rows * cols * rows.min(cols)
    };
    let mean = sites.iter().map(|site| cost(site)).sum::<f64>() / sites.len().max(1) as f64;
    let sites_per_round = if whole_weights { ((ROUND_OPERATIONS / mean) as usize).max(1) } else { 0 };
    Throttle { every_steps: 1, sites_per_round }
}

/// Measures and says the sites due at measurement number `round`, from 1.
///
/// # Errors
/// A failing decomposition; a stop or cancel.
pub fn tell(model: &Model, whole_weights: bool, round: u64, step: u64, watch: &Watch<'_>) -> Result<()> {
    let sites: Vec<&LinearSite> = model.sites().into_iter().filter(|site| site.is_adapted()).collect();
    let whole_weights = whole_weights || sites.iter().any(|site| site.measures_whole_weight());
    for index in throttle(&sites, whole_weights).due(round, sites.len()) {
        let Some(site) = sites.get(index) else { continue };
        watch.check()?;
        tell_site(site, step, watch)?;
    }
    Ok(())
}

/// Says once, in words, that experts of routers hardly answer for any token; `told` remembers that it was said.
pub fn warn_of_dead(model: &Model, told: &mut bool, watch: &Watch<'_>) {
    if *told {
        return;
    }
    let dead = |site: &LinearSite| site.routing().map_or(0, |routing| routing.dead());
    let idle: Vec<(&str, usize)> =
        model.sites().into_iter().map(|site| (site.name(), dead(site))).filter(|(_, dead)| *dead > 0).collect();
    if let Some((worst, count)) = idle.iter().max_by_key(|(_, dead)| *dead) {
        *told = true;
        watch.warn(
            "dead_experts",
            format!(
                "routers of {} layers hardly use some of their experts ({count} in {worst}): these are memory without \
                 use; fewer experts, or a balance loss above 0, spread the tokens",
                idle.len()
            ),
        );
    }
}

/// How many layers carry gates that a threshold drives to zero, if every gate of the model has got there.
///
/// # Errors
/// A failing tensor operation.
pub fn all_closed(model: &Model) -> Result<Option<usize>> {
    let mut layers = 0;
    for adapter in model.sites().into_iter().flat_map(|site| site.adapters()) {
        let threshold = adapter.as_slots().map(|slots| slots.proximal);
        if !matches!(threshold, Some(Proximal::SoftThreshold { part: Part::Core, .. })) {
            continue;
        }
        layers += 1;
        for gates in adapter.params().into_iter().filter(|param| param.role == Role::Core) {
            if !with_slice(gates.var.as_tensor(), |gates| gates.iter().all(|gate| *gate == 0.0))? {
                return Ok(None);
            }
        }
    }
    Ok((layers > 0).then_some(layers))
}

/// Says once, in words, that a threshold has closed every gate, so that the model is its base again; `told` remembers that
/// it was said.
///
/// # Errors
/// A failing tensor operation.
pub fn warn_of_closed(model: &Model, told: &mut bool, watch: &Watch<'_>) -> Result<()> {
    if *told {
        return Ok(());
    }
    if let Some(layers) = all_closed(model)? {
        *told = true;
        watch.warn(
            "gates_closed",
            format!(
                "the threshold has closed every gate of all {layers} layers: the model answers as its base again; set \
                 method.threshold lower, or give gates more to earn with a higher learning rate"
            ),
        );
    }
    Ok(())
}

/// Measures and says the sites that rules have just changed, by their names; rank 0 where they took the change off.
///
/// # Errors
/// A failing decomposition.
pub fn tell_moved(model: &Model, moved: &[String], step: u64, watch: &Watch<'_>) -> Result<()> {
    for name in moved {
        match model.site(name).filter(|site| site.is_adapted()) {
            Some(site) if site.measures_whole_weight() => {}
            Some(site) => tell_site(site, step, watch)?,
            None => watch.say(unmeasured(name, 0, step)),
        }
    }
    Ok(())
}

/// Says the ranks that the settings asked for, as of step 0: what rules chose instead is then seen as a move.
pub fn tell_planned(planned: &[(String, u64)], watch: &Watch<'_>) {
    for (site, rank) in planned {
        watch.say(unmeasured(site, *rank, 0));
    }
}

/// Says the ranks that rules chose in place of `planned`; 0 where they left a layer out.
///
/// # Errors
/// A failing decomposition.
pub fn tell_chosen(model: &Model, planned: &[(String, u64)], step: u64, watch: &Watch<'_>) -> Result<()> {
    for (name, _) in planned {
        match model.site(name).filter(|site| site.is_adapted()) {
            Some(site) if !site.measures_whole_weight() => tell_site(site, step, watch)?,
            // A whole weight is decomposed when its turn comes.
            Some(site) => match site.chosen_terms() {
                Some(terms) => watch.say(unmeasured(name, terms as u64, step)),
                None => tell_site(site, step, watch)?,
            },
            None => watch.say(unmeasured(name, 0, step)),
        }
    }
    Ok(())
}

fn unmeasured(site: &str, rank: u64, step: u64) -> Event {
    Event::Rank { step, site: site.to_owned(), rank, effective_rank: 0.0, energy: 0.0, spectrum: Vec::new() }
}

fn tell_site(site: &LinearSite, step: u64, watch: &Watch<'_>) -> Result<()> {
    if let Some(found) = site.telemetry()? {
        if let Some(routing) = &found.routing {
            watch.say(Event::Experts(ExpertLoad {
                step,
                site: site.name().to_owned(),
                load: routing.load.clone(),
                entropy: routing.entropy,
                dead: routing.dead() as u64,
            }));
        }
        watch.say(Event::Rank {
            step,
            site: site.name().to_owned(),
            rank: found.rank as u64,
            effective_rank: found.effective_rank,
            energy: found.energy,
            spectrum: found.spectrum,
        });
    }
    Ok(())
}
