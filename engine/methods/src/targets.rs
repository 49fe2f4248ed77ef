//! Which linear layers a method adapts: names, suffixes, regular expressions, layer ranges, exclusions.
//!
//! The rules are PEFT's (`check_target_module_exists` and `_maybe_include_all_linear_layers` of release 0.21),
//! so that a list copied from a PEFT configuration selects the same layers here, with four differences: an entry
//! that hits no name of Hugging Face's may use the names of this program, a list may hold regular expressions too, a
//! single text may be a name, and an entry that hits nothing is an error that says what exists.

use crate::error::{MethodError, nearest};
use crate::method::SiteDims;
use regex::Regex;
use std::collections::BTreeSet;
use temper_protocol::Values;

/// Every linear layer but the output head.
pub const ALL_LINEAR: &str = "all-linear";

/// Marks an entry as a regular expression that could be taken for a name.
pub const PATTERN_PREFIX: &str = "re:";

/// How an entry hits a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    /// By its whole name: PEFT's layer ranges do not apply to such a hit.
    Name,
    /// By the end of its name, a regular expression, or `all-linear`.
    Part,
}

/// One entry of a list, with the kind of name it is compared with.
struct Entry {
    rule: Rule,
    naming: Naming,
}

enum Rule {
    AllLinear,
    Name(String),
    Pattern(Regex),
}

/// Which of a layer's two names counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Module path in the Hugging Face class.
    HuggingFace,
    /// Name in this program.
    Own,
}

impl Naming {
    /// A text is about Hugging Face's names if it hits any of them, so that one copied from a PEFT configuration
    /// means what it meant there; only otherwise it is about the names of this program. None if it hits neither.
    pub(crate) fn of<'a>(
        sites: impl Iterator<Item = &'a SiteDims> + Clone,
        hits: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let any = |naming: Self| sites.clone().any(|site| hits(naming.name(site)));
        [Self::HuggingFace, Self::Own].into_iter().find(|naming| any(*naming))
    }

    pub(crate) fn name(self, site: &SiteDims) -> &str {
        match self {
            Self::HuggingFace => &site.hf_name,
            Self::Own => &site.name,
        }
    }
}

impl Rule {
    fn parse(setting: &'static str, text: &str) -> Result<Self, MethodError> {
        if text.eq_ignore_ascii_case(ALL_LINEAR) {
            return Ok(Self::AllLinear);
        }
        let marked = text.strip_prefix(PATTERN_PREFIX);
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if marked.is_none() && text.chars().all(is_name) {
            return Ok(Self::Name(text.to_owned()));
        }
        let pattern = marked.unwrap_or(text);
        full_match(pattern).map(Self::Pattern).map_err(|error| MethodError::Pattern {
            setting,
            pattern: pattern.to_owned(),
            why: reason(&error),
        })
    }

    fn hit(&self, full: &str) -> Option<Hit> {
        match self {
            Self::AllLinear => (!is_head(full)).then_some(Hit::Part),
            Self::Name(name) if name == full => Some(Hit::Name),
            Self::Name(name) => ends_with_component(full, name).then_some(Hit::Part),
            Self::Pattern(regex) => regex.is_match(full).then_some(Hit::Part),
        }
    }
}

impl Entry {
    fn hit(&self, site: &SiteDims) -> Option<Hit> {
        self.rule.hit(self.naming.name(site))
    }
}

/// Compiles `pattern` so that it must match a whole name, as Python's `re.fullmatch` does.
fn full_match(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

/// The part of a regular-expression error that a person can use.
pub(crate) fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
    last.trim().trim_start_matches("error: ").to_owned()
}

/// Whether `full` ends in `.name`.
fn ends_with_component(full: &str, name: &str) -> bool {
    full.strip_suffix(name).is_some_and(|front| front.ends_with('.'))
}

/// Output heads of the families that name theirs differently.
fn is_head(full: &str) -> bool {
    matches!(full.rsplit('.').next().unwrap_or_default(), "head" | "lm_head" | "embed_out" | "output_projection")
}

/// The layers that `targets`, `exclude` and `layers` of a method's settings select, in the model's order.
///
/// # Errors
/// [`MethodError`] when an entry hits nothing, a range leaves the model, or nothing is left.
pub fn select<'a>(values: &Values, sites: &'a [SiteDims]) -> Result<Vec<&'a SiteDims>, MethodError> {
    let targets = entries("targets", &values.list("targets"), sites)?;
    let exclude = entries("exclude", &values.list("exclude"), sites)?;
    if targets.is_empty() {
        return Err(MethodError::Nothing {
            what: "the list of layers to adapt is empty".to_owned(),
            exists: describe(sites),
        });
    }
    let layers = parse_layers(&values.list("layers").join(","), layer_count(sites))?;
    let wanted = |site: &SiteDims| {
        let in_range = match (&layers, site.layer) {
            (None, _) => true,
            (Some(layers), Some(layer)) => layers.contains(&layer),
            (Some(_), None) => false,
        };
        let hit = targets.iter().filter_map(|entry| entry.hit(site)).any(|hit| hit == Hit::Name || in_range);
        hit && !exclude.iter().any(|entry| entry.hit(site).is_some())
    };
    let chosen: Vec<&SiteDims> = sites.iter().filter(|site| wanted(site)).collect();
    if chosen.is_empty() {
        return Err(MethodError::Nothing {
            what: "targets, exclude and layers together leave no layer to adapt".to_owned(),
            exists: describe(sites),
        });
    }
    Ok(chosen)
}

/// Whether a layer is hit by an entry of the list `setting`, for each of `sites`; a list may be empty. An entry that hits
/// no layer at all is left alone: the list only tells apart what others select.
///
/// # Errors
/// [`MethodError`] for an expression that cannot be read.
pub fn listed(setting: &'static str, values: &Values, sites: &[SiteDims]) -> Result<Vec<bool>, MethodError> {
    let mut hits = vec![false; sites.len()];
    for text in values.list(setting).iter().flat_map(|text| split_list(text)) {
        let rule = Rule::parse(setting, text)?;
        if let Some(naming) = Naming::of(sites.iter(), |name| rule.hit(name).is_some()) {
            let entry = Entry { rule, naming };
            for (hit, site) in hits.iter_mut().zip(sites) {
                *hit |= entry.hit(site).is_some();
            }
        }
    }
    Ok(hits)
}

/// Reads entries and refuses those that hit nothing.
fn entries(setting: &'static str, texts: &[String], sites: &[SiteDims]) -> Result<Vec<Entry>, MethodError> {
    let mut list = Vec::new();
    for text in texts.iter().flat_map(|text| split_list(text)) {
        let rule = Rule::parse(setting, text)?;
        let Some(naming) = Naming::of(sites.iter(), |name| rule.hit(name).is_some()) else {
            return Err(MethodError::NoTarget {
                setting,
                entry: text.to_owned(),
                nearest: nearest_name(text, sites),
                exists: describe(sites),
            });
        };
        list.push(Entry { rule, naming });
    }
    Ok(list)
}

/// Splits at commas outside brackets, so that `q_proj,v_proj` are two names and `x{1,2}` is one expression.
fn split_list(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0usize);
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// The distinct kinds of layers as (Hugging Face's last component, own name without the block).
fn kinds(sites: &[SiteDims]) -> Vec<(&str, String)> {
    let mut seen = BTreeSet::new();
    let mut kinds = Vec::new();
    for site in sites {
        let hf = site.hf_name.rsplit('.').next().unwrap_or_default();
        let own = match site.layer {
            Some(layer) => site.name.replacen(&format!("layers.{layer}."), "", 1),
            None => site.name.clone(),
        };
        if seen.insert((hf, own.clone())) {
            kinds.push((hf, own));
        }
    }
    kinds
}

/// What can be named, in one line.
pub(crate) fn describe(sites: &[SiteDims]) -> String {
    if sites.is_empty() {
        return "no linear layers".to_owned();
    }
    let names: Vec<String> = kinds(sites).into_iter().map(|(hf, own)| format!("{hf} ({own})")).collect();
    match layer_count(sites) {
        0 => names.join(", "),
        1 => format!("{} in block 0", names.join(", ")),
        count => format!("{} in blocks 0 to {}", names.join(", "), count - 1),
    }
}

/// The name nearest to `text`: short names first, whole module paths for long texts.
pub(crate) fn nearest_name(text: &str, sites: &[SiteDims]) -> Option<String> {
    let kinds = kinds(sites);
    let short = kinds.iter().flat_map(|(hf, own)| [*hf, own.as_str()]).chain([ALL_LINEAR]);
    let long = sites.iter().flat_map(|site| [site.hf_name.as_str(), site.name.as_str()]);
    nearest(text, short).or_else(|| nearest(text, long)).map(str::to_owned)
}

/// Number of blocks.
fn layer_count(sites: &[SiteDims]) -> usize {
    sites.iter().filter_map(|site| site.layer).max().map_or(0, |last| last + 1)
}

/// Reads `0-5,10,20-` into block numbers; none for an empty text, which means all.
///
/// # Errors
/// [`MethodError::Layers`] for what is no number or range, runs backwards, or leaves the `count` blocks.
pub fn parse_layers(text: &str, count: usize) -> Result<Option<BTreeSet<usize>>, MethodError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let bad = |why: String| MethodError::Layers { text: text.to_owned(), why };
    let number = |part: &str| {
        part.trim().parse::<usize>().map_err(|_error| bad(format!("\"{}\" is not a block number", part.trim())))
    };
    let mut layers = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = match part.split_once('-') {
            None => (number(part)?, number(part)?),
            Some((first, last)) if last.trim().is_empty() => (number(first)?, count.saturating_sub(1)),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        if first.max(last) >= count {
            return Err(bad(match count {
                0 => "the model has no blocks".to_owned(),
                _ => format!("block {} does not exist, the last one is {}", first.max(last), count - 1),
            }));
        }
        if first > last {
            return Err(bad(format!("{} runs backwards", part.trim())));
        }
        layers.extend(first..=last);
    }
    if layers.is_empty() {
        return Err(bad("there is no number in it".to_owned()));
    }
    Ok(Some(layers))
}
