//! What frames cost: the processor clock of a thread, the end of a frame, and the figures over all frames.

use egui::epaint::ClippedShape;
use egui::{Context, FullOutput, Plugin};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Processor time of the calling thread; nothing where the system has no such clock.
#[must_use]
pub fn thread_cpu() -> Option<Duration> {
    #[cfg(unix)]
    return read(libc::CLOCK_THREAD_CPUTIME_ID);
    #[cfg(not(unix))]
    None
}

/// Processor time of all threads of this program; nothing where the system has no such clock.
#[must_use]
pub fn process_cpu() -> Option<Duration> {
    #[cfg(unix)]
    return read(libc::CLOCK_PROCESS_CPUTIME_ID);
    #[cfg(not(unix))]
    None
}

#[cfg(unix)]
fn read(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library has no clock of processor time")]
    // SAFETY: the call writes one `timespec` to the place it is given, which lives until it returns.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
    if failed {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// The end of a frame: when, and the shapes it gave with the pixels a point has.
pub(super) type Captured = Option<(Duration, Vec<ClippedShape>, f32)>;

/// Reads the clock when egui gives a frame out, and keeps the shapes.
pub(super) struct Catch(pub(super) Arc<Mutex<Captured>>);

impl Plugin for Catch {
    fn debug_name(&self) -> &'static str {
        "temper bench"
    }

    fn output_hook(&mut self, _ctx: &Context, output: &mut FullOutput) {
        let Some(now) = thread_cpu() else { return };
        *self.0.lock() = Some((now, output.shapes.clone(), output.pixels_per_point));
    }
}

/// Processor time that one frame took on the window's thread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// From its input to its shapes: `logic`, `ui` and what egui does around them.
    pub ui: Duration,
    /// Shapes to triangles.
    pub tessellation: Duration,
    /// From one input to the next: also handing over to the renderer and the window system.
    pub all: Duration,
}

/// Costs of many frames.
#[derive(Debug, Clone, Default)]
pub struct Costs(Vec<Cost>);

/// Figures over frames, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Half of the frames took less.
    pub median_ms: f64,
    /// 99 of a hundred frames took less.
    pub p99_ms: f64,
    /// The slowest frame.
    pub worst_ms: f64,
}

/// Figures of a script, as the window says them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Frames counted.
    pub frames: usize,
    /// `logic`, `ui` and tessellation together.
    pub drawing: Share,
    /// Of that, `logic` and `ui`.
    pub ui: Share,
    /// Of that, tessellation.
    pub tessellation: Share,
    /// Everything the thread did.
    pub all: Share,
}

impl Costs {
    /// Counts a frame.
    pub fn push(&mut self, cost: Cost) {
        self.0.push(cost);
    }

    /// The figures.
    #[must_use]
    pub fn report(&self) -> Report {
        let share = |part: &dyn Fn(&Cost) -> Duration| share(self.0.iter().map(part).collect());
        Report {
            frames: self.0.len(),
            drawing: share(&|cost| cost.ui + cost.tessellation),
            ui: share(&|cost| cost.ui),
            tessellation: share(&|cost| cost.tessellation),
            all: share(&|cost| cost.all),
        }
    }
}

fn share(mut costs: Vec<Duration>) -> Share {
    costs.sort();
    let at = |share: f64| {
        let index = (share * costs.len() as f64).ceil() as usize;
        costs.get(index.clamp(1, costs.len().max(1)) - 1).map_or(f64::NAN, |cost| cost.as_secs_f64() * 1e3)
    };
    Share { median_ms: at(0.5), p99_ms: at(0.99), worst_ms: at(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_ranks_of_the_sorted_costs() {
        let mut costs = Costs::default();
        for ms in (1..=200).rev() {
            let ui = Duration::from_millis(ms);
            costs.push(Cost { ui, tessellation: ui, all: 3 * ui });
        }
        let report = costs.report();
        assert_eq!(report.frames, 200);
        assert_eq!(report.ui, Share { median_ms: 100.0, p99_ms: 198.0, worst_ms: 200.0 });
        assert_eq!(report.drawing.p99_ms, 396.0);
        assert!(Costs::default().report().ui.p99_ms.is_nan(), "nothing was measured");
    }

    #[cfg(unix)]
    #[test]
    fn the_clock_counts_work_of_this_thread() {
        let before = thread_cpu().expect("a clock");
        let whole = process_cpu().expect("a clock");
        let sum: f64 = (0..200_000).map(|value| std::hint::black_box(f64::from(value)).sqrt()).sum();
        assert!(sum > 0.0);
        assert!(thread_cpu().expect("a clock") > before);
        assert!(process_cpu().expect("a clock") > whole);
    }
}
