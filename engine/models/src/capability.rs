//! What kind of thing a family of models is, so that a method can say what it needs.
//!
//! A method's declaration lists under `families` either families by name (`llama`, `vit`) or these words; a model fits
//! when any entry is its family or something that it is.

/// What a family is or has, as far as methods ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
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
pub const DECODER: &[Capability] = &[Capability::Decoder];

impl Capability {
    /// All of them.
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

    /// What a model that has it is, in words.
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
pub fn refusal(declared: &[&str], family: &str, own: &[Capability]) -> Option<String> {
    let fits = |entry: &&str| *entry == family || own.iter().any(|own| own.name() == *entry);
    if declared.is_empty() || declared.iter().any(fits) {
        return None;
    }
    let wanted = |entry: &&str| match Capability::ALL.into_iter().find(|known| known.name() == *entry) {
        Some(known) => known.meaning().to_owned(),
        None => format!("a {entry} model"),
    };
    let wanted: Vec<String> = declared.iter().map(wanted).collect();
    let is: Vec<&str> = own.iter().map(|own| own.meaning()).collect();
    Some(format!("it needs {}; a {family} model is {}", wanted.join(" or "), is.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_refused_with_what_it_needs_and_what_the_model_is() {
        let vit = [Capability::Vision, Capability::Encoder];
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
