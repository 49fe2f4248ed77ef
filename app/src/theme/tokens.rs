//! Colours by role, read from the theme tables in `assets/theme`.

use egui::Color32;
use serde::Deserialize;
use std::sync::LazyLock;

const DARK: &str = include_str!("../../../assets/theme/dark.toml");
const LIGHT: &str = include_str!("../../../assets/theme/light.toml");
const CONTRAST: &str = include_str!("../../../assets/theme/contrast.toml");

static THEMES: LazyLock<[Theme; 3]> = LazyLock::new(|| {
    [DARK, LIGHT, CONTRAST].map(|text| Theme::parse(text).expect("the bundled themes are complete; a test reads them"))
});

macro_rules! colours {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One colour per role.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Colours { $($(#[$doc])* pub $name: Color32),* }

        impl Colours {
            fn read(table: &toml::Table) -> Result<Self, String> {
                let known = [$(stringify!($name)),*];
                if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
                    return Err(format!("unknown colour role \"{key}\""));
                }
                Ok(Self { $($name: role(table, stringify!($name))?),* })
            }

            /// Every role with its colour, for tests.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, Color32)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

colours! {
    /// Behind everything, the gaps between panels.
    window,
    /// Top bar, rail, status bar, inside of fields.
    panel,
    /// Panels with content.
    card,
    /// Buttons, table heads, tiles, tracks of bars.
    raised,
    /// Pointer over a button or row.
    hover,
    /// Background of plots.
    plot,
    /// Grid of plots.
    grid,
    /// Borders of panels, lines between rows.
    line,
    /// Borders of buttons, axes.
    line2,
    /// Borders of fields, check boxes and radio buttons.
    ctl,
    /// Values and titles.
    text,
    /// Labels and explanations.
    text2,
    /// Axis labels, units, captions.
    text3,
    /// What is live, chosen, or the one thing to press.
    accent,
    /// Fill of the primary button.
    accent_fill,
    /// Text on `accent_fill`.
    on_accent,
    /// Selected row, tile or segment.
    accent_bg,
    /// Passed.
    ok,
    /// Needs a look.
    warn,
    /// Failed, or beyond the budget.
    err,
    /// Note.
    info,
    /// Area of what passed.
    ok_bg,
    /// Area of what needs a look.
    warn_bg,
    /// Area of what failed.
    err_bg,
    /// Area of a note.
    info_bg,
    /// Frame of the selected cell of a heat map.
    cell_frame,
    /// Low end of a diverging scale.
    low,
    /// High end of a diverging scale.
    high,
}

/// One of the bundled themes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Light on dark.
    Dark,
    /// Dark on light.
    Light,
    /// White on black, with strong borders.
    Contrast,
}

impl Look {
    /// Every look.
    pub const ALL: [Self; 3] = [Self::Dark, Self::Light, Self::Contrast];

    /// Its name, as in its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Contrast => "contrast",
        }
    }
}

/// How much of a colour a translucent area keeps.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// Zone beyond the forgetting budget.
    pub over_budget: f32,
    /// Raw loss line.
    pub raw_line: f32,
    /// Scrub line.
    pub scrub_line: f32,
    /// What lies behind a drop or a question.
    pub scrim: f32,
    /// Confidence band.
    pub band: f32,
}

/// A theme: every colour the window uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    /// Whether it is light on dark.
    pub dark: bool,
    /// Width of the mark of what has the keyboard, points.
    pub focus_width: f32,
    /// Colours by role.
    pub colours: Colours,
    /// Series colours; index 0 is train, 1 validation, 2 and up kept sets.
    pub series: [Color32; 8],
    /// Stops of the sequential heat map, low to high.
    pub heat: [Color32; 10],
    /// Translucency.
    pub shares: Shares,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[expect(dead_code, reason = "names the file for people who read it")]
    name: String,
    dark: bool,
    focus_width: f32,
    colours: toml::Table,
    scales: Scales,
    shares: Shares,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scales {
    series: Vec<String>,
    heat: Vec<String>,
}

/// Reads `#RRGGBB`.
fn hex(text: &str) -> Result<Color32, String> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let value = value.ok_or_else(|| format!("\"{text}\" is not a colour like #14171A"))?;
    let [_, red, green, blue] = value.to_be_bytes();
    Ok(Color32::from_rgb(red, green, blue))
}

fn role(table: &toml::Table, key: &str) -> Result<Color32, String> {
    let text =
        table.get(key).and_then(toml::Value::as_str).ok_or_else(|| format!("colour role \"{key}\" is missing"))?;
    hex(text)
}

fn scale<const N: usize>(list: &[String], name: &str) -> Result<[Color32; N], String> {
    let colours: Result<Vec<Color32>, String> = list.iter().map(|text| hex(text)).collect();
    colours?.try_into().map_err(|list: Vec<Color32>| format!("{name} has {} colours instead of {N}", list.len()))
}

impl Theme {
    /// Reads a theme table.
    ///
    /// # Errors
    /// A sentence that names the role that is missing, unknown or no colour.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self {
            dark: table.dark,
            focus_width: table.focus_width,
            colours: Colours::read(&table.colours)?,
            series: scale(&table.scales.series, "series")?,
            heat: scale(&table.scales.heat, "heat")?,
            shares: table.shares,
        })
    }

    /// The bundled dark or light theme.
    #[must_use]
    pub fn bundled(dark: bool) -> &'static Self {
        Self::of(if dark { Look::Dark } else { Look::Light })
    }

    /// A bundled theme.
    #[must_use]
    pub fn of(look: Look) -> &'static Self {
        let [dark, light, contrast] = &*THEMES;
        match look {
            Look::Dark => dark,
            Look::Light => light,
            Look::Contrast => contrast,
        }
    }

    /// Colour of series `index`; past eight they repeat.
    #[must_use]
    pub fn series(&self, index: usize) -> Color32 {
        self.series[index % self.series.len()]
    }

    /// Colour of `share` (0 to 1) on the sequential scale.
    #[must_use]
    pub fn heat(&self, share: f32) -> Color32 {
        let last = self.heat.len() - 1;
        let place = share.clamp(0.0, 1.0) * last as f32;
        let index = (place.floor() as usize).min(last - 1);
        self.heat[index].lerp_to_gamma(self.heat[index + 1], place - index as f32)
    }

    /// The same colour, translucent.
    #[must_use]
    pub fn fade(colour: Color32, share: f32) -> Color32 {
        colour.gamma_multiply(share)
    }
}

/// WCAG 2 contrast ratio of two opaque colours.
#[must_use]
pub fn contrast(first: Color32, second: Color32) -> f64 {
    let luminance = |colour: Color32| {
        let linear = |byte: u8| {
            let value = f64::from(byte) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
    };
    let (first, second) = (luminance(first), luminance(second));
    (first.max(second) + 0.05) / (first.min(second) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_themes_read_and_differ() {
        assert!(Theme::bundled(true).dark);
        assert!(!Theme::bundled(false).dark);
        assert_ne!(Theme::bundled(true).colours, Theme::bundled(false).colours);
    }

    #[test]
    fn a_missing_or_unknown_role_is_named() {
        let missing = DARK.replace("text2 = \"#AEB6BE\"\n", "");
        assert!(Theme::parse(&missing).expect_err("missing").contains("text2"));
        let unknown = DARK.replace("[scales]", "sparkle = \"#FFFFFF\"\n[scales]");
        assert!(Theme::parse(&unknown).expect_err("unknown").contains("sparkle"));
        let wrong = DARK.replace("#AEB6BE", "grey");
        assert!(Theme::parse(&wrong).expect_err("no colour").contains("grey"));
    }

    #[test]
    fn words_keep_a_contrast_of_four_and_a_half() {
        for look in Look::ALL {
            let theme = Theme::of(look);
            // High contrast is what its name says: the level that WCAG calls enhanced.
            let least = if look == Look::Contrast { 7.0 } else { 4.5 };
            let c = &theme.colours;
            let mut pairs = vec![("on_accent on accent_fill", c.on_accent, c.accent_fill)];
            let surfaces =
                [("window", c.window), ("panel", c.panel), ("card", c.card), ("raised", c.raised), ("plot", c.plot)];
            for (name, surface) in surfaces {
                for (role, colour) in [
                    ("text", c.text),
                    ("text2", c.text2),
                    ("text3", c.text3),
                    ("accent", c.accent),
                    ("ok", c.ok),
                    ("warn", c.warn),
                    ("err", c.err),
                    ("info", c.info),
                ] {
                    pairs.push((role, colour, surface));
                }
                if !["window", "plot"].contains(&name) {
                    assert!(contrast(c.ctl, surface) >= 3.0, "ctl on {name}");
                }
            }
            for (colour, area) in [
                (c.accent, c.accent_bg),
                (c.ok, c.ok_bg),
                (c.warn, c.warn_bg),
                (c.err, c.err_bg),
                (c.info, c.info_bg),
                (c.text3, c.hover),
            ] {
                pairs.push(("meaning on its area", colour, area));
                pairs.push(("text2 on an area", c.text2, area));
                pairs.push(("text on an area", c.text, area));
            }
            for (name, colour, surface) in pairs {
                let ratio = contrast(colour, surface);
                assert!(ratio >= least, "{name}: {ratio:.2} in the {} theme", look.name());
            }
            for (index, colour) in theme.series.iter().enumerate() {
                let ratio = contrast(*colour, c.plot);
                assert!(ratio >= if look == Look::Contrast { 4.5 } else { 3.5 }, "series {index}: {ratio:.2}");
            }
        }
    }

    #[test]
    fn heat_runs_from_first_to_last_stop() {
        let theme = Theme::bundled(true);
        assert_eq!(theme.heat(0.0), theme.heat[0]);
        assert_eq!(theme.heat(1.0), theme.heat[9]);
        assert_eq!(theme.heat(-3.0), theme.heat[0]);
    }
}
