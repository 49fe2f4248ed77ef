//! How each kind of token is written: by colour, and by line or slant for whoever does not see the colour.

use super::areas;
use crate::rooms::PanelCtx;
use crate::theme::{Theme, Type};
use egui::text::{LayoutJob, TextFormat};
use egui::{Color32, Painter, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
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

    /// Trained: underlined, and on an area ([`super::areas`]). Template: slanted and dim. Cut off: struck through.
    fn format(self, theme: &Theme) -> TextFormat {
        let c = &theme.colours;
        let kind = Type::Body;
        let plain = TextFormat {
            font_id: kind.font(),
            color: c.text,
            line_height: Some(kind.line_height()),
            ..TextFormat::default()
        };
        match self {
            Self::Trained => TextFormat { underline: Stroke::new(1.5, c.ok), ..plain },
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

/// How wide letters of the list are. Shaping a row costs by its letters, seen or not: it is given those that can be seen.
pub(super) struct Widths<'a> {
    painter: &'a Painter,
    ascii: [f32; 128],
}

impl<'a> Widths<'a> {
    /// Those of the type that the list is written in.
    pub(super) fn of(painter: &'a Painter) -> Self {
        let font = Type::Body.font();
        let ascii =
            painter.fonts_mut(|fonts| std::array::from_fn(|code| fonts.glyph_width(&font, char::from(code as u8))));
        Self { painter, ascii }
    }

    /// Half of it for letters that may join, like those of Arabic or of a composed sign.
    fn of_letter(&self, letter: char) -> f32 {
        let known = self.ascii.get(letter as usize).copied();
        let font = Type::Body.font();
        known.unwrap_or_else(|| 0.5 * self.painter.fonts_mut(|fonts| fonts.glyph_width(&font, letter)))
    }

    /// As many of a row's tokens as reach beyond `width`, points. Letters side by side take less than alone where they are
    /// kerned, so a fifth more is counted as seen.
    pub(super) fn reach(&self, row: &LensRow, width: f32) -> usize {
        let mut left = 1.2 * width;
        for (index, (piece, _)) in tokens(row).enumerate() {
            if left < 0.0 {
                return index;
            }
            left -= piece.chars().map(|letter| self.of_letter(in_line(letter))).sum::<f32>();
        }
        row.pieces.len()
    }
}

/// A letter as it stands in a line: there are no breaks and no tabs.
fn in_line(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

/// A row as a line: whether it is left out, why it is not trained, and its first `most` tokens without line breaks; and
/// how many letters stand before the tokens.
pub(super) fn line(theme: &Theme, row: &LensRow, left_out: bool, most: usize) -> (LayoutJob, usize) {
    let mut job = LayoutJob::default();
    let noted = TextFormat { color: theme.colours.warn, ..Mark::Context.format(theme) };
    if left_out {
        job.append(t!("lens-left-out"), 0.0, noted.clone());
        job.append("   ", 0.0, noted.clone());
    }
    if !row.problem.is_empty() {
        let why = t!("lens-not-trained", why = row.problem);
        job.append(&why, 0.0, noted.clone());
        job.append("   ", 0.0, noted);
    }
    let lead = job.text.chars().count();
    append(&mut job, theme, row, Some(most));
    (job, lead)
}

/// A row's tokens as one text.
pub(super) fn whole(theme: &Theme, row: &LensRow) -> LayoutJob {
    let mut job = LayoutJob::default();
    append(&mut job, theme, row, None);
    job
}

/// The area of a token with this strength of loss, 0 to 1.
pub(super) fn tint(theme: &Theme, strength: f32) -> Color32 {
    theme.colours.card.lerp_to_gamma(theme.colours.warn_bg, strength)
}

/// Appends a row's tokens, those of one kind that follow each other together; the first `flat` of them, without line
/// breaks, where that is given.
fn append(job: &mut LayoutJob, theme: &Theme, row: &LensRow, flat: Option<usize>) {
    let mut run = String::new();
    let mut kind = None;
    for (index, (piece, mark)) in tokens(row).take(flat.unwrap_or(usize::MAX)).enumerate() {
        let border = row.borders.contains(&(index as u64));
        if (border || kind != Some(mark))
            && let Some(mark) = kind.replace(mark)
        {
            job.append(&run, 0.0, Mark::format(mark, theme));
            run.clear();
        }
        if border {
            let format = TextFormat { color: theme.colours.warn, ..Mark::Context.format(theme) };
            job.append(BORDER, 0.0, format);
        }
        if flat.is_some() {
            run.extend(piece.chars().map(in_line));
        } else {
            run.push_str(piece);
        }
    }
    if let Some(mark) = kind {
        job.append(&run, 0.0, mark.format(theme));
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
        let background = areas::colour(cx.theme, 0, mark, None);
        job.append(mark.word(), 0.0, TextFormat { background, ..mark.format(cx.theme) });
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

/// A row of these tokens, whose kinds follow each other as those in `kinds` do.
#[cfg(test)]
pub(super) fn example(pieces: Vec<String>, kinds: &str) -> LensRow {
    let tokens = pieces.len() as u64;
    LensRow {
        row: 0,
        file: "data.jsonl".into(),
        line: 1,
        tokens,
        trained: tokens / 4,
        cut: 0,
        ids: vec![0; pieces.len()],
        marks: kinds.chars().cycle().take(pieces.len()).collect(),
        pieces,
        borders: Vec::new(),
        problem: String::new(),
        losses: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Look;
    use egui::text::TextWrapping;
    use egui::{Context, RawInput};

    #[test]
    fn a_line_of_the_tokens_in_reach_looks_like_one_of_all() {
        let ctx = Context::default();
        crate::theme::install(&ctx);
        let theme = Theme::of(Look::Dark);
        let texts =
            ["ill ", "WAVE AV To ", "naïve façade ", "\u{e9}e\u{301}", "漢字", "\n\t x", "👩\u{200d}🔬", "", "سلام "];
        let mut cut = 0;
        for pass in 0..3 {
            drop(ctx.run_ui(RawInput::default(), |ui| {
                for text in texts {
                    for count in [0, 1, 7, 400] {
                        for max_width in [40.0, 333.0, 900.0] {
                            let row = example(vec![text.to_owned(); count], "ctmx");
                            let reach = Widths::of(ui.painter()).reach(&row, max_width);
                            let layout = |most| {
                                let mut job = line(theme, &row, false, most).0;
                                let overflow_character = Some('…');
                                job.wrap =
                                    TextWrapping { max_width, max_rows: 1, break_anywhere: true, overflow_character };
                                let galley = ui.painter().layout_job(job);
                                galley.rows.iter().map(|row| (row.text(), row.size)).collect::<Vec<_>>()
                            };
                            assert_eq!(layout(reach), layout(count), "{count} of {text:?} in {max_width}, pass {pass}");
                            cut += usize::from(reach < count);
                        }
                    }
                }
            }));
        }
        assert!(cut > 60, "{cut} lines were laid out in part");
    }
}
