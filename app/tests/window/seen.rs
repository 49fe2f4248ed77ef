//! Whether a person sees a difference between two pictures of the window.
//!
//! Pixels are no measure: another driver rounds otherwise, and another version of the font rasteriser draws softer edges.
//! Both pictures are reduced to the means of blocks of 8 x 8 pixels, as lightness and two differences of colour (the
//! YCbCr of ITU-R BT.601), all in levels of 0 to 255. A block holds about one letter, so softer edges and a quarter of a
//! pixel keep its means within seven levels, while a line, a letter or a symbol that is no longer there moves them by
//! tens. Two limits follow: a few blocks that differ clearly (a word, a mark, a panel that moved), or very many that
//! differ faintly (a colour of the theme).

use image::RgbImage;

/// Side of a block, in pixels.
const BLOCK: u32 = 8;
/// A block that differs by more levels than this is another picture.
const CLEAR: f32 = 8.0;
/// So many of those pass: about a word of four letters.
const MOST_CLEAR: usize = 8;
/// A block that differs by more levels than this has another colour, or text in it that is drawn otherwise.
const FAINT: f32 = 2.0;
/// One block of so many may differ faintly.
const FAINT_SHARE: usize = 16;

/// Lightness and the differences of blue and red to it, of each block by rows; and how many blocks make a row.
fn blocks(picture: &RgbImage) -> (usize, Vec<[f32; 3]>) {
    let columns = picture.width().div_ceil(BLOCK) as usize;
    let rows = picture.height().div_ceil(BLOCK) as usize;
    let mut sums = vec![[0.0_f32; 4]; columns * rows];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let [red, green, blue, count] = &mut sums[(y / BLOCK) as usize * columns + (x / BLOCK) as usize];
        *red += f32::from(pixel.0[0]);
        *green += f32::from(pixel.0[1]);
        *blue += f32::from(pixel.0[2]);
        *count += 1.0;
    }
    let means = sums.into_iter().map(|[red, green, blue, count]| {
        let light = (0.299 * red + 0.587 * green + 0.114 * blue) / count;
        [light, 0.564 * (blue / count - light), 0.713 * (red / count - light)]
    });
    (columns, means.collect())
}

/// What a person would see, in words; nothing when the pictures look the same.
pub(crate) fn difference(old: &RgbImage, new: &RgbImage) -> Option<String> {
    if old.dimensions() != new.dimensions() {
        return Some(format!("has another size: {:?} instead of {:?} pixels", new.dimensions(), old.dimensions()));
    }
    let (columns, before) = blocks(old);
    let (_, after) = blocks(new);
    let largest =
        |(old, new): (&[f32; 3], &[f32; 3])| old.iter().zip(new).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    let levels: Vec<f32> = before.iter().zip(&after).map(largest).collect();
    let beyond = |limit: f32| -> Vec<usize> { (0..levels.len()).filter(|block| levels[*block] > limit).collect() };
    let (clear, faint) = (beyond(CLEAR), beyond(FAINT));
    let (found, how) = if clear.len() > MOST_CLEAR {
        (clear, "clearly")
    } else if faint.len() * FAINT_SHARE > levels.len() {
        (faint, "faintly")
    } else {
        return None;
    };
    let side = BLOCK as usize;
    let left = found.iter().map(|block| block % columns).min().unwrap_or(0) * side;
    let right = (found.iter().map(|block| block % columns).max().unwrap_or(0) + 1) * side;
    let top = found.iter().map(|block| block / columns).min().unwrap_or(0) * side;
    let bottom = (found.iter().map(|block| block / columns).max().unwrap_or(0) + 1) * side;
    Some(format!(
        "differs {how} in {} of {} blocks, x {left} to {right}, y {top} to {bottom}",
        found.len(),
        levels.len()
    ))
}
