//! What a run of the project as it stands can leave as: a table of all targets that is read, not chosen from. The room
//! Export shows it while there is no run to write, and Setup as a sheet.

use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::theme::{Type, icons};
use crate::update::{Support, is_gguf_unsure, supports};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{panel, text};
use egui::{Align, Rect, Sense, Ui, pos2, vec2};

/// Height of the table's head, and of a row whose words need one line.
const HEAD: f32 = 22.0;
const ROW: f32 = 23.0;
/// Space between two columns.
const GAP: f32 = 18.0;
/// Width of the mark before the words of a verdict.
const MARK: f32 = 22.0;
/// Space above and below the words of a verdict.
const PAD: f32 = 2.5;

/// The table as a panel.
pub fn panel_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("commands-support"), t!("export-targets-note"));
    support_ui(cx, ui, inside);
}

/// What the table is about, the table, and what is not known yet; it scrolls where there is no room for all of it.
pub fn support_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let above = text::block(ui, rect.min, rect.width(), &lead(cx), Type::Body, cx.c().text2) + 8.0;
    scrolled(ui, rect.with_min_y(rect.top() + above), "what can be exported", |ui, area| {
        let used = table_ui(cx, ui, area);
        ui.allocate_rect(Rect::from_min_size(area.min, vec2(area.width(), used)), Sense::hover());
    });
}

/// Height that [`support_ui`] needs in order not to scroll.
#[must_use]
pub fn height(cx: &PanelCtx<'_>, ui: &Ui, width: f32) -> f32 {
    let lines = supports(cx.state);
    let columns = Columns::of(ui, &lines);
    let rows: f32 = lines.iter().map(|line| columns.height(ui, width, line)).sum();
    let note = note(cx).map_or(0.0, |words| text::block_height(ui, width, words, Type::Body) + 8.0);
    text::block_height(ui, width, &lead(cx), Type::Body) + 8.0 + HEAD + rows + note
}

fn lead(cx: &PanelCtx<'_>) -> String {
    let method = cx.state.method_title(&cx.state.draft.project.method.id);
    let model = format::plain_name(&cx.state.draft.project.model.path);
    t!("export-support-lead", method = method, model = model)
}

/// What only the data will tell.
fn note(cx: &PanelCtx<'_>) -> Option<&'static str> {
    is_gguf_unsure(cx.state).then_some(t!("export-gguf-unsure"))
}

/// What the last column says of a target.
fn verdict(line: &Support) -> String {
    match &line.hindrance {
        None => t!("export-is-possible").to_owned(),
        Some(reason) => t!("export-impossible-because", reason = reason.trim_end_matches('.')),
    }
}

/// Where the columns stand, counted from the left of a row: as wide as what is in them.
struct Columns {
    /// Left of the programs.
    opens: f32,
    /// Right of the sizes.
    size: f32,
    /// Left of the verdicts, which have what is left over.
    verdict: f32,
}

impl Columns {
    fn of(ui: &Ui, lines: &[Support]) -> Self {
        let widest = |head: &str, cells: Vec<&str>| {
            let head = text::width(ui, head, Type::Caption);
            cells.into_iter().map(|words| text::width(ui, words, Type::Body)).fold(head, f32::max).ceil()
        };
        let names = widest(t!("export-head-format"), lines.iter().map(|line| line.target.name.get()).collect());
        let programs = widest(t!("export-head-opens"), lines.iter().map(|line| line.target.opens_in).collect());
        let opens = names + GAP;
        let size = opens + programs + GAP + text::width(ui, t!("export-head-about"), Type::Caption).ceil();
        Self { opens, size, verdict: size + GAP }
    }

    /// Room for the words of a verdict in a row `width` wide.
    fn room(&self, width: f32) -> f32 {
        (width - self.verdict - MARK).max(80.0)
    }

    fn height(&self, ui: &Ui, width: f32, line: &Support) -> f32 {
        let words = text::block_height(ui, self.room(width), &verdict(line), Type::Body);
        (words + 2.0 * PAD).max(ROW)
    }

    /// Places in a row: for the name, and for programs at the left and a size at the right.
    fn places(&self, row: Rect) -> [Rect; 2] {
        let (opens, size) = (row.left() + self.opens, row.left() + self.size);
        [row.with_max_x(opens - GAP), row.with_min_x(opens).with_max_x(size)]
    }
}

/// The table, and what is not known yet; gives the height that both take.
fn table_ui(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect) -> f32 {
    let c = cx.c();
    let targets = supports(cx.state);
    let columns = Columns::of(ui, &targets);
    let mut lines = Rows::new(area);
    let head = lines.next(HEAD);
    rows::table_head(ui, cx.theme, head, 8.0);
    let [name, middle] = columns.places(head);
    text::line(ui, name, Align::Min, t!("export-head-format"), Type::Caption, c.text2);
    text::line(ui, middle, Align::Min, t!("export-head-opens"), Type::Caption, c.text2);
    text::line(ui, middle, Align::Max, t!("export-head-about"), Type::Caption, c.text2);
    let result = head.with_min_x(head.left() + columns.verdict);
    text::line(ui, result, Align::Min, t!("export-head-result"), Type::Caption, c.text2);
    for line in &targets {
        let row = lines.next(columns.height(ui, area.width(), line));
        row_ui(cx, ui, row, &columns, line);
    }
    if let Some(words) = note(cx) {
        lines.gap(8.0);
        lines.y += text::block(ui, pos2(area.left(), lines.y), area.width(), words, Type::Body, c.text2);
    }
    lines.y - area.top()
}

fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, columns: &Columns, line: &Support) {
    let c = cx.c();
    rows::underline(ui, cx.theme, row);
    // The first line of a verdict stands beside the name.
    let first = row.with_max_y(row.top() + ROW);
    let [name, middle] = columns.places(first);
    let possible = line.hindrance.is_none();
    let (strong, plain) = if possible { (c.text, c.text2) } else { (c.text3, c.text3) };
    text::line(ui, name, Align::Min, line.target.name.get(), Type::Body, strong);
    text::line(ui, middle, Align::Min, line.target.opens_in, Type::Body, plain);
    if possible {
        // What is never written has no size.
        let figure = match line.bytes {
            Some(bytes) => format::mib_figure(bytes as f64 / 1_048_576.0),
            None => format::UNKNOWN.to_owned(),
        };
        text::line(ui, middle, Align::Max, &figure, Type::Mono, c.text);
    }
    let left = row.left() + columns.verdict;
    let (icon, colour) = if possible { (icons::CHECK_CIRCLE, c.ok) } else { (icons::PROHIBIT, c.text3) };
    text::icon(ui.painter(), pos2(left + 8.0, first.center().y), icon, 16.0, colour);
    let words = pos2(left + MARK, row.top() + PAD);
    text::block(ui, words, columns.room(row.width()), &verdict(line), Type::Body, c.text2);
}
