//! Events in words for a terminal: one live bar with rate and time left where there is a terminal, plain
//! lines where there is none.

use crate::cli::compared::Compared;
use crate::cli::drive::print_line;
use crate::cli::runs::{duration, nats, signed};
use crate::cli::{figures, housekeep};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Instant;
use temper::format::energy;
use temper_protocol::event::{MachineCheck, SelfTest};
use temper_protocol::{Event, MethodCard, RunStatus};

/// Without a terminal a run prints about this many step lines.
const STEP_LINES: u64 = 20;

/// The state between events: the bar, and what the step line needs.
pub(crate) struct Human {
    terminal: bool,
    bar: Option<ProgressBar>,
    stage: String,
    first_step: Option<(u64, Instant)>,
    worst: BTreeMap<String, f64>,
    streamed: usize,
    compared: Compared,
}

impl Human {
    /// Looks at the terminal once.
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal() && std::io::stderr().is_terminal(),
            bar: None,
            stage: String::new(),
            first_step: None,
            worst: BTreeMap::new(),
            streamed: 0,
            compared: Compared::default(),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.stage.clear();
    }

    /// Prints one event.
    pub(crate) fn print(&mut self, event: &Event) {
        match event {
            Event::Queued { run } => self.line(&format!("run {run} waits for another run to end")),
            Event::Preparing { stage, done, total, unit, .. } | Event::Progress { stage, done, total, unit } => {
                self.wait(stage, *done, *total, unit);
            }
            Event::Step { .. } => self.step(event),
            Event::Started { .. }
            | Event::Eval { .. }
            | Event::Probe { .. }
            | Event::Sample { .. }
            | Event::Warning { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Finished { .. } => self.run_event(event),
            Event::Race(round) => {
                self.finish();
                figures::race(round);
            }
            Event::Comparison(part) => {
                self.finish();
                self.compared.hear(part);
            }
            Event::Written { .. } | Event::Certificate { .. } => self.export_event(event),
            Event::Text { .. } => self.text(event),
            Event::Bench(bench) => {
                self.finish();
                figures::bench(bench);
            }
            Event::Figures(table) => {
                self.finish();
                figures::table(table);
            }
            Event::Disk(disk) => {
                self.finish();
                print_line(&housekeep::disk_line(disk));
            }
            _ => self.answer(event),
        }
    }

    /// Prints a registry entry: one line, or everything.
    pub(crate) fn method(card: &MethodCard, whole: bool) {
        if !whole {
            print_line(&format!("{:<10} {:<12} {}", card.id, card.family, card.summary));
            return;
        }
        card.page.trim_end().lines().for_each(print_line);
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print_line(text)),
            None => print_line(text),
        }
    }

    fn wait(&mut self, stage: &str, done: u64, total: u64, unit: &str) {
        let changed = self.stage != stage;
        if changed {
            self.finish();
            stage.clone_into(&mut self.stage);
            if !self.terminal {
                print_line(&if stage.is_empty() { format!("{total} {unit}") } else { stage.to_owned() });
            }
        }
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new(total.max(1));
                if let Ok(style) =
                    ProgressStyle::with_template("{msg:32} {bar:30} {human_pos}/{human_len} {per_sec}, {eta} left")
                {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_message(if stage.is_empty() { unit.to_owned() } else { stage.to_owned() });
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
    }

    fn step(&mut self, event: &Event) {
        let Event::Step { step, max_steps, train_loss, lr, tokens_per_sec, rss_mib, .. } = event else { return };
        let (first, since) = *self.first_step.get_or_insert_with(|| (*step, Instant::now()));
        let pace = since.elapsed().as_secs_f64() / (step - first).max(1) as f64;
        let left = if *step > first { duration(pace * max_steps.saturating_sub(*step) as f64) } else { "-".to_owned() };
        let forgetting = self.worst.values().copied().fold(f64::NAN, f64::max);
        let text = format!(
            "loss {} nats   forgetting {}   {tokens_per_sec:.0} tokens/s   {left} left   {rss_mib:.0} MiB   rate {lr:.1e}",
            nats(*train_loss),
            signed(forgetting),
        );
        if self.terminal {
            if self.stage != "steps" {
                self.finish();
                "steps".clone_into(&mut self.stage);
            }
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new(*max_steps);
                if let Ok(style) = ProgressStyle::with_template("step {pos}/{len} {bar:20} {msg}") {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_length(*max_steps);
            bar.set_position(*step);
            bar.set_message(text);
        } else if *step == first || step % (max_steps / STEP_LINES).max(1) == 0 || step == max_steps {
            print_line(&format!("step {step}/{max_steps}   {text}"));
        }
    }

    fn run_event(&mut self, event: &Event) {
        match event {
            Event::Started {
                run, method, model_parameters, trained_parameters, threads, resumed_from, device, ..
            } => {
                self.first_step = None;
                let from =
                    if *resumed_from > 0 { format!(", going on from step {resumed_from}") } else { String::new() };
                self.line(&format!(
                    "run {run}: {method} trains {} of {} parameters on {device} with {threads} threads{from}",
                    count(*trained_parameters),
                    count(*model_parameters),
                ));
            }
            Event::Eval { step, split, loss, best } => self.line(&format!(
                "step {step}: {split} loss {} nats{}",
                nats(*loss),
                if *best && *step > 0 { ", best so far" } else { "" }
            )),
            Event::Probe { step, set, loss, loss_delta, kl, top1_agreement, negative_flips, .. } => {
                self.worst.insert(set.clone(), *loss_delta);
                if *step > 0 {
                    self.line(&format!(
                        "step {step}: kept {set}: forgetting {} nats (loss {}), KL to base {}, same best token {:.1} %, newly wrong {:.1} %",
                        signed(*loss_delta),
                        nats(*loss),
                        nats(*kl),
                        top1_agreement * 100.0,
                        negative_flips * 100.0,
                    ));
                } else {
                    self.line(&format!("before training: kept {set}: loss {} nats", nats(*loss)));
                }
            }
            Event::Sample { step, prompt, text } => {
                let who = if *step == 0 { "base".to_owned() } else { format!("step {step}") };
                self.line(&format!("{who} answers \"{}\": {}", one_line(prompt), one_line(text)));
            }
            Event::Warning { text, step, .. } => {
                let place = if *step > 0 { format!(" (step {step})") } else { String::new() };
                self.line(&format!("note{place}: {text}"));
            }
            Event::Paused { step, .. } => self.line(&format!("paused after step {step}")),
            Event::Resumed { step, .. } => self.line(&format!("going on after step {step}")),
            Event::Finished { .. } => self.finished(event),
            _ => {}
        }
    }

    fn finished(&mut self, event: &Event) {
        let Event::Finished {
            run,
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
        } = event
        else {
            return;
        };
        self.finish();
        let how = match status {
            RunStatus::Finished => "finished",
            RunStatus::Stopped => "stopped and kept",
            RunStatus::Cancelled => "cancelled",
            RunStatus::Failed => "failed",
        };
        print_line(&format!("run {run} {how} after {steps} steps, {}", duration(*wall_secs)));
        print_line(&format!(
            "  validation loss {} -> {} nats per trained token (best {} at step {best_step})",
            nats(*base_loss),
            nats(*final_loss),
            nats(*best_loss)
        ));
        print_line(&format!("  forgetting {} nats (worst kept set minus base)", signed(*forgetting)));
        print_line(&format!("  {tokens_per_sec:.0} tokens/s, peak memory {peak_rss_mib:.0} MiB"));
        if let Some(adapter) = adapter {
            print_line(&format!("  result: {}", adapter.display()));
        }
        if let Some(problem) = problem {
            print_line(&format!("error: {problem}"));
        }
    }

    fn export_event(&mut self, event: &Event) {
        match event {
            Event::Written { format, path, bytes, sha256 } => {
                self.finish();
                print_line(&format!(
                    "written: {format}, {} ({:.1} MiB, sha256 {})",
                    path.display(),
                    *bytes as f64 / 1_048_576.0,
                    sha256.get(..12).unwrap_or(sha256)
                ));
            }
            Event::Certificate { pass, format, checks, reasons, .. } => {
                self.finish();
                print_line(&format!("certificate for {format}: {}", if *pass { "passed" } else { "NOT passed" }));
                for check in checks {
                    print_line(&format!(
                        "  {} {:<38} {:<14} limit {:<12} {}",
                        if check.pass { "ok " } else { "NO " },
                        check.name,
                        check.measured,
                        check.limit,
                        check.over
                    ));
                }
                for reason in reasons {
                    print_line(&format!("  {reason}"));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, event: &Event) {
        let Event::Text { text, stop_reason, tokens, tokens_per_sec, .. } = event else { return };
        if self.terminal {
            use std::io::Write as _;
            let piece = text.get(self.streamed..).unwrap_or_default();
            let mut out = std::io::stdout().lock();
            let _closed_pipe = write!(out, "{piece}").and_then(|()| out.flush());
            self.streamed = text.len();
            if !stop_reason.is_empty() {
                print_line("");
                print_line(&format!("({tokens} tokens, {stop_reason}, {tokens_per_sec:.1} tokens/s)"));
                self.streamed = 0;
            }
        } else if !stop_reason.is_empty() {
            print_line(text);
        }
    }

    fn answer(&self, event: &Event) {
        match event {
            Event::Model {
                path,
                format,
                architecture,
                parameters,
                layers,
                hidden_size,
                vocabulary,
                context,
                storage,
                ..
            } => {
                // a classifier of images has classes where others have tokens
                let reach = match architecture.as_str() {
                    "vit" | "cnn" => format!("{vocabulary} classes"),
                    _ => format!("vocabulary {vocabulary}, context {context}"),
                };
                print_line(&format!(
                    "model: {} ({format}, {architecture}): {} parameters, {layers} layers, width {hidden_size}, {reach}, stored as {storage}",
                    path.display(),
                    count(*parameters)
                ));
            }
            Event::Dataset { path, format, schema, confidence, rows, bad_rows, columns, complete } => {
                print_line(&format!(
                    "data: {} ({format}): {schema} (confidence {confidence:.2}), {rows}{} rows, {bad_rows} set aside, columns {}",
                    path.display(),
                    if *complete { "" } else { "+" },
                    columns.join(", ")
                ))
            }
            Event::Adapter { path, format, method, base, rank, sites, parameters } => print_line(&format!(
                "adapter: {} ({format}, {method}): rank {rank} at {sites} sites, {} parameters, for {}",
                path.display(),
                count(*parameters),
                if base.is_empty() { "a base it does not name" } else { base }
            )),
            Event::Project { path, name, model, method, runs } => {
                print_line(&format!("project: {} ({name}): {method} on {model}, {runs} runs", path.display()));
            }
            Event::Unknown { path, why } => print_line(&format!("not usable: {}: {why}", path.display())),
            Event::Preflight {
                fits,
                peak_rss_mib,
                step_secs,
                total_secs,
                disk_mib,
                warnings,
                free_memory_mib,
                max_steps,
                remedies,
                step_joules,
                ..
            } => {
                print_line(if *fits { "it fits" } else { "it does NOT fit" });
                print_line(&format!("  memory   {peak_rss_mib:.0} MiB of {free_memory_mib:.0} MiB free"));
                print_line(&format!(
                    "  time     {step_secs:.2} s a step, {} for {max_steps} steps",
                    duration(*total_secs)
                ));
                print_line(&format!("  energy   {}", energy_words(*step_joules, *step_secs, *max_steps)));
                print_line(&format!("  disk     {disk_mib:.0} MiB for checkpoints and exports"));
                for warning in warnings {
                    print_line(&format!("  note: {warning}"));
                }
                for remedy in remedies {
                    let settings: Vec<String> =
                        remedy.settings.iter().map(|(key, value)| format!("--set {key}={value}")).collect();
                    print_line(&format!("  would fit: {} ({:.0} MiB)", settings.join(" "), remedy.memory_mib));
                }
            }
            Event::Result { metric, value, stderr, rows, .. } => {
                print_line(&format!("{metric:<8} {value:.4} ± {stderr:.4} over {rows} rows"));
            }
            Event::Device { kind, name, usable, note, threads, memory_mib } => print_line(&format!(
                "{kind}: {name}, {threads} threads, {memory_mib:.0} MiB: {}{note}",
                if *usable { "" } else { "not usable: " }
            )),
            Event::Selftest(SelfTest { pass, text, secs, tokens_per_sec, gemm_gflops, checks }) => {
                print_line(&format!(
                    "self-test {}: {text} ({secs:.1} s, {tokens_per_sec:.0} tokens/s, matrix product {gemm_gflops:.0} GFLOP/s)",
                    if *pass { "passed" } else { "FAILED" }
                ));
                for check in checks {
                    print_line(&self_check(check));
                }
            }
            _ => {}
        }
    }
}

/// A line of the self-test, with what to do about it.
fn self_check(check: &MachineCheck) -> String {
    let verdict = if check.pass { "ok    " } else { "FAILED" };
    let action = if check.action.is_empty() { String::new() } else { format!("; {}", check.action) };
    format!("  {verdict} {:<10} {}{action}", check.name, check.measured)
}

/// What the steps of a run draw, by the joules of the one that was measured.
fn energy_words(step_joules: Option<f64>, step_secs: f64, max_steps: u64) -> String {
    match step_joules.filter(|_| step_secs > 0.0) {
        Some(joules) => format!(
            "about {} for {max_steps} steps, {:.0} W of the whole processor",
            energy(joules * max_steps as f64),
            joules / step_secs
        ),
        None => "not known: this machine does not tell what it draws".to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `4.9 M`, `134.5 M`, `720 k`.
fn count(parameters: u64) -> String {
    let value = parameters as f64;
    if value >= 1e9 {
        format!("{:.2} G", value / 1e9)
    } else if value >= 1e6 {
        format!("{:.1} M", value / 1e6)
    } else if value >= 1e4 {
        format!("{:.0} k", value / 1e3)
    } else {
        parameters.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_said_where_the_machine_tells_and_its_absence_too() {
        assert_eq!(energy_words(Some(93.0), 2.07, 1200), "about 31 Wh for 1200 steps, 45 W of the whole processor");
        assert!(energy_words(None, 2.07, 1200).starts_with("not known"));
        assert!(energy_words(Some(93.0), 0.0, 1200).starts_with("not known"), "no step was measured");
    }
}
