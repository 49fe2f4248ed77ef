//! What kind of thing a family of models is, so that a method can say what it needs.
//!
//! A method's declaration lists under `families` either families by name (`llama`, `vit`) or these words; a model fits
//! when any entry is its family or one of its traits.

/// A property of a family that methods ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    /// Continues a text, each position seeing what came before.
    Decoder,
    /// Every position sees every other.
    Encoder,
    /// Takes images and tells their class.
    Vision,
    /// Has convolutions whose kernels can be adapted.
    Convolution,
    /// Has norms of channels with running statistics.
    BatchNorm,
}

/// What decoders of text are.
pub const DECODER: &[Trait] = &[Trait::Decoder];

impl Trait {
    /// Every trait.
    pub const ALL: [Self; 5] = [Self::Decoder, Self::Encoder, Self::Vision, Self::Convolution, Self::BatchNorm];

    /// Its name in a declaration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::Encoder => "encoder",
            Self::Vision => "vision",
            Self::Convolution => "convolution",
            Self::BatchNorm => "batch-norm",
        }
    }

    /// What a model with it is, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Decoder => "a decoder of text",
            Self::Encoder => "an encoder, in which every position sees every other",
            Self::Vision => "a vision model",
            Self::Convolution => "a model with convolutions",
            Self::BatchNorm => "a model with batch normalisation",
        }
    }
}

/// Why a method that needs `declared` cannot work on a model; none when it can. An empty list means every model.
#[must_use]
pub fn refusal(declared: &[&str], family: &str, traits: &[Trait]) -> Option<String> {
    let fits = |entry: &&str| *entry == family || traits.iter().any(|own| own.name() == *entry);
    if declared.is_empty() || declared.iter().any(fits) {
        return None;
    }
    let wanted = |entry: &&str| match Trait::ALL.into_iter().find(|known| known.name() == *entry) {
        Some(known) => known.meaning().to_owned(),
        None => format!("a {entry} model"),
    };
    let wanted: Vec<String> = declared.iter().map(wanted).collect();
    let own: Vec<&str> = traits.iter().map(|own| own.meaning()).collect();
    Some(format!("it needs {}; a {family} model is {}", wanted.join(" or "), own.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_refused_with_what_it_needs_and_what_the_model_is() {
        let vit = [Trait::Vision, Trait::Encoder];
        assert_eq!(refusal(&[], "llama", DECODER), None);
        assert_eq!(refusal(&["llama", "mistral"], "llama", DECODER), None);
        assert_eq!(refusal(&["vision"], "vit", &vit), None);
        assert_eq!(refusal(&["convolution", "vit"], "vit", &vit), None);
        let why = refusal(&["vision"], "llama", DECODER).unwrap();
        assert_eq!(why, "it needs a vision model; a llama model is a decoder of text");
        let why = refusal(&["decoder", "cnn"], "vit", &vit).unwrap();
        assert!(
            why.starts_with("it needs a decoder of text or a cnn model; a vit model is a vision model and an encoder")
        );
    }
}
