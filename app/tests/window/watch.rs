//! Watch: what is said before anything was measured, events as sentences, the heat map by keyboard, plots as files,
//! labels clear of curves.

use crate::{kit, scenes};
use egui::Key;
use egui::accesskit::Role;
use egui::epaint::Shape;
use egui::{Pos2, Rect};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use temper::commands::UiCommand;
use temper::reader::RunView;
use temper::reader::events::{EventKind, EventLine};
use temper::screen::{Format, Plot};
use temper::state::Room;
use temper::state::settings::LanguageChoice;
use temper::testing::{NOW_MILLIS, Stage};

/// The room with this run in it.
pub(crate) fn watching(stage: &Stage, view: RunView) -> kit::Window {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    let held = view.row.is_active();
    stage.runs.publish(kit::snapshot(&folder, view, held));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Watch));
    window
}

fn shows(window: &kit::Window, words: &str) -> bool {
    window.query_all_by_label_contains(words).next().is_some()
}

#[test]
fn nothing_is_within_budget_before_it_was_measured() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, scenes::early_view("running"));
    assert!(shows(&window, "not measured yet"));
    assert!(!shows(&window, "within budget"));
    assert!(!shows(&window, "over budget"));
    let plot = "Forgetting: not measured yet, only on the base";
    assert!(shows(&window, plot), "the plot says so too");
    assert!(shows(&window, "the base"), "the readout names what its zeros are from");
}

#[test]
fn a_verdict_names_the_step_it_is_from() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, kit::view(7, "running", 412));
    assert!(shows(&window, "within budget at step 400"));
    let mut over = kit::view(7, "running", 412);
    if let Some(settings) = &mut over.settings {
        settings.keep.budget_nats = 0.01;
    }
    let (_root, stage) = kit::stage();
    let window = watching(&stage, over);
    assert!(shows(&window, "over budget at step 400"));
    let (_root, stage) = kit::stage();
    let window = watching(&stage, kit::view(7, "stopped", 412));
    assert!(shows(&window, "not measured since step 400"), "it ended at 412");
    assert!(!shows(&window, "within budget"));
}

#[test]
fn a_plot_that_is_zoomed_is_read_at_its_end_and_the_status_bar_at_the_newest_step() {
    let (_root, stage) = kit::stage();
    let whole = kit::view(7, "running", 412);
    let mut zoomed = whole.clone();
    zoomed.request.steps = Some((10, 200));
    zoomed.train_smooth.retain(|point| point.x <= 295.0);
    zoomed.train_newest = Some(1.234);
    let mut window = watching(&stage, zoomed);
    kit::send(&mut window, UiCommand::Zoomed(Some((10, 200))));
    assert!(shows(&window, "at step 200"), "not step 412: the curve is not known there");
    let at_its_end = temper::reader::snapshot::value_at(&whole.train_smooth, 200.0).expect("a point");
    assert!(shows(&window, &temper::format::nats(at_its_end)));
    assert!(shows(&window, "1.234"), "what is trained now, in the bar below");
    kit::send(&mut window, UiCommand::Scrub(Some(300)));
    assert!(shows(&window, "at step 200"), "the scrub line is out of view as well");
}

#[test]
fn a_run_stopped_before_its_first_validation_has_no_best_step() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, scenes::early_view("stopped"));
    assert!(shows(&window, "It ended before its first validation."));
    assert!(shows(&window, "never measured"));
    assert!(shows(&window, "The run ended before its first validation and its first measurement"), "of ranks");
    assert!(!shows(&window, "best"), "nothing is called best");
    assert!(!shows(&window, "step 0"));
}

#[test]
fn events_are_sentences_whatever_the_engine_wrote() {
    let (_root, stage) = kit::stage();
    let mut view = kit::view(7, "running", 412);
    let line =
        |text: &str| EventLine { step: 400, at_millis: NOW_MILLIS, kind: EventKind::Warning, text: text.to_owned() };
    view.events = vec![line("more is forgotten than allowed"), line("notes.txt: 3 rows are too long")].into();
    let window = watching(&stage, view);
    window.get_by_label("More is forgotten than allowed");
    window.get_by_label("File notes.txt: 3 rows are too long");
}

/// The name of the cell that has the keyboard, if one has.
fn focused_cell(window: &kit::Window) -> Option<String> {
    let nodes = window.root().children_recursive();
    let cell = nodes.into_iter().find(|node| node.is_focused() && node.accesskit_node().role() == Role::GridCell)?;
    cell.accesskit_node().label()
}

#[test]
fn a_cell_of_the_heat_map_is_reached_and_moved_by_keyboard() {
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, kit::view(7, "running", 412));
    let mut presses = 0;
    while focused_cell(&window).is_none() {
        assert!(presses < 80, "Tab reaches no cell");
        window.key_press(Key::Tab);
        window.run();
        presses += 1;
    }
    kit::send(&mut window, UiCommand::Site(Some("layers.17.attn.v".to_owned())));
    let name = focused_cell(&window).expect("a cell");
    assert!(name.starts_with("attn.v, layer 17: rank 16, effective rank "), "{name}");
    assert!(name.contains("change "), "{name}");
    for (key, site) in [
        (Key::ArrowRight, "layers.18.attn.v"),
        (Key::ArrowDown, "layers.18.attn.o"),
        (Key::ArrowLeft, "layers.17.attn.o"),
        (Key::ArrowUp, "layers.17.attn.v"),
        (Key::End, "layers.29.attn.v"),
        (Key::ArrowRight, "layers.29.attn.v"),
        (Key::Home, "layers.0.attn.v"),
    ] {
        window.key_press(key);
        window.run();
        assert_eq!(window.state().state.watch.site.as_deref(), Some(site), "{key:?}");
        assert_eq!(stage.runs.0.lock().request.site.as_deref(), Some(site), "its history is asked for");
        let (_, rest) = site.split_once('.').expect("a site");
        let (layer, module) = rest.split_once('.').expect("a layer");
        let name = focused_cell(&window).expect("the focus stays in the map");
        assert!(name.starts_with(&format!("{module}, layer {layer}: ")), "{name}");
    }
}

#[test]
fn no_gauge_loses_its_unit_in_a_small_window() {
    for (language, speed) in [(LanguageChoice::English, "tok/s"), (LanguageChoice::German, "Tok/s")] {
        for per_sec in [2583.0, 99_900.0] {
            let (_root, stage) = kit::stage();
            let mut view = kit::view(7, "running", 412);
            view.row.tokens_per_sec = per_sec;
            // More than an hour is left.
            view.step_secs = 40.0;
            let mut window = kit::window_in(&stage, kit::SIZES[1], true, language);
            let folder = kit::open(&mut window, &stage);
            stage.runs.publish(kit::snapshot(&folder, view, true));
            window.run();
            kit::send(&mut window, UiCommand::Go(Room::Watch));
            let gauge = format!("{} {speed}", temper::format::speed(per_sec));
            assert!(shows(&window, &gauge), "{gauge}");
            let cut = crate::layout::cut_lines(&window.output().shapes);
            let left = temper::format::duration(788.0 * 40.0);
            assert!(shows(&window, &left) && left.contains(" h "), "{left}");
            assert!(!cut.iter().any(|line| *line == speed || *line == left), "{gauge}: {cut:?}");
        }
    }
}

/// A finished run whose folder is a temporary one.
fn finished_in(folder: &std::path::Path) -> RunView {
    let mut view = kit::view(7, "finished", 1200);
    view.row.folder = folder.to_path_buf();
    view
}

#[test]
fn every_plot_is_saved_as_a_picture_of_its_panel() {
    for size in kit::SIZES {
        let (root, stage) = kit::stage();
        let mut window = kit::window(&stage, size, true);
        let folder = kit::open(&mut window, &stage);
        stage.runs.publish(kit::snapshot(&folder, finished_in(root.path()), false));
        window.run();
        // From another room: the palette reaches it from everywhere.
        kit::send(&mut window, UiCommand::Go(Room::Home));
        for (plot, name) in [
            (Plot::Loss, "loss.png"),
            (Plot::Rates, "rates.png"),
            (Plot::Forgetting, "forgetting.png"),
            (Plot::Ranks, "ranks.png"),
        ] {
            kit::send(&mut window, UiCommand::SavePicture(plot, Format::Png));
            window.run_steps(8);
            let path = root.path().join(name);
            let picture = image::open(&path).unwrap_or_else(|error| panic!("{name}: {error}")).to_rgba8();
            assert!(picture.width() > 300 && picture.height() > 90, "{name}: {:?}", picture.dimensions());
            assert!(picture.width() < size.0 as u32 && picture.height() < size.1 as u32, "only the panel");
            let top = picture.get_pixel(0, 0).0;
            let bottom = picture.get_pixel(0, picture.height() - 1).0;
            let row = |pixel: [u8; 4]| u32::from(pixel[0]) * 256 + u32::from(pixel[1]);
            assert_eq!(row(bottom) - row(top) + 1, picture.height(), "the rows of the panel, without a gap");
        }
    }
}

#[test]
fn every_plot_is_saved_as_shapes_that_scale() {
    let (root, stage) = kit::stage();
    let mut window = watching(&stage, finished_in(root.path()));
    for (plot, name, words) in [
        (Plot::Loss, "loss.svg", "base model 2.914"),
        (Plot::Rates, "rates.svg", "Learning rate and gradient norm"),
        (Plot::Forgetting, "forgetting.svg", "budget +0.050"),
        (Plot::Ranks, "ranks.svg", "gate"),
    ] {
        kit::send(&mut window, UiCommand::SavePicture(plot, Format::Svg));
        window.run_steps(8);
        let text = std::fs::read_to_string(root.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"), "{name}");
        assert!(text.contains(&format!(">{words}</text>")), "{name} has no \"{words}\"");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{name}");
        assert_eq!(text.matches("<g ").count(), text.matches("</g>").count(), "{name}");
    }
}

#[test]
fn until_the_run_is_validated_the_readout_names_the_base() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, scenes::early_view("running"));
    let named = |window: &kit::Window, name: &str| window.query_all_by_label(name).next().is_some();
    assert!(named(&window, "base model") && !named(&window, "validation"));
    let (_root, stage) = kit::stage();
    let window = watching(&stage, kit::view(7, "running", 412));
    assert!(named(&window, "validation") && !named(&window, "base model"));
}

#[test]
fn forgetting_and_ranks_are_saved_as_tables() {
    let (root, stage) = kit::stage();
    let mut window = watching(&stage, finished_in(root.path()));
    kit::press(&mut window, "Forgetting: save");
    kit::press(&mut window, "Save forgetting as CSV");
    let text = std::fs::read_to_string(root.path().join("forgetting.csv")).expect("a table");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("set,step,loss_delta,kl,newly_wrong_share"));
    assert!(lines.next().is_some_and(|line| line.starts_with("prose,0,0,")), "{text}");
    assert_eq!(text.lines().count(), 1 + 4 * 25, "four sets, measured 25 times");
    kit::press(&mut window, "Ranks: save");
    kit::press(&mut window, "Save ranks as CSV");
    let text = std::fs::read_to_string(root.path().join("ranks.csv")).expect("a table");
    assert_eq!(text.lines().count(), 1 + 210, "seven modules in thirty layers");
    assert!(text.contains("\nlayers.17.attn.v,1200,16,"), "{}", text.lines().nth(1).unwrap_or_default());
}

/// Painted words that begin with one of these, and the pieces of all painted lines.
fn collect(shape: &Shape, words: &mut Vec<(String, Rect)>, pieces: &mut Vec<(Pos2, Pos2)>) {
    match shape {
        Shape::Vec(shapes) => shapes.iter().for_each(|shape| collect(shape, words, pieces)),
        Shape::Text(text) => {
            let line = text.galley.text();
            if ["best, step", "base model", "budget "].iter().any(|start| line.starts_with(start)) {
                words.push((line.to_owned(), text.galley.mesh_bounds.translate(text.pos.to_vec2())));
            }
        }
        // Curves have many points; rings, ticks and dashes have few.
        Shape::Path(path) if path.points.len() > 8 && !path.closed => {
            pieces.extend(path.points.windows(2).map(|pair| (pair[0], pair[1])));
        }
        // A curve of more points than pixels is a band: its height at each place.
        Shape::Band(band) => {
            let piece =
                |point: &egui::epaint::BandPoint| (Pos2::new(point.x, point.y.min), Pos2::new(point.x, point.y.max));
            pieces.extend(band.points.iter().map(piece));
        }
        _ => {}
    }
}

/// Horizontal place of the line at the newest step of a live run.
fn live_line(shape: &Shape, accent: egui::Color32) -> Option<f32> {
    match shape {
        Shape::LineSegment { points: [from, to], stroke } => {
            let upright = (from.x - to.x).abs() < 0.1 && (from.y - to.y).abs() > 60.0;
            (upright && stroke.color == accent && stroke.width > 1.5).then_some(from.x)
        }
        _ => None,
    }
}

#[test]
fn labels_in_plots_stand_where_no_curve_goes() {
    for (status, steps, scrub) in [
        ("running", 412, None),
        ("running", 412, Some(250)),
        ("running", 120, None),
        ("finished", 1200, None),
        ("stopped", 700, Some(480)),
    ] {
        for size in kit::SIZES {
            let (_root, stage) = kit::stage();
            let mut window = kit::window(&stage, size, true);
            let folder = kit::open(&mut window, &stage);
            stage.runs.publish(kit::snapshot(&folder, kit::view(7, status, steps), status == "running"));
            window.run();
            kit::send(&mut window, UiCommand::Go(Room::Watch));
            kit::send(&mut window, UiCommand::Scrub(scrub));
            // As lines, not as triangles: a vector picture asks for the same.
            temper::plots::svg::want(&window.ctx, true);
            window.run();
            let (mut words, mut pieces) = (Vec::new(), Vec::new());
            let accent = temper::theme::Theme::bundled(true).colours.accent;
            let shapes = &window.output().shapes;
            let live_lines: Vec<f32> = shapes.iter().filter_map(|clipped| live_line(&clipped.shape, accent)).collect();
            assert_eq!(live_lines.is_empty(), status != "running", "a live run has its line");
            for clipped in &window.output().shapes {
                collect(&clipped.shape, &mut words, &mut pieces);
            }
            assert!(pieces.len() > 100, "curves are drawn");
            for start in ["best, step", "base model", "budget "] {
                let named = words.iter().any(|(line, _)| line.starts_with(start));
                assert!(named, "\"{start}\" has found no place, {status} {steps} {scrub:?}, {}", size.0);
            }
            for (line, ink) in &words {
                let inside =
                    |(from, to): &&(Pos2, Pos2)| (0..=4).any(|part| ink.contains(from.lerp(*to, part as f32 / 4.0)));
                let lines = live_lines.iter().filter(|x| ink.x_range().contains(**x)).count();
                let crossing = pieces.iter().filter(inside).count() + lines;
                assert_eq!(crossing, 0, "\"{line}\" at {ink:?}, {status} {steps}, {}", size.0);
            }
        }
    }
}

#[test]
fn heat_and_energy_are_shown_where_the_system_tells_and_nowhere_else() {
    let (_root, stage) = kit::stage();
    let window = watching(&stage, kit::view(7, "running", 412));
    assert!(!shows(&window, "°C") && !shows(&window, "Wh drawn"));
    let mut warm = kit::view(7, "running", 412);
    warm.celsius = vec![("processor".to_owned(), 71.4), ("graphics".to_owned(), 55.0)];
    warm.joules = Some(9000.0);
    let (_root, stage) = kit::stage();
    let window = watching(&stage, warm);
    assert!(shows(&window, "71 °C"));
    assert!(shows(&window, "processor, graphics 55 °C, 2.5 Wh drawn"));
    let mut drawn = kit::view(7, "running", 412);
    drawn.joules = Some(9000.0);
    let (_root, stage) = kit::stage();
    let window = watching(&stage, drawn);
    assert!(shows(&window, "2.5 Wh") && !shows(&window, "°C"));
}

#[test]
fn the_clip_norm_says_how_many_steps_were_longer() {
    for (steps, words) in [(0, "clip 1"), (1, "clip 1; 1 step above"), (24, "clip 1; 24 steps above")] {
        let mut view = kit::view(7, "running", 412);
        view.clipped_steps = steps;
        let (_root, stage) = kit::stage();
        let window = watching(&stage, view);
        assert!(window.query_all_by_label(words).next().is_some(), "{words}");
    }
}

#[test]
fn steps_of_a_long_run_are_whole_beside_their_events() {
    let (_root, stage) = kit::stage();
    let mut view = kit::view(7, "running", 412);
    std::sync::Arc::make_mut(&mut view.events).iter_mut().for_each(|line| line.step += 12_345_000);
    let newest = temper::format::count(view.events.iter().map(|line| line.step).max().expect("an event"));
    let window = watching(&stage, view);
    let mut seen = 0;
    for clipped in &window.output().shapes {
        if let Shape::Text(text) = &clipped.shape
            && text.galley.text() == newest
            && text.pos.x > 700.0
        {
            let place = text.galley.rect.translate(text.pos.to_vec2());
            assert!(place.left() >= clipped.clip_rect.left(), "{place:?} within {:?}", clipped.clip_rect);
            seen += 1;
        }
    }
    assert!(seen > 0, "{newest} is among the events");
}
