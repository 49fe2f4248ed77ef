//! `bench data --preview`: how long a person waits for a first look at data of any size and for its single rows.
//!
//! Place in the data flow: beside [`super::data`], over [`temper_data::Lens`], which the window's token lens asks.

use super::data::{DataBenchRequest, Table};
use super::median;
use crate::error::Result;
use crate::watch::Watch;
use std::time::Instant;
use temper_data::{Lens, LoadRequest, TextCodec, ValidationSource, random};
use temper_protocol::Event;

/// Rows that a screen shows and a page holds.
const PAGE: u64 = 64;
/// Tokens of each that a list shows.
const TOKENS: usize = 160;
/// Pages read at random places.
const PAGES: u64 = 64;
const MIB: f64 = 1024.0 * 1024.0;

/// Measures the first look, the index and pages of rows at random places.
pub(super) fn look(request: &DataBenchRequest, codec: TextCodec, watch: &Watch<'_>) -> Result<Event> {
    let mut table = Table::default();
    let (data, seed) = (&request.project.data, request.project.train.seed);
    let train = vec![(request.path.clone(), 1.0)];
    let mut load = LoadRequest::from_project(data, train, ValidationSource::Share(0.0), seed, None)?;
    load.max_tokens = request.width;
    watch.preparing("first look", 0, 0, "rows");
    let begin = Instant::now();
    let lens = Lens::open(load, codec)?;
    let first = lens.peek(3, 0.0)?;
    table.add("first look: head and samples", begin.elapsed().as_secs_f64() * 1e3, "ms");
    let begin = Instant::now();
    let page = lens.look_on().and_then(|_| lens.rows(0, PAGE as usize, TOKENS))?;
    table.add(format!("first {} rows token by token", page.len()), begin.elapsed().as_secs_f64() * 1e3, "ms");
    watch.preparing("index", 0, 0, "bytes");
    let begin = Instant::now();
    while lens.look_on()? {
        watch.check()?;
    }
    let (secs, extent) = (begin.elapsed().as_secs_f64(), lens.extent());
    table.add("places of all rows", secs * 1e3, "ms");
    table.add("places of all rows", extent.total as f64 / MIB / secs.max(f64::MIN_POSITIVE), "MiB/s");
    let mut times = Vec::new();
    for number in 0..PAGES {
        watch.check()?;
        let row = random::combine(&[seed, number]) % extent.rows.max(1);
        let begin = Instant::now();
        std::hint::black_box(lens.rows(row, PAGE as usize, TOKENS)?);
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let longest = times.iter().copied().fold(0.0, f64::max);
    table.add(format!("{PAGE} rows at a random place, median"), median(times), "ms");
    table.add(format!("{PAGE} rows at a random place, longest"), longest, "ms");
    let guess = if let Event::Preview { rows, .. } = first { rows } else { 0 };
    let text = format!("{} rows in {:.0} MiB; the first look reckoned {guess}", extent.rows, extent.total as f64 / MIB);
    Ok(table.event(text))
}
