//! The areas behind tokens, by which one ends where the next begins.
//!
//! Place in the data flow: the list and the row in full lay out a row's tokens by [`super::marks`], runs of one kind
//! together, because each section of a layout is shaped on its own, which costs more than its letters do. What tells the
//! tokens of a run apart is painted here, beneath the text, from where the letters came to stand.

use super::marks::{self, Mark};
use crate::state::token_loss::strength;
use crate::theme::Theme;
use egui::{Color32, Galley, Mesh, Painter, Pos2, Rect, Shape, pos2};
use temper_protocol::event::LensRow;

/// Letters and the area behind them.
type Span = (usize, Color32);

/// The area of a token: trained ones have one, every other token of any kind another shade; with losses it is as strong
/// as what the token costs.
pub(super) fn colour(theme: &Theme, index: usize, mark: Mark, losses: Option<&[f64]>) -> Color32 {
    let c = &theme.colours;
    let odd = index % 2 == 1;
    if let Some(losses) = losses {
        let strength = losses.get(index).and_then(|loss| strength(*loss));
        return strength.map_or(Color32::TRANSPARENT, |strength| marks::tint(theme, strength));
    }
    match (mark, odd) {
        (Mark::Trained, true) => c.ok_bg.lerp_to_gamma(c.card, 0.5),
        (Mark::Trained, false) => c.ok_bg,
        (_, true) => c.raised,
        (_, false) => Color32::TRANSPARENT,
    }
}

/// The spans of a row after `lead` letters that are no token.
fn spans<'a>(
    theme: &'a Theme,
    row: &'a LensRow,
    lead: usize,
    losses: Option<&'a [f64]>,
) -> impl Iterator<Item = Span> + 'a {
    let tokens = marks::tokens(row).enumerate().flat_map(move |(index, (piece, mark))| {
        let border = row.borders.contains(&(index as u64)).then(|| marks::BORDER.chars().count());
        let token = (piece.chars().count(), colour(theme, index, mark, losses));
        [(border.unwrap_or(0), Color32::TRANSPARENT), token]
    });
    std::iter::once((lead, Color32::TRANSPARENT)).chain(tokens).filter(|(letters, _)| *letters > 0)
}

/// Where the spans came to stand in `galley`, relative to it: one rectangle for each span in each line.
fn places(galley: &Galley, spans: impl Iterator<Item = Span>) -> Vec<(Rect, Color32)> {
    let mut places = Vec::new();
    let mut spans = spans.fuse();
    let (mut left, mut colour) = (0, Color32::TRANSPARENT);
    for line in &galley.rows {
        let mut glyphs = line.glyphs.as_slice();
        loop {
            if left == 0 {
                // Letters after the last span, like an ellipsis, belong to none.
                (left, colour) = spans.next().unwrap_or((usize::MAX, Color32::TRANSPARENT));
            }
            let (here, rest) = glyphs.split_at(left.min(glyphs.len()));
            if here.is_empty() {
                break;
            }
            if colour != Color32::TRANSPARENT {
                // Letters of a language that is read from the right stand in falling order.
                let from = here.iter().map(|glyph| glyph.pos.x).fold(f32::INFINITY, f32::min);
                let mut to =
                    here.iter().map(|glyph| glyph.pos.x + glyph.advance_width).fold(f32::NEG_INFINITY, f32::max);
                // Letters stand on whole pixels, which their widths do not know.
                if let Some(next) = rest.first().filter(|next| (next.pos.x - to).abs() < 1.0) {
                    to = next.pos.x;
                }
                let min = pos2(line.pos.x + from, line.pos.y);
                places.push((Rect::from_min_max(min, pos2(line.pos.x + to, line.pos.y + line.size.y)), colour));
            }
            left -= here.len();
            glyphs = rest;
        }
        // A line break is a letter of the text that has no glyph.
        left -= usize::from(line.ends_with_newline);
    }
    places
}

/// Paints the areas behind the tokens of `row`, whose text stands at `at`, as far as they can be seen.
pub(super) fn paint(
    painter: &Painter,
    theme: &Theme,
    at: Pos2,
    galley: &Galley,
    row: &LensRow,
    lead: usize,
    losses: Option<&[f64]>,
) {
    let seen = painter.clip_rect();
    let mut mesh = Mesh::default();
    for (place, colour) in places(galley, spans(theme, row, lead, losses)) {
        let place = place.translate(at.to_vec2());
        if place.intersects(seen) {
            mesh.add_colored_rect(place, colour);
        }
    }
    if !mesh.is_empty() {
        painter.add(Shape::mesh(mesh));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Look;
    use egui::{Context, RawInput};
    use std::sync::Arc;

    #[test]
    fn every_token_stands_on_its_own_area_in_each_line() {
        let ctx = Context::default();
        crate::theme::install(&ctx);
        let theme = Theme::of(Look::Dark);
        let pieces = ["It", " leaves", "", "\n", "to", "day, thank you"].map(str::to_owned).to_vec();
        let row = LensRow { borders: vec![4], ..marks::example(pieces, "tttttt") };
        let mut galley = None;
        drop(ctx.run_ui(RawInput::default(), |ui| {
            galley = Some(ui.painter().layout_job(marks::whole(theme, &row)));
        }));
        let galley: Arc<Galley> = galley.expect("a layout");
        let letters: String = galley.rows.iter().flat_map(|line| line.glyphs.iter().map(|glyph| glyph.chr)).collect();
        assert_eq!(letters, "It leaves│today, thank you");
        let found = places(&galley, spans(theme, &row, 0, None));
        let c = &theme.colours;
        let light = c.ok_bg.lerp_to_gamma(c.card, 0.5);
        let colours: Vec<Color32> = found.iter().map(|(_, colour)| *colour).collect();
        // The empty token and the line break have no letters to stand behind.
        assert_eq!(colours, [c.ok_bg, light, c.ok_bg, light]);
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|index| found[index].0);
        assert_eq!((first.left(), first.right()), (0.0, second.left()));
        assert_eq!(third.right(), fourth.left());
        assert!(third.left() > 0.0, "the border stands before it");
        assert_eq!(first.bottom(), third.top(), "the second line follows the first");
    }

    #[test]
    fn what_is_no_token_has_no_area() {
        let theme = Theme::of(Look::Dark);
        let row = marks::example(["a", "b"].map(str::to_owned).to_vec(), "cc");
        let clear = Color32::TRANSPARENT;
        let plain: Vec<Span> = spans(theme, &row, 3, None).collect();
        assert_eq!(plain, [(3, clear), (1, clear), (1, theme.colours.raised)]);
        let costs: Vec<Span> = spans(theme, &row, 0, Some(&[f64::NAN, 0.0])).collect();
        assert_eq!(costs, [(1, clear), (1, marks::tint(theme, 0.0))]);
    }
}
