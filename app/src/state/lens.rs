//! The token lens: rows of the data as the model sees them. What is shown, and the rows that arrived.

use super::lens_edit::{Editor, Texts};
use super::token_loss::TokenLosses;
use std::collections::{BTreeMap, BTreeSet};
use temper_protocol::Problem;
use temper_protocol::event::LensRow;

/// Rows that are asked for together.
pub const PAGE: u64 = 64;
/// Tokens of each row that the list shows.
pub const LIST_TOKENS: usize = 160;
/// Tokens of the chosen row.
pub const WHOLE_TOKENS: usize = 16_384;
/// Pages that are kept: those nearest to what is shown.
const MOST_PAGES: usize = 64;

/// Something in the token lens.
#[derive(Debug, Clone, PartialEq)]
pub enum LensAct {
    /// Opens it, at a row where one is given.
    Open(Option<u64>),
    /// The first row shown, the points of it that are scrolled away, and how many rows there is room for.
    Scrolled(u64, f32, u64),
    /// Chooses a row, whose tokens are then shown in full.
    Choose(u64),
    /// Text in the field for a row's number, as it was entered.
    GoTo(String),
    /// No more rows are looked for.
    StopLooking,
    /// Leaves a row out of the cleaned copy, or takes it in again.
    LeaveOut(u64),
    /// Whether rows that occur before are left out of it, too.
    Deduplicate(bool),
    /// Shows the texts of the chosen row to be edited, or not any more.
    Edit(bool),
    /// A text of a row, by its place, as it was left.
    Text(u64, String, String),
    /// A row is again as it stands in the file.
    TakeBack(u64),
    /// Shows what each token costs the base, or not any more.
    Losses(bool),
    /// Writes the cleaned copy; the project's data is that one from then on.
    SaveCopy,
}

/// The token lens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lens {
    /// What the rows belong to.
    pub fingerprint: String,
    /// What gives them their numbers: those of rows that are left out or edited hold as long as it is the same.
    pub identity: String,
    /// What the engine said last of the files: it changes when they do.
    pub stamp: String,
    /// The same, of when rows were first left out or edited: their numbers mean those rows.
    pub chosen_stamp: String,
    /// The first row shown.
    pub top: u64,
    /// Points of it that are scrolled away.
    pub part: f32,
    /// Rows that there is room for.
    pub room: u64,
    /// The chosen row.
    pub chosen: u64,
    /// Rows that can be shown now.
    pub known: u64,
    /// Whether these are all.
    pub complete: bool,
    /// Whether a file has more rows than can be shown.
    pub shortened: bool,
    /// Rows by page, and within it by number.
    pub pages: BTreeMap<u64, BTreeMap<u64, LensRow>>,
    /// The chosen row in full, once it arrived.
    pub whole: Option<(u64, Option<LensRow>)>,
    /// Rows that a cleaned copy leaves out.
    pub left_out: BTreeSet<u64>,
    /// Whether it leaves out rows that occur before.
    pub deduplicate: bool,
    /// Texts of rows that are edited.
    pub editor: Editor,
    /// What tokens cost the base.
    pub losses: TokenLosses,
    /// Why rows cannot be shown.
    pub problem: Option<Problem>,
}

impl Lens {
    /// Forgets what was shown: the engine would say it otherwise now. What was done to rows stays while a number means the
    /// same row. Gives the texts that the engine has to look at again.
    pub fn begin(&mut self, fingerprint: String, identity: String) -> Vec<(u64, Texts)> {
        let before = std::mem::take(self);
        let same = before.identity == identity;
        *self = Self { fingerprint, identity, room: before.room, ..Self::default() };
        if !same {
            return Vec::new();
        }
        (self.left_out, self.deduplicate) = (before.left_out, before.deduplicate);
        (self.chosen_stamp, self.editor) = (before.chosen_stamp, before.editor);
        self.editor.look_again()
    }

    /// A row, once it arrived.
    #[must_use]
    pub fn row(&self, row: u64) -> Option<&LensRow> {
        self.pages.get(&(row / PAGE))?.get(&row)
    }

    /// Whether a cleaned copy would differ from the data.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.deduplicate || !self.left_out.is_empty() || !self.editor.edits.is_empty()
    }

    /// Whether rows are left out or edited, which are named by their numbers.
    #[must_use]
    pub fn names_rows(&self) -> bool {
        !self.left_out.is_empty() || !self.editor.edits.is_empty() || !self.editor.trials.is_empty()
    }

    /// As long as no row is named, the next one is named in the files as they are now.
    pub fn keep_stamp(&mut self) {
        if !self.names_rows() {
            self.chosen_stamp.clone_from(&self.stamp);
        }
    }

    /// Whether a row arrived, also when its line turned out to be blank.
    #[must_use]
    pub fn has(&self, row: u64) -> bool {
        self.pages.contains_key(&(row / PAGE))
    }

    /// Pages that the list shows.
    #[must_use]
    pub fn shown(&self) -> std::ops::RangeInclusive<u64> {
        let last = (self.top + self.room).min(self.known.max(1) - 1);
        self.top / PAGE..=last / PAGE
    }

    /// Takes in a page; the farthest ones go.
    pub fn take(&mut self, page: u64, rows: Vec<LensRow>) {
        self.pages.insert(page, rows.into_iter().map(|row| (row.row, row)).collect());
        let here = self.top / PAGE;
        while self.pages.len() > MOST_PAGES {
            let farthest = self.pages.keys().copied().max_by_key(|page| page.abs_diff(here));
            let Some(farthest) = farthest else { break };
            self.pages.remove(&farthest);
        }
    }

    /// Scrolls to a place that there is.
    pub fn scroll(&mut self, top: u64, part: f32) {
        let last = self.known.saturating_sub(self.room.saturating_sub(1).max(1));
        (self.top, self.part) = if top >= last { (last, 0.0) } else { (top, part) };
    }

    /// Chooses a row and brings it into view.
    pub fn choose(&mut self, row: u64) {
        self.chosen = row.min(self.known.saturating_sub(1));
        let room = self.room.saturating_sub(2).max(1);
        if self.chosen < self.top || (self.chosen == self.top && self.part > 0.0) {
            self.scroll(self.chosen, 0.0);
        } else if self.chosen >= self.top + room {
            self.scroll(self.chosen + 1 - room, 0.0);
        }
    }
}

/// The row meant by what was typed: a number counted from 1, with or without separators.
#[must_use]
pub fn row_of(text: &str) -> Option<u64> {
    crate::format::whole_number(text)?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens() -> Lens {
        Lens { known: 1_000_000, room: 20, complete: true, ..Lens::default() }
    }

    #[test]
    fn scrolling_ends_with_the_last_row_in_view() {
        let mut lens = lens();
        lens.scroll(5_000_000, 3.0);
        assert_eq!((lens.top, lens.part), (999_981, 0.0));
        lens.scroll(17, 3.0);
        assert_eq!((lens.top, lens.part), (17, 3.0));
        let mut few = Lens { known: 3, room: 20, ..Lens::default() };
        few.scroll(2, 0.0);
        assert_eq!(few.top, 0, "what fits does not scroll");
    }

    #[test]
    fn the_chosen_row_is_in_view() {
        let mut lens = lens();
        for row in [999_999, 0, 500_000, 500_010, 500_030, 499_990] {
            lens.choose(row);
            assert_eq!(lens.chosen, row);
            assert!(lens.top <= row && row < lens.top + lens.room, "{row} from {}", lens.top);
        }
        lens.choose(u64::MAX);
        assert_eq!(lens.chosen, 999_999);
    }

    #[test]
    fn rows_are_named_in_the_files_as_they_were_when_the_first_one_was() {
        let mut lens = Lens { stamp: "a".to_owned(), ..lens() };
        lens.keep_stamp();
        lens.left_out.insert(3);
        lens.stamp = "b".to_owned();
        lens.keep_stamp();
        assert_eq!(lens.chosen_stamp, "a", "row 3 is that of before");
        lens.left_out.clear();
        lens.deduplicate = true;
        lens.keep_stamp();
        assert_eq!(lens.chosen_stamp, "b", "no row is named");
    }

    #[test]
    fn what_was_done_to_rows_stays_while_their_numbers_mean_the_same() {
        let mut lens = Lens { stamp: "a".to_owned(), ..lens() };
        assert!(lens.begin("512 tokens".to_owned(), "tone.jsonl".to_owned()).is_empty());
        (lens.known, lens.stamp) = (9, "a".to_owned());
        lens.keep_stamp();
        lens.left_out.insert(3);
        lens.deduplicate = true;
        lens.editor.edits.insert(4, Texts::from([("/a".to_owned(), "uno".to_owned())]));
        lens.take(0, Vec::new());
        lens.begin("256 tokens".to_owned(), "tone.jsonl".to_owned());
        assert!(lens.left_out.contains(&3) && lens.deduplicate && lens.editor.edits.contains_key(&4));
        assert_eq!(lens.chosen_stamp, "a", "the files as they were when row 3 was named");
        assert_eq!((lens.known, lens.has(0)), (0, false), "rows are asked for anew");
        lens.begin("256 tokens".to_owned(), "other.jsonl".to_owned());
        assert_eq!(
            lens,
            Lens {
                fingerprint: "256 tokens".to_owned(),
                identity: "other.jsonl".to_owned(),
                room: 20,
                ..Lens::default()
            }
        );
    }

    #[test]
    fn the_pages_that_are_kept_are_the_nearest() {
        let mut lens = lens();
        lens.top = 500 * PAGE;
        for page in 400..600 {
            lens.take(page, Vec::new());
        }
        assert_eq!(lens.pages.len(), MOST_PAGES);
        assert!(lens.pages.contains_key(&500) && !lens.pages.contains_key(&400));
        assert!(lens.has(500 * PAGE + 3), "a page without rows arrived all the same");
        assert_eq!(lens.row(500 * PAGE + 3), None);
    }

    #[test]
    fn rows_are_counted_from_one_where_people_type_them() {
        assert_eq!(row_of("1"), Some(0));
        assert_eq!(row_of("412,345"), Some(412_344));
        assert_eq!((row_of("0"), row_of("last"), row_of("")), (None, None, None));
    }
}
