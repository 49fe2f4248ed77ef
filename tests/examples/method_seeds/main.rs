//! What each method's paper or a small prototype of it promises on benches that take seconds, over three seeds: minutes on
//! two cores, so `tests/slow.sh` runs it. Every method trains through its declaration in the registry.
//!
//! `method_seeds [WORD...]`: only comparisons whose name contains one of the words. A line is `[PASS]` where a gate holds,
//! `[FAIL]` where it does not, and `[info]` where nothing was promised or where the method's page says that it does not
//! come out. Beside each mean stand the numbers of all seeds and what was expected.

mod compare;
mod forget;
mod language;
mod layer;
mod layer_cases;
mod small_net;
mod spread;
mod tasks;

use anyhow::{Result, ensure};
use compare::{Comparison, compare};
use std::time::Instant;

/// A family of comparisons and what makes them.
type Family = (&'static str, fn() -> Vec<Comparison>);

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    let families: [Family; 7] = [
        ("one layer", layer_cases::comparisons),
        ("one layer from few examples", layer_cases::few_shot_comparisons),
        ("where directions go", spread::comparisons),
        ("what is forgotten", forget::comparisons),
        ("a small language model", language::comparisons),
        ("tasks on a small encoder", tasks::comparisons),
        ("a small classifier", small_net::comparisons),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let mut failed = 0;
    for (family, make) in families {
        let comparisons: Vec<Comparison> = make().into_iter().filter(|comparison| is_wanted(comparison.name)).collect();
        if comparisons.is_empty() {
            continue;
        }
        let begun = Instant::now();
        failed += compare(&comparisons);
        println!("{family}: {} comparisons in {:.0} s", comparisons.len(), begun.elapsed().as_secs_f64());
    }
    ensure!(failed == 0, "{failed} comparisons fail");
    Ok(())
}
