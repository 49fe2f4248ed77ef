//! Every operation forward and backward beside plain candle tensors, with criterion's statistics: `cargo bench -p
//! temper-nn`. The list is [`temper_nn::bench`]'s, which `temper bench ops` measures too.

use criterion::Criterion;
use std::hint::black_box;
use std::time::Duration;
use temper_nn::bench::{CASES, Pass, Sizes};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let sizes = Sizes::full();
    for case in CASES.iter().copied().flatten() {
        let pair = match case.build(&sizes) {
            Ok(pair) => pair,
            Err(error) => panic!("{}: {error}", case.name()),
        };
        let mut group = criterion.benchmark_group(case.name());
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        let mut measure = |side: &str, pass: &Pass| {
            group.bench_function(side, |bencher| {
                bencher.iter(|| match pass() {
                    Ok(outcome) => black_box(outcome.output),
                    Err(error) => panic!("{}: {error}", case.name()),
                });
            });
        };
        measure("ours", &pair.ours);
        measure("candle", &pair.candle);
        group.finish();
    }
    criterion.final_summary();
}
