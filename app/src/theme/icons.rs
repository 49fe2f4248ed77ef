//! Names of the icons: glyphs of the bundled Phosphor fonts.

use egui::{FontFamily, FontId};

/// Family of the regular icons.
pub const REGULAR: &str = "icons";
/// Family of the bold icons: ticks of 12 to 14 points.
pub const BOLD: &str = "icons-bold";
/// Family of the filled icons.
pub const FILL: &str = "icons-fill";

/// An icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icon {
    /// The glyph.
    pub glyph: &'static str,
    /// The font family that has it.
    pub family: &'static str,
}

impl Icon {
    /// Font of this icon at `size` points.
    #[must_use]
    pub fn font(self, size: f32) -> FontId {
        FontId::new(size, FontFamily::Name(self.family.into()))
    }

    const fn regular(glyph: &'static str) -> Self {
        Self { glyph, family: REGULAR }
    }

    const fn bold(glyph: &'static str) -> Self {
        Self { glyph, family: BOLD }
    }

    const fn fill(glyph: &'static str) -> Self {
        Self { glyph, family: FILL }
    }
}

/// House.
pub const HOUSE: Icon = Icon::regular("\u{e2c2}");
/// Sliders horizontal.
pub const SLIDERS_HORIZONTAL: Icon = Icon::regular("\u{e434}");
/// Chart line.
pub const CHART_LINE: Icon = Icon::regular("\u{e154}");
/// Scales.
pub const SCALES: Icon = Icon::regular("\u{e750}");
/// Faders.
pub const FADERS: Icon = Icon::regular("\u{e228}");
/// Flask.
pub const FLASK: Icon = Icon::regular("\u{e79e}");
/// Export.
pub const EXPORT: Icon = Icon::regular("\u{eaf0}");
/// Cube.
pub const CUBE: Icon = Icon::regular("\u{e1da}");
/// Table.
pub const TABLE: Icon = Icon::regular("\u{e476}");
/// Puzzle piece.
pub const PUZZLE_PIECE: Icon = Icon::regular("\u{e596}");
/// Shield check.
pub const SHIELD_CHECK: Icon = Icon::regular("\u{e40c}");
/// Archive.
pub const ARCHIVE: Icon = Icon::regular("\u{e00c}");
/// Stack.
pub const STACK: Icon = Icon::regular("\u{e466}");
/// File text.
pub const FILE_TEXT: Icon = Icon::regular("\u{e23a}");
/// File code.
pub const FILE_CODE: Icon = Icon::regular("\u{e914}");
/// Folder.
pub const FOLDER: Icon = Icon::regular("\u{e24a}");
/// Folder open.
pub const FOLDER_OPEN: Icon = Icon::regular("\u{e256}");
/// Cpu.
pub const CPU: Icon = Icon::regular("\u{e610}");
/// Play.
pub const PLAY: Icon = Icon::regular("\u{e3d0}");
/// Pause.
pub const PAUSE: Icon = Icon::regular("\u{e39e}");
/// Stop.
pub const STOP: Icon = Icon::regular("\u{e46c}");
/// Floppy disk.
pub const FLOPPY_DISK: Icon = Icon::regular("\u{e248}");
/// Git branch.
pub const GIT_BRANCH: Icon = Icon::regular("\u{e278}");
/// Arrow line right.
pub const ARROW_LINE_RIGHT: Icon = Icon::regular("\u{e064}");
/// Clock counter clockwise.
pub const CLOCK_COUNTER_CLOCKWISE: Icon = Icon::regular("\u{e1a0}");
/// Arrow counter clockwise.
pub const ARROW_COUNTER_CLOCKWISE: Icon = Icon::regular("\u{e038}");
/// Arrow clockwise.
pub const ARROW_CLOCKWISE: Icon = Icon::regular("\u{e036}");
/// Magnifying glass.
pub const MAGNIFYING_GLASS: Icon = Icon::regular("\u{e30c}");
/// Funnel.
pub const FUNNEL: Icon = Icon::regular("\u{e266}");
/// Rows.
pub const ROWS: Icon = Icon::regular("\u{e5a2}");
/// Copy.
pub const COPY: Icon = Icon::regular("\u{e1ca}");
/// Plus.
pub const PLUS: Icon = Icon::regular("\u{e3d4}");
/// Trash.
pub const TRASH: Icon = Icon::regular("\u{e4a6}");
/// Pencil simple.
pub const PENCIL_SIMPLE: Icon = Icon::regular("\u{e3b4}");
/// Queue.
pub const QUEUE: Icon = Icon::regular("\u{e6ac}");
/// Terminal.
pub const TERMINAL: Icon = Icon::regular("\u{e47e}");
/// Bookmark simple.
pub const BOOKMARK_SIMPLE: Icon = Icon::regular("\u{e0ea}");
/// Tray arrow down.
pub const TRAY_ARROW_DOWN: Icon = Icon::regular("\u{e010}");
/// Chat text.
pub const CHAT_TEXT: Icon = Icon::regular("\u{e17a}");
/// Dots three.
pub const DOTS_THREE: Icon = Icon::regular("\u{e1fe}");
/// Caret down.
pub const CARET_DOWN: Icon = Icon::regular("\u{e136}");
/// Caret up.
pub const CARET_UP: Icon = Icon::regular("\u{e13c}");
/// Caret left.
pub const CARET_LEFT: Icon = Icon::regular("\u{e138}");
/// Caret right.
pub const CARET_RIGHT: Icon = Icon::regular("\u{e13a}");
/// Arrow right.
pub const ARROW_RIGHT: Icon = Icon::regular("\u{e06c}");
/// Check.
pub const CHECK: Icon = Icon::regular("\u{e182}");
/// Check circle.
pub const CHECK_CIRCLE: Icon = Icon::regular("\u{e184}");
/// Seal check.
pub const SEAL_CHECK: Icon = Icon::regular("\u{e606}");
/// Warning.
pub const WARNING: Icon = Icon::regular("\u{e4e0}");
/// X.
pub const X: Icon = Icon::regular("\u{e4f6}");
/// X circle.
pub const X_CIRCLE: Icon = Icon::regular("\u{e4f8}");
/// Info.
pub const INFO: Icon = Icon::regular("\u{e2ce}");
/// Prohibit.
pub const PROHIBIT: Icon = Icon::regular("\u{e3de}");
/// Lock simple.
pub const LOCK_SIMPLE: Icon = Icon::regular("\u{e308}");
/// Star.
pub const STAR: Icon = Icon::regular("\u{e46a}");
/// Trophy.
pub const TROPHY: Icon = Icon::regular("\u{e67e}");
/// Wifi slash.
pub const WIFI_SLASH: Icon = Icon::regular("\u{e4f2}");
/// Moon.
pub const MOON: Icon = Icon::regular("\u{e330}");
/// Sun.
pub const SUN: Icon = Icon::regular("\u{e472}");
/// Question.
pub const QUESTION: Icon = Icon::regular("\u{e3e8}");
/// Equals.
pub const EQUALS: Icon = Icon::regular("\u{e21c}");
/// Arrows down up.
pub const ARROWS_DOWN_UP: Icon = Icon::regular("\u{e098}");
/// Chart line down.
pub const CHART_LINE_DOWN: Icon = Icon::regular("\u{e8b6}");
/// Circle.
pub const CIRCLE: Icon = Icon::regular("\u{e18a}");
/// Square.
pub const SQUARE: Icon = Icon::regular("\u{e45e}");
/// Eye.
pub const EYE: Icon = Icon::regular("\u{e220}");
/// Plugs connected.
pub const PLUGS_CONNECTED: Icon = Icon::regular("\u{eb5a}");
/// Keyboard.
pub const KEYBOARD: Icon = Icon::regular("\u{e2d8}");
/// Check, bold.
pub const CHECK_BOLD: Icon = Icon::bold("\u{e182}");
/// X, bold.
pub const X_BOLD: Icon = Icon::bold("\u{e4f6}");
/// Minus, bold.
pub const MINUS_BOLD: Icon = Icon::bold("\u{e32a}");
/// Caret down, bold.
pub const CARET_DOWN_BOLD: Icon = Icon::bold("\u{e136}");
/// Caret right, bold.
pub const CARET_RIGHT_BOLD: Icon = Icon::bold("\u{e13a}");
/// Plus, bold.
pub const PLUS_BOLD: Icon = Icon::bold("\u{e3d4}");
/// Star, filled.
pub const STAR_FILL: Icon = Icon::fill("\u{e46a}");
/// X circle, filled.
pub const X_CIRCLE_FILL: Icon = Icon::fill("\u{e4f8}");
/// Circle, filled.
pub const CIRCLE_FILL: Icon = Icon::fill("\u{e18a}");
