//! A part of a frame as SVG: the same lines, areas and words that were painted, as shapes that scale.
//!
//! Place in the data flow: the window hands over the shapes of the frame it has just drawn; the text goes to the thread
//! for files. Icons have no letters outside this program's fonts and are left out.

use egui::epaint::{ClippedShape, ColorMode, Mesh, Shape, TextShape};
use egui::{Color32, Context, FontFamily, Id, Pos2, Rect};
use std::fmt::Write as _;

/// Whether the frame being drawn becomes an SVG: lines are drawn as lines then, not as triangles.
#[must_use]
pub fn is_wanted(ctx: &Context) -> bool {
    ctx.data(|data| data.get_temp(wanted_id())).unwrap_or(false)
}

/// Says whether the next frames become an SVG.
pub fn want(ctx: &Context, wanted: bool) {
    ctx.data_mut(|data| data.insert_temp(wanted_id(), wanted));
}

fn wanted_id() -> Id {
    Id::unique("vector picture is wanted")
}

/// The shapes inside `part` (in points) as the text of an SVG file over `ground`.
#[must_use]
pub fn svg<'a>(shapes: impl IntoIterator<Item = &'a ClippedShape>, part: Rect, ground: Color32) -> String {
    let mut file = File { text: String::new(), clip: None, clips: 0 };
    let (w, h) = (part.width().round(), part.height().round());
    let view = format!("{:.1} {:.1} {w} {h}", part.left(), part.top());
    let head = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"{view}\">\n");
    file.text.push_str(&head);
    file.rect(part, 0.0, ground, "");
    for ClippedShape { clip_rect, shape, .. } in shapes {
        let clip = clip_rect.intersect(part);
        if clip.is_positive() && shape.visual_bounding_rect().intersects(clip) {
            file.clipped(clip);
            file.shape(shape);
        }
    }
    file.end_clip();
    file.text.push_str("</svg>\n");
    file.text
}

struct File {
    text: String,
    clip: Option<Rect>,
    clips: usize,
}

/// `#rrggbb` and the opacity of a colour, which egui keeps multiplied.
fn colour(colour: Color32) -> (String, f32) {
    let [r, g, b, a] = colour.to_srgba_unmultiplied();
    (format!("#{r:02x}{g:02x}{b:02x}"), f32::from(a) / 255.0)
}

/// `fill`, or another attribute of a colour, with its opacity.
fn painted(attribute: &str, value: Color32) -> String {
    let (hex, opacity) = colour(value);
    match opacity {
        0.0 => format!(" {attribute}=\"none\""),
        1.0 => format!(" {attribute}=\"{hex}\""),
        _ => format!(" {attribute}=\"{hex}\" {attribute}-opacity=\"{opacity:.3}\""),
    }
}

fn stroked(width: f32, value: Color32) -> String {
    if width <= 0.0 || value == Color32::TRANSPARENT {
        return String::new();
    }
    format!("{} stroke-width=\"{width:.2}\" stroke-linejoin=\"round\"", painted("stroke", value))
}

fn points_of<'a>(points: impl IntoIterator<Item = &'a Pos2>) -> String {
    let mut text = String::new();
    for Pos2 { x, y } in points {
        let _never_fails = write!(text, "{x:.2},{y:.2} ");
    }
    text.trim_end().to_owned()
}

/// What XML reads as markup is written as names.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl File {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn clipped(&mut self, clip: Rect) {
        if self.clip == Some(clip) {
            return;
        }
        self.end_clip();
        self.clips += 1;
        let id = self.clips;
        let Rect { min, max } = clip;
        let (x, y, w, h) = (min.x, min.y, max.x - min.x, max.y - min.y);
        self.line(&format!(
            "<clipPath id=\"c{id}\"><rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\"/></clipPath>"
        ));
        self.line(&format!("<g clip-path=\"url(#c{id})\">"));
        self.clip = Some(clip);
    }

    fn end_clip(&mut self) {
        if self.clip.take().is_some() {
            self.line("</g>");
        }
    }

    fn rect(&mut self, rect: Rect, radius: f32, fill: Color32, stroke: &str) {
        let Rect { min, max } = rect;
        let (x, y, w, h) = (min.x, min.y, max.x - min.x, max.y - min.y);
        let round = if radius > 0.0 { format!(" rx=\"{radius:.1}\"") } else { String::new() };
        self.line(&format!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\"{round}{}{stroke}/>",
            painted("fill", fill)
        ));
    }

    fn polyline(&mut self, points: &str, closed: bool, fill: Color32, stroke: &str) {
        let name = if closed { "polygon" } else { "polyline" };
        self.line(&format!("<{name} points=\"{points}\"{}{stroke}/>", painted("fill", fill)));
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Vec(shapes) => shapes.iter().for_each(|shape| self.shape(shape)),
            Shape::Circle(circle) => {
                let (Pos2 { x, y }, r) = (circle.center, circle.radius);
                let style =
                    format!("{}{}", painted("fill", circle.fill), stroked(circle.stroke.width, circle.stroke.color));
                self.line(&format!("<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{r:.2}\"{style}/>"));
            }
            Shape::LineSegment { points, stroke } => {
                let style = stroked(stroke.width, stroke.color);
                self.polyline(&points_of(points), false, Color32::TRANSPARENT, &style);
            }
            Shape::Path(path) => {
                let solid = if let ColorMode::Solid(solid) = path.stroke.color { solid } else { Color32::TRANSPARENT };
                let style = stroked(path.stroke.width, solid);
                self.polyline(&points_of(&path.points), path.closed, path.fill, &style);
            }
            Shape::Band(band) => {
                let upper = band.points.iter().map(|point| Pos2::new(point.x, point.y.min));
                let lower = band.points.iter().rev().map(|point| Pos2::new(point.x, point.y.max));
                let outline: Vec<Pos2> = upper.chain(lower).collect();
                let style = stroked(band.stroke.width, band.stroke.color);
                self.polyline(&points_of(&outline), true, band.fill, &style);
            }
            Shape::Rect(rect) => {
                let style = stroked(rect.stroke.width, rect.stroke.color);
                self.rect(rect.rect, f32::from(rect.corner_radius.nw), rect.fill, &style);
            }
            Shape::Text(text) => self.words(text),
            Shape::Mesh(mesh) => self.mesh(mesh),
            // Nothing in a plot is drawn with these.
            Shape::Noop
            | Shape::Ellipse(_)
            | Shape::QuadraticBezier(_)
            | Shape::CubicBezier(_)
            | Shape::Callback(_) => {}
        }
    }

    /// Coloured rectangles, such as the cells of a heat map: two triangles of one colour each.
    fn mesh(&mut self, mesh: &Mesh) {
        for quad in mesh.indices.chunks_exact(6) {
            let corners = quad.iter().filter_map(|index| mesh.vertices.get(*index as usize));
            let colours: Vec<Color32> = corners.clone().map(|corner| corner.color).collect();
            let Some(first) = colours.first().filter(|first| colours.iter().all(|other| other == *first)) else {
                continue;
            };
            self.rect(Rect::from_points(&corners.map(|corner| corner.pos).collect::<Vec<_>>()), 0.0, *first, "");
        }
    }

    fn words(&mut self, text: &TextShape) {
        let Some(section) = text.galley.job.sections.first() else { return };
        let format = &section.format;
        let (family, weight) = match &format.font_id.family {
            FontFamily::Monospace => ("'JetBrains Mono', monospace", 400),
            FontFamily::Proportional => ("Inter, sans-serif", 400),
            FontFamily::Name(name) if name.contains("icons") => return,
            FontFamily::Name(name) if name.contains("mono") => ("'JetBrains Mono', monospace", 500),
            FontFamily::Name(name) if name.contains("semibold") => ("Inter, sans-serif", 600),
            FontFamily::Name(_) => ("Inter, sans-serif", 500),
        };
        let own = if format.color == Color32::PLACEHOLDER { text.fallback_color } else { format.color };
        let fill = painted("fill", text.override_text_color.unwrap_or(own).gamma_multiply(text.opacity_factor));
        let size = format.font_id.size;
        for row in &text.galley.rows {
            let (Some(first), Some(last)) = (row.glyphs.first(), row.glyphs.last()) else { continue };
            let letters: String = row.glyphs.iter().map(|glyph| glyph.chr).collect();
            if letters.trim().is_empty() {
                continue;
            }
            let place = text.pos + row.pos.to_vec2() + first.pos.to_vec2();
            // Another reader may have another font of that name: the words keep their length.
            let length = last.pos.x + last.advance_width - first.pos.x;
            self.line(&format!(
                "<text x=\"{:.2}\" y=\"{:.2}\" font-family=\"{family}\" font-size=\"{size}\" font-weight=\"{weight}\" \
                 textLength=\"{length:.2}\" lengthAdjust=\"spacingAndGlyphs\"{fill}>{}</text>",
                place.x,
                place.y,
                escaped(&letters)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Theme;
    use egui::{Stroke, pos2};

    fn part() -> Rect {
        Rect::from_min_max(pos2(10.0, 10.0), pos2(110.0, 60.0))
    }

    fn clipped(clip_rect: Rect, shape: Shape) -> ClippedShape {
        ClippedShape::new(clip_rect, shape)
    }

    #[test]
    fn shapes_inside_are_written_and_others_are_not() {
        let c = &Theme::bundled(true).colours;
        let everywhere = Rect::EVERYTHING;
        let line = |y: f32| Shape::line(vec![pos2(10.0, y), pos2(60.0, y + 1.0)], Stroke::new(2.0, c.err));
        let mut cells = Mesh::default();
        cells.add_colored_rect(Rect::from_min_max(pos2(20.0, 20.0), pos2(30.0, 30.0)), c.ok);
        let shapes = [
            clipped(everywhere, line(20.0)),
            clipped(everywhere, line(200.0)),
            clipped(Rect::NOTHING, line(30.0)),
            clipped(everywhere, Shape::mesh(cells)),
            clipped(everywhere, Shape::circle_filled(pos2(50.0, 50.0), 3.0, Theme::fade(c.text, 0.5))),
        ];
        let text = svg(&shapes, part(), c.window);
        assert!(text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"));
        assert_eq!(text.matches("<polyline").count(), 1, "{text}");
        assert!(text.contains("points=\"10.00,20.00 60.00,21.00\""), "{text}");
        let cell = format!("width=\"10.00\" height=\"10.00\" fill=\"{}\"", colour(c.ok).0);
        assert!(text.contains(&cell), "cells of a mesh: {text}");
        assert!(text.contains("fill-opacity=\"0.5"), "{text}");
        assert_eq!(text.matches("<g ").count(), text.matches("</g>").count());
    }

    #[test]
    fn markup_in_words_is_only_words() {
        assert_eq!(escaped("a < b & \"c\""), "a &lt; b &amp; &quot;c&quot;");
    }
}
