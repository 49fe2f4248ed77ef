//! A scatter of named points with the line of those that no other beats, as an SVG file.
//!
//! Place in the data flow: tables of methods draw what a method learns against what it forgets; both are better lower.

use std::fmt::Write as _;
use temper_protocol::front;

/// A point; lower is better on both axes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) x: f64,
    pub(super) y: f64,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
/// Left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (80.0, 120.0, 24.0, 56.0);
const TICKS: usize = 5;
/// Lowest distance of the middles of two names above each other.
const LINE: f64 = 13.0;

/// Lowest and highest, a little apart.
fn span(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (low, high) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return (0.0, 1.0);
    }
    let pad = ((high - low) * 0.05).max(1e-6);
    (low - pad, high + pad)
}

/// The picture.
pub(super) fn svg(points: &[Point], x_label: &str, y_label: &str) -> String {
    let (left, right, top, bottom) = MARGINS;
    let (xs, ys) = (span(points.iter().map(|point| point.x)), span(points.iter().map(|point| point.y)));
    let x = |value: f64| left + (value - xs.0) / (xs.1 - xs.0) * (WIDTH - left - right);
    let y = |value: f64| HEIGHT - bottom - (value - ys.0) / (ys.1 - ys.0) * (HEIGHT - top - bottom);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut line = |what: String| {
        let _never_fails = writeln!(text, "{what}");
    };
    for tick in 0..=TICKS {
        let part = tick as f64 / TICKS as f64;
        let (at_x, at_y) = (xs.0 + part * (xs.1 - xs.0), ys.0 + part * (ys.1 - ys.0));
        let (end, floor) = (WIDTH - right, HEIGHT - bottom);
        line(format!("<path d=\"M{left} {0:.1}H{end}M{1:.1} {top}V{floor}\" stroke=\"#ddd\"/>", y(at_y), x(at_x)));
        line(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{at_y:.3}</text>", left - 6.0, y(at_y) + 4.0));
        line(format!("<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{at_x:.3}</text>", x(at_x), floor + 18.0));
    }
    let middle = (left + WIDTH - right) / 2.0;
    line(format!("<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{x_label}</text>", HEIGHT - 14.0));
    let (beside, half) = (18.0, HEIGHT / 2.0);
    line(format!("<text transform=\"translate({beside} {half}) rotate(-90)\" text-anchor=\"middle\">{y_label}</text>"));
    let best = front(points, |point| (point.x, point.y));
    let way: Vec<String> = best.iter().map(|point| format!("{:.1},{:.1}", x(point.x), y(point.y))).collect();
    line(format!("<polyline points=\"{}\" fill=\"none\" stroke=\"#2563eb\" stroke-width=\"1.5\"/>", way.join(" ")));
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for point in points {
        let on_front = best.contains(&point);
        let (px, py) = (x(point.x), y(point.y));
        let colour = if on_front { "#2563eb" } else { "#888" };
        line(format!("<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\" fill=\"{colour}\"/>"));
        let mut at = py + 4.0;
        // A name goes below the ones that it would cover.
        while taken.iter().any(|(other_x, other_y)| (other_x - px).abs() < 90.0 && (other_y - at).abs() < LINE) {
            at += LINE;
        }
        taken.push((px, at));
        line(format!("<text x=\"{:.1}\" y=\"{at:.1}\">{}</text>", px + 7.0, point.name));
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, x: f64, y: f64) -> Point {
        Point { name: name.to_owned(), x, y }
    }

    #[test]
    fn every_point_is_named_once_and_no_number_is_missing() {
        for points in [vec![], vec![point("only", 1.0, 1.0)], vec![point("a", 0.0, 1.0), point("b", 0.0, 1.0)]] {
            let text = svg(&points, "x", "y");
            assert_eq!(text.matches("<circle").count(), points.len());
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert!(points.iter().all(|point| text.contains(&format!(">{}</text>", point.name))));
        }
    }
}
