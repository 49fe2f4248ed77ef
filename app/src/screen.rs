//! Pictures of plots: what the window shows of a panel, cut out and written as PNG or SVG.
//!
//! Place in the data flow: each plot leaves its place while it is drawn; for a PNG the window asks a [`Screen`] for the
//! pixels of the whole frame, and the thread for files cuts the plot out, encodes and writes it. An SVG is made of the
//! shapes of the frame (see [`crate::plots::svg`]). No frame waits for a disk.

use crate::state::Room;
use crate::state::watch::SideTab;
use egui::{ColorImage, Context, Id, Rect};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// A plot that can be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plot {
    /// Loss.
    Loss,
    /// Learning rate and gradient norm.
    Rates,
    /// Forgetting.
    Forgetting,
    /// Ranks.
    Ranks,
    /// Singular values of the change of one layer.
    Spectrum,
    /// Effective rank of one layer over the run.
    History,
    /// Load of the experts of routers.
    Experts,
    /// Losses of methods that race.
    Race,
    /// Losses of several runs.
    Compared,
    /// Loss over forgetting.
    Tradeoff,
}

impl Plot {
    /// Name of the file without its ending.
    #[must_use]
    pub fn stem(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Rates => "rates",
            Self::Forgetting => "forgetting",
            Self::Ranks => "ranks",
            Self::Spectrum => "spectrum",
            Self::History => "rank-history",
            Self::Experts => "experts",
            Self::Race => "race",
            Self::Compared => "compared-losses",
            Self::Tradeoff => "loss-over-forgetting",
        }
    }

    /// The room that it is drawn in.
    #[must_use]
    pub fn room(self) -> Room {
        match self {
            Self::Loss
            | Self::Rates
            | Self::Forgetting
            | Self::Ranks
            | Self::Spectrum
            | Self::History
            | Self::Experts
            | Self::Race => Room::Watch,
            Self::Compared | Self::Tradeoff => Room::Compare,
        }
    }

    /// The tab of a small window that it stands in.
    #[must_use]
    pub fn tab(self) -> Option<SideTab> {
        matches!(self, Self::Ranks | Self::Spectrum | Self::History | Self::Experts).then_some(SideTab::Rank)
    }

    fn id(self) -> Id {
        Id::unique(("place of a plot", self.stem()))
    }

    /// Notes where the plot is in this pass.
    pub fn leave_place(self, ctx: &Context, rect: Rect) {
        let pass = ctx.cumulative_pass_nr();
        ctx.data_mut(|data| data.insert_temp(self.id(), (pass, rect)));
    }

    /// Where the plot was in this or the last pass, in points; nothing when it was not drawn.
    #[must_use]
    pub fn place(self, ctx: &Context) -> Option<Rect> {
        let seen: Option<(u64, Rect)> = ctx.data(|data| data.get_temp(self.id()));
        let pass = ctx.cumulative_pass_nr();
        seen.filter(|(when, _)| when + 1 >= pass).map(|(_, rect)| rect)
    }
}

/// Takes the pixels of a frame.
pub type Shot = Box<dyn FnOnce(Arc<ColorImage>) + Send>;

/// Where the pixels of the window come from.
pub trait Screen {
    /// Asks for the pixels of the next frame; `done` gets them later, on whatever thread.
    fn shoot(&mut self, ctx: &Context, done: Shot);
}

/// The window's own pixels.
pub struct SystemScreen;

impl Screen for SystemScreen {
    fn shoot(&mut self, ctx: &Context, done: Shot) {
        ctx.request_screenshot(done);
    }
}

/// A picture that is wanted, or has come and waits to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The whole frame.
    pub frame: Arc<ColorImage>,
    /// What to cut out, in pixels.
    pub part: Rect,
    /// Where to write it.
    pub path: PathBuf,
}

/// How a picture of a plot is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pixels.
    Png,
    /// Shapes that scale.
    Svg,
}

/// A picture that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) plot: Plot,
    pub(crate) format: Format,
    /// Frames until it is taken: a menu over the plot must be gone first.
    pub(crate) frames: u8,
}

/// Pictures on their way from the renderer to the disk.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// The plot that is wanted, if any.
    pub(crate) wanted: Option<Wanted>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// Frames after which whatever covered a plot is gone.
const FRAMES: u8 = 3;

impl Pictures {
    /// Wants a picture of `plot`.
    pub(crate) fn want(&mut self, plot: Plot, format: Format) {
        self.wanted = Some(Wanted { plot, format, frames: FRAMES });
    }

    /// What has arrived since the last call.
    pub(crate) fn arrived(&self) -> Vec<Taken> {
        std::mem::take(&mut *self.taken.lock())
    }

    /// A receiver of the frame that `part` (in points) of is written to `path`.
    pub(crate) fn receiver(&self, ctx: &Context, part: Rect, path: PathBuf) -> Shot {
        let (taken, ctx) = (Arc::clone(&self.taken), ctx.clone());
        let part = part * ctx.pixels_per_point();
        Box::new(move |frame| {
            taken.lock().push(Taken { frame, part, path });
            ctx.request_repaint_of(egui::ViewportId::ROOT);
        })
    }
}

/// `part` (in pixels) of a frame as a PNG file.
///
/// # Errors
/// A sentence when the part lies outside the frame or cannot be encoded.
pub fn png(frame: &ColorImage, part: Rect) -> Result<Vec<u8>, String> {
    use image::ImageEncoder as _;
    let [width, height] = frame.size;
    let within = |value: f32, most: usize| (value.round().max(0.0) as usize).min(most);
    let (left, right) = (within(part.left(), width), within(part.right(), width));
    let (top, bottom) = (within(part.top(), height), within(part.bottom(), height));
    if left >= right || top >= bottom {
        return Err(t!("problem-plot-outside").to_owned());
    }
    let rows = frame.pixels.chunks_exact(width.max(1)).skip(top).take(bottom - top);
    let pixels = rows.flat_map(|row| row.iter().take(right).skip(left)).flat_map(|pixel| pixel.to_array());
    let rgba: Vec<u8> = pixels.collect();
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(&rgba, (right - left) as u32, (bottom - top) as u32, image::ExtendedColorType::Rgba8)
        .map_err(|error| t!("problem-encode", error = error.to_string()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::pos2;

    #[test]
    fn a_part_is_cut_out_pixel_for_pixel() {
        let rgb: Vec<u8> = (0..12u8).flat_map(|index| [index, 2 * index, 200]).collect();
        let frame = ColorImage::from_rgb([4, 3], &rgb);
        let file = png(&frame, Rect::from_min_max(pos2(1.0, 1.0), pos2(3.0, 9.0))).expect("a picture");
        let read = image::load_from_memory(&file).expect("a PNG file").to_rgba8();
        assert_eq!(read.dimensions(), (2, 2), "what lies outside the frame is left out");
        assert_eq!(read.get_pixel(0, 0).0, [5, 10, 200, 255]);
        assert_eq!(read.get_pixel(1, 1).0, [10, 20, 200, 255]);
    }

    #[test]
    fn a_part_outside_the_frame_is_refused() {
        let frame = ColorImage::from_rgb([2, 2], &[255; 12]);
        assert!(png(&frame, Rect::from_min_max(pos2(5.0, 0.0), pos2(9.0, 2.0))).is_err());
        assert!(png(&frame, Rect::NAN).is_err());
    }
}
