//! Where the rank goes: measurements of the adapted sites, few enough to cost little.

use crate::error::Result;
use crate::watch::Watch;
use temper_models::Model;
use temper_nn::{LinearSite, Throttle};
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

/// Measures and says the sites that rules have just changed, by their names.
///
/// # Errors
/// A failing decomposition.
pub fn tell_moved(model: &Model, moved: &[String], step: u64, watch: &Watch<'_>) -> Result<()> {
    let sites = moved.iter().filter_map(|name| model.site(name)).filter(|site| !site.measures_whole_weight());
    sites.into_iter().try_for_each(|site| tell_site(site, step, watch))
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
