//! The room Watch: what is looked at, not what happened (that is in the store).

use super::step_ask::StepAsk;
use crate::reader::XAxis;
use crate::reader::events::EventKind;
use crate::reader::ranks::Measure;
use std::collections::BTreeSet;
use temper_protocol::Act;

/// Parts of the right column when the window is small; speed and memory stay below them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SideTab {
    /// Rank microscope.
    #[default]
    Rank,

    /// Samples.
    Samples,
    /// Events.
    Events,
}

impl SideTab {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Rank, Self::Samples, Self::Events];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rank => t!("common-rank-tab"),

            Self::Samples => t!("watch-samples"),
            Self::Events => t!("watch-events"),
        }
    }
}

/// What the room Watch looks at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watch {
    /// The run; the newest when none is chosen.
    pub run: Option<u64>,
    /// Horizontal axis.
    pub x: XAxis,
    /// Logarithmic losses.
    pub log_y: bool,
    /// The loss as a table.
    pub as_table: bool,
    /// Visible steps when zoomed.
    pub steps: Option<(u64, u64)>,
    /// Step under the scrub line; live when none.
    pub scrub: Option<u64>,
    /// What the rank microscope colours.
    pub measure: Measure,
    /// The site in the rank microscope.
    pub site: Option<String>,
    /// The expert of its router that is looked at, from 0; the busiest when none is chosen.
    pub expert: Option<usize>,
    /// Which prompt's answers are shown.
    pub prompt: usize,
    /// Events shown; all when none.
    pub filter: Option<EventKind>,
    /// Part of the right column.
    pub tab: SideTab,
    /// Whether the race of methods is shown instead of a run.
    pub race: bool,
    /// What the run was told and has not done yet.
    pub wish: Option<Act>,
    /// An ended run that was to go on and did not: it has not ended anew.
    pub refused: Option<u64>,
    /// Other runs whose loss is drawn behind that of the run.
    pub beside: BTreeSet<u64>,
    /// Asking a step.
    pub ask: StepAsk,
    /// When the scrub line was moved last, seconds of the window's clock.
    pub moved_secs: f64,
    /// Pixels that the plots are wide; 0 before one was drawn.
    pub plot_px: u32,
}
