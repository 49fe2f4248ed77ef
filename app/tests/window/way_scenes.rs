//! Scenes with ways on: a run that does not fit into memory, and one whose loss was no number.

use crate::kit::{self, Window};
use temper::testing::Stage;
use temper_protocol::event::Remedy;
use temper_protocol::{Code, Command, Event, Problem};

fn remedy(settings: &[(&str, &str)], memory_mib: f64, rows_cut: u64, time_factor: Option<f64>) -> Remedy {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Remedy { settings, memory_mib, rows_cut, time_factor }
}

/// A pre-flight that does not fit, with three ways on.
fn tight() -> Event {
    let mut event = kit::preflight();
    if let Event::Preflight { fits, peak_rss_mib, free_memory_mib, remedies, .. } = &mut event {
        (*fits, *peak_rss_mib, *free_memory_mib) = (false, 12_698.0, 9_318.0);
        *remedies = vec![
            remedy(&[("train.batch", "2"), ("train.accumulate", "2")], 8_090.0, 0, Some(1.0)),
            remedy(&[("train.recompute", "on")], 5_325.0, 0, Some(1.31)),
            remedy(&[("data.max_tokens", "256")], 7_578.0, 212, None),
        ];
    }
    event
}

/// Setup, with settings that need more memory than is free.
pub(crate) fn setup_tight(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(|command| match command {
        Command::Preflight { .. } => vec![tight(), Event::Done {}],
        other => kit::answer(other),
    });
    kit::open(window, stage);
}

/// The end of a run whose loss was no number.
pub(crate) fn not_finite() -> Problem {
    Problem::new(
        Code::NonFinite,
        "the loss was not a number at step 97",
        "support-tone.jsonl line 2734, support-tone.jsonl line 31 and 2 more",
        "lower the learning rate or look at these rows; the last checkpoint is whole and can be exported",
    )
}
