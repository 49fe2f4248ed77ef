//! The search of the palette.

use super::{Entry, Id, TABLE};
use crate::texts::{Language, spoken};

/// Entries that match what was typed, best first: all words must occur, earlier is better.
#[must_use]
pub fn search(query: &str) -> Vec<&'static Entry> {
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let mut hits: Vec<(usize, usize, &'static Entry)> = Vec::new();
    for (index, entry) in TABLE.iter().enumerate() {
        if entry.id == Id::Palette {
            continue;
        }
        let mut full = format!("{} {}", entry.name.get(), entry.help.get()).to_lowercase();
        if spoken() != Language::English {
            // What a guide calls a command is found in every language, after what this one calls it.
            full.push(' ');
            full.push_str(&entry.name.in_language(Language::English).to_lowercase());
        }
        let places: Option<Vec<usize>> = words.iter().map(|word| full.find(word.as_str())).collect();
        if let Some(places) = places {
            hits.push((places.iter().sum(), index, entry));
        }
    }
    hits.sort_by_key(|(place, index, _)| (*place, *index));
    hits.into_iter().map(|(_, _, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_by_any_word_and_prefers_the_name() {
        assert_eq!(search("pau").first().map(|entry| entry.id), Some(Id::Pause));
        assert_eq!(search("csv copy").first().map(|entry| entry.id), Some(Id::CopyCurves));
        assert!(search("xyzzy").is_empty());
        assert_eq!(search("").len(), TABLE.len() - 1);
    }
}
