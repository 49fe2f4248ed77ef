//! What the routers of a run choose, layer by layer.
//!
//! Place in the data flow: the engine says `experts` events, the store keeps a series for each expert of each layer; the
//! reader's thread reads the newest point of each, or the one at the step under the scrub line, and never a whole series.
//! The rank microscope draws the load, tables and the report list it.

use super::ranks::{flow, split_site};
use std::collections::BTreeMap;
use temper_store::{Point, Reader, SeriesMeta, StoreError};

/// Names of the series begin so; then come the site and the measure.
const PREFIX: &str = "experts/";
/// Most experts of a layer that are shown.
const MOST_EXPERTS: usize = 1024;

/// What the router of one site chose.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Router {
    /// Step measured.
    pub step: u64,
    /// Site, such as `layers.3.attn.q`.
    pub site: String,
    /// Share of the choices by expert, together 1.
    pub load: Vec<f64>,
    /// Mean entropy of its choices, nats.
    pub entropy: f64,
    /// How many experts hardly answer for any token.
    pub dead: u64,
}

impl Router {
    /// The expert with the largest share, and the share.
    #[must_use]
    pub fn busiest(&self) -> Option<(usize, f64)> {
        let finite = self.load.iter().copied().enumerate().filter(|(_, share)| share.is_finite());
        // Of equal ones the first.
        finite.rev().max_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// The entropy of a router that tells no tokens apart, nats.
    #[must_use]
    pub fn most_entropy(&self) -> f64 {
        (self.load.len().max(1) as f64).ln()
    }
}

/// All routers of a run at one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpertView {
    /// By module in the order of the data flow, then by layer.
    pub routers: Vec<Router>,
}

/// Module and layer of a site; a site without a layer stands alone.
fn place(site: &str) -> (&str, u64) {
    split_site(site).map_or((site, 0), |(layer, module)| (module, layer))
}

impl ExpertView {
    /// From points of series by the series' names; what is no measure of a router is passed over.
    #[must_use]
    pub fn new<S: AsRef<str>>(points: impl IntoIterator<Item = (S, Point)>) -> Self {
        let mut routers: BTreeMap<String, Router> = BTreeMap::new();
        for (name, point) in points {
            let Some((site, measure)) = parts(name.as_ref()) else { continue };
            let router = routers.entry(site.to_owned()).or_default();
            router.step = router.step.max(point.step);
            match measure {
                Part::Load(expert) => {
                    if router.load.len() <= expert {
                        router.load.resize(expert + 1, f64::NAN);
                    }
                    if let Some(share) = router.load.get_mut(expert) {
                        *share = point.value;
                    }
                }
                Part::Entropy => router.entropy = point.value,
                Part::Dead => router.dead = point.value.round().max(0.0) as u64,
            }
        }
        let named = routers.into_iter().map(|(site, router)| Router { site, ..router });
        let mut routers: Vec<Router> = named.filter(|router| !router.load.is_empty()).collect();
        routers.sort_by(|a, b| {
            let ((one, first), (other, second)) = (place(&a.site), place(&b.site));
            flow(one).cmp(&flow(other)).then_with(|| one.cmp(other)).then_with(|| first.cmp(&second))
        });
        Self { routers }
    }

    /// Modules that have routers, in the order of the data flow.
    #[must_use]
    pub fn modules(&self) -> Vec<&str> {
        let mut modules: Vec<&str> = self.routers.iter().map(|router| place(&router.site).0).collect();
        modules.dedup();
        modules
    }

    /// The routers of a module by layer.
    #[must_use]
    pub fn of_module(&self, module: &str) -> Vec<(u64, &Router)> {
        let placed = self.routers.iter().map(|router| (place(&router.site), router));
        placed.filter(|((other, _), _)| *other == module).map(|((_, layer), router)| (layer, router)).collect()
    }

    /// The router that is looked at: that of `site`, or the most uneven one when there is none.
    #[must_use]
    pub fn looked_at(&self, site: Option<&str>) -> Option<&Router> {
        let chosen = site.and_then(|site| self.routers.iter().find(|router| router.site == site));
        // Over an even share, so that layers with many experts and with few can be compared.
        let uneven = |router: &Router| router.busiest().map_or(0.0, |(_, share)| share * router.load.len() as f64);
        chosen.or_else(|| {
            let worse = |a: &&Router, b: &&Router| a.dead.cmp(&b.dead).then(uneven(a).total_cmp(&uneven(b)));
            self.routers.iter().rev().max_by(worse)
        })
    }
}

/// A measure of a router.
enum Part {
    Load(usize),
    Entropy,
    Dead,
}

/// Site and measure of a series' name.
fn parts(name: &str) -> Option<(&str, Part)> {
    let rest = name.strip_prefix(PREFIX)?;
    if let Some((site, expert)) = rest.rsplit_once("/load/") {
        let expert = expert.parse::<usize>().ok().filter(|expert| *expert < MOST_EXPERTS)?;
        return Some((site, Part::Load(expert)));
    }
    match rest.rsplit_once('/')? {
        (site, "entropy") => Some((site, Part::Entropy)),
        (site, "dead") => Some((site, Part::Dead)),
        _ => None,
    }
}

/// The routers of run `run`, one of whose `series` these are, as of `step`; the newest without one.
pub(super) fn read(
    reader: &Reader,
    run: u64,
    series: &[SeriesMeta],
    step: Option<u64>,
) -> Result<ExpertView, StoreError> {
    let told = || series.iter().filter(|meta| meta.name.starts_with(PREFIX) && meta.count > 0);
    if told().next().is_none() {
        return Ok(ExpertView::default());
    }
    Ok(match step {
        // The list of series has their newest points already.
        None => {
            ExpertView::new(told().map(|meta| (meta.name.as_str(), Point { step: meta.last_step, value: meta.last })))
        }
        Some(step) => ExpertView::new(reader.latest_points(run, PREFIX, step)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(site: &str, load: &[f64], dead: f64) -> Vec<(String, Point)> {
        let name = |measure: String| format!("experts/{site}/{measure}");
        let point = |value| Point { step: 50, value };
        let shares = load.iter().enumerate().map(|(expert, share)| (name(format!("load/{expert}")), point(*share)));
        let router = [(name("entropy".to_owned()), point(0.5)), (name("dead".to_owned()), point(dead))];
        shares.chain(router).collect()
    }

    #[test]
    fn series_become_routers_in_the_order_of_the_flow() {
        let mut all = points("layers.10.attn.v", &[0.5, 0.5], 0.0);
        all.extend(points("layers.2.attn.v", &[0.9, 0.1], 0.0));
        all.extend(points("layers.0.attn.q", &[0.25; 12], 0.0));
        all.push(("experts/layers.0.attn.q/later".to_owned(), Point { step: 50, value: 1.0 }));
        all.push(("experts/layers.0.attn.q/load/99999999".to_owned(), Point { step: 50, value: 1.0 }));
        all.push(("experts/layers.5.attn.q/dead".to_owned(), Point { step: 50, value: 1.0 }));
        let view = ExpertView::new(all);
        let sites: Vec<&str> = view.routers.iter().map(|router| router.site.as_str()).collect();
        assert_eq!(sites, ["layers.0.attn.q", "layers.2.attn.v", "layers.10.attn.v"]);
        assert_eq!(view.modules(), ["attn.q", "attn.v"]);
        assert_eq!(view.routers[0].load.len(), 12, "the tenth expert is no second one");
        let layers: Vec<u64> = view.of_module("attn.v").into_iter().map(|(layer, _)| layer).collect();
        assert_eq!(layers, [2, 10]);
        assert_eq!((view.routers[1].step, view.routers[1].entropy), (50, 0.5));
    }

    #[test]
    fn the_router_with_most_idle_experts_is_looked_at_first() {
        let mut all = points("layers.0.attn.q", &[0.6, 0.4], 0.0);
        all.extend(points("layers.1.attn.q", &[0.5, 0.5, 0.0, 0.0], 2.0));
        all.extend(points("layers.2.attn.q", &[0.9, 0.1], 0.0));
        let view = ExpertView::new(all);
        let looked = |view: &ExpertView, site| view.looked_at(site).map(|router| router.site.clone());
        assert_eq!(looked(&view, None).as_deref(), Some("layers.1.attn.q"));
        assert_eq!(looked(&view, Some("layers.0.attn.q")).as_deref(), Some("layers.0.attn.q"));
        assert_eq!(view.routers[1].busiest(), Some((0, 0.5)), "the first of equal ones");
        assert!((view.routers[1].most_entropy() - 4.0_f64.ln()).abs() < 1e-12);
        assert_eq!(looked(&ExpertView::default(), None), None);
    }
}
