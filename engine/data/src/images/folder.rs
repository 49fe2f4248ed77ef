//! Folders of PNG and JPEG files, each folder named after a class.

use super::{ImageFormat, ImageSet, MOST_BYTES, Part, no_images};
use crate::DataError;
use image::{DynamicImage, ImageReader, Limits};
use std::path::{Path, PathBuf};

const TRAIN_NAMES: [&str; 2] = ["train", "training"];
const TEST_NAMES: [&str; 4] = ["test", "testing", "val", "valid"];
/// Longest side that is read.
const MOST_SIDE: u32 = 1 << 12;
/// Largest memory that reading one file may take.
const MOST_DECODER_BYTES: u64 = 256 << 20;
/// Reasons that an error names.
const MOST_REASONS: usize = 3;

/// Whether the subfolders of `dir`, or of its part for training, hold images.
pub(super) fn has_classes(dir: &Path) -> bool {
    let root = root_of(dir, Part::Train).unwrap_or_else(|| dir.to_owned());
    folders(&root)
        .is_ok_and(|folders| folders.iter().any(|(_, folder)| images_in(folder).is_ok_and(|images| !images.is_empty())))
}

/// The folder of a part, if the parts are kept apart.
fn root_of(dir: &Path, part: Part) -> Option<PathBuf> {
    let names: &[&str] = match part {
        Part::Train => &TRAIN_NAMES,
        Part::Test => &TEST_NAMES,
    };
    names.iter().map(|name| dir.join(name)).find(|folder| folder.is_dir())
}

/// Entries of a folder in the order of their names, hidden ones left out.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let io = |error| DataError::io("cannot look into the folder of images", dir, error);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            all.push((name, entry.path()));
        }
    }
    all.sort();
    Ok(all)
}

fn folders(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    Ok(entries(dir)?.into_iter().filter(|(_, path)| path.is_dir()).collect())
}

fn images_in(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_image = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        path.is_file() && matches!(ending.as_str(), "png" | "jpg" | "jpeg")
    };
    Ok(entries(dir)?.into_iter().map(|(_, path)| path).filter(|path| is_image(path)).collect())
}

/// Classes of the part for training, and how many images they have.
pub(super) fn count(dir: &Path) -> Result<(Vec<String>, u64), DataError> {
    let root = root_of(dir, Part::Train).unwrap_or_else(|| dir.to_owned());
    let (mut labels, mut images) = (Vec::new(), 0);
    for (class, folder) in folders(&root)? {
        let files = images_in(&folder)?.len() as u64;
        if files > 0 {
            labels.push(class);
            images += files;
        }
    }
    if labels.is_empty() { Err(no_images(dir)) } else { Ok((labels, images)) }
}

/// Reads a folder. A file that cannot be used is set aside with the reason; all images that count have one size, that of
/// the first.
pub(super) fn read(dir: &Path, part: Part) -> Result<ImageSet, DataError> {
    let root = match (root_of(dir, part), part) {
        (Some(root), _) => root,
        (None, Part::Train) => dir.to_owned(),
        (None, Part::Test) => {
            let action = "put images for tests into a folder called test";
            return Err(DataError::data("there is no part for tests", dir.display(), action));
        }
    };
    let (mut labels, mut pictures, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0usize;
    for (class, folder) in folders(&root)? {
        let files = images_in(&folder)?;
        if files.is_empty() {
            continue;
        }
        let number = labels.len() as u32;
        labels.push(class);
        for file in files {
            match decode(&file) {
                Ok(picture) => {
                    bytes = bytes.saturating_add(picture.as_bytes().len());
                    pictures.push((number, file, picture));
                }
                Err(why) => bad.push((file.display().to_string(), why)),
            }
            if bytes > MOST_BYTES {
                let what = format!("the images take more than {} MiB", MOST_BYTES >> 20);
                return Err(DataError::data(what, dir.display(), "choose fewer or smaller images"));
            }
        }
    }
    assemble(dir, labels, pictures, bad)
}

/// An image as 8-bit grey or colour.
fn decode(file: &Path) -> Result<DynamicImage, String> {
    let mut reader = ImageReader::open(file).map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    limits.max_alloc = Some(MOST_DECODER_BYTES);
    reader.limits(limits);
    let reader = reader.with_guessed_format().map_err(|error| error.to_string())?;
    let image = reader.decode().map_err(|error| error.to_string())?;
    Ok(if image.color().has_color() { image.to_rgb8().into() } else { image.to_luma8().into() })
}

fn assemble(
    dir: &Path,
    labels: Vec<String>,
    pictures: Vec<(u32, PathBuf, DynamicImage)>,
    mut bad: Vec<(String, String)>,
) -> Result<ImageSet, DataError> {
    let Some((_, _, first)) = pictures.first() else {
        if bad.is_empty() {
            return Err(no_images(dir));
        }
        let reasons: Vec<String> = bad.iter().take(MOST_REASONS).map(|(file, why)| format!("{file}: {why}")).collect();
        let what = format!("none of {} images can be read: {}", bad.len(), reasons.join("; "));
        return Err(DataError::data(what, dir.display(), "choose other images"));
    };
    let (width, height) = (first.width() as usize, first.height() as usize);
    let colour = pictures.iter().any(|(_, _, picture)| picture.color().has_color());
    let channels = if colour { 3 } else { 1 };
    let (mut pixels, mut classes) = (Vec::new(), Vec::new());
    for (class, file, picture) in pictures {
        let own = (picture.width() as usize, picture.height() as usize);
        if own != (width, height) {
            let why = format!("it is {} x {}, the first image is {width} x {height}", own.0, own.1);
            bad.push((file.display().to_string(), why));
            continue;
        }
        classes.push(class);
        if colour {
            let values = picture.into_rgb8().into_raw();
            (0..channels).for_each(|channel| pixels.extend(values.iter().skip(channel).step_by(channels)));
        } else {
            pixels.extend(picture.into_luma8().into_raw());
        }
    }
    Ok(ImageSet::new(ImageFormat::Folders, ((height, width), channels), labels, (pixels, classes), bad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, RgbImage};

    #[test]
    fn folders_name_classes_and_files_that_do_not_fit_are_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = dir.path().join("train").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let (cats, dogs) = (folder("cats"), folder("dogs"));
        folder("empty");
        RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 7])).save(cats.join("b.png")).unwrap();
        GrayImage::from_fn(3, 2, |x, _| image::Luma([10 * x as u8])).save(dogs.join("a.PNG")).unwrap();
        GrayImage::new(5, 5).save(dogs.join("b.png")).unwrap();
        std::fs::write(dogs.join("c.jpg"), b"no image").unwrap();
        std::fs::write(dogs.join("notes.txt"), b"nothing").unwrap();
        assert!(ImageSet::is_at(dir.path()));
        let looked = ImageSet::look(dir.path()).unwrap();
        assert_eq!((looked.labels.join(" "), looked.images, looked.complete), ("cats dogs".to_owned(), 4, false));
        let set = ImageSet::open(dir.path(), Part::Train).unwrap();
        assert_eq!((set.size, set.channels, set.labels.join(" ")), ((2, 3), 3, "cats dogs".to_owned()));
        assert_eq!(set.classes(), [0, 1]);
        assert_eq!(set.image(0), [0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1, 7, 7, 7, 7, 7, 7]);
        assert_eq!(set.image(1)[..6], [0, 10, 20, 0, 10, 20]);
        let refused = crate::read::list(dir.path().join("train").join("..").as_path());
        assert!(refused.is_ok(), "notes.txt is text");
        std::fs::remove_file(dogs.join("notes.txt")).unwrap();
        let refused = crate::read::list(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("images with classes"), "{refused}");
        assert_eq!(set.bad.len(), 2);
        assert!(set.bad.iter().any(|(file, why)| file.ends_with("b.png") && why.contains("5 x 5")));
        assert!(ImageSet::open(dir.path(), Part::Test).unwrap_err().to_string().contains("no part for tests"));
    }

    #[test]
    fn jpeg_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("one");
        std::fs::create_dir_all(&folder).unwrap();
        RgbImage::from_pixel(16, 16, image::Rgb([200, 40, 90])).save(folder.join("a.jpg")).unwrap();
        let set = ImageSet::open(dir.path(), Part::Train).unwrap();
        let middle = |channel: usize| i32::from(set.image(0)[channel * 256 + 136]);
        for (channel, wanted) in [200, 40, 90].into_iter().enumerate() {
            assert!((middle(channel) - wanted).abs() < 6, "{} {wanted}", middle(channel));
        }
    }

    #[test]
    fn a_folder_without_images_says_so() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!ImageSet::is_at(dir.path()));
        assert!(ImageSet::look(dir.path()).is_err());
        assert!(ImageSet::open(dir.path(), Part::Train).unwrap_err().to_string().contains("no images"));
        let folder = dir.path().join("one");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.png"), b"no image").unwrap();
        let error = ImageSet::open(dir.path(), Part::Train).unwrap_err().to_string();
        assert!(error.contains("none of 1 images"), "{error}");
        let missing = ImageSet::open(&dir.path().join("nowhere"), Part::Train).unwrap_err();
        assert!(matches!(missing, DataError::NotFound { .. }));
    }
}
