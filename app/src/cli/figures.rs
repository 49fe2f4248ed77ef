//! The figures of a bench in words.

use crate::cli::drive::print_line;
use temper_protocol::event::{Figure, Figures, RaceRound, TrainBench};

/// Prints what a bench measured, one figure a line, each with its unit.
pub(crate) fn bench(bench: &TrainBench) {
    let TrainBench {
        steps,
        threads,
        tokens_per_step,
        trained_tokens_per_step,
        padding_share,
        tokens_per_sec,
        step_secs,
        cpu_secs_per_step,
        peak_rss_mib,
        useful_gflop_per_step,
        useful_gflops,
        gemm_gflops,
        gemm_fraction,
        page_faults_per_step,
        phase_secs,
        losses,
        ..
    } = bench;
    let first_and_last = losses.first().zip(losses.last());
    let mut lines = vec![
        format!(
            "medians of {steps} steps of {tokens_per_step} tokens on {threads} threads, after one that is not counted"
        ),
        format!("  speed         {tokens_per_sec:.1} tokens/s, {step_secs:.3} s a step"),
        format!("  processor     {cpu_secs_per_step:.2} s a step"),
        format!("  memory        {peak_rss_mib:.0} MiB at the peak, mapped model included"),
        format!("  useful work   {useful_gflop_per_step:.0} GFLOP a step, {useful_gflops:.1} GFLOP/s"),
        format!("  the limit     {gemm_gflops:.1} GFLOP/s: the faster of two libraries on the same products"),
        format!("  reached       {:.1} % of it", 100.0 * gemm_fraction),
        format!("  page faults   {page_faults_per_step:.0} a step"),
    ];
    if *padding_share > 0.0 || *trained_tokens_per_step < 0.9 * *tokens_per_step as f64 {
        let padding = 100.0 * padding_share;
        lines.push(format!(
            "  rows          {trained_tokens_per_step:.0} tokens a step trained, {padding:.1} % padding"
        ));
    }
    lines.extend(phase_secs.iter().map(|(phase, secs)| format!("  {phase:<13} {secs:.3} s a step")));
    if let Some((first, last)) = first_and_last {
        lines.push(format!("  loss          {first:.4} to {last:.4}"));
    }
    lines.iter().for_each(|line| print_line(line));
}

/// Prints a table: text to the left, numbers to the right, .
pub(crate) fn table(table: &Figures) {
    let cells: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = cells.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(name.chars().count())
        })
        .collect();
    print_line(&table.text);
    let numeric = |column: usize| table.rows.iter().any(|row| matches!(row.get(column), Some(Figure::Number(_))));
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if numeric(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        format!("  {}", padded.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    print_line(&line(&table.columns));
    cells.iter().for_each(|row| print_line(&line(row)));
}

/// Prints how a race stands: who runs on, and how sure that is.
pub(crate) fn race(RaceRound { round, rounds, step, standings }: &RaceRound) {
    print_line(&format!("round {round} of {rounds}, step {step}: loss on the validation rows, difference to the best"));
    for one in standings {
        let (method, run) = (&one.method, one.run.map_or_else(String::new, |run| format!("run {run}")));
        if let Some(why) = &one.refused {
            print_line(&format!("  {method:<12} {run:<8} cannot run: {why}"));
            continue;
        }
        let behind = if one.difference > 0.0 {
            let clear = if one.difference > one.band { "" } else { ", not clear" };
            format!("+{:.4} ± {:.4}{clear}", one.difference, one.band)
        } else {
            "best".to_owned()
        };
        let fate = match (one.stays, round == rounds) {
            (true, false) => "runs on",
            (true, true) => "has won",
            (false, _) => "drops out",
        };
        print_line(&format!("  {method:<12} {run:<8} {:.4}  {behind:<32} {fate}", one.loss));
    }
}

fn cell(figure: &Figure) -> String {
    match figure {
        Figure::Text(text) => text.clone(),
        Figure::Missing => "-".to_owned(),
        Figure::Number(value) if value.fract() == 0.0 || value.abs() >= 1000.0 => format!("{value:.0}"),
        Figure::Number(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Figure::Number(value) if value.abs() >= 1.0 => format!("{value:.2}"),
        Figure::Number(value) if value.abs() < 1e-3 => format!("{value:.1e}"),
        Figure::Number(value) => format!("{value:.4}"),
    }
}
