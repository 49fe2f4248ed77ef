//! `prices`: what methods train on a model and what their adapter files hold, counted from shapes.
//!
//! Place in the data flow: the headers of the model give its layers, each method's formula and plan give numbers of
//! parameters; no weight is read and nothing is built.

use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_methods::price::price;
use temper_methods::{find, registry};
use temper_models::ModelSource;
use temper_protocol::prices::MethodPrices;
use temper_protocol::{Event, Problem, Values};
use temper_train::attach::dims_of_config;

/// Counts for one method with these settings, or for every method at its defaults when `method` is empty.
pub(super) fn prices(
    builtins: &Builtins,
    model: &str,
    (method, settings): (&str, &Values),
    context: &JobContext,
) -> Result<(), Problem> {
    let path = names::model_path(builtins, model, Path::new(""))?;
    let Some(config) = ModelSource::open(&path)?.config()? else { return Ok(()) };
    let dims = dims_of_config(&config);
    let prices = if method.is_empty() {
        registry().iter().filter_map(|method| price(*method, &Values::default(), &dims)).collect()
    } else {
        find(method).ok().and_then(|method| price(method, settings, &dims)).into_iter().collect()
    };
    context.emit(Event::Prices(MethodPrices { prices }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_methods::ModelDims;
    use temper_models::LlamaConfig;
    use temper_protocol::Value;
    use temper_protocol::prices::MethodPrice;

    /// The shapes of a model of 134.5 M parameters: 30 blocks of 7 layers.
    fn dims() -> ModelDims {
        dims_of_config(&LlamaConfig { intermediate_size: 1536, kv_heads: 3, ..LlamaConfig::new(49_152, 576, 30, 9) })
    }

    fn of(id: &str, rank: Option<i64>) -> MethodPrice {
        let mut values = Values::default();
        if let Some(rank) = rank {
            values.0.insert("rank".to_owned(), Value::Integer(rank));
        }
        price(find(id).expect("a method"), &values, &dims()).expect("a price")
    }

    #[test]
    fn files_hold_what_the_conversion_makes_of_a_method() {
        let lora = of("lora", Some(16));
        assert_eq!(lora.trained_parameters, 4_884_480);
        assert_eq!((lora.peft_parameters, lora.gguf_lora_parameters), (Some(4_884_480), Some(4_884_480)));
        // Inputs and outputs of the layers of a block come to 10,176 features.
        let miss = of("miss", Some(64));
        assert_eq!(miss.gguf_lora_parameters, Some(30 * 64 * 10_176), "the sums of inputs are written as a factor");
        assert_eq!(miss.peft_parameters, Some(miss.trained_parameters), "PEFT has a type for them");
        assert!(miss.trained_parameters < 30 * 64 * 10_176);
        let pissa = of("pissa", Some(16));
        assert_eq!(pissa.gguf_lora_parameters, Some(2 * 4_884_480), "what it starts from is taken off again");
        let dora = of("dora", Some(16));
        assert_eq!((dora.peft_parameters, dora.gguf_lora_parameters), (Some(dora.trained_parameters), None));
        let vera = of("vera", None);
        assert!(vera.peft_parameters > Some(vera.trained_parameters), "the shared matrices are in the file, too");
        let full = of("full", None);
        assert_eq!((full.trained_parameters, full.peft_parameters), (134_515_008, None));
    }

    #[test]
    fn a_setting_that_fits_nothing_has_no_price() {
        let mut values = Values::default();
        values.0.insert("targets".to_owned(), Value::List(vec!["no.such.layer".to_owned()]));
        assert_eq!(price(find("lora").expect("a method"), &values, &dims()), None);
    }
}
