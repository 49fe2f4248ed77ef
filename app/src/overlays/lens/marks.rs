//! How each kind of token is written: by colour, and by line or slant for whoever does not see the colour.

use crate::rooms::PanelCtx;
use crate::state::token_loss::strength;
use crate::theme::{Theme, Type};
use egui::text::{LayoutJob, TextFormat};
use egui::{Color32, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use temper_protocol::event::LensRow;

/// What a token is to the training, by its letter in the engine's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Trained,
    Context,
    Template,
    CutOff,
}

impl Mark {
    const ALL: [Self; 4] = [Self::Trained, Self::Context, Self::Template, Self::CutOff];

    pub(super) fn of(letter: char) -> Self {
        match letter {
            't' => Self::Trained,
            'm' => Self::Template,
            'x' => Self::CutOff,
            _ => Self::Context,
        }
    }

    /// Its name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Trained => t!("lens-trained"),
            Self::Context => t!("lens-context"),
            Self::Template => t!("lens-template"),
            Self::CutOff => t!("lens-cut-off"),
        }
    }

    fn tip(self) -> &'static str {
        match self {
            Self::Trained => t!("lens-trained-tip"),
            Self::Context => t!("lens-context-tip"),
            Self::Template => t!("lens-template-tip"),
            Self::CutOff => t!("lens-cut-off-tip"),
        }
    }

    /// Trained: on an area and underlined. Template: slanted and dim. Cut off: struck through. Every other token of a kind
    /// is a shade lighter, so that one ends where the next begins.
    fn format(self, theme: &Theme, odd: bool) -> TextFormat {
        let c = &theme.colours;
        let kind = Type::Body;
        let shade = |full: Color32| if odd { full.lerp_to_gamma(c.card, 0.5) } else { full };
        let plain = TextFormat {
            font_id: kind.font(),
            color: c.text,
            line_height: Some(kind.line_height()),
            background: if odd { c.raised } else { Color32::TRANSPARENT },
            ..TextFormat::default()
        };
        match self {
            Self::Trained => TextFormat { background: shade(c.ok_bg), underline: Stroke::new(1.5, c.ok), ..plain },
            Self::Context => plain,
            Self::Template => TextFormat { color: c.text3, italics: true, ..plain },
            Self::CutOff => TextFormat { color: c.err, strikethrough: Stroke::new(1.0, c.err), ..plain },
        }
    }
}

/// The marks of a row with the text of each token.
pub(super) fn tokens(row: &LensRow) -> impl Iterator<Item = (&str, Mark)> {
    row.pieces.iter().map(String::as_str).zip(row.marks.chars().map(Mark::of))
}

/// What stands before a token with which another training row begins.
pub(super) const BORDER: &str = "│";

/// A row as a line: whether it is left out, why it is not trained, and its tokens without line breaks.
pub(super) fn line(theme: &Theme, row: &LensRow, left_out: bool) -> LayoutJob {
    let mut job = LayoutJob::default();
    if left_out {
        let format = TextFormat { color: theme.colours.warn, ..Mark::Context.format(theme, false) };
        job.append(t!("lens-left-out"), 0.0, format.clone());
        job.append("   ", 0.0, format);
    }
    if !row.problem.is_empty() {
        let why = t!("lens-not-trained", why = row.problem);
        let format = TextFormat { color: theme.colours.warn, ..Mark::Context.format(theme, false) };
        job.append(&why, 0.0, format.clone());
        job.append("   ", 0.0, format);
    }
    append(&mut job, theme, row, None, true);
    job
}

/// A row's tokens as one text; with `losses` each on an area as strong as what it costs.
pub(super) fn whole(theme: &Theme, row: &LensRow, losses: Option<&[f64]>) -> LayoutJob {
    let mut job = LayoutJob::default();
    append(&mut job, theme, row, losses, false);
    job
}

/// The area of a token with this strength of loss, 0 to 1.
pub(super) fn tint(theme: &Theme, strength: f32) -> Color32 {
    theme.colours.card.lerp_to_gamma(theme.colours.warn_bg, strength)
}

fn append(job: &mut LayoutJob, theme: &Theme, row: &LensRow, losses: Option<&[f64]>, flat: bool) {
    for (index, (piece, mark)) in tokens(row).enumerate() {
        if row.borders.contains(&(index as u64)) {
            let border = TextFormat { color: theme.colours.warn, ..Mark::Context.format(theme, false) };
            job.append(BORDER, 0.0, border);
        }
        let mut format = mark.format(theme, index % 2 == 1);
        if let Some(losses) = losses {
            let strength = losses.get(index).and_then(|loss| strength(*loss));
            format.background = strength.map_or(Color32::TRANSPARENT, |strength| tint(theme, strength));
        }
        if flat && piece.contains(char::is_control) {
            job.append(&piece.replace(char::is_control, " "), 0.0, format);
        } else {
            job.append(piece, 0.0, format);
        }
    }
}

/// A row for those who hear it: the kinds and their text in turn.
pub(super) fn spoken(row: &LensRow) -> String {
    let mut said = String::new();
    let mut last = None;
    for (piece, mark) in tokens(row) {
        if last != Some(mark) {
            if last.is_some() {
                said.push_str("; ");
            }
            said.push_str(mark.word());
            said.push_str(": ");
            last = Some(mark);
        }
        said.push_str(piece);
    }
    said
}

/// What the marks mean, at the right of `row`; gives where it begins.
pub(super) fn legend(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) -> f32 {
    let mut right = row.right();
    for mark in Mark::ALL.into_iter().rev() {
        let mut job = LayoutJob::default();
        job.append(mark.word(), 0.0, mark.format(cx.theme, false));
        let galley = ui.painter().layout_job(job);
        let size = galley.size();
        let place = Rect::from_min_size(
            pos2((right - size.x).round(), (row.center().y - size.y / 2.0).round()),
            vec2(size.x, size.y),
        );
        ui.painter().galley(place.min, galley, cx.c().text);
        let response = ui.allocate_rect(place, Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, mark.word()));
        response.on_hover_text(mark.tip());
        right = place.left() - 14.0;
    }
    right + 14.0
}

/// The sentence that counts a row's tokens.
pub(super) fn counts(row: &LensRow) -> String {
    let mut words =
        t!("lens-row-counts", trained = crate::format::count(row.trained), tokens = crate::format::count(row.tokens));
    if row.cut > 0 {
        words.push_str(", ");
        words.push_str(&t!("lens-row-cut", cut = crate::format::count(row.cut)));
    }
    words
}

/// A piece of text for a tooltip: blanks and line ends are visible.
pub(super) fn visible(piece: &str) -> String {
    piece.replace('\n', "\\n").replace('\t', "\\t").replace(' ', "·")
}
