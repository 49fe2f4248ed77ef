//! The type scale: size, line height and weight by use.

use egui::{FontFamily, FontId};

/// Family of medium-weight text.
pub const MEDIUM: &str = "inter-medium";
/// Family of semibold text.
pub const SEMIBOLD: &str = "inter-semibold";
/// Family of medium-weight figures.
pub const MONO_MEDIUM: &str = "mono-medium";

/// A kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// The number of a gauge.
    Figure,
    /// The verdict of a drop.
    Verdict,
    /// Title of a room.
    Room,
    /// Title of a card, an error, a certificate.
    Card,
    /// Title of a panel.
    Panel,
    /// Lead sentence.
    Lead,
    /// Everything else.
    Body,
    /// Buttons.
    Medium,
    /// Titles of rows.
    Strong,
    /// Axis labels, table heads, captions.
    Caption,
    /// Numbers that change or stand in a column.
    Mono,
    /// Numbers that carry the row.
    MonoMedium,
    /// Numbers on axes.
    MonoCaption,
}

impl Type {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Figure,
        Self::Verdict,
        Self::Room,
        Self::Card,
        Self::Panel,
        Self::Lead,
        Self::Body,
        Self::Medium,
        Self::Strong,
        Self::Caption,
        Self::Mono,
        Self::MonoMedium,
        Self::MonoCaption,
    ];

    /// Size in points.
    #[must_use]
    pub fn size(self) -> f32 {
        match self {
            Self::Figure | Self::Verdict => 18.0,
            Self::Room => 16.0,
            Self::Card => 14.0,
            Self::Panel | Self::Lead => 13.0,
            Self::Body | Self::Medium | Self::Strong | Self::Mono | Self::MonoMedium => 12.0,
            Self::Caption | Self::MonoCaption => 11.0,
        }
    }

    /// Distance of two lines.
    #[must_use]
    pub fn line_height(self) -> f32 {
        match self {
            Self::Figure | Self::Verdict => 24.0,
            Self::Room | Self::Card => 20.0,
            Self::Caption | Self::MonoCaption => 16.0,
            _ => 18.0,
        }
    }

    /// Font in the window.
    #[must_use]
    pub fn font(self) -> FontId {
        let family = match self {
            Self::Figure | Self::MonoMedium => FontFamily::Name(MONO_MEDIUM.into()),
            Self::Verdict | Self::Room | Self::Card | Self::Panel | Self::Strong => FontFamily::Name(SEMIBOLD.into()),
            Self::Medium => FontFamily::Name(MEDIUM.into()),
            Self::Mono | Self::MonoCaption => FontFamily::Monospace,
            Self::Lead | Self::Body | Self::Caption => FontFamily::Proportional,
        };
        FontId::new(self.size(), family)
    }
}
