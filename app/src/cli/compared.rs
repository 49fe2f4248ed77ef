//! A comparison of models in words: a line for each model, what became of the rows, and a verdict for each pair.

use crate::cli::drive::print_line;
use temper_protocol::comparison::{ComparedRow, Comparison, Interval, RowKind, RowKinds, RowScores, Verdict};

/// Rows of a kind that are named.
const NAMED: usize = 3;
/// Kinds that a person should look at, and their words.
const WORTH_A_LOOK: [(RowKind, &str); 3] = [
    (RowKind::Never, "never learned"),
    (RowKind::Forgotten, "learned, then forgotten"),
    (RowKind::Easy, "known before training"),
];

/// The rows that the other parts speak of.
#[derive(Default)]
pub(crate) struct Compared {
    rows: Vec<ComparedRow>,
}

impl Compared {
    /// Takes a part of a comparison in and prints what it says.
    pub(crate) fn hear(&mut self, part: &Comparison) {
        match part {
            Comparison::Rows { rows } => {
                self.rows.clone_from(rows);
                let tokens = self.tokens();
                print_line(&format!("{} rows, {tokens} trained tokens; loss in nats a trained token", rows.len()));
            }
            Comparison::Scores(scores) => self.scores(scores),
            Comparison::Kinds(kinds) => self.kinds(kinds),
            Comparison::Verdict(verdict) => words(verdict).iter().for_each(|line| print_line(line)),
        }
    }

    fn tokens(&self) -> u64 {
        self.rows.iter().map(|row| row.tokens).sum()
    }

    fn scores(&self, scores: &RowScores) {
        let tokens = self.tokens().max(1) as f64;
        let loss = scores.losses.iter().sum::<f64>() / tokens;
        let right = 100.0 * scores.right.iter().sum::<u64>() as f64 / tokens;
        let step = scores.step.map_or_else(String::new, |step| format!(" at step {step}"));
        print_line(&format!(
            "  {:<28} loss {loss:.4}, {right:.1} % of the tokens right",
            format!("{}{step}", scores.model)
        ));
    }

    fn kinds(&self, RowKinds { model, kinds }: &RowKinds) {
        for (kind, words) in WORTH_A_LOOK {
            let mut rows = self.rows.iter().zip(kinds).filter(|(_, of_row)| **of_row == kind).map(|(row, _)| row);
            let count = rows.clone().count();
            if count > 0 {
                let lines: Vec<String> = rows.by_ref().take(NAMED).map(|row| row.line.to_string()).collect();
                let more = if count > NAMED { ", .." } else { "" };
                print_line(&format!("{model}: {count} rows {words} (line {}{more})", lines.join(", ")));
            }
        }
    }
}

fn interval(of: &Interval, unit: &str, digits: usize) -> String {
    let Interval { value, low, high } = of;
    let clear = if of.is_clear() { "" } else { ", not clear" };
    format!("{value:+.digits$} {unit} (95 % interval {low:+.digits$} to {high:+.digits$}{clear})")
}

fn words(verdict: &Verdict) -> Vec<String> {
    let Verdict { a, b, rows, loss, points, only_a, only_b, p_flips } = verdict;
    let head = match (loss.is_clear(), loss.value < 0.0) {
        (true, true) => format!("{b} beats {a} on these {rows} rows"),
        (true, false) => format!("{a} beats {b} on these {rows} rows"),
        (false, _) => format!("{a} and {b}: these {rows} rows do not tell which is better"),
    };
    vec![
        head,
        format!("  loss, {b} less {a}: {}", interval(loss, "nats", 4)),
        format!("  tokens right, {b} less {a}: {}", interval(points, "points", 1)),
        format!("  rows all right only in {a}: {only_a}, only in {b}: {only_b} (McNemar p = {p_flips:.2})"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_who_is_better_and_how_sure_that_is() {
        let of = |value: f64, half: f64| Interval { value, low: value - half, high: value + half };
        let (a, b) = ("run 1".to_owned(), "run 2".to_owned());
        let clear = Verdict {
            a,
            b,
            rows: 200,
            loss: of(-0.2, 0.1),
            points: of(3.1, 2.3),
            only_a: 2,
            only_b: 9,
            p_flips: 0.065,
        };
        let lines = words(&clear);
        assert_eq!(lines[0], "run 2 beats run 1 on these 200 rows");
        assert!(lines[2].ends_with("+3.1 points (95 % interval +0.8 to +5.4)"), "{lines:?}");
        let worse = Verdict { loss: of(0.2, 0.1), ..clear.clone() };
        assert_eq!(words(&worse)[0], "run 1 beats run 2 on these 200 rows");
        let even = Verdict { loss: of(0.05, 0.1), ..clear };
        assert!(words(&even)[0].contains("do not tell") && words(&even)[1].ends_with("not clear)"));
    }
}
