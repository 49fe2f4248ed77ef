//! `bench ops`: every operation beside the same computation in plain candle tensors.
//!
//! Place in the data flow: the host calls [`ops`]; the list of cases is [`temper_nn::bench`]'s, this runs it on a pool of
//! the wanted size and makes a table of it.

use crate::control::RunControl;
use crate::error::Result;
use crate::threads::{on_pool, threads_for};
use crate::watch::Watch;
use temper_nn::bench::{CASES, Case, Sizes, measure};
use temper_protocol::event::{Figure, Figures};
use temper_protocol::{Code, Event, Problem};

/// Passes of each side, of which the median counts.
const ROUNDS: usize = 7;
const MILLI: f64 = 1e3;
const MIB: f64 = 1024.0 * 1024.0;

/// Measures the cases whose name contains `only` (all without it) on `threads` threads, 0 for as many as a run would
/// use, and answers with [`Event::Figures`].
///
/// # Errors
/// A name that no case has; a stop or cancel.
pub fn ops(threads: usize, only: Option<&str>, control: &RunControl, emit: &mut dyn FnMut(Event)) -> Result<Event> {
    let all = CASES.iter().copied().flatten();
    let cases = all.filter(|case| only.is_none_or(|word| case.name().contains(word))).collect::<Vec<_>>();
    if cases.is_empty() {
        let word = only.unwrap_or_default();
        let names = CASES.iter().copied().flatten().map(|case| case.op).collect::<std::collections::BTreeSet<_>>();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let hint = format!("choose a part of one of: {names}");
        return Err(Problem::new(Code::Usage, format!("no operation is called \"{word}\""), "--op", hint).into());
    }
    on_pool(0, threads_for(threads), control, emit, |watch| table(&cases, Sizes::full(), watch))
}

fn table(cases: &[&Case], sizes: Sizes, watch: &Watch<'_>) -> Result<Event> {
    let threads = rayon::current_num_threads();
    let mut rows = Vec::with_capacity(cases.len());
    for (case, done) in cases.iter().zip(0..) {
        watch.preparing("measuring operations", done, cases.len() as u64, "operations");
        watch.check()?;
        let cost = measure(&case.build(&sizes)?, ROUNDS)?;
        let mib = |bytes: Option<u64>| bytes.map_or(Figure::Missing, |bytes| Figure::from(bytes as f64 / MIB));
        rows.push(vec![
            Figure::from(case.name()),
            Figure::from(cost.ours_secs * MILLI),
            Figure::from(cost.candle_secs * MILLI),
            Figure::from(cost.ours_secs / cost.candle_secs),
            mib(cost.ours_bytes),
            mib(cost.candle_bytes),
        ]);
    }
    let Sizes { rows: batch, width, hidden, inner, heads, head_features, vocabulary, rank, images, channels, side } =
        sizes;
    let text = format!(
        "a pass forward and backward on {threads} threads, medians of {ROUNDS} in turn with plain candle tensors: \
         {batch} x {width} tokens, {hidden} and {inner} features, {heads}/{} heads of {head_features}, vocabulary \
         {vocabulary}, rank {rank}; maps {images} x {channels} x {side} x {side}; memory beyond inputs and parameters",
        heads / 3
    );
    let columns = ["operation", "ours, ms", "candle, ms", "ours / candle", "ours, MiB", "candle, MiB"];
    let columns = columns.map(str::to_owned).to_vec();
    Ok(Event::Figures(Figures { what: "ops".to_owned(), text, columns, rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_row_of_numbers() {
        let control = RunControl::new();
        let all = CASES.iter().copied().flatten().collect::<Vec<_>>();
        let answer = on_pool(0, 1, &control, &mut |_| (), |watch| table(&all, Sizes::small(), watch)).expect("a table");
        let Event::Figures(figures) = answer else { panic!("no table") };
        assert_eq!(figures.rows.len(), all.len());
        for row in &figures.rows {
            assert_eq!(row.len(), figures.columns.len());
            let speeds = row.iter().skip(1).take(3);
            assert!(speeds.into_iter().all(|cell| matches!(cell, Figure::Number(value) if *value > 0.0)), "{row:?}");
        }
    }

    #[test]
    fn a_name_that_no_operation_has_is_refused_with_those_that_are() {
        let error = ops(1, Some("fourier"), &RunControl::new(), &mut |_| ()).expect_err("refused").to_string();
        assert!(error.contains("fourier"), "{error}");
    }
}
