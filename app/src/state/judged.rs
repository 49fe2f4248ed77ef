//! What the engine said about the chosen runs on the same rows, part by part.
//!
//! Place in the data flow: `update` sends [`temper_protocol::Command::Compare`] and hands each part of the answer to
//! [`Judged::take`]; the room shows what is there so far.

use temper_protocol::Problem;
use temper_protocol::comparison::{ComparedRow, Comparison, Interval, RowKind, RowKinds, RowScores, Verdict};

/// Choices of how many rows are measured; 0 is all.
pub const ROW_COUNTS: [usize; 4] = [50, 200, 1000, 0];
/// Chosen at first.
const USUAL_ROWS: usize = 200;

/// What the rows are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowSort {
    /// Their place in the data.
    #[default]
    Place,
    /// The loss of the model at this place among the models.
    Loss(usize),
    /// The difference of two losses.
    Difference,
}

/// Verdict and rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Data file or probe set, as typed; the project's usual one when nothing was.
    pub data: Option<String>,
    /// Most rows; 0 for all.
    pub row_count: usize,
    /// What the parts below were measured on.
    pub measured: Option<String>,
    /// The rows.
    pub rows: Vec<ComparedRow>,
    /// Scores of base and runs, without other checkpoints.
    pub scores: Vec<RowScores>,
    /// Kinds of each run's rows.
    pub kinds: Vec<RowKinds>,
    /// A verdict for each pair.
    pub verdicts: Vec<Verdict>,
    /// Which rows are shown.
    pub kind: Option<RowKind>,
    /// Whose kinds are meant, by place in `kinds`.
    pub kinds_of: usize,
    /// Whose loss is taken off for the difference, by place in `scores`; 0 is the base.
    pub against: usize,
    /// What the rows are sorted by.
    pub sort: RowSort,
    /// Largest first.
    pub descending: bool,
    /// Why the last comparison failed.
    pub problem: Option<Problem>,
}

impl Default for Judged {
    fn default() -> Self {
        Self {
            data: None,
            row_count: USUAL_ROWS,
            measured: None,
            rows: Vec::new(),
            scores: Vec::new(),
            kinds: Vec::new(),
            verdicts: Vec::new(),
            kind: None,
            kinds_of: 0,
            against: 0,
            sort: RowSort::Place,
            descending: false,
            problem: None,
        }
    }
}

impl Judged {
    /// Forgets what was measured and begins anew on `data`.
    pub fn begin(&mut self, data: String) {
        let (typed, row_count) = (self.data.take(), self.row_count);
        *self = Self { data: typed, row_count, measured: Some(data), ..Self::default() };
    }

    /// Sorts the rows by something else, or the other way round. What is worst stands on top at first.
    pub fn sort_by(&mut self, sort: RowSort) {
        self.descending = if self.sort == sort { !self.descending } else { sort != RowSort::Place };
        self.sort = sort;
    }

    /// Takes a part of the answer in.
    pub fn take(&mut self, part: Comparison) {
        match part {
            Comparison::Rows { rows } => self.rows = rows,
            // Other checkpoints are part of what became of the rows, not models to choose from.
            Comparison::Scores(scores) if scores.step.is_none() => self.scores.push(scores),
            Comparison::Scores(_) => {}
            Comparison::Kinds(kinds) => self.kinds.push(kinds),
            Comparison::Verdict(verdict) => self.verdicts.push(verdict),
        }
    }

    /// Trained tokens of all rows.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.rows.iter().map(|row| row.tokens).sum()
    }

    /// Loss (nats a trained token) and share of trained tokens right of one model.
    #[must_use]
    pub fn total(&self, scores: &RowScores) -> (f64, f64) {
        let tokens = self.tokens() as f64;
        (scores.losses.iter().sum::<f64>() / tokens, scores.right.iter().sum::<u64>() as f64 / tokens)
    }

    /// Kind of a row for the run that is looked at.
    #[must_use]
    pub fn kind_of(&self, row: usize) -> Option<RowKind> {
        self.kinds.get(self.kinds_of)?.kinds.get(row).copied()
    }

    /// How many rows are of `kind` for the run that is looked at.
    #[must_use]
    pub fn count(&self, kind: RowKind) -> usize {
        self.kinds.get(self.kinds_of).map_or(0, |run| run.kinds.iter().filter(|of_row| **of_row == kind).count())
    }

    /// Loss of a model on a row, nats a trained token; no number where it was not measured.
    #[must_use]
    pub fn loss(&self, model: usize, row: usize) -> f64 {
        let sum = self.scores.get(model).and_then(|scores| scores.losses.get(row));
        let tokens = self.rows.get(row).map_or(0, |row| row.tokens);
        sum.map_or(f64::NAN, |sum| sum / tokens as f64)
    }

    /// Place among the models of the run whose kinds are meant.
    #[must_use]
    pub fn looked_at(&self) -> Option<usize> {
        let model = &self.kinds.get(self.kinds_of)?.model;
        self.scores.iter().position(|scores| scores.model == *model)
    }

    /// Loss of the run that is looked at less that of the other model, nats a trained token.
    #[must_use]
    pub fn difference(&self, row: usize) -> f64 {
        self.looked_at().map_or(f64::NAN, |model| self.loss(model, row) - self.loss(self.against, row))
    }

    /// Places of the rows that are shown, in their order; what has no value stands last.
    #[must_use]
    pub fn shown(&self) -> Vec<usize> {
        let shown = |row: &usize| self.kind.is_none_or(|kind| self.kind_of(*row) == Some(kind));
        let mut rows: Vec<(f64, usize)> = (0..self.rows.len()).filter(shown).map(|row| (self.key(row), row)).collect();
        rows.sort_by(|(a, first), (b, second)| {
            let order = if self.descending { b.total_cmp(a) } else { a.total_cmp(b) };
            a.is_nan().cmp(&b.is_nan()).then(order).then(first.cmp(second))
        });
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn key(&self, row: usize) -> f64 {
        match self.sort {
            RowSort::Place => row as f64,
            RowSort::Loss(model) => self.loss(model, row),
            RowSort::Difference => self.difference(row),
        }
    }

    /// All rows with the losses of all models as comma-separated values.
    #[must_use]
    pub fn csv(&self) -> String {
        let models: Vec<String> = self.scores.iter().map(|scores| format!("loss {}", scores.model)).collect();
        let mut text = ["file", "line", "tokens"].join(",");
        for model in &models {
            text.push_str(&format!(",{}", crate::format::csv_cell(model)));
        }
        text.push_str(",text\n");
        for (place, row) in self.rows.iter().enumerate() {
            let file = crate::format::csv_cell(&row.file.display().to_string());
            text.push_str(&format!("{file},{},{}", row.line, row.tokens));
            for model in 0..models.len() {
                text.push_str(&format!(",{}", self.loss(model, place)));
            }
            text.push_str(&format!(",{}\n", crate::format::csv_cell(&row.text)));
        }
        text
    }

    /// The verdict that matters most: over the two models with the lowest losses.
    #[must_use]
    pub fn headline(&self) -> Option<&Verdict> {
        let mut best: Vec<(&str, f64)> =
            self.scores.iter().map(|scores| (scores.model.as_str(), self.total(scores).0)).collect();
        best.sort_by(|a, b| a.1.total_cmp(&b.1));
        let [(first, _), (second, _), ..] = best.as_slice() else { return None };
        let both = |verdict: &&Verdict| {
            [*first, *second].iter().all(|name| [&verdict.a, &verdict.b].iter().any(|of| of.as_str() == *name))
        };
        self.verdicts.iter().find(both)
    }
}

/// The same verdict told from the better model's side, where one is better: then `b` beats `a`.
#[must_use]
pub fn oriented(verdict: &Verdict) -> Verdict {
    if !(verdict.loss.is_clear() && verdict.loss.value > 0.0) {
        return verdict.clone();
    }
    let turned = |of: &Interval| Interval { value: -of.value, low: -of.high, high: -of.low };
    Verdict {
        a: verdict.b.clone(),
        b: verdict.a.clone(),
        loss: turned(&verdict.loss),
        points: turned(&verdict.points),
        only_a: verdict.only_b,
        only_b: verdict.only_a,
        ..*verdict
    }
}

/// Who is better on the rows, in a sentence.
#[must_use]
pub fn claim(verdict: &Verdict) -> String {
    let Verdict { a, b, rows, loss, .. } = verdict;
    let count = crate::format::count(*rows);
    match (loss.is_clear(), loss.value < 0.0) {
        (true, true) => t!("compare-beats", winner = b, loser = a, n = rows, rows = count),
        (true, false) => t!("compare-beats", winner = a, loser = b, n = rows, rows = count),
        (false, _) => t!("compare-even", a = a, b = b, n = rows, rows = count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged() -> Judged {
        let mut judged = Judged::default();
        judged.begin("d.jsonl".to_owned());
        let row = |line| ComparedRow { file: "d.jsonl".into(), line, text: String::new(), tokens: 10 };
        judged.take(Comparison::Rows { rows: vec![row(1), row(2)] });
        let scores = |model: &str, step, losses: [f64; 2]| {
            Comparison::Scores(RowScores { model: model.to_owned(), step, losses: losses.to_vec(), right: vec![5, 9] })
        };
        for part in [
            scores("base", None, [40.0, 20.0]),
            scores("run 1", None, [20.0, 10.0]),
            scores("run 1", Some(50), [30.0, 10.0]),
            scores("run 2", None, [10.0, 10.0]),
        ] {
            judged.take(part);
        }
        let kinds = vec![RowKind::Never, RowKind::Learned];
        judged.take(Comparison::Kinds(RowKinds { model: "run 1".to_owned(), kinds }));
        for (a, b) in [("base", "run 1"), ("base", "run 2"), ("run 1", "run 2")] {
            let interval = Interval { value: -0.5, low: -0.8, high: -0.2 };
            judged.take(Comparison::Verdict(Verdict {
                a: a.to_owned(),
                b: b.to_owned(),
                rows: 2,
                loss: interval,
                points: interval,
                only_a: 0,
                only_b: 1,
                p_flips: 1.0,
            }));
        }
        judged
    }

    #[test]
    fn parts_become_a_table_and_the_two_best_are_the_headline() {
        let judged = judged();
        assert_eq!(judged.scores.len(), 3, "other checkpoints are not models");
        let (loss, right) = judged.total(&judged.scores[1]);
        assert!((loss - 1.5).abs() < 1e-12 && (right - 0.7).abs() < 1e-12);
        let headline = judged.headline().expect("a verdict");
        assert_eq!((headline.a.as_str(), headline.b.as_str()), ("run 1", "run 2"));
        assert_eq!(claim(headline), "run 2 beats run 1 on these 2 rows");
        let even = Verdict { loss: Interval { value: 0.1, low: -0.1, high: 0.3 }, ..headline.clone() };
        assert!(claim(&even).contains("do not tell"), "{}", claim(&even));
    }

    #[test]
    fn a_verdict_is_told_from_the_side_of_the_better_one() {
        let of = |value: f64, low: f64, high: f64| Interval { value, low, high };
        let verdict = Verdict {
            a: "run 1".to_owned(),
            b: "run 2".to_owned(),
            rows: 200,
            loss: of(0.2, 0.1, 0.4),
            points: of(-3.1, -5.4, -0.8),
            only_a: 24,
            only_b: 9,
            p_flips: 0.014,
        };
        let turned = oriented(&verdict);
        assert_eq!((turned.a.as_str(), turned.b.as_str()), ("run 2", "run 1"));
        assert_eq!((turned.points, turned.only_a, turned.only_b), (of(3.1, 0.8, 5.4), 9, 24));
        assert_eq!(claim(&turned), claim(&verdict));
        let even = Verdict { loss: of(0.2, -0.1, 0.5), ..verdict };
        assert_eq!(oriented(&even), even);
    }

    #[test]
    fn rows_are_filtered_by_what_became_of_them() {
        let mut judged = judged();
        assert_eq!(judged.shown(), [0, 1]);
        judged.kind = Some(RowKind::Never);
        assert_eq!(judged.shown(), [0]);
        assert_eq!((judged.count(RowKind::Never), judged.count(RowKind::Easy)), (1, 0));
        judged.kinds_of = 3;
        assert!(judged.shown().is_empty(), "a run without kinds has no row of one");
    }

    #[test]
    fn rows_are_sorted_by_a_loss_and_by_a_difference() {
        let mut judged = judged();
        judged.sort = RowSort::Loss(1);
        assert_eq!(judged.shown(), [1, 0], "1.0 and 2.0 nats");
        judged.descending = true;
        assert_eq!(judged.shown(), [0, 1]);
        judged.sort = RowSort::Difference;
        assert!((judged.difference(0) + 2.0).abs() < 1e-12 && (judged.difference(1) + 1.0).abs() < 1e-12);
        assert_eq!(judged.shown(), [1, 0], "run 1 less base: the smallest gain first");
        judged.against = 2;
        assert!((judged.difference(0) - 1.0).abs() < 1e-12, "run 1 less run 2");
        judged.sort = RowSort::Loss(9);
        assert_eq!(judged.shown(), [0, 1], "no such model: in their order");
        let csv = judged.csv();
        assert_eq!(csv.lines().nth(1), Some("d.jsonl,1,10,4,2,1,"));
        assert_eq!(csv.lines().next(), Some("file,line,tokens,loss base,loss run 1,loss run 2,text"));
    }
}
