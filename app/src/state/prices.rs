//! What methods train on a model, as the engine counted it: for the gallery, the form and the sizes of exports.

use std::collections::BTreeMap;
use temper_protocol::Values;
use temper_protocol::prices::MethodPrice;

/// Questions that are remembered at most; each change of a setting is one.
const MOST: usize = 512;

/// A question in words: a model as the engine is asked about it, a method with its settings; every method at its defaults
/// when that is empty.
#[must_use]
pub fn key(model: &str, method: &str, settings: &Values) -> String {
    format!("{model}\n{method}\n{:?}", settings.0)
}

/// Everything that was asked in this session, by [`key`]; none until it is answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    answers: BTreeMap<String, Option<Vec<MethodPrice>>>,
}

impl Prices {
    /// Notes a question; whether it is a new one.
    pub fn begin(&mut self, key: &str) -> bool {
        if self.answers.contains_key(key) {
            return false;
        }
        if self.answers.len() >= MOST {
            self.answers.clear();
        }
        self.answers.insert(key.to_owned(), None);
        true
    }

    /// The answer to a question; an empty one says that nothing could be counted.
    pub fn take(&mut self, key: &str, prices: Vec<MethodPrice>) {
        self.answers.insert(key.to_owned(), Some(prices));
    }

    /// Whether a question waits for its answer.
    #[must_use]
    pub fn is_waiting(&self, key: &str) -> bool {
        self.answers.get(key).is_some_and(Option::is_none)
    }

    /// The price of a method with these settings on a model, where it is known.
    #[must_use]
    pub fn of(&self, model: &str, method: &str, settings: &Values) -> Option<&MethodPrice> {
        let own = self.answers.get(&key(model, method, settings));
        let all = if settings.0.is_empty() { self.answers.get(&key(model, "", settings)) } else { None };
        let mut prices = [own, all].into_iter().flatten().flatten().flatten();
        prices.find(|price| price.method == method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_protocol::Value;

    fn price(method: &str, trained_parameters: u64) -> MethodPrice {
        MethodPrice { method: method.to_owned(), trained_parameters, peft_parameters: None, gguf_lora_parameters: None }
    }

    #[test]
    fn a_question_is_asked_once_and_answers_belong_to_their_settings() {
        let (none, mut eight) = (Values::default(), Values::default());
        eight.0.insert("rank".to_owned(), Value::Integer(8));
        let mut prices = Prices::default();
        let (all, own) = (key("m.gguf", "", &none), key("m.gguf", "miss", &eight));
        assert!(prices.begin(&all) && prices.begin(&own) && !prices.begin(&own));
        assert!(prices.is_waiting(&own));
        assert_eq!(prices.of("m.gguf", "miss", &none), None);
        prices.take(&all, vec![price("lora", 16), price("miss", 64)]);
        prices.take(&own, vec![price("miss", 8)]);
        assert!(!prices.is_waiting(&own));
        let count = |method: &str, settings: &Values| {
            prices.of("m.gguf", method, settings).map(|price| price.trained_parameters)
        };
        assert_eq!((count("miss", &none), count("miss", &eight), count("lora", &eight)), (Some(64), Some(8), None));
        assert_eq!(prices.of("other.gguf", "miss", &none), None);
    }

    #[test]
    fn a_number_that_is_none_is_not_asked_for_again_and_again() {
        let mut odd = Values::default();
        odd.0.insert("alpha".to_owned(), Value::Number(f64::NAN));
        let mut prices = Prices::default();
        assert!(prices.begin(&key("m", "lora", &odd)) && !prices.begin(&key("m", "lora", &odd)));
    }
}
