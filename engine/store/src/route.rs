//! Where the numbers of an event go: series, rank table, columns of the run, or the list of events.
//!
//! Place in the data flow: [`crate::Store::push_event`] takes events as the trainer makes them,
//! [`crate::Store::flush`] asks this module what to write for each.

use crate::rows::RunUpdate;
use std::borrow::Cow;
use temper_protocol::event::{AttentionSize, ExpertLoad, MachineState};
use temper_protocol::{Event, RunStatus};

/// What an event means to the store.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    /// Points: series and value, at `step`.
    pub(crate) points: Vec<(Cow<'static, str>, f64)>,
    /// The step it states itself.
    pub(crate) step: Option<u64>,
    /// Whether it goes into the list of events.
    pub(crate) listed: bool,
    /// Columns of the run that follow from it.
    pub(crate) update: RunUpdate,
}

/// Unit of a series by its name.
pub(crate) fn unit_of(name: &str) -> &'static str {
    match name {
        "train_loss" => "nats",
        "tokens_per_sec" => "tokens/s",
        "trained_tokens" => "tokens",
        "rss_mib" => "MiB",
        "lr" | "grad_norm" => "",
        "energy/joules" => "J",
        _ if name.starts_with("celsius/") => "°C",
        _ if name.starts_with("loss/") => "nats",
        _ if name.starts_with("phase/") => "s",
        _ if name.ends_with("/top1_agreement") || name.ends_with("/negative_flips") => "share",
        _ if name.starts_with("probe/") => "nats",
        _ if name.starts_with("experts/") && name.ends_with("/entropy") => "nats",
        _ if name.starts_with("experts/") && name.contains("/load/") => "share",
        _ => "",
    }
}

/// Name of an event as its serialised form has it; kept in a column for queries.
pub(crate) fn kind_of(json: &serde_json::Value) -> &str {
    json.get("event").and_then(serde_json::Value::as_str).unwrap_or("unknown")
}

/// The name of a final status.
pub(crate) fn status_name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Finished => "finished",
        RunStatus::Stopped => "stopped",
        RunStatus::Cancelled => "cancelled",
        RunStatus::Failed => "failed",
    }
}

/// Three series a block.
fn attention(size: &AttentionSize) -> Routed {
    let name = |measure: &str| Cow::Owned(format!("attention/{}/{measure}", size.block));
    Routed {
        points: vec![
            (name("ratio"), size.ratio),
            (name("base_ratio"), size.base_ratio),
            (name("change_share"), size.change_share),
        ],
        step: Some(size.step),
        ..Routed::default()
    }
}

/// A series for each expert of a layer, and two of its router.
fn experts(load: &ExpertLoad) -> Routed {
    let name = |measure: &str| Cow::Owned(format!("experts/{}/{measure}", load.site));
    let shares = load.load.iter().enumerate().map(|(expert, share)| (name(&format!("load/{expert}")), *share));
    let router = [(name("entropy"), load.entropy), (name("dead"), load.dead as f64)];
    Routed { points: shares.chain(router).collect(), step: Some(load.step), ..Routed::default() }
}

/// A series for each part that has a temperature, and one of energy.
fn machine(state: &MachineState) -> Routed {
    let degrees = state.celsius.iter().map(|(part, value)| (Cow::Owned(format!("celsius/{part}")), *value));
    let joules = state.joules.map(|joules| (Cow::Borrowed("energy/joules"), joules));
    Routed { points: degrees.chain(joules).collect(), step: Some(state.step), ..Routed::default() }
}

/// What to write for `event`. Ranks have a table of their own and are handled by the store.
pub(crate) fn route(event: &Event) -> Routed {
    let status = |name: &str| RunUpdate { status: Some(name.to_owned()), ..RunUpdate::default() };
    let listed = |step: Option<u64>, update: RunUpdate| Routed { step, listed: true, update, ..Routed::default() };
    match event {
        Event::Step { step, max_steps, train_loss, lr, grad_norm, tokens_per_sec, trained_tokens, rss_mib } => Routed {
            points: vec![
                (Cow::Borrowed("train_loss"), *train_loss),
                (Cow::Borrowed("lr"), *lr),
                (Cow::Borrowed("grad_norm"), *grad_norm),
                (Cow::Borrowed("tokens_per_sec"), *tokens_per_sec),
                (Cow::Borrowed("trained_tokens"), *trained_tokens as f64),
                (Cow::Borrowed("rss_mib"), *rss_mib),
            ],
            step: Some(*step),
            update: RunUpdate {
                steps: Some(*step),
                max_steps: Some(*max_steps),
                tokens_per_sec: Some(*tokens_per_sec),
                peak_rss_mib: Some(*rss_mib),
                // The base is measured after `started`, and says `preparing` while it is: a step ends that.
                ..status("running")
            },
            ..Routed::default()
        },
        Event::Phases { step, secs } => Routed {
            points: secs.iter().map(|(phase, secs)| (Cow::Owned(format!("phase/{phase}")), *secs)).collect(),
            step: Some(*step),
            ..Routed::default()
        },
        Event::Eval { step, split, loss, best } => {
            let mut update = RunUpdate::default();
            if split == "validation" {
                update.base_loss = (*step == 0).then_some(*loss);
                update.best_loss = best.then_some(*loss);
                update.best_step = best.then_some(*step);
            }
            Routed {
                points: vec![(Cow::Owned(format!("loss/{split}")), *loss)],
                step: Some(*step),
                listed: true,
                update,
            }
        }
        Event::Probe { step, set, loss, loss_delta, kl, top1_agreement, negative_flips, .. } => {
            let name = |measure: &str| Cow::Owned(format!("probe/{set}/{measure}"));
            Routed {
                points: vec![
                    (name("loss"), *loss),
                    (name("loss_delta"), *loss_delta),
                    (name("kl"), *kl),
                    (name("top1_agreement"), *top1_agreement),
                    (name("negative_flips"), *negative_flips),
                ],
                step: Some(*step),
                listed: true,
                ..Routed::default()
            }
        }
        Event::Attention(size) => attention(size),
        Event::RowLosses(rows) => listed(Some(rows.step), RunUpdate::default()),
        Event::Experts(load) => experts(load),
        Event::Machine(state) => machine(state),
        Event::Rank { step, .. } => Routed { step: Some(*step), ..Routed::default() },
        Event::Queued { .. } => listed(None, status("queued")),
        Event::Preparing { .. } => listed(None, status("preparing")),
        Event::Started { model_parameters, trained_parameters, max_steps, resumed_from, .. } => listed(
            Some(*resumed_from),
            RunUpdate {
                max_steps: Some(*max_steps),
                model_parameters: Some(*model_parameters),
                trained_parameters: Some(*trained_parameters),
                steps: Some(*resumed_from),
                ..status("running")
            },
        ),
        Event::Paused { step, .. } => listed(Some(*step), status("paused")),
        Event::Resumed { step, .. } => listed(Some(*step), status("running")),
        Event::Sample { step, .. } | Event::Checkpoint { step, .. } => listed(Some(*step), RunUpdate::default()),
        Event::Warning { step, .. } => listed((*step > 0).then_some(*step), RunUpdate::default()),
        Event::Finished {
            status,
            steps,
            best_step,
            base_loss,
            final_loss,
            best_loss,
            forgetting,
            tokens_per_sec,
            peak_rss_mib,
            wall_secs,
            adapter,
            problem,
            ..
        } => listed(
            Some(*steps),
            RunUpdate {
                status: Some(status_name(*status).to_owned()),
                steps: Some(*steps),
                best_step: Some(*best_step),
                base_loss: Some(*base_loss),
                final_loss: Some(*final_loss),
                best_loss: Some(*best_loss),
                forgetting: Some(*forgetting),
                tokens_per_sec: Some(*tokens_per_sec),
                peak_rss_mib: Some(*peak_rss_mib),
                wall_secs: Some(*wall_secs),
                adapter: adapter.clone(),
                problem: problem.clone(),
                ..RunUpdate::default()
            },
        ),
        _ => listed(None, RunUpdate::default()),
    }
}
