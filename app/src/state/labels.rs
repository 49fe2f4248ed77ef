//! What settings are called: the labels of the forms, for places that name a setting by its key.
//!
//! Place in the data flow: the room Compare has columns and rows for settings in which runs differ; the key itself, which
//! stands in `project.toml` and on the command line, is in their tooltips.

use super::State;

impl State {
    /// The form's label of the setting `key`, such as `train.lr_peak`; a setting without a form keeps its key.
    #[must_use]
    pub fn setting_label<'a>(&'a self, key: &'a str) -> &'a str {
        if let Some(own) = key.strip_prefix("method.") {
            let mut cards = self.methods.iter().flat_map(|card| &card.settings);
            return cards.find(|setting| setting.key == own).map_or(key, |setting| setting.label.as_str());
        }
        label(key).unwrap_or(key)
    }
}

/// Labels of settings that every project has.
fn label(key: &str) -> Option<&'static str> {
    Some(match key {
        "model.base" => t!("model-held"),
        "data.train" => t!("common-data"),
        "data.max_tokens" => t!("train-longest"),
        "data.validation" => t!("train-validation"),
        "data.loss_on" => t!("train-loss-on"),
        "data.packing" => t!("train-packing"),
        "train.lr_peak" => t!("train-rate"),
        "train.steps" => t!("train-steps"),
        "train.batch" => t!("train-batch"),
        "train.schedule" => t!("train-schedule"),
        "train.warmup_steps" => t!("train-warmup"),
        "train.lr_floor" => t!("train-floor"),
        "train.decay_share" => t!("train-fall"),
        "train.clip_norm" => t!("train-clip"),
        "train.weight_decay" => t!("train-decay"),
        "train.beta1" => t!("train-beta1"),
        "train.beta2" => t!("train-beta2"),
        "train.optim_state" => t!("train-moments"),
        "train.accumulate" => t!("train-accumulate"),
        "train.seed" => t!("train-seed"),
        "train.threads" => t!("train-threads"),
        "train.device" => t!("train-device"),
        "train.recompute" => t!("train-recompute"),
        "train.kept_mib" => t!("train-kept"),
        "train.prefix_cache_mib" => t!("train-frozen"),
        "train.checkpoint_steps" => t!("common-checkpoints"),
        "train.keep_checkpoints" => t!("compare-kept-checkpoints"),
        "train.snapshot_mib" => t!("train-snapshots"),
        "train.eval_steps" => t!("train-validate"),
        "train.patience" => t!("train-patience"),
        "train.best_by" => t!("train-best-by"),
        "train.on_spike" => t!("train-spike"),
        "train.spike_factor" => t!("train-spike-factor"),
        "keep.budget_nats" => t!("keep-budget"),
        "keep.on_exceed" => t!("keep-exceed"),
        "keep.every_steps" => t!("compare-kept-interval"),
        "samples.prompts" => t!("keep-prompts"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_forms_and_no_two_settings_share_one() {
        let project = temper_protocol::Project::new("tone", "model", &["data.jsonl".to_owned()], "lora");
        let text = temper_protocol::project_file::to_text(&project).expect("text");
        let keys: Vec<String> = crate::reader::compared::flatten(&text).into_iter().map(|(key, _)| key).collect();
        let labels: Vec<&str> = keys.iter().filter_map(|key| label(key)).collect();
        assert!(labels.len() > 20, "most settings of a project have a label: {labels:?}");
        let mut once = labels.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), labels.len(), "{labels:?}");
        assert_eq!(label("train.lr_peak"), Some("Learning rate"));
        assert_eq!(label("train.from"), None, "it has no form");
    }
}
