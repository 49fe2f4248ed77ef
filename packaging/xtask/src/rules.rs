//! The rules: each reads the repository and gives findings. `all` is the list.

mod bans;
mod dependencies;
mod sources;
mod versions;
mod words;

use crate::repo::Repo;
use std::fmt;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Name of the rule.
    pub(crate) rule: &'static str,
    /// File and line, or package.
    pub(crate) place: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Finding {
    /// A finding of `rule` at `place`.
    pub(crate) fn new(rule: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule, place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}", self.place, self.rule, self.message)
    }
}

/// Every rule over the whole repository.
///
/// # Errors
/// When cargo or rustc, which some rules ask, cannot be started.
pub(crate) fn all(repo: &Repo) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    findings.extend(dependencies::layers(repo));
    findings.extend(dependencies::no_window_in_engine(repo));
    findings.extend(dependencies::no_tensors_in_app_library(repo)?);
    findings.extend(versions::pinned(repo)?);
    findings.extend(versions::one_of_each(repo)?);
    findings.extend(bans::exist(repo)?);
    for source in &repo.sources {
        findings.extend(sources::check(source));
        findings.extend(words::check(source));
    }
    findings.extend(sources::method_headers(repo));
    findings.extend(sources::projects(repo));
    Ok(findings)
}
