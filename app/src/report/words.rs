//! What a report and a model card say alike of a project's data.

use crate::format;
use temper_protocol::project::{Source, Validation};

/// File or folder name of a source, with its weight where it has one.
fn source(source: &Source) -> String {
    let name = format::plain_name(source.path());
    let weight = source.weight();
    if (weight - 1.0).abs() < 1e-9 { name } else { t!("report-weighted", name = name, weight = format::plain(weight)) }
}

/// The names of sources in a row; empty when there are none.
pub(super) fn sources(sources: &[Source]) -> String {
    sources.iter().map(source).collect::<Vec<_>>().join(", ")
}

/// What the validation rows are.
pub(super) fn validation(validation: &Validation) -> String {
    match validation {
        Validation::Share(share) => t!("report-validation-share", share = format::percent(*share)),
        Validation::Path(path) => format::plain_name(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_named_with_its_weight_and_validation_by_its_share_or_its_file() {
        let weighted = Source::Weighted { path: "/d/b.jsonl".to_owned(), weight: 2.0 };
        let named = sources(&[Source::Path("/d/a.jsonl".to_owned()), weighted]);
        assert!(named.starts_with("a.jsonl, b.jsonl (") && named.contains('2'), "{named}");
        assert_eq!(sources(&[]), "");
        assert_eq!(validation(&Validation::Path("/d/held.jsonl".to_owned())), "held.jsonl");
        assert!(validation(&Validation::Share(0.1)).starts_with("10"));
    }
}
