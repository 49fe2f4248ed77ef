//! Values per layer from a table of regular expressions: `rank_pattern` and `alpha_pattern`.
//!
//! The rule is PEFT's (`get_pattern_key`): the first key K, in table order, for which the module path matches
//! `(.*\.)?(K)$` in full decides. Tables are sorted by key here as they are in a PEFT configuration file, so
//! that a run and its export agree about overlapping keys. A key that hits nothing is an error.

use crate::error::MethodError;
use crate::method::SiteDims;
use crate::targets::{Naming, describe, nearest_name, reason};
use regex::Regex;
use std::collections::BTreeMap;

/// A compiled table.
#[derive(Debug, Clone)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    naming: Naming,
    value: f64,
}

impl Patterns {
    /// Compiles the table of setting `setting`. `sites` are the layers that are adapted; `wanted` says in
    /// words what `accepts` checks.
    ///
    /// # Errors
    /// [`MethodError`] for a key that is no regular expression or hits none of `sites`, and for a value that
    /// is refused.
    pub fn compile(
        setting: &'static str,
        table: &BTreeMap<String, f64>,
        sites: &[&SiteDims],
        wanted: &'static str,
        accepts: impl Fn(f64) -> bool,
    ) -> Result<Self, MethodError> {
        let mut patterns = Vec::with_capacity(table.len());
        for (key, &value) in table {
            if !accepts(value) {
                return Err(MethodError::PatternValue { setting, pattern: key.clone(), value, wanted });
            }
            let regex = Regex::new(&format!(r"^(?:(?:.*\.)?(?:{key}))$")).map_err(|error| MethodError::Pattern {
                setting,
                pattern: key.clone(),
                why: reason(&error),
            })?;
            let Some(naming) = Naming::of(sites.iter().copied(), |name| regex.is_match(name)) else {
                let sites: Vec<SiteDims> = sites.iter().copied().cloned().collect();
                return Err(MethodError::NoTarget {
                    setting,
                    entry: key.clone(),
                    nearest: nearest_name(key, &sites),
                    exists: describe(&sites),
                });
            };
            patterns.push(Pattern { regex, naming, value });
        }
        Ok(Self(patterns))
    }

    /// The value for a layer, if a key hits it.
    #[must_use]
    pub fn value(&self, site: &SiteDims) -> Option<f64> {
        let hit = |pattern: &&Pattern| pattern.regex.is_match(pattern.naming.name(site));
        self.0.iter().find(hit).map(|pattern| pattern.value)
    }
}
