//! The model card: filled from the run, changed before an export, sent along with it.

use crate::{export_scenes, kit};
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::state::Sheet;
use temper::state::card::CardAct;
use temper::testing::Stage;
use temper_protocol::Command;

fn ready() -> (tempfile::TempDir, Stage, kit::Window) {
    let (root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    export_scenes::export_ready(&mut window, &stage);
    (root, stage, window)
}

/// The card of the newest export that was asked for.
fn sent(stage: &Stage) -> Option<String> {
    match stage.engine.newest(|command| matches!(command, Command::Export { .. })) {
        Some(Command::Export { card, .. }) => card,
        other => panic!("expected an export, got {other:?}"),
    }
}

#[test]
fn the_card_is_filled_from_the_run_and_goes_along_unchanged() {
    let (_root, stage, mut window) = ready();
    kit::send(&mut window, UiCommand::ExportTarget(0));
    kit::press(&mut window, "Model card…");
    let Some(Sheet::Card { text }) = window.state().state.sheet.clone() else { panic!("no card is shown") };
    for words in ["# customer-tone", "LoRA on SmolLM2-135M-Instruct.Q4_1.gguf", "1.427", "+0.041", "Apache-2.0"] {
        assert!(text.contains(words), "\"{words}\" is missing in {text}");
    }
    window.get_by_role_and_label(Role::MultilineTextInput, "Text of the card");
    kit::press(&mut window, "Use this card");
    assert_eq!(window.state().state.export.card, None, "what the run says follows the run");
    kit::press(&mut window, "Write and check");
    assert_eq!(sent(&stage), Some(text));
}

#[test]
fn a_changed_card_is_kept_said_and_sent_until_it_is_thrown_away() {
    let (_root, stage, mut window) = ready();
    kit::send(&mut window, UiCommand::ExportTarget(0));
    kit::press(&mut window, "Model card…");
    let own = "# Calm answers\n\nFor the support team.\n".to_owned();
    kit::send(&mut window, UiCommand::Card(CardAct::Text(own.clone())));
    kit::press(&mut window, "Use this card");
    assert_eq!(window.state().state.sheet, None);
    assert!(window.query_all_by_label_contains("with a card of your own").next().is_some());
    kit::press(&mut window, "Write and check");
    assert_eq!(sent(&stage), Some(own));
    kit::press(&mut window, "Model card…");
    kit::press(&mut window, "From the run");
    let Some(Sheet::Card { text }) = window.state().state.sheet.clone() else { panic!("no card is shown") };
    assert!(text.starts_with("# customer-tone"));
    assert_eq!(window.state().state.export.card, None);
}

#[test]
fn a_lone_gguf_file_has_no_card_and_says_so() {
    let (_root, stage, mut window) = ready();
    kit::press(&mut window, "Model card…");
    assert_eq!(window.state().state.sheet, None, "the chosen target is a file");
    kit::press(&mut window, "Write and check");
    assert_eq!(sent(&stage), None);
}
