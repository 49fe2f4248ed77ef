//! Certificates: what was checked, what was measured, the limit, over what; for passed and refused alike.

use super::measured;
use crate::commands::UiCommand;
use crate::format;
use crate::reader::checks;
use crate::reader::events::EventKind;
use crate::reader::snapshot::ExportRecord;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::export::{Certificate, TARGETS};
use crate::state::{Ask, State};
use crate::theme::{Type, icons};
use crate::update::{export_bytes, export_run, target_hindrance};
use crate::widgets::button::Weight;
use crate::widgets::rows::Rows;
use crate::widgets::text::{self, Piece};
use crate::widgets::{Button, bar, empty, panel, problem};
use egui::{Align, CornerRadius, Rect, Stroke, Ui, pos2, vec2};
use temper_protocol::{ExportFormat, StorageType};

const HEAD: f32 = 47.0;
const GAP: f32 = 8.0;

/// Shows the column.
pub fn certificates_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let known = of_chosen(cx.state);
    let working = cx.state.exporting().is_some();
    if known.is_empty() && !working && cx.state.export.problem.is_none() {
        panel::surface(ui, cx.theme, rect);
        let area = rect.shrink(20.0);
        let words = t!("export-none-lead");
        empty::show(ui, cx.theme, area, icons::SEAL_CHECK, t!("export-none"), words, &[]);
        return;
    }
    scrolled(ui, rect, "certificates", |ui, area| {
        let mut y = area.top();
        if let Some(found) = &cx.state.export.problem {
            let title = t!("export-not-written", what = found.what);
            let height = problem::wide_height(ui, area.width(), found, "", 0);
            let place = Rect::from_min_size(pos2(area.left(), y), vec2(area.width(), height));
            problem::wide(ui, cx.theme, place, &title, found, "", &[], false, cx.out);
            y = place.bottom() + GAP;
        }
        if working {
            let place = Rect::from_min_size(pos2(area.left(), y), vec2(area.width(), 104.0));
            working_ui(cx, ui, place);
            y = place.bottom() + GAP;
        }
        for certificate in &known {
            let height = height(ui, area.width(), &certificate.record);
            let place = Rect::from_min_size(pos2(area.left(), y), vec2(area.width(), height));
            certificate_ui(cx, ui, place, certificate);
            y = place.bottom() + GAP;
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), y)), egui::Sense::hover());
    });
}

/// Certificates of what is chosen, and of nothing else: those of this session, then those that the store has, each newest
/// first. The store is read for the watched run alone; of an adapter folder it has none.
#[must_use]
pub fn of_chosen(state: &State) -> Vec<Certificate> {
    let run = export_run(state).map(|row| row.run);
    let adapter = state.export.adapter.as_ref();
    let is_of_it = |known: &&Certificate| known.adapter.as_ref() == adapter && (adapter.is_some() || known.run == run);
    let mut known: Vec<Certificate> = state.export.certificates.iter().filter(is_of_it).cloned().collect();
    let view = state.runs.view.as_ref().filter(|view| Some(view.row.run) == run);
    for record in view.into_iter().flat_map(|view| view.exports.iter().rev()) {
        if !known.iter().any(|other| other.record.path == record.path) {
            known.push(Certificate { target: None, run, adapter: None, record: record.clone(), secs: 0.0 });
        }
    }
    known.retain(|certificate| certificate.record.pass.is_some());
    known
}

/// Whether the run came to another state after this was written: of a run with validations to a better one, otherwise to
/// any. Told by the events, which are read for the watched run alone; of others nobody knows, and nothing is said.
#[must_use]
pub fn is_older(state: &State, certificate: &Certificate) -> bool {
    let view = state.runs.view.as_ref().filter(|view| Some(view.row.run) == certificate.run);
    let Some(view) = view else { return false };
    let newer = if view.row.best_step > 0 { EventKind::Best } else { EventKind::Run };
    let mut after = view.events.iter().rev().take_while(|line| line.at_millis > certificate.record.at_millis);
    after.any(|line| line.kind == newer)
}

fn working_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    panel::surface(ui, cx.theme, rect);
    let Some((request, asked)) = cx.state.exporting() else { return };
    let Some(running) = cx.state.jobs.get(request) else { return };
    let name = TARGETS.get(asked.target).map_or_else(|| t!("export-the-export"), |target| target.name.get());
    let mut lines = Rows::new(rect.shrink(14.0));
    let title = t!("export-writing", name = name);
    text::line(ui, lines.next(20.0), Align::Min, &title, Type::Card, c.text);
    let stage = if running.stage.is_empty() { t!("export-starting") } else { &running.stage };
    let far = format::how_far(running.done, running.total, &running.unit);
    lines.gap(4.0);
    text::data(ui, lines.next(18.0), Align::Min, &crate::reader::words::sentence_case(stage), Type::Body, c.text2);
    lines.gap(4.0);
    bar::progress(ui, cx.theme, lines.next(4.0), &title, running.share(), c.accent);
    lines.gap(4.0);
    let row = lines.next(20.0);
    text::line(ui, row, Align::Min, &far, Type::Body, c.text2);
    let button = Button::new(t!("common-cancel")).weight(Weight::Link).tooltip(t!("export-cancel-tip"));
    let width = button.width(ui);
    if button.show(ui, cx.theme, row.with_min_x(row.right() - width)).clicked() {
        cx.send(UiCommand::Cancel(request));
    }
}

fn title_of(record: &ExportRecord, target: Option<usize>) -> String {
    let format = ExportFormat::from_name(&record.format).map(crate::state::export::format_words);
    let name = target.and_then(|index| TARGETS.get(index)).map(|target| target.name.get());
    let what = name.or(format).unwrap_or(&record.format);
    if record.pass == Some(true) { t!("export-passed", what = what) } else { t!("export-refused", what = what) }
}

fn why(record: &ExportRecord) -> String {
    let sentences: Vec<String> = record.reasons.iter().map(|text| checks::reason(&record.checks, text)).collect();
    sentences.join(" ")
}

fn height(ui: &Ui, width: f32, record: &ExportRecord) -> f32 {
    let why = why(record);
    let reasons =
        if why.is_empty() { 0.0 } else { text::block_height(ui, width - 24.0 - 36.0, &why, Type::Body) + 10.0 };
    let ways = if record.pass == Some(false) { 38.0 } else { 0.0 };
    HEAD + measured::HEAD + measured::ROW * record.checks.len() as f32 + reasons + ways + 30.0
}

fn certificate_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, certificate: &Certificate) {
    let c = cx.c();
    let record = &certificate.record;
    let passed = record.pass == Some(true);
    let (icon, colour, area) =
        if passed { (icons::SEAL_CHECK, c.ok, c.ok_bg) } else { (icons::X_CIRCLE, c.err, c.err_bg) };
    panel::bordered(ui, rect, c.card, colour);
    let head = Rect::from_min_size(rect.min + vec2(1.0, 1.0), vec2(rect.width() - 2.0, HEAD));
    ui.painter().rect_filled(head, CornerRadius { nw: 5, ne: 5, sw: 0, se: 0 }, area);
    ui.painter().hline(head.x_range(), head.bottom() + 0.5, Stroke::new(1.0, colour));
    text::icon(ui.painter(), pos2(head.left() + 23.0, head.center().y), icon, 24.0, colour);
    let show = Button::new(t!("export-show-folder")).icon(icons::FOLDER_OPEN).tooltip(t!("commands-show-folder-help"));
    let width = show.width(ui);
    let button = Rect::from_min_size(pos2(head.right() - 11.0 - width, head.top() + 10.0), vec2(width, 28.0));
    if show.show(ui, cx.theme, button).clicked() {
        let folder = if record.path.extension().is_some_and(|end| end == "gguf") {
            record.path.parent().map(std::path::Path::to_path_buf).unwrap_or_default()
        } else {
            record.path.clone()
        };
        cx.send(UiCommand::Reveal(folder));
    }
    let verify = Button::icon_only(icons::ARROW_CLOCKWISE, t!("export-check-again")).weight(Weight::Normal);
    let again = Rect::from_min_size(pos2(button.left() - 34.0, button.top()), vec2(28.0, 28.0));
    let busy = cx.state.jobs.find(|ask| matches!(ask, Ask::Verify(_))).is_some();
    let of_run = certificate.adapter.is_none();
    let verify = if of_run { verify } else { verify.tooltip(t!("export-no-again")) };
    if verify.enabled(!busy && of_run).show(ui, cx.theme, again).clicked() {
        cx.send(UiCommand::Verify(record.path.clone()));
    }
    let words =
        Rect::from_min_max(pos2(head.left() + 45.0, head.top() + 5.0), pos2(again.left() - 10.0, head.bottom() - 4.0));
    text::data(
        ui,
        words.with_max_y(words.top() + 20.0),
        Align::Min,
        &title_of(record, certificate.target),
        Type::Card,
        c.text,
    );
    file_and_size(cx, ui, words.with_min_y(words.bottom() - 18.0), certificate);
    let body = Rect::from_min_max(
        pos2(rect.left() + 12.0, head.bottom() + 2.0),
        pos2(rect.right() - 12.0, rect.bottom() - 4.0),
    );
    let mut lines = Rows::new(body);
    measured::table(cx, ui, &mut lines, &record.checks);
    verdict(cx, ui, &mut lines, certificate);
    foot(cx, ui, &mut lines, record);
}

/// The name of what was written, its size, and how long that took. Where there is little room the name gives way.
fn file_and_size(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, certificate: &Certificate) {
    let record = &certificate.record;
    let path = record.path.display().to_string();
    let name = format::file_name(&path);
    let mut rest = if record.bytes > 0 { format::bytes(record.bytes) } else { String::new() };
    if certificate.secs > 0.0 {
        rest.push_str(&t!("export-took", time = format::duration(certificate.secs)));
    }
    let rest = rest.trim_start_matches(", ");
    let room = row.width() - text::width(ui, rest, Type::Body) - text::PIECE_GAP;
    let end = row.left() + (text::width(ui, name, Type::Body) + 1.0).min(room.max(LEAST_NAME));
    text::path(ui, row.with_max_x(end), name, Type::Body, cx.c().text2);
    if !rest.is_empty() {
        text::data(ui, row.with_min_x(end + text::PIECE_GAP), Align::Min, rest, Type::Body, cx.c().text2);
    }
}

/// Room that the name of a file has in any case.
const LEAST_NAME: f32 = 80.0;

fn verdict(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, certificate: &Certificate) {
    let c = cx.c();
    let record = &certificate.record;
    let why = why(record);
    let passed = record.pass == Some(true);
    if !why.is_empty() {
        lines.gap(5.0);
        let left = lines.area.left();
        let key = Rect::from_min_size(pos2(left, lines.y), vec2(34.0, 18.0));
        text::line(
            ui,
            key,
            Align::Min,
            if passed { t!("export-note") } else { t!("export-why") },
            Type::Strong,
            c.text,
        );
        let width = lines.area.width() - 36.0;
        lines.y += text::block(ui, pos2(left + 36.0, lines.y), width, &why, Type::Body, c.text) + 5.0;
    }
    if passed {
        return;
    }
    let row = lines.next(34.0);
    text::line(ui, row.with_max_y(row.top() + 28.0), Align::Min, t!("export-do"), Type::Strong, c.text);
    let mut x = row.left() + 36.0;
    if checks::is_damaged(&record.checks) {
        // What was written was good: another target would not mend a file that was changed afterwards.
        let size = if record.bytes > 0 { format!(", {}", format::bytes(record.bytes)) } else { String::new() };
        let label = t!("export-write-again", size = size);
        let ready = cx.state.exporting().is_none() && !cx.state.rehousing;
        let button = Button::new(&label).icon(icons::ARROW_CLOCKWISE).enabled(ready);
        let button = button.tooltip(t!("export-write-again-tip"));
        let place = Rect::from_min_size(pos2(x, row.top()), vec2(button.width(ui), 28.0));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(UiCommand::WriteAgain(Box::new(certificate.clone())));
        }
        return;
    }
    let mut weight = Weight::Primary;
    for index in ways_out(certificate.target_index()) {
        let (Some(target), Some(bytes)) = (TARGETS.get(index), export_bytes(cx.state, index)) else {
            continue;
        };
        if target_hindrance(cx.state, target).is_some() {
            continue;
        }
        let size = format::bytes(bytes);
        let label = t!("export-choose", name = target.name.get(), size = size);
        let button = Button::new(&label).weight(weight).tooltip(t!("export-choose-tip"));
        let width = button.width(ui);
        if x + width > row.right() {
            break;
        }
        weight = Weight::Normal;
        let place = Rect::from_min_size(pos2(x, row.top()), vec2(width, 28.0));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(UiCommand::ExportTarget(index));
        }
        x = place.right() + 8.0;
    }
}

/// Targets instead of a refused one, the nearest first: of a merged model the next wider numbers, which lose less; then the
/// change alone, which loses nothing, in the form for the same programs; last a model in f16.
fn ways_out(refused: Option<usize>) -> Vec<usize> {
    let target = refused.and_then(|index| TARGETS.get(index));
    let format = target.map(|target| target.format);
    let wider: &[StorageType] = match target.and_then(|target| target.dtype) {
        Some(StorageType::F32) => &[],
        Some(StorageType::F16 | StorageType::Bf16) => &[StorageType::F32],
        Some(StorageType::Q8_0) => &[StorageType::F16],
        Some(StorageType::Q6K | StorageType::Q5K | StorageType::Q4K) | None => &[StorageType::Q8_0, StorageType::F16],
    };
    let place = |dtype: &StorageType| {
        TARGETS.iter().position(|target| Some(target.format) == format && target.dtype == Some(*dtype))
    };
    let mut ways: Vec<usize> = wider.iter().filter_map(place).collect();
    // Beside a merged GGUF only wider ones of it are a way out.
    let others: &[usize] = if format == Some(ExportFormat::Gguf) { &[1, 0] } else { &[0, 1, 5] };
    ways.extend(others.iter().filter(|index| Some(**index) != refused));
    ways
}

fn foot(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, record: &ExportRecord) {
    let c = cx.c();
    let row = lines.next(26.0);
    let ago = format::ago(record.at_millis, cx.state.clock.now_millis());
    let when = t!("export-compared", ago = ago);
    let width = text::width(ui, &when, Type::Body);
    text::line(ui, row, Align::Max, &when, Type::Body, c.text2);
    if record.sha256.is_empty() {
        return;
    }
    let short = match (record.sha256.get(..8), record.sha256.get(record.sha256.len().saturating_sub(4)..)) {
        (Some(start), Some(end)) => format!("{start} … {end}"),
        _ => record.sha256.clone(),
    };
    let pieces = [Piece("sha-256", Type::Body, c.text2), Piece(&short, Type::Mono, c.text)];
    let end = text::pieces(ui, row.with_max_x(row.right() - width - 40.0), &pieces);
    let place = Rect::from_min_size(pos2(end + 6.0, row.top() + 3.0), vec2(20.0, 20.0));
    if Button::icon_only(icons::COPY, t!("export-copy-hash")).show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Copy(record.sha256.clone(), t!("export-hash")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Places;
    use crate::reader::events::EventLine;
    use crate::reader::{RunView, RunsSnapshot};
    use crate::state::Clock;
    use crate::state::export::BareAdapter;
    use std::path::PathBuf;
    use std::sync::Arc;
    use temper_store::RunRow;

    fn record(path: &str) -> ExportRecord {
        let pass = Some(true);
        ExportRecord {
            format: "gguf".to_owned(),
            path: PathBuf::from(path),
            pass,
            at_millis: 100,
            ..ExportRecord::default()
        }
    }

    fn certificate(run: Option<u64>, adapter: Option<BareAdapter>, path: &str) -> Certificate {
        Certificate { target: Some(5), run, adapter, record: record(path), secs: 0.0 }
    }

    /// Runs 2 and 1, of which 2 is watched, with an export in the store and one of this session for each.
    fn state() -> State {
        let places = Places { config: PathBuf::new(), data: PathBuf::new(), projects: PathBuf::new() };
        let mut state = State::new(places, Clock::Fixed(0));
        let row = |run: u64| RunRow { run, adapter: Some(PathBuf::from("a")), best_step: 50, ..RunRow::default() };
        let exports = vec![record("/e/run2-gguf-q8_0.gguf"), record("/e/run2-gguf-f16.gguf")];
        let view = Some(Arc::new(RunView { row: row(2), exports, ..RunView::default() }));
        state.runs = Arc::new(RunsSnapshot { runs: vec![row(2), row(1)], view, ..RunsSnapshot::default() });
        let bare = BareAdapter { path: "/a".to_owned(), model: None };
        state.export.certificates = vec![
            certificate(Some(1), None, "/e/run1-gguf-f16.gguf"),
            certificate(Some(2), None, "/e/run2-gguf-f16.gguf"),
            certificate(None, Some(bare), "/e/a-gguf-f16.gguf"),
        ];
        state
    }

    fn paths(state: &State) -> Vec<String> {
        of_chosen(state).iter().map(|known| known.record.path.display().to_string()).collect()
    }

    #[test]
    fn what_is_chosen_has_its_own_certificates_and_no_others() {
        let mut state = state();
        state.export.run = Some(2);
        assert_eq!(
            paths(&state),
            ["/e/run2-gguf-f16.gguf", "/e/run2-gguf-q8_0.gguf"],
            "what is known twice stands once"
        );
        let targets: Vec<_> = of_chosen(&state).iter().map(Certificate::target_index).collect();
        assert_eq!(targets, [Some(5), Some(7)], "one of the store has its row too");
        state.export.run = Some(1);
        assert_eq!(paths(&state), ["/e/run1-gguf-f16.gguf"], "the store was read for another run");
        state.export.adapter = Some(BareAdapter { path: "/a".to_owned(), model: None });
        assert_eq!(paths(&state), ["/e/a-gguf-f16.gguf"]);
        state.export.adapter = Some(BareAdapter::default());
        assert!(paths(&state).is_empty());
    }

    #[test]
    fn an_export_is_older_when_the_run_came_to_a_better_state_afterwards() {
        let mut state = state();
        let written = certificate(Some(2), None, "/e/run2-gguf-f16.gguf");
        let mut after = |kind: EventKind, at_millis: i64, best_step: u64| {
            let line = EventLine { step: 60, at_millis, kind, text: String::new() };
            let row = RunRow { run: 2, best_step, ..RunRow::default() };
            let view = Some(Arc::new(RunView { row, events: Arc::new(vec![line]), ..RunView::default() }));
            state.runs = Arc::new(RunsSnapshot { view, ..RunsSnapshot::default() });
            is_older(&state, &written)
        };
        assert!(after(EventKind::Best, 101, 60));
        assert!(!after(EventKind::Best, 99, 60), "it was best before");
        assert!(!after(EventKind::File, 101, 60), "its own line in the list of events");
        assert!(!after(EventKind::Run, 101, 50), "it went on, and nothing was better");
        assert!(after(EventKind::Run, 101, 0), "without validations the last state is what is exported");
        assert!(!is_older(&state, &certificate(Some(1), None, "/e/run1-gguf-f16.gguf")), "of others nobody knows");
    }

    #[test]
    fn a_refused_target_is_led_to_wider_numbers_and_never_to_itself() {
        assert_eq!(ways_out(Some(10)), [7, 5, 1, 0], "Q4_K_M: Q8_0, f16, the change alone");
        assert_eq!(ways_out(Some(11)), [7, 5, 1, 0], "as the base");
        assert_eq!(ways_out(Some(7)), [5, 1, 0]);
        assert_eq!(ways_out(Some(5)), [6, 1, 0]);
        assert_eq!(ways_out(Some(6)), [1, 0]);
        assert_eq!(ways_out(Some(2)), [4, 0, 1, 5], "a folder");
        assert_eq!(ways_out(Some(0)), [1, 5]);
        assert_eq!(ways_out(None), [0, 1, 5]);
        for refused in 0..TARGETS.len() {
            assert!(!ways_out(Some(refused)).contains(&refused));
        }
    }
}
