//! How a project was looked at: the last room, which panels are open, how plots are drawn, which runs are chosen.
//!
//! Place in the data flow: `update` writes it as `layout.json` beside the project file, a moment after it changed, and
//! puts it back when the project is opened. It is a convenience and no work: a file that cannot be read, or is of
//! another version, is passed over with a note and written anew. A name that is not known leaves what it would have
//! chosen as it is. (Which runs are compared, and the votes, are in [`super::remembered`].)

use super::compare::{Column, Grouping, Part};
use super::export::TARGETS;
use super::watch::SideTab;
use super::{Room, State};
use crate::reader::XAxis;
use crate::reader::events::EventKind;
use crate::reader::ranks::Measure;
use serde::{Deserialize, Serialize};

/// Name of the file in the project folder.
pub const FILE_NAME: &str = "layout.json";
/// Largest file that is read; a layout takes a few hundred bytes.
pub const MOST_BYTES: u64 = 1 << 20;
/// Version of the file.
const SCHEMA: u32 = 1;

/// Rooms that are come back to. Home is where one goes to open another project, so it is none of them.
const ROOMS: [(Room, &str); 4] =
    [(Room::Setup, "setup"), (Room::Watch, "watch"), (Room::Compare, "compare"), (Room::Export, "export")];
const AXES: [(XAxis, &str); 3] = [(XAxis::Step, "step"), (XAxis::Tokens, "tokens"), (XAxis::Time, "time")];
const MEASURES: [(Measure, &str); 5] = [
    (Measure::Rank, "rank"),
    (Measure::Effective, "effective"),
    (Measure::Change, "change"),
    (Measure::Energy, "energy"),
    (Measure::Experts, "experts"),
];
const TABS: [(SideTab, &str); 3] =
    [(SideTab::Rank, "rank"), (SideTab::Samples, "samples"), (SideTab::Events, "events")];
const KINDS: [(EventKind, &str); 9] = [
    (EventKind::Run, "run"),
    (EventKind::Pause, "pause"),
    (EventKind::File, "file"),
    (EventKind::Kept, "kept"),
    (EventKind::Validation, "validation"),
    (EventKind::Best, "best"),
    (EventKind::Sample, "sample"),
    (EventKind::Warning, "warning"),
    (EventKind::Problem, "problem"),
];
const COLUMNS: [(Column, &str); 8] = [
    (Column::Run, "run"),
    (Column::Method, "method"),
    (Column::Status, "status"),
    (Column::Best, "best"),
    (Column::Forgetting, "forgetting"),
    (Column::Size, "size"),
    (Column::Speed, "speed"),
    (Column::Time, "time"),
];
const GROUPINGS: [(Grouping, &str); 6] = [
    (Grouping::None, "none"),
    (Grouping::Method, "method"),
    (Grouping::Status, "status"),
    (Grouping::Model, "model"),
    (Grouping::Tags, "tags"),
    (Grouping::Star, "star"),
];
const PARTS: [(Part, &str); 6] = [
    (Part::Curves, "curves"),
    (Part::Tradeoff, "tradeoff"),
    (Part::Settings, "settings"),
    (Part::Rows, "rows"),
    (Part::Ask, "ask"),
    (Part::Order, "order"),
];

/// The name of a value; empty when the table has none.
fn name<T: PartialEq>(table: &[(T, &'static str)], value: &T) -> String {
    let found = table.iter().find(|(known, _)| known == value);
    found.map_or_else(String::new, |(_, name)| (*name).to_owned())
}

/// The value of a name.
fn value<T: Copy>(table: &[(T, &'static str)], wanted: &str) -> Option<T> {
    table.iter().find(|(_, name)| *name == wanted).map(|(value, _)| *value)
}

/// Puts the value of a name in its place; a name that is not known changes nothing.
fn put<T: Copy>(table: &[(T, &'static str)], wanted: &str, place: &mut T) {
    if let Some(value) = value(table, wanted) {
        *place = value;
    }
}

/// Everything remembered, as it stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    schema: u32,
    #[serde(default)]
    room: String,
    #[serde(default)]
    setup: SetupLayout,
    #[serde(default)]
    watch: WatchLayout,
    #[serde(default)]
    compare: CompareLayout,
    #[serde(default)]
    export: ExportLayout,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SetupLayout {
    all_methods: bool,
    more: bool,
    show_aside: bool,
    racing: bool,
    racers: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct WatchLayout {
    run: Option<u64>,
    x: String,
    log_y: bool,
    as_table: bool,
    steps: Option<(u64, u64)>,
    measure: String,
    site: Option<String>,
    filter: String,
    tab: String,
    beside: Vec<u64>,
    asking: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct CompareLayout {
    sort: String,
    descending: bool,
    filter: String,
    grouping: String,
    part: String,
    x: String,
    validation: bool,
    smooth: bool,
    log_y: bool,
    curves_table: bool,
    tradeoff_table: bool,
    differences: bool,
}

impl Default for CompareLayout {
    /// What a file that says nothing means: the room as it is at first.
    fn default() -> Self {
        Self::of(&super::compare::Compare::default())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct ExportLayout {
    run: Option<u64>,
    target: usize,
}

impl SetupLayout {
    fn of(setup: &super::setup::Setup) -> Self {
        Self {
            all_methods: setup.all_methods,
            more: setup.more,
            show_aside: setup.show_aside,
            racing: setup.racing,
            racers: setup.racers.clone(),
        }
    }

    fn restore(self, setup: &mut super::setup::Setup) {
        setup.all_methods = self.all_methods;
        setup.more = self.more;
        setup.show_aside = self.show_aside;
        setup.racing = self.racing;
        setup.racers.clear();
        for method in self.racers {
            // Each once, and no more than can race, whatever the file says.
            if setup.racers.len() < super::race::RACERS.1 && !setup.racers.contains(&method) {
                setup.racers.push(method);
            }
        }
    }
}

impl WatchLayout {
    fn of(watch: &super::watch::Watch) -> Self {
        Self {
            run: watch.run,
            x: name(&AXES, &watch.x),
            log_y: watch.log_y,
            as_table: watch.as_table,
            steps: watch.steps,
            measure: name(&MEASURES, &watch.measure),
            site: watch.site.clone(),
            filter: watch.filter.map_or_else(String::new, |kind| name(&KINDS, &kind)),
            tab: name(&TABS, &watch.tab),
            beside: watch.beside.iter().copied().collect(),
            asking: watch.ask.open,
        }
    }

    fn restore(self, watch: &mut super::watch::Watch) {
        watch.run = self.run;
        put(&AXES, &self.x, &mut watch.x);
        watch.log_y = self.log_y;
        watch.as_table = self.as_table;
        // A range without steps in it would show nothing.
        watch.steps = self.steps.filter(|(first, last)| first < last);
        put(&MEASURES, &self.measure, &mut watch.measure);
        watch.site = self.site;
        watch.filter = value(&KINDS, &self.filter);
        put(&TABS, &self.tab, &mut watch.tab);
        watch.beside = self.beside.into_iter().collect();
        watch.ask.open = self.asking;
    }
}

impl CompareLayout {
    fn of(compare: &super::compare::Compare) -> Self {
        Self {
            sort: name(&COLUMNS, &compare.sort),
            descending: compare.descending,
            filter: compare.filter.clone(),
            grouping: name(&GROUPINGS, &compare.grouping),
            part: name(&PARTS, &compare.part),
            x: name(&AXES, &compare.x),
            validation: compare.validation,
            smooth: compare.smooth,
            log_y: compare.log_y,
            curves_table: compare.curves_table,
            tradeoff_table: compare.tradeoff_table,
            differences: compare.differences,
        }
    }

    fn restore(self, compare: &mut super::compare::Compare) {
        put(&COLUMNS, &self.sort, &mut compare.sort);
        compare.descending = self.descending;
        compare.filter = self.filter;
        put(&GROUPINGS, &self.grouping, &mut compare.grouping);
        // What runs take on the disk is measured when a person asks for it, not because a project is opened.
        if value(&PARTS, &self.part) != Some(Part::Order) {
            put(&PARTS, &self.part, &mut compare.part);
        }
        put(&AXES, &self.x, &mut compare.x);
        compare.validation = self.validation;
        compare.smooth = self.smooth;
        compare.log_y = self.log_y;
        compare.curves_table = self.curves_table;
        compare.tradeoff_table = self.tradeoff_table;
        compare.differences = self.differences;
    }
}

impl Layout {
    /// What of the state is remembered; `before` is what was, for the room that is come back to from Home.
    #[must_use]
    pub fn of(state: &State, before: &Self) -> Self {
        let room = name(&ROOMS, &state.room);
        Self {
            schema: SCHEMA,
            room: if room.is_empty() { before.room.clone() } else { room },
            setup: SetupLayout::of(&state.setup),
            watch: WatchLayout::of(&state.watch),
            compare: CompareLayout::of(&state.compare),
            export: ExportLayout { run: state.export.run, target: state.export.target },
        }
    }

    /// Puts it back. The room only while the project is just open and nobody went elsewhere.
    pub fn restore(self, state: &mut State) {
        if state.room == Room::Setup && !state.setup.train_wanted && !state.is_training() {
            put(&ROOMS, &self.room, &mut state.room);
        }
        self.setup.restore(&mut state.setup);
        self.watch.restore(&mut state.watch);
        self.compare.restore(&mut state.compare);
        state.export.run = self.export.run;
        if self.export.target < TARGETS.len() {
            state.export.target = self.export.target;
        }
    }

    /// Reads the file's text; nothing when it is damaged or of another version.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let layout: Self = serde_json::from_str(text).ok()?;
        (layout.schema == SCHEMA).then_some(layout)
    }

    /// The text to write.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Forgets chosen runs that are not there any more: nothing would be shown of them.
pub fn forget_missing_runs(state: &mut State) {
    let known: Vec<u64> = state.runs.runs.iter().map(|row| row.run).collect();
    state.watch.run = state.watch.run.filter(|run| known.contains(run));
    state.watch.beside.retain(|run| known.contains(run));
    state.export.run = state.export.run.filter(|run| known.contains(run));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Places;
    use crate::state::Clock;
    use std::path::PathBuf;

    fn state() -> State {
        let folder = PathBuf::from("nowhere");
        State::new(Places { config: folder.clone(), data: folder.clone(), projects: folder }, Clock::Fixed(0))
    }

    #[test]
    fn what_was_looked_at_comes_back() {
        let mut before = state();
        before.room = Room::Compare;
        before.setup.more = true;
        before.setup.racers = vec!["lora".to_owned(), "dora".to_owned()];
        before.watch.run = Some(7);
        before.watch.x = XAxis::Time;
        before.watch.steps = Some((10, 200));
        before.watch.filter = Some(EventKind::Best);
        before.watch.tab = SideTab::Events;
        before.watch.measure = Measure::Change;
        before.watch.beside.insert(3);
        before.compare.sort = Column::Forgetting;
        before.compare.grouping = Grouping::Tags;
        before.compare.part = Part::Settings;
        before.compare.differences = false;
        before.export.target = 5;
        let written = Layout::of(&before, &Layout::default());
        let read = Layout::read(&written.text()).expect("its own text");
        assert_eq!(read, written);
        let mut after = state();
        after.room = Room::Setup;
        read.restore(&mut after);
        assert_eq!(Layout::of(&after, &Layout::default()), written);
        assert_eq!((after.room, after.watch.run, after.export.target), (Room::Compare, Some(7), 5));
    }

    #[test]
    fn every_value_has_a_name_of_its_own() {
        let counts = [ROOMS.len() + 1, SideTab::ALL.len(), Measure::ALL.len(), Column::ALL.len(), Grouping::ALL.len()];
        assert_eq!(counts, [Room::ALL.len(), TABS.len(), MEASURES.len(), COLUMNS.len(), GROUPINGS.len()]);
        for column in Column::ALL {
            assert_eq!(value(&COLUMNS, &name(&COLUMNS, &column)), Some(column));
        }
        for (kind, word) in KINDS {
            assert_eq!((value(&KINDS, word), name(&KINDS, &kind)), (Some(kind), word.to_owned()));
        }
    }

    #[test]
    fn other_files_are_not_read_and_strange_values_change_nothing() {
        for text in ["", "votes", "{\"schema\": 1, \"watch\": 7}", "{\"schema\": 2}", "{\"room\": \"watch\"}"] {
            assert_eq!(Layout::read(text), None, "{text}");
        }
        let text = "{\"schema\": 1, \"room\": \"attic\", \"watch\": {\"x\": \"moons\", \"steps\": [9, 9]}, \
                    \"compare\": {\"part\": \"\"}, \"export\": {\"target\": 99}, \"later\": true}";
        let layout = Layout::read(text).expect("a newer file of the same version");
        let mut after = state();
        after.room = Room::Setup;
        layout.restore(&mut after);
        assert_eq!((after.room, after.watch.x, after.watch.steps), (Room::Setup, XAxis::Step, None));
        assert_eq!((after.compare.part, after.export.target), (Part::Curves, 0));
        assert_eq!(after.compare, crate::state::compare::Compare::default(), "what is not said is as at first");
    }

    #[test]
    fn home_and_a_run_that_goes_on_are_not_left_for_a_remembered_room() {
        let mut before = state();
        before.room = Room::Watch;
        let watch = Layout::of(&before, &Layout::default());
        before.room = Room::Home;
        assert_eq!(Layout::of(&before, &watch).room, "watch", "from Home one comes back to where one was");
        let mut after = state();
        after.room = Room::Export;
        watch.restore(&mut after);
        assert_eq!(after.room, Room::Export, "who went elsewhere meanwhile stays there");
    }
}
