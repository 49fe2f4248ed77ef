//! The table of a certificate: what was checked, what was measured, the limit, over what. Its columns are as wide as what
//! stands in them.

use crate::format;
use crate::reader::{checks, words};
use crate::rooms::PanelCtx;
use crate::theme::{Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use egui::{Align, Rect, Ui, pos2};
use temper_protocol::event::Check;

/// Height of the head.
pub(super) const HEAD: f32 = 22.0;
/// Height of a row.
pub(super) const ROW: f32 = 23.0;
/// Width of the mark before the name, with its gap.
const MARK: f32 = 22.0;
/// Least space between two columns.
const LEAST_GAP: f32 = 6.0;
/// Width that the last column has in any case.
const LEAST_OVER: f32 = 40.0;

/// A row in words.
struct Line {
    name: String,
    measured: String,
    limit: String,
    over: String,
    pass: bool,
}

impl Line {
    fn of(check: &Check) -> Self {
        Self {
            name: words::sentence_case(&check.name),
            measured: checks::measured(check),
            limit: checks::limit(check),
            over: format::figures(&check.over),
            pass: check.pass,
        }
    }

    fn name_type(&self) -> Type {
        if self.pass { Type::Body } else { Type::Strong }
    }
}

/// Left and right end of each column in a row `room` wide, from what their contents want: what is left over goes between
/// them. Where there is too little, the last column gives way first, whose tooltip has it whole, then the names.
fn ends(wanted: [f32; 4], room: f32) -> [(f32, f32); 4] {
    let [name, measured, limit, over] = wanted;
    let figures = measured + limit + 3.0 * LEAST_GAP;
    let over = over.min((room - name - figures).max(LEAST_OVER));
    let name = name.min((room - over - figures).max(0.0));
    let gap = ((room - name - measured - limit - over) / 3.0).max(LEAST_GAP);
    let mut left = 0.0;
    [name, measured, limit, over].map(|width| {
        let column = (left, left + width);
        left += width + gap;
        column
    })
}

/// Shows head and rows.
pub(super) fn table(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, made: &[Check]) {
    let c = cx.c();
    let shown: Vec<Line> = made.iter().map(Line::of).collect();
    let heads = [t!("export-head-check"), t!("export-head-measured"), t!("export-head-limit"), t!("export-head-over")];
    let mut wanted = heads.map(|head| text::width(ui, head, Type::Caption));
    for line in &shown {
        let widths = [
            text::width(ui, &line.name, line.name_type()),
            text::width(ui, &line.measured, Type::Mono),
            text::width(ui, &line.limit, Type::Mono),
            text::width(ui, &line.over, Type::Body),
        ];
        for (most, width) in wanted.iter_mut().zip(widths) {
            *most = most.max(width);
        }
    }
    // A line exactly as wide as its place would be cut off by rounding.
    let wanted = wanted.map(|width| width.ceil() + 1.0);
    let columns = ends(wanted, lines.area.width() - MARK);
    let places = |row: Rect| {
        columns.map(|(left, right)| {
            let start = row.left() + MARK;
            Rect::from_min_max(pos2(start + left, row.top()), pos2(start + right, row.bottom()))
        })
    };
    let head = lines.next(HEAD);
    for (index, (place, name)) in places(head).into_iter().zip(heads).enumerate() {
        let align = if index == 0 { Align::Min } else { Align::Max };
        text::line(ui, place, align, name, Type::Caption, c.text2);
    }
    rows::underline(ui, cx.theme, head);
    for line in &shown {
        let row = lines.next(ROW);
        rows::underline(ui, cx.theme, row);
        let (icon, colour) = if line.pass { (icons::CHECK_BOLD, c.ok) } else { (icons::X_BOLD, c.err) };
        text::icon(ui.painter(), pos2(row.left() + 8.0, row.center().y), icon, 14.0, colour);
        let [name, measured, limit, over] = places(row);
        text::data(ui, name, Align::Min, &line.name, line.name_type(), c.text);
        let colour = if line.pass { c.text } else { c.err };
        text::data(ui, measured, Align::Max, &line.measured, Type::Mono, colour);
        text::data(ui, limit, Align::Max, &line.limit, Type::Mono, c.text2);
        text::data(ui, over, Align::Max, &line.over, Type::Body, c.text2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_contents_and_never_touch() {
        let wanted = [190.0, 52.0, 44.0, 126.0];
        for room in [430.0, 436.0, 600.0, 1000.0] {
            let columns = ends(wanted, room);
            for ((left, right), wanted) in columns.iter().zip(wanted) {
                assert!((right - left - wanted).abs() < 0.01, "{room}: {columns:?}");
            }
            assert!(columns.windows(2).all(|pair| pair[1].0 - pair[0].1 >= LEAST_GAP), "{room}: {columns:?}");
            assert!((columns[3].1 - room).abs() < 0.01, "{room}: the last column ends with the row");
        }
    }

    #[test]
    fn where_there_is_too_little_room_what_it_was_measured_over_gives_way_first_and_figures_never() {
        let wanted = [190.0, 52.0, 44.0, 126.0];
        let width = |(left, right): (f32, f32)| right - left;
        let tight = ends(wanted, 380.0).map(width);
        assert!((tight[0] - 190.0).abs() < 0.01 && tight[3] < 126.0, "{tight:?}");
        let tighter = ends(wanted, 260.0).map(width);
        assert!(tighter[0] < 190.0 && (tighter[3] - LEAST_OVER).abs() < 0.01, "{tighter:?}");
        for columns in [tight, tighter] {
            assert!((columns[1] - 52.0).abs() < 0.01 && (columns[2] - 44.0).abs() < 0.01, "{columns:?}");
        }
    }
}
