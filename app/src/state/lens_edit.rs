//! Texts of rows that are edited in the token lens: what is accepted, and what the engine still looks at or refused.
//!
//! Place in the data flow: a text that was left becomes a trial, which the engine looks at; what it accepts is kept here
//! until the cleaned copy is written, and what it refuses stays to be corrected, with the reason.

use std::collections::BTreeMap;
use temper_protocol::Problem;
use temper_protocol::data::{RowEdit, RowField, RowTexts};

/// Texts of a row that differ from the file, by their places.
pub type Texts = BTreeMap<String, String>;

/// A row's texts that are not accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// All its texts that differ from the file.
    pub texts: Texts,
    /// Why the engine refuses them; nothing while it looks at them.
    pub refused: Option<Problem>,
}

/// Texts of rows that are edited.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Editor {
    /// Whether the texts of the chosen row are shown to be edited.
    pub open: bool,
    /// Texts that were accepted, by row.
    pub edits: BTreeMap<u64, Texts>,
    /// Texts that were not, by row: what was refused waits for its person while they edit another row.
    pub trials: BTreeMap<u64, Trial>,
    /// Texts of the row that was asked for last, as they stand in the file, and the row with what was accepted.
    told: Option<RowTexts>,
    /// Why the texts of a row cannot be shown.
    failed: Option<(u64, Problem)>,
}

impl Editor {
    /// What the engine told about a row.
    #[must_use]
    pub fn told(&self, row: u64) -> Option<&RowTexts> {
        self.told.as_ref().filter(|told| told.row == row)
    }

    /// Why the texts of a row cannot be shown.
    #[must_use]
    pub fn failed(&self, row: u64) -> Option<&Problem> {
        self.failed.as_ref().filter(|(failed, _)| *failed == row).map(|(_, problem)| problem)
    }

    /// The trial of a row.
    #[must_use]
    pub fn trial(&self, row: u64) -> Option<&Trial> {
        self.trials.get(&row)
    }

    /// Whether these are the texts of a row as they were accepted.
    fn is_accepted(&self, row: u64, texts: &Texts) -> bool {
        match self.edits.get(&row) {
            Some(accepted) => accepted == texts,
            None => texts.is_empty(),
        }
    }

    /// Whether the engine has to be asked about a row that is shown.
    #[must_use]
    pub fn wants(&self, row: u64) -> bool {
        (self.open || self.edits.contains_key(&row)) && self.told(row).is_none() && self.failed(row).is_none()
    }

    /// A text as it is shown: as it was typed last, accepted or not.
    #[must_use]
    pub fn text<'a>(&'a self, row: u64, field: &'a RowField) -> &'a str {
        let changed = self.trial(row).map(|trial| &trial.texts).or_else(|| self.edits.get(&row));
        changed.and_then(|texts| texts.get(&field.place)).unwrap_or(&field.text)
    }

    /// Takes in a text that was left; gives what the engine has to look at, if anything.
    pub fn left(&mut self, row: u64, place: String, text: String) -> Option<Texts> {
        let file = self.told(row)?.fields.iter().find(|field| field.place == place)?;
        let same = file.text == text;
        let known = self.trial(row).map(|trial| &trial.texts).or_else(|| self.edits.get(&row));
        let mut texts = known.cloned().unwrap_or_default();
        if same {
            texts.remove(&place);
        } else {
            texts.insert(place, text);
        }
        if self.is_accepted(row, &texts) {
            self.trials.remove(&row);
            return None;
        }
        self.trials.insert(row, Trial { texts: texts.clone(), refused: None });
        Some(texts)
    }

    /// The engine accepted `texts` of the row it tells about. What was typed over or taken back before the answer came does
    /// not come back with it.
    pub fn accept(&mut self, texts: &Texts, told: RowTexts) {
        let row = told.row;
        let tried = self.trial(row).is_some_and(|trial| trial.texts == *texts);
        if !tried && !self.is_accepted(row, texts) {
            return;
        }
        if tried {
            self.trials.remove(&row);
        }
        if texts.is_empty() {
            self.edits.remove(&row);
        } else {
            self.edits.insert(row, texts.clone());
        }
        self.told = Some(told);
    }

    /// The engine refused `texts` of a row, or cannot tell its texts at all.
    pub fn refuse(&mut self, row: u64, texts: &Texts, problem: Problem) {
        let asked_for_row = self.is_accepted(row, texts);
        match self.trials.get_mut(&row).filter(|trial| trial.texts == *texts) {
            Some(trial) => trial.refused = Some(problem),
            None if asked_for_row => self.failed = Some((row, problem)),
            // Typed over or taken back since: what is there now has an answer of its own.
            None => {}
        }
    }

    /// Forgets what the engine told, which it would say otherwise now; gives the texts that it has to look at again.
    pub fn look_again(&mut self) -> Vec<(u64, Texts)> {
        (self.told, self.failed) = (None, None);
        let again = |(row, trial): (&u64, &mut Trial)| {
            trial.refused = None;
            (*row, trial.texts.clone())
        };
        self.trials.iter_mut().map(again).collect()
    }

    /// A row is again as it stands in the file.
    pub fn take_back(&mut self, row: u64) {
        self.edits.remove(&row);
        self.trials.remove(&row);
        self.told.take_if(|told| told.row == row);
        self.failed.take_if(|(failed, _)| *failed == row);
    }

    /// Everything that was accepted, for the cleaned copy.
    #[must_use]
    pub fn all(&self) -> Vec<RowEdit> {
        self.edits.iter().map(|(row, texts)| RowEdit { row: *row, fields: fields(texts) }).collect()
    }
}

/// Texts as the engine takes them.
#[must_use]
pub fn fields(texts: &Texts) -> Vec<RowField> {
    texts.iter().map(|(place, text)| RowField { place: place.clone(), text: text.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_protocol::Code;
    use temper_protocol::event::LensRow;

    fn told(row: u64) -> RowTexts {
        let seen = LensRow {
            row,
            file: "a.jsonl".into(),
            line: row + 1,
            tokens: 0,
            trained: 0,
            cut: 0,
            ids: Vec::new(),
            pieces: Vec::new(),
            marks: String::new(),
            borders: Vec::new(),
            problem: String::new(),
            losses: Vec::new(),
        };
        RowTexts { row, fields: vec![field("/a", "one"), field("/b", "two")], seen }
    }

    fn field(place: &str, text: &str) -> RowField {
        RowField { place: place.to_owned(), text: text.to_owned() }
    }

    fn left(editor: &mut Editor, place: &str, text: &str) -> Option<Texts> {
        editor.left(3, place.to_owned(), text.to_owned())
    }

    #[test]
    fn a_text_counts_once_the_engine_accepted_it() {
        let mut editor = Editor { open: true, ..Editor::default() };
        assert!(editor.wants(3));
        editor.accept(&Texts::new(), told(3));
        assert!(!editor.wants(3) && editor.wants(4) && editor.all().is_empty());
        let tried = left(&mut editor, "/a", "uno").expect("looked at");
        assert_eq!((editor.text(3, &field("/a", "one")), editor.all().len()), ("uno", 0));
        // A second text before the first is answered: both are tried together.
        let both = left(&mut editor, "/b", "due").expect("looked at");
        editor.accept(&tried, told(3));
        assert_eq!(editor.trial(3).map(|trial| &trial.texts), Some(&both), "the later one is still looked at");
        editor.accept(&both, told(3));
        assert_eq!(editor.trial(3), None);
        assert_eq!(editor.all(), [RowEdit { row: 3, fields: vec![field("/a", "uno"), field("/b", "due")] }]);
    }

    #[test]
    fn what_is_refused_stays_to_be_corrected_and_what_was_accepted_before_it_holds() {
        let mut editor = Editor { open: true, ..Editor::default() };
        editor.accept(&Texts::new(), told(3));
        let good = left(&mut editor, "/a", "uno").expect("looked at");
        editor.accept(&good, told(3));
        let bad = left(&mut editor, "/b", " ").expect("looked at");
        editor.refuse(3, &bad, Problem::new(Code::DataInvalid, "empty", "", "write"));
        assert!(editor.trial(3).is_some_and(|trial| trial.refused.is_some()));
        assert_eq!(editor.text(3, &field("/b", "two")), " ");
        assert_eq!(editor.all(), [RowEdit { row: 3, fields: vec![field("/a", "uno")] }]);
        // The text of the file again: nothing is left to be looked at.
        assert_eq!(left(&mut editor, "/b", "two"), None);
        assert_eq!(editor.trial(3), None);
    }

    #[test]
    fn an_answer_about_what_was_taken_back_or_typed_over_changes_nothing() {
        let mut editor = Editor { open: true, ..Editor::default() };
        editor.accept(&Texts::new(), told(3));
        let tried = left(&mut editor, "/a", "uno").expect("looked at");
        assert_eq!(left(&mut editor, "/a", "one"), None);
        editor.accept(&tried, told(3));
        assert!(editor.all().is_empty(), "it is as in the file again");
        let tried = left(&mut editor, "/a", "uno").expect("looked at");
        editor.take_back(3);
        editor.accept(&tried, told(3));
        assert!(editor.all().is_empty() && editor.wants(3), "it was taken back");
        editor.accept(&Texts::new(), told(3));
        let first = left(&mut editor, "/a", " ").expect("looked at");
        let second = left(&mut editor, "/a", "uno").expect("looked at");
        editor.refuse(3, &first, Problem::new(Code::DataInvalid, "empty", "", "write"));
        editor.accept(&second, told(3));
        assert!(editor.failed(3).is_none(), "what was typed over is refused to nobody");
        assert_eq!(editor.all().len(), 1);
    }

    #[test]
    fn a_refused_text_waits_while_another_row_is_edited() {
        let mut editor = Editor { open: true, ..Editor::default() };
        editor.accept(&Texts::new(), told(3));
        let bad = left(&mut editor, "/b", " ").expect("looked at");
        editor.refuse(3, &bad, Problem::new(Code::DataInvalid, "empty", "", "write"));
        editor.accept(&Texts::new(), told(5));
        let good = editor.left(5, "/a".to_owned(), "uno".to_owned()).expect("looked at");
        editor.accept(&good, told(5));
        assert!(editor.trial(3).is_some_and(|trial| trial.refused.is_some()) && editor.trial(5).is_none());
        assert_eq!(editor.text(3, &field("/b", "two")), " ");
    }

    #[test]
    fn under_other_settings_what_was_not_accepted_is_looked_at_again() {
        let mut editor = Editor { open: true, ..Editor::default() };
        editor.accept(&Texts::new(), told(3));
        let good = left(&mut editor, "/a", "uno").expect("looked at");
        editor.accept(&good, told(3));
        let both = left(&mut editor, "/b", " ").expect("looked at");
        editor.refuse(3, &both, Problem::new(Code::DataInvalid, "empty", "", "write"));
        assert_eq!(editor.look_again(), [(3, both.clone())]);
        assert!(editor.told(3).is_none() && editor.trial(3).is_some_and(|trial| trial.refused.is_none()));
        assert_eq!(editor.all().len(), 1, "what was accepted holds");
        editor.accept(&both, told(3));
        assert_eq!(editor.all(), [RowEdit { row: 3, fields: vec![field("/a", "uno"), field("/b", " ")] }]);
    }

    #[test]
    fn what_is_as_in_the_file_is_no_edit() {
        let mut editor = Editor { open: true, ..Editor::default() };
        editor.accept(&Texts::new(), told(3));
        assert_eq!(left(&mut editor, "/a", "one"), None);
        assert_eq!(left(&mut editor, "/z", "there is no such text"), None);
        let good = left(&mut editor, "/a", "uno").expect("looked at");
        editor.accept(&good, told(3));
        let none = left(&mut editor, "/a", "one").expect("the engine shows the row again");
        assert!(none.is_empty());
        editor.accept(&none, told(3));
        assert!(editor.all().is_empty());
    }

    #[test]
    fn a_row_that_cannot_be_edited_is_asked_for_once() {
        let mut editor = Editor { open: true, ..Editor::default() };
        editor.refuse(3, &Texts::new(), Problem::new(Code::DataInvalid, "too long", "", "use another editor"));
        assert!(!editor.wants(3) && editor.failed(3).is_some() && editor.failed(4).is_none());
        editor.take_back(3);
        assert!(editor.wants(3));
    }
}
