//! Draws a scene into a picture: the one way by which `cargo xtask screens` and the test of the pictures get theirs.
//!
//! The harness draws with wgpu on a Vulkan (or GL) driver of the processor if there is one. Nothing in a picture depends
//! on the machine: time stands still, animations are off, and folders are shown by a made-up name, because the real ones
//! are temporary and have another name each time.

use crate::kit::{self, Window};
use crate::scenes::Scene;
use image::RgbaImage;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use temper::commands::UiCommand;
use temper::state::Room;
use temper::state::settings::{LanguageChoice, ThemeChoice};
use temper::testing::Stage;
use temper::theme::Look;

/// The folder of projects, as pictures show it.
const PROJECTS: &str = "/documents/Temper";

/// What to do when nothing draws.
const DRIVER: &str = "pictures need a Vulkan driver, the one for the processor is enough: install the package \
                      mesa-vulkan-drivers (Debian, Ubuntu), or run bash tests/run.sh, which does";

/// A picture of `scene` in a window of `size` points, one pixel a point.
///
/// # Panics
/// Nothing on this machine draws; the message says what to install.
pub(crate) fn draw(scene: &Scene, size: (f32, f32), look: Look, language: LanguageChoice) -> RgbaImage {
    let (_root, stage) = kit::stage();
    let mut window = kit::window_in(&stage, size, look != Look::Light, language);
    if look == Look::Contrast {
        kit::send(&mut window, UiCommand::Theme(ThemeChoice::Contrast));
    }
    (scene.make)(&mut window, &stage);
    rename_folders(&mut window, &stage);
    window.set_render_cursor(false);
    rendered(&mut window)
}

/// Has the rooms that name folders, Home and Export, name made-up ones.
fn rename_folders(window: &mut Window, stage: &Stage) {
    if !matches!(window.state().state.room, Room::Home | Room::Export) {
        return;
    }
    let out = temper::update::export_out(&window.state().state);
    let inside = out.strip_prefix(&stage.places.projects).map(Path::to_path_buf);
    let state = &mut window.state_mut().state;
    if let Ok(inside) = inside {
        state.export.out = Some(format!("{PROJECTS}/{}", inside.display()));
    }
    state.places.projects = PathBuf::from(PROJECTS);
    window.run_steps(2);
}

fn rendered(window: &mut Window) -> RgbaImage {
    // The harness looks for a driver when it draws for the first time, and panics when there is none.
    let why = match catch_unwind(AssertUnwindSafe(|| window.render())) {
        Ok(Ok(picture)) => return picture,
        Ok(Err(why)) => why,
        Err(payload) => payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "the renderer gave up".to_owned()),
    };
    panic!("no picture was drawn: {why}; {DRIVER}")
}
