//! What methods train on the chosen model: in the gallery before anything is measured, and in the sizes of exports.

use crate::kit;
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::state::Room;
use temper_protocol::prices::{MethodPrice, MethodPrices};
use temper_protocol::{Command, Event, MethodCard, Value};

/// A method that the window has no formula for.
fn miss() -> MethodCard {
    let lora = kit::methods().swap_remove(0);
    MethodCard { id: "miss".to_owned(), title: "MiSS".to_owned(), ..lora }
}

fn price(method: &str, trained_parameters: u64, gguf_lora_parameters: Option<u64>) -> MethodPrice {
    MethodPrice {
        method: method.to_owned(),
        trained_parameters,
        peft_parameters: Some(trained_parameters),
        gguf_lora_parameters,
    }
}

/// Answers as an engine does that knows a third method, and what it trains when it `counts`.
fn with_miss(command: &Command, counts: bool) -> Vec<Event> {
    match command {
        Command::Methods {} => {
            kit::methods().into_iter().chain([miss()]).map(Event::Method).chain([Event::Done {}]).collect()
        }
        Command::Prices { method, settings, .. } if counts => {
            let rank = if settings.0.contains_key("rank") { settings.integer("rank").unsigned_abs() } else { 64 };
            let all = [price("lora", 305_280 * rank, Some(305_280 * rank)), price("miss", 160_000 * rank, None)];
            let prices = all.into_iter().filter(|price| method.is_empty() || *method == price.method).collect();
            vec![Event::Prices(MethodPrices { prices }), Event::Done {}]
        }
        other => kit::answer(other),
    }
}

#[test]
fn a_method_without_a_formula_has_the_price_that_the_engine_counted() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(|command| with_miss(command, true));
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    window.get_by_label("10.2 M");
    assert!(window.query_all_by_label("measured by pre-flight").next().is_none());
    let asked = || stage.engine.count(|command| matches!(command, Command::Prices { .. }));
    let before = asked();
    window.run_steps(5);
    assert_eq!(asked(), before, "each question is asked once");
    // The form of the chosen method follows its settings.
    let mut project = window.state().state.draft.project.clone();
    "miss".clone_into(&mut project.method.id);
    project.method.settings.0 = [("rank".to_owned(), Value::Integer(8))].into();
    kit::send(&mut window, UiCommand::Edit("method.rank".to_owned(), Box::new(project)));
    window.run_steps(3);
    assert_eq!(asked(), before + 1);
    window.get_by_label("1.3 M");
}

#[test]
fn where_nothing_can_be_counted_the_tile_says_who_measures() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(|command| with_miss(command, false));
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    window.get_by_label("measured by pre-flight");
}

#[test]
fn the_size_of_a_gguf_adapter_counts_what_is_written_and_not_what_was_trained() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(|command| match command {
        Command::Prices { method, .. } if !method.is_empty() => {
            let prices = vec![price(method, 4_884_480, Some(19_537_920))];
            vec![Event::Prices(MethodPrices { prices }), Event::Done {}]
        }
        other => kit::answer(other),
    });
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Export));
    window.run_steps(3);
    let state = &window.state().state;
    let row = temper::update::export_run(state).expect("a run with a result");
    let held = temper::update::held_by(state, row);
    assert_eq!((held.trained, held.peft, held.gguf_lora), (row.trained_parameters, 4_884_480, 19_537_920));
    assert_eq!(temper::update::target_bytes(state, row, 1), 4 * 19_537_920);
    assert!(window.query_all_by_label("75").next().is_some(), "MiB in the table of targets");
}
