//! Opens the window: renderer, window system, threads behind it.
//!
//! wgpu first, glow where there is no usable adapter. Where there is no graphics processor at all it is the other way
//! round: drawing by the processor takes a fifth of the time with glow. `TEMPER_RENDERER=wgpu` or `glow` decides by hand.
//! On Linux the window uses X11 whenever DISPLAY is set, because winit reports no dropped files on Wayland.

use crate::app::App;
use crate::client::{EngineLauncher, Wake};
use crate::commands::UiCommand;
use crate::desktop::Desktop;
use crate::dialogs::SystemPicker;
use crate::files::{Places, Threaded};
use crate::herald::SystemHerald;
use crate::instance::Door;
use crate::probe::{Driven, Probe};
use crate::reader::thread::{DRAWN_BY_PROCESSOR_INTERVAL, LIVE_INTERVAL};
use crate::reader::{StoreReader, ViewRequest};
use crate::screen::SystemScreen;
use crate::shutdown::SystemMachine;
use crate::state::{Clock, State};
use crate::texts::Language;
use crate::theme;
use crate::update::Services;
use eframe::{NativeOptions, Renderer, egui_wgpu, wgpu};
use egui::{Context, ViewportBuilder, ViewportId};
use std::path::PathBuf;
use std::time::Duration;
use temper_protocol::{Code, Problem};

/// How the window shall open.
pub struct WindowOptions {
    /// A project to open: its folder, or the project.toml in it.
    pub project: Option<PathBuf>,
    /// Files that count as dropped on the window.
    pub drops: Vec<PathBuf>,
    /// Whether `project` is trained as soon as it is open.
    pub autostart: bool,
    /// Starts the engine.
    pub engine: EngineLauncher,
    /// Where other starts put what they hand over; nobody does where nobody listens.
    pub door: Door,
    /// What `temper bench ui` does with the window; nothing otherwise.
    pub probe: Option<Probe>,
}

/// Distance of frames that news of the engine ask for: twenty a second are enough to read.
const NEWS_INTERVAL: Duration = Duration::from_millis(50);
/// The same for answers of the store and the disk, which come seldom. Not zero: egui draws twice then.
const ANSWER_INTERVAL: Duration = Duration::from_millis(1);

/// Smallest and first size of the window.
const FIRST_SIZE: [f32; 2] = [1280.0, 800.0];
const SMALLEST_SIZE: [f32; 2] = [900.0, 620.0];

/// Opens the window and returns when it is closed.
///
/// # Errors
/// A [`Problem`] when neither renderer can show a window, such as when there is no display.
pub fn run(options: WindowOptions) -> Result<(), Problem> {
    let WindowOptions { project, drops, autostart, engine, door, probe } = options;
    let wanted = std::env::var("TEMPER_RENDERER").unwrap_or_default().to_lowercase();
    let renderers: &[Renderer] = match wanted.as_str() {
        "glow" => &[Renderer::Glow],
        "wgpu" => &[Renderer::Wgpu],
        _ if has_graphics_processor() => &[Renderer::Wgpu, Renderer::Glow],
        _ => &[Renderer::Glow, Renderer::Wgpu],
    };
    let mut errors = Vec::new();
    for renderer in renderers {
        let (project, drops, engine) = (project.clone(), drops.clone(), engine.clone());
        let (door, probe) = (door.clone(), probe.clone());
        let shown = eframe::run_native(
            "temper",
            native_options(*renderer),
            Box::new(move |cc| {
                let places = probe.as_ref().map_or_else(Places::of_user, |probe| probe.places.clone());
                let mut app = create(&cc.egui_ctx, drops, autostart, engine, door, places)?;
                if let Some(project) = project {
                    app.send(&cc.egui_ctx, UiCommand::OpenProject(project));
                }
                let program: Box<dyn eframe::App> = match probe {
                    Some(probe) => Box::new(Driven::new(&cc.egui_ctx, app, probe)),
                    None => Box::new(app),
                };
                Ok(program)
            }),
        );
        match shown {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::warn!("the window cannot be shown with {renderer}: {error}");
                errors.push(format!("{renderer}: {error}"));
            }
        }
    }
    Err(no_window(&errors, Desktop::here()))
}

/// Whether a graphics processor is likely there. A wrong answer costs speed only: either renderer draws on both.
fn has_graphics_processor() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let nodes = ["/dev/nvidiactl", "/dev/dxg", "/dev/kgsl-3d0", "/dev/mali0"];
    let render = || {
        let cards = std::fs::read_dir("/dev/dri").ok()?;
        Some(cards.flatten().any(|node| node.file_name().to_string_lossy().starts_with("renderD")))
    };
    nodes.iter().any(|node| std::path::Path::new(node).exists()) || render() == Some(true)
}

/// Why there is no window, what each renderer said, and what to do: a missing display is another matter than missing
/// drivers.
fn no_window(errors: &[String], desktop: Desktop) -> Problem {
    let why = errors.join("; ");
    if desktop.has_windows() {
        Problem::new(
            Code::NotFound,
            format!("the window cannot be shown: {why}"),
            "the graphics drivers of this machine",
            "install a Vulkan or OpenGL driver (Mesa has both for the processor as well), or use the command line: \
             temper --help",
        )
    } else {
        Problem::new(
            Code::NotFound,
            format!("the window cannot be shown: {why}"),
            "DISPLAY or WAYLAND_DISPLAY, neither is set",
            "run it on a desktop, or use the command line: temper --help",
        )
    }
}

fn native_options(renderer: Renderer) -> NativeOptions {
    let viewport = ViewportBuilder::default()
        .with_title("Temper")
        .with_app_id("temper")
        .with_inner_size(FIRST_SIZE)
        .with_min_inner_size(SMALLEST_SIZE)
        .with_drag_and_drop(true)
        .with_icon(icon());
    let mut options = NativeOptions { viewport, renderer, centered: true, ..NativeOptions::default() };
    // A graphics processor that could train should not be kept busy by the window.
    let mut setup = egui_wgpu::WgpuSetupCreateNew::without_display_handle();
    setup.power_preference = wgpu::PowerPreference::from_env().unwrap_or(wgpu::PowerPreference::LowPower);
    options.wgpu_options.wgpu_setup = setup.into();
    prefer_x11(&mut options);
    options
}

/// The mark of the top bar, for the task bar.
fn icon() -> egui::IconData {
    const SIDE: u32 = 64;
    let colours = &theme::Theme::bundled(true).colours;
    // Left edge and top of the three bars, in pixels.
    let bars = [(12, 14), (28, 28), (44, 40)];
    let inside =
        |x: u32, y: u32| bars.iter().any(|(left, top)| (*left..left + 10).contains(&x) && (*top..52).contains(&y));
    let mut rgba = Vec::with_capacity((SIDE * SIDE * 4) as usize);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let colour = if inside(x, y) { colours.text } else { colours.panel };
            rgba.extend(colour.to_array());
        }
    }
    egui::IconData { rgba, width: SIDE, height: SIDE }
}

#[cfg(target_os = "linux")]
fn prefer_x11(options: &mut NativeOptions) {
    use winit::platform::x11::EventLoopBuilderExtX11 as _;
    if Desktop::here() == Desktop::X11 {
        options.event_loop_builder = Some(Box::new(|builder| {
            builder.with_x11();
        }));
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_x11(_options: &mut NativeOptions) {}

fn create(
    ctx: &Context,
    drops: Vec<PathBuf>,
    autostart: bool,
    launcher: EngineLauncher,
    door: Door,
    places: Places,
) -> Result<App, Problem> {
    theme::install(ctx);
    let waker = |after: Duration| -> Wake {
        let ctx = ctx.clone();
        std::sync::Arc::new(move || ctx.request_repaint_after_for(after, ViewportId::ROOT))
    };
    let wake = waker(ANSWER_INTERVAL);
    door.wake_with(wake.clone());
    let live_interval = if has_graphics_processor() { LIVE_INTERVAL } else { DRAWN_BY_PROCESSOR_INTERVAL };
    let services = Services {
        launcher,
        client: None,
        runs: Box::new(StoreReader::start_every(wake.clone(), live_interval)?),
        files: Box::new(Threaded::start(places.clone(), wake.clone())?),
        picker: Box::new(SystemPicker::new(wake)),
        screen: Box::new(SystemScreen),
        door,
        herald: Box::new(SystemHerald),
        machine: Box::new(SystemMachine::new(waker(NEWS_INTERVAL))),
        wake: waker(NEWS_INTERVAL),
        looked: ViewRequest::default(),
        waiting: Vec::new(),
    };
    let mut state = State::new(places, Clock::System);
    state.drops_work = Desktop::here().reports_drops();
    state.system_language = Language::of_system();
    Ok(App::new(state, services, drops, autostart))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_told_from_a_missing_display_and_every_renderer_is_heard() {
        let errors = ["wgpu: no adapter".to_owned(), "glow: no context".to_owned()];
        let drivers = no_window(&errors, Desktop::X11);
        assert!(drivers.what.contains("no adapter") && drivers.what.contains("no context"), "{}", drivers.what);
        assert!(drivers.r#where.contains("drivers") && drivers.action.contains("OpenGL"));
        let display = no_window(&errors, Desktop::Missing);
        assert!(display.r#where.contains("DISPLAY") && display.action.contains("desktop"));
    }
}
