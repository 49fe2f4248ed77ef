//! Pictures of the window as small PNG files: 8 bits a pixel and a palette, a third of what three colours a pixel take.
//!
//! A palette that covers: colours in the order of how many pixels have them, each taken in unless one that is already
//! there is near enough. What fills areas may be off by a quarter of what the edges of letters may, and every colour is
//! off by a known distance at most. No dithering: it would not compress, and flat areas should stay flat.

use image::RgbImage;
use std::collections::BTreeMap;

type Colour = [u8; 3];

/// Colours that a palette can have.
const MOST: usize = 256;
/// From so many pixels on a colour fills an area.
const AREA: u32 = 64;
/// How much further off the colour of an edge may be.
const EDGE: i32 = 4;

/// Square of the distance between two colours, in levels.
fn apart(one: Colour, other: Colour) -> i32 {
    one.iter().zip(other).map(|(one, other)| (i32::from(*one) - i32::from(other)).pow(2)).sum()
}

/// Colours such that each of `counted` (commonest first) has one within `reach` levels, or four times that for an edge;
/// nothing when a palette is too small for them.
fn covering(counted: &[(Colour, u32)], reach: i32) -> Option<Vec<Colour>> {
    let mut palette: Vec<Colour> = Vec::new();
    for (colour, count) in counted {
        let reach = if *count >= AREA { reach } else { EDGE * reach };
        if palette.iter().all(|chosen| apart(*chosen, *colour) > reach * reach) {
            if palette.len() == MOST {
                return None;
            }
            palette.push(*colour);
        }
    }
    Some(palette)
}

/// The PNG file of `picture`.
pub(crate) fn file_of(picture: &RgbImage) -> Vec<u8> {
    let mut counts: BTreeMap<Colour, u32> = BTreeMap::new();
    for pixel in picture.pixels() {
        *counts.entry(pixel.0).or_default() += 1;
    }
    let mut counted: Vec<(Colour, u32)> = counts.into_iter().collect();
    counted.sort_by_key(|(colour, count)| (std::cmp::Reverse(*count), *colour));
    // Points more than 64 apart: no more than about 180 of them fit into the cube of colours.
    let palette = (0..=64).find_map(|reach| covering(&counted, reach)).expect("a palette that covers");
    let nearest = |colour: Colour| {
        let index = (0..palette.len()).min_by_key(|index| apart(palette[*index], colour)).unwrap_or(0);
        u8::try_from(index).expect("a palette has 256 colours at most")
    };
    let places: BTreeMap<Colour, u8> = counted.iter().map(|(colour, _)| (*colour, nearest(*colour))).collect();
    let pixels: Vec<u8> = picture.pixels().map(|pixel| places[&pixel.0]).collect();

    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette.as_flattened().to_vec());
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().expect("a header in memory");
    writer.write_image_data(&pixels).expect("pixels in memory");
    writer.finish().expect("an end in memory");
    file
}
