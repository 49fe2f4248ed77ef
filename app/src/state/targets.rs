//! Which layers of a model a method's settings choose, and how a choice of single layers is written.
//!
//! Place in the data flow: the tree of the card Model shows a [`Chosen`] and writes the settings of [`write()`]; the engine
//! reads them by the same rules (names, ends of names, ranges of blocks, exclusions). Regular expressions are the
//! engine's alone: here they are said to be unread, never guessed.

use crate::reader::ranks::split_site;
use std::collections::{BTreeMap, BTreeSet};
use temper_protocol::event::SiteInfo;
use temper_protocol::{Value, Values};

/// Every linear layer but the output head.
pub const ALL_LINEAR: &str = "all-linear";
/// Marks an entry as a regular expression.
const PATTERN_PREFIX: &str = "re:";
/// Ends of names in the classes of Hugging Face, and what this program calls the same layers.
const ALSO: [(&str, &str); 7] = [
    ("self_attn.q_proj", "attn.q"),
    ("self_attn.k_proj", "attn.k"),
    ("self_attn.v_proj", "attn.v"),
    ("self_attn.o_proj", "attn.o"),
    ("mlp.gate_proj", "mlp.gate"),
    ("mlp.up_proj", "mlp.up"),
    ("mlp.down_proj", "mlp.down"),
];

/// What settings choose of a model's layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For each site, in the model's order, whether it is adapted.
    pub on: Vec<bool>,
    /// Entries that could not be read here: regular expressions, and names of no layer. What they choose is not known.
    pub unread: Vec<String>,
}

impl Chosen {
    /// How many layers are adapted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.on.iter().filter(|on| **on).count()
    }
}

/// Texts of a list as single entries. Commas part them, but not inside a regular expression.
fn entries<'a>(texts: &'a [String]) -> Vec<&'a str> {
    let single = |text: &str| is_pattern(text.trim()) && text.contains(['(', '[', '{', '\\']);
    let parts = |text: &'a String| if single(text) { vec![text.as_str()] } else { text.split(',').collect() };
    let parts = texts.iter().flat_map(parts);
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Whether an entry is read as a regular expression.
fn is_pattern(entry: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ',' | ' ');
    entry.starts_with(PATTERN_PREFIX) || !entry.chars().all(is_name)
}

/// Output heads of the families that name theirs differently.
fn is_head(site: &str) -> bool {
    matches!(site.rsplit('.').next().unwrap_or_default(), "head" | "lm_head" | "embed_out" | "output_projection")
}

/// Whether `site` ends in whole parts that are `name`.
fn ends_in(site: &str, name: &str) -> bool {
    site.strip_suffix(name).is_some_and(|front| front.ends_with('.'))
}

/// Whether an entry hits a site: by its whole name (`Some(true)`) or by a part of it.
fn hit(entry: &str, site: &str) -> Option<bool> {
    if entry.eq_ignore_ascii_case(ALL_LINEAR) {
        return (!is_head(site)).then_some(false);
    }
    if entry == site {
        return Some(true);
    }
    ends_in(site, entry).then_some(false)
}

/// An entry in this program's names: as it is where it hits something, else read as a name of Hugging Face's.
fn own(entry: &str, sites: &[SiteInfo]) -> Option<String> {
    let hits = |entry: &str| sites.iter().any(|site| hit(entry, &site.site).is_some());
    if hits(entry) {
        return Some(entry.to_owned());
    }
    let entry = entry.strip_prefix("model.").unwrap_or(entry);
    let also = ALSO.iter().find_map(|(hf, own)| {
        if entry == *hf || ends_in(hf, entry) {
            return Some((*own).to_owned());
        }
        let front = entry.strip_suffix(*hf).filter(|front| front.ends_with('.'))?;
        Some(format!("{front}{own}"))
    });
    also.filter(|entry| hits(entry))
}

/// Entries of a list in this program's names; what is none of them goes to `unread`.
fn read(texts: &[String], sites: &[SiteInfo], unread: &mut Vec<String>) -> Vec<String> {
    let mut known = Vec::new();
    for entry in entries(texts) {
        match (is_pattern(entry), own(entry, sites)) {
            (false, Some(own)) => known.push(own),
            (true, _) | (false, None) => unread.push(entry.to_owned()),
        }
    }
    known
}

/// Blocks such as `0-5,10,20-`; nothing for an empty text, which means all.
///
/// # Errors
/// The text, where it cannot be read.
fn blocks(text: &str, count: u64) -> Result<Option<BTreeSet<u64>>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut found = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u64>().ok().filter(|number| *number < count);
        let last = if last.trim().is_empty() { count.checked_sub(1) } else { number(last) };
        let (Some(first), Some(last)) = (number(first), last) else { return Err(text.to_owned()) };
        found.extend(first..=last);
    }
    Ok(Some(found))
}

/// The block of a site.
fn block_of(site: &SiteInfo) -> Option<u64> {
    split_site(&site.site).map(|(block, _)| block)
}

/// What `settings` choose of `sites`; `default` stands for targets that are not set.
#[must_use]
pub fn chosen(settings: &Values, default: &str, sites: &[SiteInfo]) -> Chosen {
    let mut unread = Vec::new();
    let mut targets = settings.list("targets");
    if targets.is_empty() {
        targets = vec![default.to_owned()];
    }
    let targets = read(&targets, sites, &mut unread);
    let exclude = read(&settings.list("exclude"), sites, &mut unread);
    let count = sites.iter().filter_map(block_of).max().map_or(0, |last| last + 1);
    let range = blocks(&settings.list("layers").join(","), count).unwrap_or_else(|text| {
        unread.push(text);
        None
    });
    let on = |site: &SiteInfo| {
        let in_range = match (&range, block_of(site)) {
            (None, _) => true,
            (Some(range), Some(block)) => range.contains(&block),
            (Some(_), None) => false,
        };
        let hit_by = |entry: &String| hit(entry, &site.site);
        // A range does not hold for a layer that is named whole.
        let adapted = targets.iter().filter_map(hit_by).any(|whole| whole || in_range);
        adapted && !exclude.iter().any(|entry| hit(entry, &site.site).is_some())
    };
    Chosen { on: sites.iter().map(on).collect(), unread }
}

/// The shortest list of targets that chooses these sites: `all-linear`, whole modules, and single layers by name.
#[must_use]
pub fn list(on: &[bool], sites: &[SiteInfo]) -> Vec<String> {
    let pairs: Vec<(&SiteInfo, bool)> = sites.iter().zip(on.iter().copied()).collect();
    let whole = |entries: &[String]| {
        let hits = |site: &SiteInfo| entries.iter().any(|entry| hit(entry, &site.site).is_some());
        pairs.iter().all(|(site, on)| hits(site) == *on)
    };
    let all = vec![ALL_LINEAR.to_owned()];
    if whole(&all) {
        return all;
    }
    // A module whose every layer is chosen stands for them.
    let mut modules: BTreeMap<&str, bool> = BTreeMap::new();
    for (site, on) in &pairs {
        if let Some((_, module)) = split_site(&site.site) {
            *modules.entry(module).or_insert(true) &= *on;
        }
    }
    let mut entries: Vec<String> = Vec::new();
    for (site, _) in pairs.iter().filter(|(_, on)| *on) {
        let module = split_site(&site.site).map(|(_, module)| module);
        let entry = module.filter(|module| modules.get(module) == Some(&true)).unwrap_or(&site.site);
        if !entries.iter().any(|known| known == entry) {
            entries.push(entry.to_owned());
        }
    }
    if whole(&entries) {
        return entries;
    }
    // The end of one name is the whole of another one: each layer by its own.
    pairs.iter().filter(|(_, on)| *on).map(|(site, _)| site.site.clone()).collect()
}

/// Writes a choice into a method's settings: as targets alone, so that what is ticked is what is adapted. Nothing is
/// written when nothing is chosen. `is_list` says whether targets are declared as a list.
pub fn write(settings: &mut Values, on: &[bool], sites: &[SiteInfo], is_list: bool) {
    let list = list(on, sites);
    let value = match list.as_slice() {
        [] => return,
        [one] => Value::Text(one.clone()),
        _ if is_list => Value::List(list),
        _ => Value::Text(list.join(", ")),
    };
    settings.0.remove("exclude");
    settings.0.remove("layers");
    settings.0.insert("targets".to_owned(), value);
}

/// The choice with only the last `count` blocks of every module that had any, or of `module` alone.
#[must_use]
pub fn last(on: &[bool], sites: &[SiteInfo], module: Option<&str>, count: u64) -> Vec<bool> {
    let end = sites.iter().filter_map(block_of).max().map_or(0, |last| last + 1);
    let had: BTreeSet<&str> =
        sites.iter().zip(on).filter(|(_, on)| **on).filter_map(|(site, _)| Some(split_site(&site.site)?.1)).collect();
    let of = |(site, on): (&SiteInfo, &bool)| match split_site(&site.site) {
        Some((block, name)) if module.map_or_else(|| had.contains(name), |module| module == name) => {
            block >= end.saturating_sub(count)
        }
        Some(_) | None => *on,
    };
    sites.iter().zip(on).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites() -> Vec<SiteInfo> {
        let site = |site: String| SiteInfo { site, out_features: 4, in_features: 4, storage: "f32".to_owned() };
        let blocks =
            (0..12).flat_map(|block| ["attn.q", "attn.v", "mlp.up"].map(|name| format!("layers.{block}.{name}")));
        blocks.chain(["head".to_owned()]).map(site).collect()
    }

    fn settings(pairs: &[(&str, &[&str])]) -> Values {
        let value = |list: &[&str]| Value::List(list.iter().map(|text| (*text).to_owned()).collect());
        Values(pairs.iter().map(|(key, list)| ((*key).to_owned(), value(list))).collect())
    }

    fn names(on: &[bool], sites: &[SiteInfo]) -> Vec<String> {
        sites.iter().zip(on).filter(|(_, on)| **on).map(|(site, _)| site.site.clone()).collect()
    }

    #[test]
    fn names_ends_ranges_and_exclusions_choose_as_the_engine_does() {
        let sites = sites();
        let count = |pairs: &[(&str, &[&str])]| chosen(&settings(pairs), ALL_LINEAR, &sites).count();
        assert_eq!(count(&[]), 36, "the head is not among them");
        assert_eq!(count(&[("targets", &["attn.q"])]), 12);
        assert_eq!(count(&[("targets", &["q", "head"])]), 13);
        assert_eq!(count(&[("targets", &["q_proj, v_proj"])]), 24, "names of Hugging Face's, in one text");
        assert_eq!(count(&[("targets", &["model.layers.3.self_attn.q_proj"])]), 1);
        assert_eq!(count(&[("targets", &["layers.1.attn.q"])]), 1, "not that of block 11");
        assert_eq!(count(&[("layers", &["0-2", "10-"])]), 15);
        assert_eq!(count(&[("targets", &["attn.q", "layers.0.mlp.up"]), ("layers", &["11"])]), 2);
        assert_eq!(count(&[("exclude", &["mlp.up"])]), 24);
    }

    #[test]
    fn what_is_no_name_is_said_to_be_unread() {
        let sites = sites();
        let unread = |entry: &str| chosen(&settings(&[("targets", &[entry])]), ALL_LINEAR, &sites).unread;
        assert_eq!(unread("re:.*q"), ["re:.*q"]);
        assert_eq!(unread(r"layers\.(1,2)\..*"), [r"layers\.(1,2)\..*"]);
        assert_eq!(unread("attn.z"), ["attn.z"]);
        assert_eq!(chosen(&settings(&[("layers", &["40"])]), ALL_LINEAR, &sites).unread, ["40"]);
    }

    #[test]
    fn a_choice_is_written_as_short_as_it_can_be_and_read_back_as_it_was() {
        let sites = sites();
        for list_of in [
            vec![ALL_LINEAR],
            vec!["attn.q", "mlp.up"],
            vec!["attn.q", "layers.3.attn.v", "layers.11.attn.v"],
            vec!["head"],
        ] {
            let mut values = settings(&[("targets", list_of.as_slice()), ("layers", &[]), ("exclude", &[])]);
            let before = chosen(&values, ALL_LINEAR, &sites);
            assert_eq!(list(&before.on, &sites), list_of);
            write(&mut values, &before.on, &sites, true);
            assert_eq!(chosen(&values, ALL_LINEAR, &sites), before);
        }
    }

    #[test]
    fn ranges_and_exclusions_become_names_and_nothing_is_never_written() {
        let sites = sites();
        let mut values =
            settings(&[("targets", &["attn.q"]), ("layers", &["10-"]), ("exclude", &["layers.11.attn.q"])]);
        let on = chosen(&values, ALL_LINEAR, &sites).on;
        assert_eq!(names(&on, &sites), ["layers.10.attn.q"]);
        write(&mut values, &on, &sites, true);
        assert_eq!(values, settings_of("layers.10.attn.q"));
        write(&mut values, &vec![false; sites.len()], &sites, true);
        assert_eq!(values, settings_of("layers.10.attn.q"), "nothing to adapt is nothing to train");
    }

    fn settings_of(target: &str) -> Values {
        Values([("targets".to_owned(), Value::Text(target.to_owned()))].into())
    }

    #[test]
    fn the_last_blocks_are_those_of_the_modules_that_were_chosen() {
        let sites = sites();
        let on = chosen(&settings(&[("targets", &["attn.q", "head"])]), ALL_LINEAR, &sites).on;
        let both = ["layers.10.attn.q", "layers.11.attn.q", "head"];
        assert_eq!(names(&last(&on, &sites, None, 2), &sites), both);
        let one = last(&on, &sites, Some("attn.v"), 1);
        assert_eq!(names(&one, &sites).len(), 14, "that of another module is added");
    }
}
