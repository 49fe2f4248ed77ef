//! Which window system this program meets, and what follows from it.
//!
//! Place in the data flow: asked before the window opens; decides whether there can be a window at all, which backend of
//! winit draws it, whether files can be dropped on it, and which desktop it is the one window of.
//!
//! On Linux X11 is used whenever DISPLAY is set: winit reports no files that are dragged over a Wayland window.

use std::ffi::OsString;

/// A window system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desktop {
    /// The one that comes with the system: Windows, macOS.
    Native,
    /// X11, or Wayland through its X server.
    X11,
    /// Wayland without an X server.
    Wayland,
    /// None: a terminal, a container.
    Missing,
}

/// Longest name of a desktop: it becomes part of the name of a socket, whose path may have about a hundred bytes.
const LONGEST_NAME: usize = 32;

impl Desktop {
    /// The window system that this process was started in.
    #[must_use]
    pub fn here() -> Self {
        Self::of(cfg!(target_os = "linux"), |name| std::env::var_os(name))
    }

    /// The window system that variables of the environment tell of.
    fn of(linux: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        if !linux {
            Self::Native
        } else if is_set("DISPLAY") {
            Self::X11
        } else if is_set("WAYLAND_DISPLAY") || is_set("WAYLAND_SOCKET") {
            Self::Wayland
        } else {
            Self::Missing
        }
    }

    /// Whether a window can be opened.
    #[must_use]
    pub fn has_windows(self) -> bool {
        self != Self::Missing
    }

    /// Whether files that are dropped on the window are reported.
    #[must_use]
    pub fn reports_drops(self) -> bool {
        matches!(self, Self::Native | Self::X11)
    }

    /// A name for the desktop that this process was started in, of letters, digits and hyphens. The same person may be
    /// logged in at a second screen or from afar: a window over there is of no use here.
    #[must_use]
    pub fn name_here() -> String {
        Self::here().name(|name| std::env::var_os(name))
    }

    fn name(self, variable: impl Fn(&str) -> Option<OsString>) -> String {
        let value = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        let (kind, place) = match self {
            Self::Native | Self::Missing => return "desktop".to_owned(),
            Self::X11 => ("x11", display(&value("DISPLAY")).to_owned()),
            Self::Wayland => ("wayland", value("WAYLAND_DISPLAY")),
        };
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let letters: Vec<char> = format!("{kind}-{place}").chars().map(plain).collect();
        letters.into_iter().take(LONGEST_NAME).collect()
    }
}

/// A display without the number of its screen: `:0.1` is a part of `:0`.
fn display(value: &str) -> &str {
    match value.rsplit_once('.') {
        Some((display, screen)) if display.contains(':') && screen.chars().all(|letter| letter.is_ascii_digit()) => {
            display
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value))
    }

    #[test]
    fn x11_is_used_whenever_there_is_a_display_and_only_there_and_natively_files_can_be_dropped() {
        let both = [("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0")];
        let wayland = [("DISPLAY", ""), ("WAYLAND_DISPLAY", "wayland-0")];
        for (linux, variables, expected, drops, windows) in [
            (true, &both[..], Desktop::X11, true, true),
            (true, &both[..1], Desktop::X11, true, true),
            (true, &wayland[..], Desktop::Wayland, false, true),
            (true, &[("WAYLAND_SOCKET", "5")][..], Desktop::Wayland, false, true),
            (true, &[("DISPLAY", "")][..], Desktop::Missing, false, false),
            (false, &both[..0], Desktop::Native, true, true),
            (false, &wayland[..], Desktop::Native, true, true),
        ] {
            let desktop = Desktop::of(linux, environment(variables));
            assert_eq!(desktop, expected, "{variables:?}");
            assert_eq!((desktop.reports_drops(), desktop.has_windows()), (drops, windows), "{variables:?}");
        }
    }

    #[test]
    fn two_screens_of_one_display_are_one_desktop_and_two_displays_are_two() {
        let name = |display: &str| Desktop::X11.name(environment(&[("DISPLAY", display)]));
        assert_eq!(name(":0"), "x11--0");
        assert_eq!(name(":0.1"), name(":0"));
        assert_ne!(name(":1"), name(":0"));
        assert_eq!(name("far.example.org:10.0"), "x11-far-example-org-10");
        assert_eq!(name(&"a".repeat(200)).len(), LONGEST_NAME);
        assert_eq!(Desktop::Wayland.name(environment(&[("WAYLAND_DISPLAY", "wayland-0")])), "wayland-wayland-0");
        assert_eq!(Desktop::Native.name(environment(&[])), "desktop");
    }
}
