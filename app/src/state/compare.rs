//! The room Compare: which runs are looked at and how; what the engine said about them stands in [`super::judged`], what
//! they answered in [`super::answers`].

use super::State;
use super::answers::{Answers, MOST_ANSWERS, Who};
use super::judged::{Judged, RowSort};
use crate::reader::XAxis;
use crate::texts::Text;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use temper_protocol::comparison::RowKind;
use temper_protocol::housekeeping::{DiskUse, Housekeeping};
use temper_store::RunRow;

/// Most runs side by side.
pub const MOST: usize = 5;
/// Runs that are compared before anybody chose.
const AT_FIRST: usize = 3;

/// A column of the table of runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Column {
    /// Number.
    #[default]
    Run,
    /// Method.
    Method,
    /// How it ended.
    Status,
    /// Best validation loss.
    Best,
    /// Worst kept set minus base.
    Forgetting,
    /// Size of the adapter.
    Size,
    /// Tokens a second.
    Speed,
    /// Wall time.
    Time,
}

impl Column {
    /// All, from the left.
    pub const ALL: [Self; 8] =
        [Self::Run, Self::Method, Self::Status, Self::Best, Self::Forgetting, Self::Size, Self::Speed, Self::Time];

    /// Its head.
    #[must_use]
    pub const fn name(self) -> Text {
        match self {
            Self::Run => k!("compare-col-run"),
            Self::Method => k!("compare-col-method"),
            Self::Status => k!("compare-col-status"),
            Self::Best => k!("compare-col-best"),
            Self::Forgetting => k!("compare-col-forgetting"),
            Self::Size => k!("compare-col-size"),
            Self::Speed => k!("compare-col-speed"),
            Self::Time => k!("compare-col-time"),
        }
    }

    /// Whether its cells are words, at the left.
    #[must_use]
    pub const fn is_words(self) -> bool {
        matches!(self, Self::Run | Self::Method | Self::Status)
    }

    fn value(self, state: &State, row: &RunRow) -> f64 {
        match self {
            Self::Run | Self::Method | Self::Status => row.run as f64,
            Self::Best => row.best_loss,
            // As the table shows it.
            Self::Forgetting => super::compared::forgetting_of(state, row),
            Self::Size => row.trained_parameters as f64,
            Self::Speed => row.tokens_per_sec,
            Self::Time => row.wall_secs,
        }
    }

    fn order(self, state: &State, a: &RunRow, b: &RunRow) -> Ordering {
        match self {
            Self::Method => a.method.cmp(&b.method),
            Self::Status => a.status.cmp(&b.status),
            _ => self.value(state, a).total_cmp(&self.value(state, b)),
        }
    }
}

/// What stands under the table of runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// Curves of the chosen runs.
    #[default]
    Curves,
    /// Loss over forgetting; beside the curves where there is room.
    Tradeoff,
    /// Settings.
    Settings,
    /// Verdict and rows.
    Rows,
    /// Playground.
    Ask,
    /// Names, notes, disk and trash.
    Order,
}

impl Part {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Curves => t!("compare-curves"),
            Self::Tradeoff => t!("compare-tradeoff"),
            Self::Settings => t!("compare-settings"),
            Self::Rows => t!("compare-rows"),
            Self::Ask => t!("compare-ask"),
            Self::Order => t!("compare-order"),
        }
    }
}

/// What the runs of the table are put together by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grouping {
    /// Nothing.
    #[default]
    None,
    /// Method.
    Method,
    /// How it ended.
    Status,
    /// Base model.
    Model,
    /// Tags.
    Tags,
    /// Whether it is marked.
    Star,
}

impl Grouping {
    /// All, as the list offers them.
    pub const ALL: [Self; 6] = [Self::None, Self::Method, Self::Status, Self::Model, Self::Tags, Self::Star];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => t!("compare-group-none"),
            Self::Method => t!("compare-group-method"),
            Self::Status => t!("compare-group-status"),
            Self::Model => t!("compare-group-model"),
            Self::Tags => t!("compare-group-tags"),
            Self::Star => t!("compare-group-star"),
        }
    }
}

/// A row of the table of runs.
#[derive(Debug, Clone, PartialEq)]
pub enum TableRow<'a> {
    /// A group begins: its name, and how many runs it has.
    Group(String, usize),
    /// A run.
    Run(&'a RunRow),
}

/// What a person does in the room.
#[derive(Debug, Clone, PartialEq)]
pub enum CompareAct {
    /// Chooses a run, or not any more.
    Choose(u64, bool),
    /// Sorts by a column; once more turns the order round.
    Sort(Column),
    /// Text in the filter.
    Filter(String),
    /// What the runs are put together by.
    Group(Grouping),
    /// What stands under the table.
    Part(Part),
    /// Horizontal axis of the curves.
    X(XAxis),
    /// Visible part of that axis; all when none.
    Zoom(Option<(f64, f64)>),
    /// Curves of validation, or of training.
    Validation(bool),
    /// Curves of training are smoothed.
    Smooth(bool),
    /// A logarithmic axis of losses.
    LogY(bool),
    /// The curves as a table.
    CurvesTable(bool),
    /// The trade-off as a table.
    TradeoffTable(bool),
    /// Only settings that differ.
    Differences(bool),
    /// Data file or probe set.
    Data(String),
    /// Most rows.
    RowCount(usize),
    /// Compares the chosen runs on the data.
    Judge,
    /// Rows of a kind, or all.
    Kind(Option<RowKind>),
    /// Whose kinds are meant, by place among the runs.
    KindsOf(usize),
    /// Which model the difference is taken from, by place among the models.
    Against(usize),
    /// Sorts the rows; once more turns the order round.
    SortRows(RowSort),
    /// Writes the rows as a table.
    SaveRows,
    /// Prompt.
    Prompt(String),
    /// Whether it goes through the chat template.
    Chat(bool),
    /// Asks the base and the chosen runs.
    AskAll,
    /// Asks one of them too, or not any more.
    Answering(Who, bool),
    /// Seed of all answers.
    Seed(u64),
    /// Temperature of all answers.
    Temperature(f64),
    /// Names are hidden until a vote.
    Blind(bool),
    /// The answer at this place is the best; nothing when none is.
    Vote(Option<usize>),
    /// Forgets all votes.
    ForgetVotes,
    /// Keeps runs in order.
    Tidy(Housekeeping),
    /// Whether the trash shall be emptied, which is asked once more.
    Emptying(bool),
}

/// The room Compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Chosen runs in the order of choosing; the newest few before anybody chose.
    pub chosen: Option<Vec<u64>>,
    /// Column that the table is sorted by.
    pub sort: Column,
    /// Largest first.
    pub descending: bool,
    /// Text in the filter.
    pub filter: String,
    /// What the runs are put together by.
    pub grouping: Grouping,
    /// What stands under the table.
    pub part: Part,
    /// Horizontal axis of the curves.
    pub x: XAxis,
    /// Visible part of that axis; all when none.
    pub zoom: Option<(f64, f64)>,
    /// Curves of validation instead of training.
    pub validation: bool,
    /// Curves of training are smoothed.
    pub smooth: bool,
    /// A logarithmic axis of losses.
    pub log_y: bool,
    /// The curves as a table.
    pub curves_table: bool,
    /// The trade-off as a table.
    pub tradeoff_table: bool,
    /// Only settings that differ.
    pub differences: bool,
    /// Verdict and rows.
    pub judged: Judged,
    /// Playground.
    pub answers: Answers,
    /// What runs take on the disk, as far as it was measured.
    pub disk: BTreeMap<u64, DiskUse>,
    /// Whether the trash shall really be emptied is being asked.
    pub emptying: bool,
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            chosen: None,
            sort: Column::Run,
            descending: true,
            filter: String::new(),
            grouping: Grouping::default(),
            part: Part::default(),
            x: XAxis::default(),
            zoom: None,
            validation: true,
            smooth: true,
            log_y: false,
            curves_table: false,
            tradeoff_table: false,
            differences: true,
            judged: Judged::default(),
            answers: Answers::default(),
            disk: BTreeMap::new(),
            emptying: false,
        }
    }
}

impl State {
    /// The chosen runs that are there, in the order of choosing; the newest when nobody chose, or of all that were chosen
    /// none is there: the file that names them may be another project's.
    #[must_use]
    pub fn compared(&self) -> Vec<&RunRow> {
        let runs = &self.runs.runs;
        let chosen = self.compare.chosen.as_ref().map(|chosen| {
            let there = chosen.iter().filter_map(|run| runs.iter().find(|row| row.run == *run));
            (chosen.is_empty(), there.collect::<Vec<_>>())
        });
        match chosen {
            Some((none_wanted, there)) if none_wanted || !there.is_empty() => there,
            _ => runs.iter().filter(|row| row.steps > 0).take(AT_FIRST).collect(),
        }
    }

    /// The chosen runs that left an adapter.
    #[must_use]
    pub fn compared_adapters(&self) -> Vec<&RunRow> {
        self.compared().into_iter().filter(|row| row.adapter.is_some() && !row.is_active()).collect()
    }

    /// The table's runs: those that the filter lets through, sorted.
    #[must_use]
    pub fn compare_table(&self) -> Vec<&RunRow> {
        let words: Vec<String> = self.compare.filter.to_lowercase().split_whitespace().map(str::to_owned).collect();
        let shown = |row: &&RunRow| {
            // With hundreds of runs the words are made only for somebody who looks for some.
            if words.is_empty() {
                return true;
            }
            let name = t!("common-run", run = row.run).to_lowercase();
            let labels = &row.labels;
            let status = crate::reader::words::status(&row.status);
            let all =
                [name.as_str(), &row.method, status, &labels.name, &labels.tags.join(" ")].join(" ").to_lowercase();
            words.iter().all(|word| all.contains(word.as_str()))
        };
        let mut rows: Vec<&RunRow> = self.runs.runs.iter().filter(shown).collect();
        let (column, descending) = (self.compare.sort, self.compare.descending);
        rows.sort_by(|a, b| {
            // What is not known stands last in either order.
            let unknown = |row: &RunRow| column.value(self, row).is_nan();
            let order = if descending { column.order(self, b, a) } else { column.order(self, a, b) };
            unknown(a).cmp(&unknown(b)).then(order).then(b.run.cmp(&a.run))
        });
        rows
    }

    /// The table's rows from the top: runs in their order, under the head of their group where there are groups. Groups
    /// stand in the order of their first run.
    #[must_use]
    pub fn compare_rows(&self) -> Vec<TableRow<'_>> {
        let runs = self.compare_table();
        if self.compare.grouping == Grouping::None {
            return runs.into_iter().map(TableRow::Run).collect();
        }
        let mut groups: Vec<(String, Vec<&RunRow>)> = Vec::new();
        for row in runs {
            let name = self.group_of(row);
            match groups.iter_mut().find(|(group, _)| *group == name) {
                Some((_, members)) => members.push(row),
                None => groups.push((name, vec![row])),
            }
        }
        let rows = groups.into_iter().flat_map(|(name, members)| {
            let head = TableRow::Group(name, members.len());
            std::iter::once(head).chain(members.into_iter().map(TableRow::Run))
        });
        rows.collect()
    }

    fn group_of(&self, row: &RunRow) -> String {
        match self.compare.grouping {
            Grouping::None => String::new(),
            Grouping::Method => self.method_title(&row.method).to_owned(),
            Grouping::Status => crate::reader::words::status(&row.status).to_owned(),
            Grouping::Tags if row.labels.tags.is_empty() => t!("compare-no-tags").to_owned(),
            Grouping::Tags => row.labels.tags.join(", "),
            Grouping::Star if row.labels.starred => t!("compare-starred").to_owned(),
            Grouping::Star => t!("compare-not-starred").to_owned(),
            Grouping::Model => crate::format::plain_name(self.run_setting(row.run, "model.path").unwrap_or_default()),
        }
    }

    /// What a method is called.
    #[must_use]
    pub fn method_title<'a>(&'a self, id: &'a str) -> &'a str {
        self.methods.iter().find(|card| card.id == id).map_or(id, |card| card.title.as_str())
    }

    /// Everyone who could answer a prompt: the base, and the chosen runs that left an adapter.
    #[must_use]
    pub fn could_answer(&self) -> Vec<Who> {
        let runs = self.compared_adapters().into_iter().map(|row| Some(row.run));
        std::iter::once(None).chain(runs).collect()
    }

    /// Those of them who are asked: as many as there is room for, without those that were left out.
    #[must_use]
    pub fn answering(&self) -> Vec<Who> {
        let asked = |who: &Who| !self.compare.answers.left_out.contains(who);
        self.could_answer().into_iter().filter(asked).take(MOST_ANSWERS).collect()
    }

    /// A setting of a run by its dotted key, as its project file says it.
    #[must_use]
    pub fn run_setting(&self, run: u64, key: &str) -> Option<&str> {
        let settings = self.runs.settings.get(&run)?;
        settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The model that a run was trained from, as the engine is asked about it; the project's where that is not on record.
    #[must_use]
    pub fn model_of(&self, run: u64) -> String {
        self.draft.resolve(self.run_setting(run, "model.path").unwrap_or(&self.draft.project.model.path))
    }

    /// The model that the chosen runs were trained from; why they cannot be compared when it is not one.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn compared_base(&self) -> Result<String, &'static str> {
        let rows = self.compared_adapters();
        let mut bases: Vec<String> = rows.iter().map(|row| self.model_of(row.run)).collect();
        bases.dedup();
        match bases.as_slice() {
            [] => Err(t!("compare-no-adapter")),
            [base] => Ok(base.clone()),
            _ => Err(t!("compare-other-bases")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Places;
    use crate::reader::RunsSnapshot;
    use crate::state::Clock;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn state() -> State {
        let places = Places { config: PathBuf::new(), data: PathBuf::new(), projects: PathBuf::new() };
        let mut state = State::new(places, Clock::Fixed(0));
        let row = |run: u64, method: &str, best_loss: f64| RunRow {
            run,
            method: method.to_owned(),
            status: "finished".to_owned(),
            steps: 10,
            best_loss,
            adapter: (run != 2).then(|| PathBuf::from("a")),
            ..RunRow::default()
        };
        let runs = vec![row(4, "dora", 1.5), row(3, "lora", f64::NAN), row(2, "lora", 1.4), row(1, "ia3", 1.6)];
        state.runs = Arc::new(RunsSnapshot { runs, ..RunsSnapshot::default() });
        state
    }

    fn numbers(rows: &[&RunRow]) -> Vec<u64> {
        rows.iter().map(|row| row.run).collect()
    }

    #[test]
    fn the_table_is_sorted_and_what_is_not_known_stands_last() {
        let mut state = state();
        assert_eq!(numbers(&state.compare_table()), [4, 3, 2, 1], "newest first");
        state.compare.sort = Column::Best;
        state.compare.descending = false;
        assert_eq!(numbers(&state.compare_table()), [2, 4, 1, 3]);
        state.compare.descending = true;
        assert_eq!(numbers(&state.compare_table()), [1, 4, 2, 3]);
        state.compare.filter = "LORA run".to_owned();
        assert_eq!(numbers(&state.compare_table()), [2, 3]);
    }

    #[test]
    fn runs_are_sorted_by_the_forgetting_that_the_table_shows() {
        let mut state = state();
        let mut snapshot = (*state.runs).clone();
        for (row, forgetting) in snapshot.runs.iter_mut().zip([0.01, 0.02, 0.03, f64::NAN]) {
            row.forgetting = forgetting;
        }
        snapshot.kept_at_best = [(4, 0.05), (1, 0.025)].into();
        state.runs = Arc::new(snapshot);
        (state.compare.sort, state.compare.descending) = (Column::Forgetting, false);
        assert_eq!(numbers(&state.compare_table()), [3, 1, 2, 4]);
    }

    #[test]
    fn the_newest_runs_are_compared_until_somebody_chooses() {
        let mut state = state();
        assert_eq!(numbers(&state.compared()), [4, 3, 2]);
        assert_eq!(numbers(&state.compared_adapters()), [4, 3]);
        state.compare.chosen = Some(vec![1, 9, 2]);
        assert_eq!(numbers(&state.compared()), [1, 2], "in the order of choosing, without what is gone");
        state.compare.chosen = Some(vec![77, 78]);
        assert_eq!(numbers(&state.compared()), [4, 3, 2], "another project's runs: as at first");
        state.compare.chosen = Some(Vec::new());
        assert!(state.compared().is_empty(), "who chose none sees none");
    }

    #[test]
    fn runs_of_different_bases_are_not_compared() {
        let mut state = state();
        state.draft.project.model.path = "/m".to_owned();
        assert_eq!(state.compared_base(), Ok("/m".to_owned()));
        let mut runs = (*state.runs).clone();
        let other = vec![("model.path".to_owned(), "/n".to_owned())];
        runs.settings.insert(3, Arc::new(other));
        state.runs = Arc::new(runs);
        assert!(state.compared_base().is_err());
        state.compare.chosen = Some(vec![3]);
        assert_eq!(state.compared_base(), Ok("/n".to_owned()));
        state.compare.chosen = Some(Vec::new());
        assert!(state.compared_base().is_err(), "nothing to compare");
    }
}
