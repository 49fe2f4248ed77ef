//! Comma-separated values as a table to read: columns under each other, figures short, of many rows some.
//!
//! Place in the data flow: a person asks for a plot as a table; [`super::tables`] gives its series, this makes the text of
//! the sheet. The file and the clipboard have every row with every digit.

/// Most rows that are shown.
pub(super) const MOST_ROWS: usize = 400;
/// Gap between columns, letters.
const GAP: usize = 2;
/// Letters of a figure that are shown as they are.
const LONG: usize = 9;

/// A table to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tabled {
    /// Its text: a head, and a row on each line.
    pub(super) text: String,
    /// Rows shown.
    pub(super) shown: usize,
    /// Rows in all.
    pub(super) all: usize,
}

/// Cells of a line; a quoted one may hold commas.
fn cells(line: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            _ => {
                if let Some(cell) = found.last_mut() {
                    cell.push(letter);
                }
            }
        }
    }
    found
}

/// A figure with the digits that can be compared by eye; whatever else as it is.
fn short(cell: String) -> String {
    match cell.parse::<f64>() {
        Ok(value) if cell.len() > LONG && value.is_finite() => {
            if value != 0.0 && value.abs() < 1e-3 {
                format!("{value:.4e}")
            } else {
                format!("{value:.4}")
            }
        }
        _ => cell,
    }
}

/// `csv` as a table of at most `most` rows, evenly spread, the first and the last among them.
pub(super) fn aligned(csv: &str, most: usize) -> Tabled {
    let mut lines = csv.lines();
    let head = cells(lines.next().unwrap_or_default());
    let rows: Vec<&str> = lines.collect();
    let all = rows.len();
    let stride = all.div_ceil(most.max(1)).max(1);
    let is_shown = |index: usize| index.is_multiple_of(stride) || index + 1 == all;
    let chosen = rows.iter().enumerate().filter(|(index, _)| is_shown(*index));
    let body: Vec<Vec<String>> = chosen.map(|(_, line)| cells(line).into_iter().map(short).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in &body {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&body) {
        let mut line = String::new();
        for (place, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Figures end under each other; the first column may be names, which begin under each other.
            let padded = if place == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            if place > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            line.push_str(&padded);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Tabled { text, shown: body.len(), all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_figures_are_short() {
        let tabled = aligned("set,step,loss\n\"a, b\",5,0.012345678901\nprose,400,0.0000123456789\nx,7,\n", 10);
        let lines: Vec<&str> = tabled.text.lines().collect();
        assert_eq!(lines[0], "set    step       loss");
        assert_eq!(lines[1], "a, b      5     0.0123");
        assert_eq!(lines[2], "prose   400  1.2346e-5");
        assert_eq!(lines[3], "x         7");
        assert_eq!((tabled.shown, tabled.all), (3, 3));
    }

    #[test]
    fn of_many_rows_some_are_shown_with_the_first_and_the_last() {
        let rows: String = (1..=1000).map(|step| format!("{step},2.5\n")).collect();
        let tabled = aligned(&format!("step,loss\n{rows}"), 100);
        assert_eq!(tabled.all, 1000);
        assert!(tabled.shown <= 101 && tabled.shown >= 100, "{}", tabled.shown);
        let firsts: Vec<&str> = tabled.text.lines().map(|line| line.split_whitespace().next().unwrap_or("")).collect();
        assert_eq!((firsts[1], firsts[firsts.len() - 1]), ("1", "1000"));
        assert_eq!(aligned("", 10).all, 0);
    }
}
