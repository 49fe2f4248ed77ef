//! The four cards: what they show, what they refuse, and how a form edits the project.

use crate::kit;
use egui_kittest::kittest::Queryable as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use temper::commands::UiCommand;
use temper::state::gallery::Filter;
use temper::state::setup::Card;
use temper_protocol::{Code, Command, Event, Problem, Value};

fn set_field(window: &mut kit::Window, name: &str, text: &str) {
    let role = egui::accesskit::Role::TextInput;
    window.get_by_role_and_label(role, name).focus();
    window.run();
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    window.get_by_role_and_label(role, name).type_text(text);
    window.key_press(egui::Key::Enter);
    window.run();
}

#[test]
fn filled_cards_say_what_they_understood() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    for words in [
        "Llama GGUF file",
        "134.5 M 30 layers, width 576",
        "chat messages confidence 0.99",
        "4,325 train 480 validation",
    ] {
        assert!(window.query_all_by_label(words).next().is_some(), "{words}");
    }
    for card in ["Model: ready", "Data: ready", "Method: ready", "Keep: ready"] {
        window.get_by_label(card);
    }
    window.get_by_label("All checks pass. 7 rows stay out of training.");
    let preflights = stage.engine.count(|command| matches!(command, Command::Preflight { .. }));
    assert_eq!(preflights, 1, "one step is measured, once");
}

#[test]
fn the_strip_says_what_the_steps_draw_where_the_machine_tells() {
    for (told, shown) in [(Some(93.0), true), (None, false)] {
        let (_root, stage) = kit::stage();
        stage.engine.reply_with(move |command| match command {
            Command::Preflight { .. } => {
                let mut answer = kit::preflight();
                if let Event::Preflight { step_joules, .. } = &mut answer {
                    *step_joules = told;
                }
                vec![answer]
            }
            other => kit::answer(other),
        });
        let mut window = kit::window(&stage, kit::SIZES[0], true);
        kit::open(&mut window, &stage);
        assert_eq!(window.query_all_by_label("about 31 Wh").next().is_some(), shown, "{told:?}");
    }
}

#[test]
fn each_card_shows_its_own_problem() {
    for (code, place, card) in [
        (Code::TokenizerInvalid, "tokenizer.json", Card::Model),
        (Code::DataInvalid, "support-tone.jsonl line 7", Card::Data),
        (Code::MethodInvalid, "method.rank", Card::Method),
        (Code::NotFound, "keep.probes: contracts.txt", Card::Keep),
        (Code::OutOfMemory, "4 × 512 tokens", Card::Preflight),
    ] {
        let (_root, stage) = kit::stage();
        stage.engine.reply_with(move |command| match command {
            Command::Preflight { .. } => vec![Event::Error(Problem::new(code, "it does not work", place, "do this"))],
            other => kit::answer(other),
        });
        let mut window = kit::window(&stage, kit::SIZES[0], true);
        kit::open(&mut window, &stage);
        assert!(window.state().state.setup.problems.contains_key(&card), "{card:?}");
        assert!(window.query_all_by_label("It does not work").next().is_some(), "{card:?} shows it");
        assert!(window.query_all_by_label("Do this").next().is_some(), "{card:?} says what to do");
    }
}

#[test]
fn a_problem_goes_away_when_its_card_is_edited() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(|command| match command {
        Command::Preview { .. } => {
            vec![Event::Error(Problem::new(Code::DataInvalid, "nothing to train on", "d.jsonl", "set loss on"))]
        }
        other => kit::answer(other),
    });
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    assert!(window.state().state.setup.problems.contains_key(&Card::Data));
    stage.engine.reply_with(kit::answer);
    let mut project = window.state().state.draft.project.clone();
    project.data.loss_on = "everything".to_owned();
    kit::send(&mut window, UiCommand::Edit("data.loss_on".to_owned(), Box::new(project)));
    window.run_steps(8);
    assert!(window.state().state.setup.problems.is_empty());
    assert!(window.state().state.setup.preview.is_some(), "the data is read again");
}

#[test]
fn the_form_edits_the_project_and_refuses_nonsense() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    set_field(&mut window, "Rank", "32");
    assert_eq!(window.state().state.draft.project.method.settings.integer("rank"), 32);
    set_field(&mut window, "Learning rate", "fast");
    window.get_by_label("give a number such as 2e-4");
    assert!((window.state().state.draft.project.train.lr_peak - 2e-4).abs() < 1e-12, "the old value stays");
    set_field(&mut window, "Steps", "2,000,000,000");
    window.get_by_label("give 0 to 1,000,000,000");
    set_field(&mut window, "Steps", "1,000");
    assert_eq!(window.state().state.draft.project.train.steps, 1000);
    window.run_steps(4);
    let saved = temper_protocol::project_file::load(&folder).expect("the project file");
    assert_eq!(saved.train.steps, 1000, "edits are saved after a moment of quiet");
    kit::press(&mut window, "Undo");
    assert_eq!(window.state().state.draft.project.train.steps, 1200);
}

#[test]
fn presets_set_rank_alpha_and_rate_together() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    window.get_by_label("Preset: strong").click();
    window.run();
    let project = &window.state().state.draft.project;
    assert_eq!(project.method.settings.integer("rank"), 32);
    assert!((project.method.settings.number("alpha") - 64.0).abs() < 1e-9);
    assert!((project.train.lr_peak - 4e-4).abs() < 1e-12);
}

#[test]
fn full_training_takes_its_usual_rate_and_drops_foreign_settings() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    set_field(&mut window, "Rank", "8");
    window.get_by_label("Method Full training").click();
    window.run();
    let project = &window.state().state.draft.project;
    assert_eq!(project.method.id, "full");
    assert!(!project.method.settings.0.contains_key("rank"), "full training knows no rank");
    assert!(project.train.lr_peak.abs() < 1e-12, "0 stands for what full training usually takes");
}

#[test]
fn of_many_methods_a_few_are_listed_until_all_are_wanted() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let known = kit::methods();
    let more = (0..40).map(|number| {
        let mut card = known[0].clone();
        card.id = format!("extra-{number}");
        card.title = format!("Extra {number}");
        card
    });
    window.state_mut().state.methods = known.iter().cloned().chain(more).collect();
    window.run();
    window.get_by_label("Method LoRA");
    assert!(window.query_by_label("Method Extra 39").is_none());
    // The form below the list is within the card.
    let rate = window.get_by_role_and_label(egui::accesskit::Role::TextInput, "Learning rate");
    assert!(rate.rect().bottom() < kit::SIZES[0].1);
    window.get_by_label("39 more");
    window.get_by_label("Show all").click();
    window.run();
    window.get_by_label("Method Extra 39").click_accesskit();
    window.run();
    assert_eq!(window.state().state.draft.project.method.id, "extra-39");
    window.get_by_label("Show fewer").click_accesskit();
    window.run();
    window.get_by_label("Method Extra 39");
    assert!(window.query_by_label("Method Extra 38").is_none(), "the chosen one stays in sight");
}

#[test]
fn modules_can_be_left_out_in_the_model_card() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    window.get_by_label("Adapt mlp.down").click();
    window.run();
    let targets = window.state().state.draft.project.method.settings.list("targets");
    assert_eq!(targets, ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up"]);
    window.get_by_label("Adapt mlp.down").click();
    window.run();
    let value = window.state().state.draft.project.method.settings.0.get("targets").cloned();
    assert_eq!(value, Some(Value::Text("all-linear".to_owned())));
}

#[test]
fn a_module_unfolds_into_its_layers_and_a_search_finds_single_ones() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    assert!(window.query_by_label("layers.17.attn.v").is_none());
    window.get_by_label("Show the layers of attn.v").click();
    window.run();
    window.get_by_label("layers.17.attn.v");
    window.get_by_label("Hide the layers of attn.v").click();
    window.run();
    assert!(window.query_by_label("layers.17.attn.v").is_none());
    kit::send(&mut window, UiCommand::SiteQuery("17.attn".to_owned()));
    window.get_by_label("layers.17.attn.v");
    assert!(window.query_by_label("layers.16.attn.v").is_none());
}

#[test]
fn single_layers_are_ticked_and_taken_back() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let targets = |window: &kit::Window| window.state().state.draft.project.method.settings.list("targets");
    window.get_by_label("210 / 210");
    kit::send(&mut window, UiCommand::SiteQuery("17.attn.v".to_owned()));
    window.get_by_label("Adapt layers.17.attn.v").click();
    window.run();
    let written = targets(&window);
    assert_eq!(written.len(), 6 + 29, "six whole modules, and the other layers of the seventh");
    assert!(!written.contains(&"layers.17.attn.v".to_owned()) && written.contains(&"layers.16.attn.v".to_owned()));
    window.get_by_label("209 / 210");
    kit::send(&mut window, UiCommand::SiteQuery(String::new()));
    window.get_by_label("29 of 30");
    kit::send(&mut window, UiCommand::Undo);
    window.get_by_label("210 / 210");
}

#[test]
fn all_none_and_the_last_layers_of_a_module_are_a_click_each() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let mut project = window.state().state.draft.project.clone();
    project.method.settings.0.insert("targets".to_owned(), Value::Text("attn.q".to_owned()));
    project.method.settings.0.insert("layers".to_owned(), Value::List(vec!["28-".to_owned()]));
    kit::send(&mut window, UiCommand::Edit(String::new(), Box::new(project)));
    window.get_by_label("2 / 210");
    kit::send(&mut window, UiCommand::OpenModule(Some("attn.v".to_owned())));
    window.get_by_label("Adapt all layers of attn.v").click_accesskit();
    window.run();
    let settings = |window: &kit::Window| window.state().state.draft.project.method.settings.clone();
    assert_eq!(settings(&window).list("targets"), ["attn.v", "layers.28.attn.q", "layers.29.attn.q"]);
    assert!(!settings(&window).0.contains_key("layers"), "what is ticked is what is adapted");
    window.get_by_label("Adapt no layer of attn.v").click_accesskit();
    window.run();
    assert_eq!(settings(&window).list("targets"), ["layers.28.attn.q", "layers.29.attn.q"]);
}

#[test]
fn a_pattern_is_said_and_not_guessed() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let mut project = window.state().state.draft.project.clone();
    project.method.settings.0.insert("targets".to_owned(), Value::Text("re:.*[qv]".to_owned()));
    kit::send(&mut window, UiCommand::Edit(String::new(), Box::new(project)));
    assert!(window.query_all_by_label_contains("Not shown as ticks: re:.*[qv]").next().is_some());
}

#[test]
fn what_an_earlier_run_learnt_is_offered_to_be_kept() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    let mut snapshot = kit::snapshot(&folder, kit::view(7, "finished", 1200), false);
    let list = "[\"/data/greetings.jsonl\", \"/data/support-tone.jsonl\"]".to_owned();
    snapshot.settings = BTreeMap::from([(7, Arc::new(vec![("data.train".to_owned(), list)]))]);
    stage.runs.publish(snapshot);
    window.run();
    window.get_by_label("Keep greetings.jsonl").click();
    window.run();
    assert!(window.state().state.draft.project.keep.probes.iter().any(|probe| probe == "/data/greetings.jsonl"));
    assert!(window.query_by_label("Keep support-tone.jsonl").is_none(), "it is trained on now");
}

#[test]
fn kept_sets_and_prompts_are_edited_in_the_keep_card() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    window.get_by_label("Keep Code").click();
    window.run();
    assert!(!window.state().state.draft.project.keep.probes.iter().any(|probe| probe == "builtin:code"));
    window.get_by_label("When the budget is passed: stop").click();
    window.run();
    assert_eq!(window.state().state.draft.project.keep.on_exceed, "stop");
    window.get_by_label("Remove prompt 2").click();
    window.run();
    set_field(&mut window, "New sample prompt", "How are you?");
    let prompts = &window.state().state.draft.project.samples.prompts;
    assert_eq!(prompts.last().map(String::as_str), Some("How are you?"));
    assert_eq!(prompts.len(), 2);
}

#[test]
fn the_equal_command_and_the_project_file_can_be_read() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    kit::press(&mut window, "Show command");
    let words = format!("temper train {}", folder.display());
    assert!(window.query_all_by_label(&words).next().is_some(), "{words}");
    kit::send(&mut window, UiCommand::CloseSheet);
    kit::press(&mut window, "Project file");
    let text = temper_protocol::project_file::to_text(&window.state().state.draft.project).expect("text");
    assert!(window.query_all_by_label(&text).next().is_some());
}

#[test]
fn the_example_opens_ready_to_train() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::press(&mut window, "Open, look first");
    window.run_steps(8);
    let state = &window.state().state;
    assert_eq!(state.draft.folder.as_deref(), Some(stage.places.projects.join("quickstart").as_path()));
    assert_eq!(state.draft.project.model.path, "builtin:starter");
    assert_eq!(stage.engine.count(|command| matches!(command, Command::Train { .. })), 0);
    kit::send(&mut window, UiCommand::Go(temper::state::Room::Home));
    kit::press(&mut window, "Open and train");
    window.run_steps(4);
    assert_eq!(stage.engine.count(|command| matches!(command, Command::Train { .. })), 1);
    assert_eq!(stage.engine.count(|command| matches!(command, Command::CopyExample { .. })), 1, "it is copied once");
}

#[test]
fn filters_list_what_is_asked_for_and_the_gallery_says_what_does_not_fit() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let known = kit::methods();
    let more = (0..6).map(|number| {
        let mut card = known[0].clone();
        card.id = format!("extra-{number}");
        card.title = format!("Extra {number}");
        card.families = vec!["vision".to_owned()];
        card.family = if number < 3 { "rank-allocation" } else { "prompts" }.to_owned();
        card
    });
    window.state_mut().state.methods = known.iter().cloned().chain(more).collect();
    window.run();
    kit::send(&mut window, UiCommand::MethodFilter(Filter::MovesRank));
    assert!(window.query_by_label("Method LoRA").is_none());
    window.get_by_label("Method Extra 2");
    assert!(window.query_by_label("Method Extra 3").is_none());
    window.get_by_label("Rank-allocation");
    window.get_by_label("5 hidden by search and filter");
    window.get_by_label("Show all").click_accesskit();
    window.run();
    assert_eq!(window.state().state.setup.method_filter, Filter::All);
    kit::send(&mut window, UiCommand::MethodFilter(Filter::Fits));
    window.get_by_label("Method LoRA");
    assert!(window.query_by_label("Method Extra 0").is_none(), "it is for images");
    kit::send(&mut window, UiCommand::MethodFilter(Filter::Family("prompts".to_owned())));
    window.get_by_label("Method Extra 5");
    window.get_by_role_and_label(egui::accesskit::Role::ComboBox, "Methods listed");
}
