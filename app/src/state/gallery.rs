//! Which methods the gallery lists: filters over what methods declare, and whether one works on the chosen model.

use temper_protocol::{Event, MethodCard};

/// What a family of models that continue text is called in a declaration.
const DECODER: &str = "decoder";
/// Families of models that tell classes of images. The engine reads them and trains none of them from a project yet.
const OF_IMAGES: [&str; 2] = ["vit", "cnn"];
/// The family of methods that decide by themselves which layers get how much rank.
const MOVES_RANK: &str = "rank-allocation";

/// Which methods are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Filter {
    /// Every method.
    #[default]
    All,
    /// Those that work on the chosen model.
    Fits,
    /// Those whose result other programs read as a plain LoRA.
    PlainLora,
    /// Those that move rank between layers while they train, or before.
    MovesRank,
    /// Those made to leave alone what the model knows.
    Protects,
    /// Those that fold into the weights exactly.
    Merges,
    /// Those that train on a rounded base such as a GGUF file.
    Rounded,
    /// A family by its name.
    Family(String),
}

impl Filter {
    /// Whether `card` is listed when `model` is chosen.
    #[must_use]
    pub fn lets(&self, card: &MethodCard, model: Option<&Event>) -> bool {
        match self {
            Self::All => true,
            Self::Fits => fits(card, model),
            Self::PlainLora => card.exports_as.iter().any(|format| format == "gguf-lora"),
            Self::MovesRank => card.family == MOVES_RANK,
            Self::Protects => card.protects_knowledge,
            Self::Merges => card.mergeable,
            Self::Rounded => card.bases.is_empty() || card.bases.iter().any(|base| base == "blocks"),
            Self::Family(family) => card.family == *family,
        }
    }
}

/// Whether a method works on the model, as far as it is known: what the window can open continues text.
#[must_use]
pub fn fits(card: &MethodCard, model: Option<&Event>) -> bool {
    let Some(Event::Model { architecture, .. }) = model else { return true };
    card.families.is_empty() || card.families.iter().any(|family| family == architecture || family == DECODER)
}

/// Whether a model tells classes of images instead of continuing texts.
#[must_use]
pub fn tells_images(model: &Event) -> bool {
    matches!(model, Event::Model { architecture, .. } if OF_IMAGES.contains(&architecture.as_str()))
}

/// Families of methods, each once, in the order of the registry.
#[must_use]
pub fn families(methods: &[MethodCard]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for card in methods {
        if !found.contains(&card.family.as_str()) {
            found.push(&card.family);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use temper_protocol::method::Kind;

    fn card(family: &str, families: &[&str], exports: &[&str]) -> MethodCard {
        let owned = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        MethodCard {
            id: family.to_owned(),
            kind: Kind::Adapter,
            family: family.to_owned(),
            families: owned(families),
            bases: Vec::new(),
            title: family.to_owned(),
            summary: String::new(),
            paper: String::new(),
            year: 0,
            exports_as: owned(exports),
            peft_type: None,
            mergeable: exports.contains(&"hf"),
            settings: Vec::new(),
            waivers: Vec::new(),
            protects_knowledge: false,
            lr_peak: 0.0,
            docs: String::new(),
            page: String::new(),
        }
    }

    fn model(architecture: &str) -> Event {
        Event::Model {
            path: PathBuf::new(),
            format: "gguf".to_owned(),
            architecture: architecture.to_owned(),
            parameters: 1,
            layers: 1,
            hidden_size: 1,
            vocabulary: 1,
            context: 1,
            storage: String::new(),
            tokenizer: String::new(),
            chat_template: String::new(),
            sites: Vec::new(),
            licence: String::new(),
            disk_bytes: 0,
            memory_bytes: 0,
        }
    }

    #[test]
    fn a_method_for_images_does_not_fit_a_model_of_text() {
        let llama = model("llama");
        assert!(fits(&card("a", &[], &[]), Some(&llama)));
        assert!(fits(&card("a", &["vit", "decoder"], &[]), Some(&llama)));
        assert!(fits(&card("a", &["llama"], &[]), Some(&llama)));
        assert!(!fits(&card("a", &["vision", "encoder"], &[]), Some(&llama)));
        assert!(fits(&card("a", &["vision"], &[]), None), "no model, nothing to refuse");
    }

    #[test]
    fn filters_follow_what_is_declared() {
        let lora = card("low-rank", &[], &["peft", "gguf-lora", "hf"]);
        let prefix = card("prompts", &[], &["peft", "native"]);
        let moving = card("rank-allocation", &[], &["gguf-lora"]);
        let listed = |filter: &Filter| {
            let cards = [&lora, &prefix, &moving];
            cards.iter().filter(|card| filter.lets(card, None)).map(|card| card.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(listed(&Filter::All).len(), 3);
        assert_eq!(listed(&Filter::PlainLora), ["low-rank", "rank-allocation"]);
        assert_eq!(listed(&Filter::MovesRank), ["rank-allocation"]);
        assert_eq!(listed(&Filter::Merges), ["low-rank"]);
        assert_eq!(listed(&Filter::Family("prompts".to_owned())), ["prompts"]);
        let mut careful = lora.clone();
        careful.protects_knowledge = true;
        assert!(Filter::Protects.lets(&careful, None) && !Filter::Protects.lets(&lora, None));
        let mut dense = lora.clone();
        dense.bases = vec!["dense".to_owned()];
        assert!(!Filter::Rounded.lets(&dense, None) && Filter::Rounded.lets(&lora, None));
    }

    #[test]
    fn families_are_listed_once_in_their_order() {
        let cards = [card("low-rank", &[], &[]), card("prompts", &[], &[]), card("low-rank", &[], &[])];
        assert_eq!(families(&cards), ["low-rank", "prompts"]);
    }
}
