//! Sets of images with classes: files and folders to pixels, order, split, batches.
//!
//! Place in the data flow: what [`crate::dataset`] is to texts. A set is held in memory as bytes; a batch is made of f32
//! values that are normalised channel by channel. Two forms are read: pairs of IDX files as MNIST and Fashion-MNIST come
//! in, and folders whose subfolders name the classes.

mod folder;
mod idx;

use crate::DataError;
use crate::dataset::split::Split;
use crate::hash;
use crate::random::Counter;
use std::path::Path;

/// Stream of the order of training under a run's seed.
const ORDER: u64 = 11;
/// Most bytes of pixels that are held.
const MOST_BYTES: usize = 4 << 30;

/// Which part of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// For training and validation.
    Train,
    /// Kept apart.
    Test,
}

/// How images are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// A pair of IDX files.
    Idx,
    /// Folders named after classes.
    Folders,
}

impl ImageFormat {
    /// The name shown to people and written in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idx => "idx",
            Self::Folders => "image-folders",
        }
    }
}

/// Images with a class each, as bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSet {
    /// How they were stored.
    pub format: ImageFormat,
    /// Height and width.
    pub size: (usize, usize),
    /// Channels: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Files that could not be used, with the reason.
    pub bad: Vec<(String, String)>,
    /// Image after image, channel after channel, row after row.
    pixels: Vec<u8>,
    classes: Vec<u32>,
}

/// A set as the drop zone would say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// How the images are stored.
    pub format: ImageFormat,
    /// Images for training.
    pub images: u64,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Whether every image was read, not only counted.
    pub complete: bool,
}

/// What is taken from each channel, and what it is then divided by; for values in 0..=1.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalise {
    /// One for each channel.
    pub mean: Vec<f32>,
    /// One for each channel, not 0.
    pub std: Vec<f32>,
}

/// Some images as numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageBatch {
    /// (images, channels, height, width), normalised.
    pub pixels: Vec<f32>,
    /// Shape of the pixels.
    pub shape: [usize; 4],
    /// One for each image.
    pub classes: Vec<u32>,
}

impl ImageSet {
    /// Reads the set at `path`: a folder or one file of images in IDX form (`train-images-idx3-ubyte`, packed with gzip
    /// or not, its labels beside it), or a folder of folders of PNG and JPEG files, each named after a class. Folders may
    /// hold a part for training and one for tests.
    ///
    /// # Errors
    /// [`DataError`] when there are no such images, or files that belong together do not fit.
    pub fn open(path: &Path, part: Part) -> Result<Self, DataError> {
        let meta = std::fs::metadata(path).map_err(|error| DataError::io("cannot look at the images", path, error))?;
        match idx::pair(path, part, meta.is_dir())? {
            Some((images, labels)) => idx::read(&images, &labels),
            None if meta.is_dir() => folder::read(path, part),
            None => Err(no_images(path)),
        }
    }

    /// Whether a path looks like such a set, by names alone.
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        let is_dir = path.is_dir();
        idx::pair(path, Part::Train, is_dir).is_ok_and(|pair| pair.is_some()) || is_dir && folder::has_classes(path)
    }

    /// What is at a path, without reading pictures that lie in files of their own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look(path: &Path) -> Result<Looked, DataError> {
        let meta = std::fs::metadata(path).map_err(|error| DataError::io("cannot look at the images", path, error))?;
        if idx::pair(path, Part::Train, meta.is_dir())?.is_none() && meta.is_dir() {
            let (labels, images) = folder::count(path)?;
            return Ok(Looked { format: ImageFormat::Folders, labels, images, complete: false });
        }
        let set = Self::open(path, Part::Train)?;
        Ok(Looked { format: set.format, images: set.len() as u64, labels: set.labels, complete: true })
    }

    pub(crate) fn new(
        format: ImageFormat,
        (size, channels): ((usize, usize), usize),
        labels: Vec<String>,
        (pixels, classes): (Vec<u8>, Vec<u32>),
        bad: Vec<(String, String)>,
    ) -> Self {
        Self { format, size, channels, labels, bad, pixels, classes }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Class of each image.
    #[must_use]
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// Bytes of an image.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.channels * self.size.0 * self.size.1
    }

    /// The bytes of image `row`; empty when there is none.
    #[must_use]
    pub fn image(&self, row: usize) -> &[u8] {
        let bytes = self.image_bytes();
        self.pixels.get(row * bytes..(row + 1) * bytes).unwrap_or_default()
    }

    /// Numbers of the images for training and for validation, each rising. On which side an image lies follows from its
    /// pixels and the seed: equal images stay together.
    #[must_use]
    pub fn split(&self, share: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
        let key = |row: usize| hash::number(&hash::of_parts([self.image(row)]));
        let keys: Vec<u64> = (0..self.len()).map(key).collect();
        let split = Split::new(keys.iter().copied(), share, seed);
        let rows = keys.iter().enumerate().map(|(row, key)| (row as u32, split.is_validation(*key)));
        let (validation, train): (Vec<_>, Vec<_>) = rows.partition(|(_, validation)| *validation);
        let numbers = |rows: Vec<(u32, bool)>| rows.into_iter().map(|(row, _)| row).collect();
        (numbers(train), numbers(validation))
    }

    /// Mean and standard deviation of each channel over these images; a channel that never changes is divided by 1.
    #[must_use]
    pub fn normalise_by(&self, rows: &[u32]) -> Normalise {
        let area = self.size.0 * self.size.1;
        let mut sums = vec![(0u64, 0u64); self.channels];
        for &row in rows {
            for ((sum, squares), values) in sums.iter_mut().zip(self.image(row as usize).chunks_exact(area.max(1))) {
                *sum += values.iter().map(|&value| u64::from(value)).sum::<u64>();
                *squares += values.iter().map(|&value| u64::from(value) * u64::from(value)).sum::<u64>();
            }
        }
        let count = (rows.len() * area).max(1) as f64;
        let of = |&(sum, squares): &(u64, u64)| {
            let mean = sum as f64 / count / 255.0;
            let variance = (squares as f64 / count / (255.0 * 255.0) - mean * mean).max(0.0);
            (mean as f32, if variance > 0.0 { variance.sqrt() as f32 } else { 1.0 })
        };
        let (mean, std) = sums.iter().map(of).unzip();
        Normalise { mean, std }
    }

    /// These images as a batch. Numbers beyond the set are left out.
    #[must_use]
    pub fn batch(&self, rows: &[u32], normalise: &Normalise) -> ImageBatch {
        let area = (self.size.0 * self.size.1).max(1);
        let mut pixels = Vec::with_capacity(rows.len() * self.image_bytes());
        let mut classes = Vec::with_capacity(rows.len());
        for &row in rows {
            let Some(&class) = self.classes.get(row as usize) else { continue };
            classes.push(class);
            for (channel, values) in self.image(row as usize).chunks_exact(area).enumerate() {
                let mean = normalise.mean.get(channel).copied().unwrap_or(0.0);
                let factor = normalise.std.get(channel).copied().unwrap_or(1.0).recip();
                pixels.extend(values.iter().map(|&value| (f32::from(value) / 255.0 - mean) * factor));
            }
        }
        let shape = [classes.len(), self.channels, self.size.0, self.size.1];
        ImageBatch { pixels, shape, classes }
    }

    /// The same images turned by quarters to the left, as another task on the same pictures.
    #[must_use]
    pub fn turned(&self, quarters: usize) -> Self {
        let mut turned = self.clone();
        for _ in 0..quarters % 4 {
            let (height, width) = turned.size;
            let mut pixels = Vec::with_capacity(turned.pixels.len());
            for map in turned.pixels.chunks_exact((height * width).max(1)) {
                // what was the last column is the first row
                for column in (0..width).rev() {
                    pixels.extend(map.chunks_exact(width.max(1)).filter_map(|row| row.get(column)));
                }
            }
            turned.pixels = pixels;
            turned.size = (width, height);
        }
        turned
    }

    /// The same images with other classes; none leaves an image out.
    #[must_use]
    pub fn relabelled(&self, labels: Vec<String>, class_of: impl Fn(u32) -> Option<u32>) -> Self {
        let (mut pixels, mut classes) = (Vec::new(), Vec::new());
        for (row, class) in self.classes.iter().enumerate() {
            if let Some(class) = class_of(*class) {
                pixels.extend_from_slice(self.image(row));
                classes.push(class);
            }
        }
        Self { labels, pixels, classes, bad: Vec::new(), ..*self }
    }
}

/// The order in which `rows` are trained in a pass over them.
#[must_use]
pub fn order(rows: &[u32], seed: u64, epoch: u64) -> Vec<u32> {
    let mut rows = rows.to_vec();
    Counter::new(seed, crate::random::combine(&[ORDER, epoch])).shuffle(&mut rows);
    rows
}

fn no_images(path: &Path) -> DataError {
    let action = "choose a folder of IDX files, or one whose subfolders name classes and hold PNG or JPEG files";
    DataError::data("there are no images with classes here", path.display(), action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> ImageSet {
        // two channels of 2 x 3; every value differs
        let pixels = (0..36u8).map(|value| value * 3).collect();
        let labels = vec!["a".to_owned(), "b".to_owned()];
        ImageSet::new(ImageFormat::Idx, ((2, 3), 2), labels, (pixels, vec![1, 0, 1]), Vec::new())
    }

    #[test]
    fn a_quarter_turn_goes_left_and_four_are_none() {
        let (set, turned) = (set(), set().turned(1));
        assert_eq!(turned.size, (3, 2));
        assert_eq!(set.image(0)[..6], [0, 3, 6, 9, 12, 15]);
        assert_eq!(turned.image(0)[..6], [6, 15, 3, 12, 0, 9]);
        assert_eq!(set.turned(2).image(0)[..6], [15, 12, 9, 6, 3, 0]);
        assert_eq!(turned.turned(3), set);
    }

    #[test]
    fn a_batch_is_normalised_channel_by_channel() {
        let set = set();
        let rows = [0, 1, 2];
        let normalise = set.normalise_by(&rows);
        let batch = set.batch(&[2, 0], &normalise);
        assert_eq!((batch.shape, batch.classes.as_slice()), ([2, 2, 2, 3], &[1, 1][..]));
        let all = set.batch(&rows, &normalise);
        for channel in 0..2 {
            let values: Vec<f64> =
                all.pixels.chunks(6).skip(channel).step_by(2).flatten().map(|value| f64::from(*value)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
        }
        assert_eq!(set.batch(&[7], &normalise).classes.len(), 0);
        let flat = ImageSet { pixels: vec![9; 36], ..set };
        assert_eq!(flat.normalise_by(&rows).std, [1.0, 1.0]);
    }

    #[test]
    fn other_classes_keep_their_images() {
        let set = set();
        let swapped = set.relabelled(vec!["x".to_owned()], |class| (class == 1).then_some(0));
        assert_eq!((swapped.len(), swapped.classes()), (2, &[0, 0][..]));
        assert_eq!(swapped.image(1), set.image(2));
    }

    #[test]
    fn orders_hold_every_row_and_follow_seed_and_epoch() {
        let rows: Vec<u32> = (10..60).collect();
        let mut sorted = order(&rows, 1, 0);
        assert_ne!(sorted, rows);
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
        assert_eq!(order(&rows, 1, 0), order(&rows, 1, 0));
        assert_ne!(order(&rows, 1, 0), order(&rows, 1, 1));
        assert_ne!(order(&rows, 1, 0), order(&rows, 2, 0));
    }

    #[test]
    fn equal_images_stay_on_one_side() {
        let pixels: Vec<u8> = (0..200u8).flat_map(|image| [image % 50; 4]).collect();
        let set = ImageSet::new(ImageFormat::Idx, ((2, 2), 1), Vec::new(), (pixels, vec![0; 200]), Vec::new());
        let (train, validation) = set.split(0.3, 5);
        assert_eq!(train.len() + validation.len(), 200);
        assert!(validation.len() > 20 && train.len() > 60);
        assert!(train.iter().all(|row| !validation.iter().any(|other| row % 50 == other % 50)));
        assert_eq!(set.split(0.3, 5), (train, validation));
    }
}
