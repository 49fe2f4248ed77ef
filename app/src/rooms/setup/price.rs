//! What a choice costs: parameters, as the engine counted them, and the memory of training them. Until the engine has
//! answered, they follow from the sites of the model where a method is simple enough.

use crate::state::State;
use crate::state::prices::key;
use crate::state::targets::{ALL_LINEAR, chosen};
use temper_protocol::event::SiteInfo;
use temper_protocol::{Event, MethodCard, Project, Values};

/// Bytes a trained parameter takes: weight and gradient in 32-bit floats, and two moments as the project keeps them
/// (the scales of 8-bit ones, 1.6 % of them, are left out).
#[must_use]
pub fn bytes_per_trained(project: &Project) -> u64 {
    if project.train.optim_state == "int8" { 10 } else { 16 }
}

/// What a method trains, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// So many numbers.
    Counted(u64),
    /// The engine was asked.
    Asked,
    /// It is known when a step was measured.
    Measured,
}

/// What a method of the gallery trains on the chosen model: with the project's settings where it is the project's method,
/// at its defaults otherwise; none while no model is known.
#[must_use]
pub fn cost(state: &State, card: &MethodCard) -> Option<Cost> {
    let project = &state.draft.project;
    let facts = state.model_facts().filter(|facts| matches!(facts, Event::Model { .. }))?;
    let model = state.draft.resolve(&project.model.path);
    let none = Values::default();
    let settings = if card.id == project.method.id { &project.method.settings } else { &none };
    let counted = state.prices.of(&model, &card.id, settings).map(|price| price.trained_parameters);
    if let Some(count) = counted.or_else(|| trained_parameters(card, facts, project)) {
        return Some(Cost::Counted(count));
    }
    let method = if settings.0.is_empty() { "" } else { card.id.as_str() };
    Some(if state.prices.is_waiting(&key(&model, method, settings)) { Cost::Asked } else { Cost::Measured })
}

/// Methods that train two factors of the rank beside each layer and nothing else. What others train follows from more than
/// the rank: their figure comes from the engine.
const FACTOR_PAIRS: [&str; 5] = ["lora", "pissa", "olora", "lq-lora", "int2.1"];

/// Trained parameters of `method` on `model` with the settings of `project`, where that follows from the shapes.
fn trained_parameters(method: &MethodCard, model: &Event, project: &Project) -> Option<u64> {
    let Event::Model { sites, parameters, .. } = model else { return None };
    if method.family == "everything" {
        return Some(*parameters);
    }
    if !FACTOR_PAIRS.contains(&method.id.as_str()) {
        return None;
    }
    let setting = method.settings.iter().find(|setting| setting.key == "rank")?;
    let own = method.id == project.method.id;
    let rank = match project.method.settings.0.get("rank") {
        Some(_) if own => u64::try_from(project.method.settings.integer("rank")).unwrap_or(0),
        _ => setting.default.parse().ok()?,
    };
    let usual = Values::default();
    low_rank_parameters(sites, if own { &project.method.settings } else { &usual }, rank)
}

/// Parameters of two thin matrices of `rank` beside every site that `settings` choose; nothing where only the engine knows
/// which those are.
#[must_use]
pub fn low_rank_parameters(sites: &[SiteInfo], settings: &Values, rank: u64) -> Option<u64> {
    let chosen = chosen(settings, ALL_LINEAR, sites);
    let adapted = sites.iter().zip(&chosen.on).filter(|(_, on)| **on);
    let count = adapted.map(|(site, _)| rank * (site.in_features + site.out_features)).sum();
    chosen.unread.is_empty().then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_protocol::Value;

    #[test]
    fn seven_sites_of_thirty_layers_at_rank_16_are_4_9_million() {
        let shapes = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)];
        let names = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"];
        let sites: Vec<SiteInfo> = (0..30)
            .flat_map(|layer| {
                names.iter().zip(shapes).map(move |(name, (out_features, in_features))| SiteInfo {
                    site: format!("layers.{layer}.{name}"),
                    out_features,
                    in_features,
                    storage: "Q4_1".to_owned(),
                })
            })
            .collect();
        let targets = |entry: &str| Values([("targets".to_owned(), Value::Text(entry.to_owned()))].into());
        assert_eq!(low_rank_parameters(&sites, &Values::default(), 16), Some(4_884_480));
        assert_eq!(low_rank_parameters(&sites, &targets("attn.q"), 16), Some(30 * 16 * 1152));
        assert_eq!(low_rank_parameters(&sites, &targets("layers.3.attn.q"), 16), Some(16 * 1152));
        assert_eq!(low_rank_parameters(&sites, &targets("re:.*q"), 16), None, "the engine is asked");
    }
}
