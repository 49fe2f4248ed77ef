//! The window looks as in the pictures of the repository, which README shows.
//!
//! They lie in `assets/screens`. What looks otherwise today is written to `screens` in Cargo's folder for tests, and the
//! failure says where. `TEMPER_WRITE_SCREENS=1 cargo test --release -p temper --test window pictures` writes those anew
//! that look different or are missing; the others stay as they are, byte by byte.

use crate::{drawn, kit, palette, scenes, seen};
use image::{DynamicImage, Rgb, RgbImage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper::state::settings::LanguageChoice;
use temper::theme::Look;

/// Scene and look of each picture: every room, what Compare has in it, the sheets worth a look, Watch in every look.
const PICTURES: [(&str, Look); 12] = [
    ("home", Look::Dark),
    ("setup_filled", Look::Dark),
    ("finished", Look::Dark),
    ("finished", Look::Light),
    ("finished", Look::Contrast),
    ("compare_curves", Look::Dark),
    ("compare_rows", Look::Dark),
    ("playground", Look::Dark),
    ("export_passed", Look::Dark),
    ("token_lens", Look::Dark),
    ("race_rounds", Look::Dark),
    ("glossary", Look::Dark),
];

const RENEW: &str = "TEMPER_WRITE_SCREENS=1 cargo test --release -p temper --test window pictures";

fn name_of((scene, look): (&str, Look)) -> String {
    format!("{}-{}.png", scene.replace('_', "-"), look.name())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn draw((scene, look): (&str, Look)) -> RgbImage {
    let scene = scenes::SCENES.iter().find(|other| other.name == scene).expect("a scene of this name");
    DynamicImage::from(drawn::draw(scene, kit::SIZES[0], look, LanguageChoice::English)).into_rgb8()
}

fn read(file: &[u8]) -> RgbImage {
    image::load_from_memory(file).expect("a picture").into_rgb8()
}

/// What is different from the picture in `file`, in words.
fn difference(file: &Path, new: &RgbImage) -> Option<String> {
    match std::fs::read(file) {
        Ok(old) => seen::difference(&read(&old), new),
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

#[test]
fn the_window_looks_as_in_its_pictures() {
    let folder = repository().join("assets/screens");
    let renew = std::env::var_os("TEMPER_WRITE_SCREENS").is_some();
    let drawn_today = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screens");
    let target = if renew { &folder } else { &drawn_today };
    std::fs::create_dir_all(target).expect("a folder for pictures");
    let mut faults = Vec::new();
    for picture in PICTURES {
        let name = name_of(picture);
        let new = draw(picture);
        let Some(what) = difference(&folder.join(&name), &new) else { continue };
        let file = target.join(&name);
        std::fs::write(&file, palette::file_of(&new)).expect("a written picture");
        if !renew {
            faults.push(format!("{name} {what}; today: {}", file.display()));
        } else if let Some(what) = difference(&file, &new) {
            faults.push(format!("{name} was written and {what}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} pictures look different:\n{}\nlook at them; if that is meant: {RENEW}",
        faults.len(),
        faults.join("\n")
    );
    for entry in std::fs::read_dir(&folder).expect("the folder of pictures") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(PICTURES.iter().any(|picture| name_of(*picture) == name), "{name} is the picture of no scene");
    }
}

#[test]
fn readme_shows_pictures_of_the_window_as_it_is() {
    let text = std::fs::read_to_string(repository().join("README.md")).expect("README.md");
    let shown: Vec<&str> = text.split("](assets/screens/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(!shown.is_empty(), "README shows the window");
    for name in shown {
        assert!(PICTURES.iter().any(|picture| name_of(*picture) == name), "README shows {name}, which no test draws");
    }
}

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy)]
struct Tile {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Tile {
    /// Twelve of them, which fill the window.
    fn all(picture: &RgbImage) -> Vec<Self> {
        let (width, height) = (picture.width() / 4, picture.height() / 3);
        let tile = |index: u32| Self { left: index % 4 * width, top: index / 4 * height, width, height };
        (0..12).map(tile).collect()
    }

    /// `picture` with other pixels here: `pixel` is asked for each by its place within.
    fn painted(self, picture: &RgbImage, pixel: impl Fn(u32, u32) -> Rgb<u8>) -> RgbImage {
        RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
            match (x.checked_sub(self.left), y.checked_sub(self.top)) {
                (Some(x), Some(y)) if x < self.width && y < self.height => pixel(x, y),
                _ => *picture.get_pixel(x, y),
            }
        })
    }

    /// What is here moves, and comes in again at the other side.
    fn moved(self, picture: &RgbImage, right: u32, down: u32) -> RgbImage {
        self.painted(picture, |x, y| {
            let (x, y) = ((x + self.width - right) % self.width, (y + self.height - down) % self.height);
            *picture.get_pixel(self.left + x, self.top + y)
        })
    }

    /// What is here is gone: the commonest colour is left.
    fn emptied(self, picture: &RgbImage) -> RgbImage {
        let mut counts: BTreeMap<[u8; 3], u32> = BTreeMap::new();
        for y in 0..self.height {
            for x in 0..self.width {
                *counts.entry(picture.get_pixel(self.left + x, self.top + y).0).or_default() += 1;
            }
        }
        let commonest = counts.into_iter().max_by_key(|(_, count)| *count).map_or([0; 3], |(colour, _)| colour);
        self.painted(picture, |_, _| Rgb(commonest))
    }
}

/// `picture` with each pixel mixed with the one to its left, which gets `share`.
fn mixed(picture: &RgbImage, share: f32) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (here, left) = (picture.get_pixel(x, y).0, picture.get_pixel(x.saturating_sub(1), y).0);
        let level = |index: usize| f32::from(here[index]) * (1.0 - share) + f32::from(left[index]) * share;
        Rgb([0, 1, 2].map(|index| level(index).round() as u8))
    })
}

/// `picture` with `level` added to every level.
fn brighter(picture: &RgbImage, level: impl Fn(u32, u32) -> i16) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        Rgb(picture.get_pixel(x, y).0.map(|old| (i16::from(old) + level(x, y)).clamp(0, 255) as u8))
    })
}

#[test]
fn what_a_person_sees_fails_and_what_nobody_sees_does_not() {
    let picture = draw(("finished", Look::Dark));
    let sees = |other: &RgbImage| seen::difference(&picture, other);

    for tile in Tile::all(&picture) {
        assert!(sees(&tile.emptied(&picture)).is_some(), "a lost plot or panel: {tile:?}");
        assert!(sees(&tile.moved(&picture, 4, 0)).is_some(), "moved to the right: {tile:?}");
        assert!(sees(&tile.moved(&picture, 0, 2)).is_some(), "moved down: {tile:?}");
    }
    let swapped = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue] = picture.get_pixel(x, y).0;
        Rgb([blue, green, red])
    });
    assert!(sees(&swapped).is_some(), "other colours of the lines");
    assert!(sees(&brighter(&picture, |_, _| 4)).is_some(), "another colour of the theme");
    let smaller = RgbImage::new(picture.width() - 8, picture.height());
    assert!(sees(&smaller).is_some(), "another size");

    let rounding = |x: u32, y: u32| (kit::noise(u64::from(y) * 4096 + u64::from(x)) * 4.0).round() as i16;
    for (what, other) in [
        ("the same", picture.clone()),
        ("a driver that rounds otherwise", brighter(&picture, rounding)),
        ("softer edges", mixed(&picture, 0.1)),
        ("letters a quarter of a pixel further on", mixed(&picture, 0.25)),
        ("its file", read(&palette::file_of(&picture))),
    ] {
        assert_eq!(sees(&other), None, "{what}");
    }
}
