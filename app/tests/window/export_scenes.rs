//! The room Export in its states: nothing to write, ready, writing, passed, refused, a full disk.

use crate::kit::{self, Window};
use crate::scenes;
use std::path::PathBuf;
use temper::commands::UiCommand;
use temper::reader::snapshot::ExportRecord;
use temper::state::Room;
use temper::state::export::Certificate;
use temper::testing::{NOW_MILLIS, Stage};
use temper_protocol::event::Check;
use temper_protocol::prices::{MethodPrice, MethodPrices};
use temper_protocol::{Code, Command, Event, Problem};

pub(crate) fn export_empty(window: &mut Window, _stage: &Stage) {
    kit::send(window, UiCommand::Go(Room::Export));
}

/// An engine that counts what LoRA trains on the model of the scenes.
pub(crate) fn counting(command: &Command) -> Vec<Event> {
    match command {
        Command::Prices { .. } => {
            let price = MethodPrice {
                method: "lora".to_owned(),
                trained_parameters: 4_884_480,
                peft_parameters: Some(4_884_480),
                gguf_lora_parameters: Some(4_884_480),
            };
            vec![Event::Prices(MethodPrices { prices: vec![price] }), Event::Done {}]
        }
        other => kit::answer(other),
    }
}

/// Nothing was trained yet.
pub(crate) fn export_before(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(counting);
    kit::open(window, stage);
    kit::send(window, UiCommand::Go(Room::Export));
}

/// What full training can leave as, over Setup.
pub(crate) fn export_support(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(counting);
    kit::open(window, stage);
    let mut project = window.state().state.draft.project.clone();
    "full".clone_into(&mut project.method.id);
    kit::send(window, UiCommand::Edit(String::new(), Box::new(project)));
    kit::send(window, UiCommand::ShowSupport);
}

/// No run, and no adapter folder is chosen yet.
pub(crate) fn export_no_adapter(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::ExportAdapter(String::new()));
}

/// An adapter folder instead of a run, with a certificate of it.
pub(crate) fn export_adapter(window: &mut Window, stage: &Stage) {
    export_no_adapter(window, stage);
    kit::send(window, UiCommand::Drop(vec![PathBuf::from(ADAPTER)]));
    let adapter = window.state().state.export.adapter.clone();
    window.state_mut().state.export.certificates = vec![Certificate { run: None, adapter, ..passed() }];
    window.run();
}

/// A PEFT folder that belongs to no run.
pub(crate) const ADAPTER: &str = "/adapters/tone-adapter";

pub(crate) fn export_ready(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "finished", 1200);
    kit::send(window, UiCommand::Go(Room::Export));
    kit::send(window, UiCommand::ExportTarget(5));
}

pub(crate) fn export_no_gguf(window: &mut Window, stage: &Stage) {
    export_ready(window, stage);
    let why = "its way of splitting text has no name in GGUF; export to hf, or start from a GGUF base, whose tokenizer \
               is copied";
    window.state_mut().state.export.no_gguf.insert(kit::MODEL.to_owned(), why.to_owned());
    kit::send(window, UiCommand::ExportTarget(2));
}

pub(crate) fn exporting(window: &mut Window, stage: &Stage) {
    export_ready(window, stage);
    kit::send(window, UiCommand::Export);
    let progress = Event::Progress { done: 148, total: 272, unit: "tensors".to_owned(), stage: "merging".to_owned() };
    stage.engine.say(|command| matches!(command, Command::Export { .. }), vec![progress]);
    window.run();
}

fn check(name: &str, measured: &str, limit: &str, over: &str, pass: bool) -> Check {
    Check { name: name.to_owned(), measured: measured.to_owned(), limit: limit.to_owned(), over: over.to_owned(), pass }
}

/// A passed certificate.
pub(crate) fn passed() -> Certificate {
    Certificate {
        target: Some(5),
        run: Some(7),
        adapter: None,
        record: ExportRecord {
            format: "gguf".to_owned(),
            path: PathBuf::from("/exports/customer-tone-run7-gguf-f16.gguf"),
            bytes: 269_484_032,
            sha256: "9f3c71d044ae0b5290aa11c4d15efc6a3f1e2b7c8d9e0f1a2b3c4d5e6f706e18".to_owned(),
            pass: Some(true),
            checks: vec![
                check("mean logit difference", "0.0007", "≤ 0.01", "11.0 M logits", true),
                check("worst logit difference", "0.011", "≤ 0.1", "text 131, token 58", true),
                check("same first choice", "100.0 %", "≥ 99.5 %", "224 positions", true),
                check("same greedy answers", "24 of 24", "≥ 23 of 24", "32 tokens each", true),
            ],
            reasons: Vec::new(),
            // Not before the newest event of the run: nothing was trained since.
            at_millis: NOW_MILLIS,
        },
        secs: 11.5,
    }
}

/// A refused certificate.
pub(crate) fn refused() -> Certificate {
    let mut certificate = passed();
    certificate.target = Some(7);
    certificate.record.path = PathBuf::from("/exports/customer-tone-run7-gguf-q8_0.gguf.rejected");
    certificate.record.pass = Some(false);
    certificate.record.reasons = vec![
        "in 128 of 210 tensors the change is smaller than half a rounding step of Q8_0, so rounding erases it"
            .to_owned(),
    ];
    certificate.record.checks = vec![
        check("mean logit difference", "0.214", "≤ 0.01", "11.0 M logits", false),
        check("worst logit difference", "3.92", "≤ 0.1", "text 17, token 203", false),
        check("same first choice", "91.1 %", "≥ 99.5 %", "224 positions", false),
        check("same greedy answers", "24 of 24", "≥ 23 of 24", "32 tokens each", true),
    ];
    certificate
}

pub(crate) fn export_passed(window: &mut Window, stage: &Stage) {
    export_ready(window, stage);
    window.state_mut().state.export.certificates = vec![passed()];
    window.run();
}

pub(crate) fn export_refused(window: &mut Window, stage: &Stage) {
    export_ready(window, stage);
    window.state_mut().state.export.certificates = vec![refused(), passed()];
    window.run();
}

pub(crate) fn export_problem(window: &mut Window, stage: &Stage) {
    export_ready(window, stage);
    window.state_mut().state.export.problem = Some(Problem::new(
        Code::Io,
        "the disk is full",
        "/exports/customer-tone-run7-gguf-f16.gguf, 212 of 257 MiB written",
        "free 45 MiB or choose another place; the unfinished file was removed",
    ));
    window.run();
}
