//! What the tests of the trainer share: a tiny random llama and token rows.

use std::sync::Arc;
use temper_models::{LlamaConfig, Model};
use temper_nn::ForwardContext;
use temper_nn::ops::IGNORE;
use temper_nn::rng::Stream;
use temper_protocol::{Project, Value};
use temper_train::driver::Tokens;

/// Vocabulary of the tiny model.
pub(crate) const VOCABULARY: usize = 61;

/// A llama with three blocks, grouped-query attention and, if asked for, a tied head.
pub(crate) fn tiny_model(tied: bool) -> Model {
    Model::random(&tiny_config(tied), 7).expect("a tiny model")
}

/// Its shape.
pub(crate) fn tiny_config(tied: bool) -> LlamaConfig {
    LlamaConfig { intermediate_size: 48, kv_heads: 2, tied, context: 64, ..LlamaConfig::new(VOCABULARY, 32, 3, 4) }
}

/// A project with the given method and settings.
pub(crate) fn project(method: &str, settings: &[(&str, Value)]) -> Project {
    let mut project = Project::new("tiny", "random:tiny", &["rows".to_owned()], method);
    for (key, value) in settings {
        project.method.settings.0.insert((*key).to_owned(), value.clone());
    }
    project
}

/// Rows of random tokens with the given lengths, each trained from its third token on.
pub(crate) fn rows(lengths: &[usize]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut stream = Stream::new(11, "rows");
    lengths
        .iter()
        .map(|&length| {
            let ids: Vec<u32> = (0..length).map(|_| stream.below(VOCABULARY as u64) as u32).collect();
            let mut targets: Vec<u32> = ids.iter().skip(1).copied().chain([IGNORE]).collect();
            targets.iter_mut().take(1).for_each(|target| *target = IGNORE);
            (ids, targets)
        })
        .collect()
}

/// Lays rows into a batch: each inner list becomes one batch row of segments, padded to `width`.
/// `first_row` is the number of the first batch row within the step.
pub(crate) fn lay(batch: &[Vec<(Vec<u32>, Vec<u32>)>], width: usize, first_row: u64) -> Tokens {
    let (mut ids, mut targets, mut borders) = (Vec::new(), Vec::new(), Vec::new());
    for segments in batch {
        let (start, mut ends) = (ids.len(), vec![0]);
        for (segment, segment_targets) in segments {
            ids.extend_from_slice(segment);
            targets.extend_from_slice(segment_targets);
            ends.push((ids.len() - start) as u32);
        }
        assert!(ids.len() - start <= width, "the segments do not fit");
        ids.resize(start + width, 0);
        targets.resize(start + width, IGNORE);
        borders.push(ends);
    }
    let rows_in_step: Arc<[u64]> = (first_row..).take(batch.len()).collect();
    let ctx = ForwardContext {
        training: true,
        seed: 5,
        step: 3,
        rows_in_step,
        ..ForwardContext::with_borders(width, borders)
    };
    Tokens { ids: ids.into(), targets: targets.into(), ctx, examples: [].into() }
}

/// Trained positions.
pub(crate) fn trained(tokens: &Tokens) -> usize {
    tokens.targets.iter().filter(|target| **target != IGNORE).count()
}
