//! Curves of a report as a picture in the page itself: lines, an axis, a level, and what each line is.
//!
//! Place in the data flow: `sections` hands over the curves that the reader of the store made for the window; the colours
//! are variables of the page, so that a picture follows its theme. Lines differ in their dashes as well as in colour.

use super::html::escaped;
use crate::plots::ticks;
use egui_plot::PlotPoint;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;
/// Dashes of lines in turn.
const DASHES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];

/// A line of a picture.
pub(super) struct Curve<'a> {
    /// What it is.
    pub(super) name: String,
    /// Its points; places rise.
    pub(super) points: &'a [PlotPoint],
    /// Place among the colours of series.
    pub(super) series: usize,
    /// Whether it lies behind the others.
    pub(super) faint: bool,
}

/// What is drawn.
pub(super) struct Picture<'a> {
    pub(super) curves: Vec<Curve<'a>>,
    /// A value that is marked over the whole width, and its name.
    pub(super) level: Option<(f64, String)>,
    /// The picture in a sentence.
    pub(super) sentence: &'a str,
    /// What the axes count.
    pub(super) axes: (&'a str, &'a str),
}

/// From values to places in the picture.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn of(picture: &Picture<'_>) -> Option<Self> {
        let points = || picture.curves.iter().flat_map(|curve| curve.points);
        let level = picture.level.as_ref().map(|(value, _)| *value);
        let y = ticks::range(points().map(|point| point.y))
            .and_then(|(low, high)| ticks::range([low, high, level.unwrap_or(low)].into_iter()))?;
        let last = points().map(|point| point.x).filter(|x| x.is_finite()).fold(1.0, f64::max);
        Some(Self { x: (0.0, last), y })
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, names: (&str, &str)) -> String {
        let mut text = String::new();
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let (values, decimals) = ticks::ticks(self.y.0, self.y.1, 5);
        for value in values {
            let y = self.y(value);
            let words = ticks::decimals(value, decimals);
            text.push_str(&format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
            text.push_str(&format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{words}</text>\n",
                LEFT - 6.0,
                y + 4.0
            ));
        }
        let (values, decimals) = ticks::ticks(self.x.0, self.x.1, 8);
        for value in values {
            let x = self.x(value);
            let words = ticks::decimals(value, decimals);
            text.push_str(&format!("<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"));
            text.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{words}</text>\n",
                bottom + 14.0
            ));
        }
        let (across, up) = (escaped(names.0), escaped(names.1));
        text.push_str(&format!("<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{across}</text>\n", HEIGHT - 6.0));
        text.push_str(&format!("<text x=\"{LEFT}\" y=\"{:.1}\">{up}</text>\n", HEIGHT - 6.0));
        text
    }

    fn curve(&self, curve: &Curve<'_>) -> String {
        let style = style(curve);
        let shown = curve.points.iter().filter(|point| point.x.is_finite() && point.y.is_finite());
        let places: Vec<(f64, f64)> = shown.map(|point| (self.x(point.x), self.y(point.y))).collect();
        if let [(x, y)] = places.as_slice() {
            let series = curve.series % 8;
            return format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"var(--s{series})\"/>\n");
        }
        let mut points = String::new();
        for (x, y) in places {
            points.push_str(&format!("{x:.1},{y:.1} "));
        }
        format!("<polyline points=\"{}\" fill=\"none\" {style}/>\n", points.trim_end())
    }
}

/// Colour, width and dashes of a line.
fn style(curve: &Curve<'_>) -> String {
    let series = curve.series % 8;
    let dashes = DASHES.get(curve.series % DASHES.len()).copied().unwrap_or("none");
    let (width, opacity) = if curve.faint { ("1", "0.35") } else { ("2", "1") };
    format!(
        "stroke=\"var(--s{series})\" stroke-width=\"{width}\" stroke-opacity=\"{opacity}\" stroke-dasharray=\"{dashes}\" \
         stroke-linejoin=\"round\""
    )
}

/// What each line is.
fn key(picture: &Picture<'_>) -> String {
    let mut text = String::from("<ul class=\"key\">");
    let line = |attributes: &str, name: &str| {
        format!(
            "<li><svg width=\"28\" height=\"8\" aria-hidden=\"true\"><line x1=\"0\" x2=\"28\" y1=\"4\" y2=\"4\" {attributes}/>\
             </svg> {}</li>",
            escaped(name)
        )
    };
    for curve in picture.curves.iter().filter(|curve| !curve.points.is_empty()) {
        text.push_str(&line(&style(curve), &curve.name));
    }
    if let Some((_, name)) = &picture.level {
        text.push_str(&line("class=\"level\"", name));
    }
    text.push_str("</ul>\n");
    text
}

/// The picture as markup; nothing when there is no point to draw.
pub(super) fn svg(picture: &Picture<'_>) -> Option<String> {
    let frame = Frame::of(picture)?;
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(picture.sentence)
    );
    text.push_str(&frame.axes(picture.axes));
    if let Some((value, _)) = &picture.level
        && value.is_finite()
    {
        let (y, right) = (frame.y(*value), WIDTH - RIGHT);
        text.push_str(&format!("<line class=\"level\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n"));
    }
    for curve in &picture.curves {
        text.push_str(&frame.curve(curve));
    }
    text.push_str("</svg>\n");
    text.push_str(&key(picture));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(points: &[PlotPoint], level: Option<(f64, String)>) -> Picture<'_> {
        let curve = Curve { name: "train <1>".to_owned(), points, series: 0, faint: false };
        Picture { curves: vec![curve], level, sentence: "it \"fell\"", axes: ("step", "nats") }
    }

    #[test]
    fn a_curve_lies_inside_its_frame_and_falls_when_the_loss_falls() {
        let points = [PlotPoint::new(0.0, 3.0), PlotPoint::new(50.0, f64::NAN), PlotPoint::new(100.0, 1.0)];
        let text = svg(&picture(&points, Some((2.0, "budget".to_owned())))).expect("a picture");
        let line = text.split("polyline points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        let places: Vec<Vec<f64>> = line
            .split(' ')
            .map(|pair| pair.split(',').map(|value| value.parse().expect("a number")).collect())
            .collect();
        assert_eq!(places.len(), 2, "what is no number is left out: {line}");
        assert!((places[0][0] - LEFT).abs() < 0.1 && (places[1][0] - (WIDTH - RIGHT)).abs() < 0.1);
        assert!(places[0][1] < places[1][1], "a smaller loss lies lower");
        assert!(places.iter().all(|place| (TOP..=HEIGHT - BOTTOM).contains(&place[1])));
        assert!(text.contains("train &lt;1&gt;") && text.contains("it &quot;fell&quot;") && text.contains("budget"));
    }

    #[test]
    fn one_point_is_a_dot_and_none_is_no_picture() {
        let one = [PlotPoint::new(5.0, 1.0)];
        assert!(svg(&picture(&one, None)).expect("a picture").contains("<circle"));
        assert!(svg(&picture(&[], Some((1.0, "budget".to_owned())))).is_none());
    }
}
