//! IDX files, the form of MNIST and its relatives: a big-endian header with the number of dimensions, then bytes.

use super::{ImageFormat, ImageSet, MOST_BYTES, Part};
use crate::DataError;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

const IMAGES: &str = "images-idx3-ubyte";
const LABELS: &str = "labels-idx1-ubyte";
/// Names of the parts in front.
const TRAIN_NAMES: [&str; 1] = ["train"];
const TEST_NAMES: [&str; 2] = ["t10k", "test"];
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Header byte of unsigned bytes.
const UBYTE: u8 = 8;
/// Names of Fashion-MNIST's classes (Xiao, Rasul, Vollgraf 2017), for the folder that says it is that set.
const FASHION: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

/// The files of images and labels at `path`, if there are any.
///
/// # Errors
/// Images whose labels are not beside them.
pub(super) fn pair(path: &Path, part: Part, is_dir: bool) -> Result<Option<(PathBuf, PathBuf)>, DataError> {
    let images = if is_dir { in_folder(path, part) } else { is_images(path).then(|| path.to_owned()) };
    let Some(images) = images else { return Ok(None) };
    let name = images.file_name().unwrap_or_default().to_string_lossy().replace(IMAGES, LABELS);
    let other = match name.strip_suffix(".gz") {
        Some(plain) => plain.to_owned(),
        None => format!("{name}.gz"),
    };
    let candidates = [images.with_file_name(&name), images.with_file_name(other)];
    match candidates.into_iter().find(|labels| labels.is_file()) {
        Some(labels) => Ok(Some((images, labels))),
        None => {
            let what = format!("the images have no labels: {name} is missing");
            Err(DataError::data(what, images.display(), "put the file with the labels beside that with the images"))
        }
    }
}

fn is_images(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_suffix(".gz").unwrap_or(name).ends_with(IMAGES)
}

fn in_folder(dir: &Path, part: Part) -> Option<PathBuf> {
    let names: &[&str] = match part {
        Part::Train => &TRAIN_NAMES,
        Part::Test => &TEST_NAMES,
    };
    let files = names.iter().flat_map(|name| [format!("{name}-{IMAGES}"), format!("{name}-{IMAGES}.gz")]);
    files.map(|file| dir.join(file)).find(|file| file.is_file())
}

/// Reads a pair.
pub(super) fn read(images: &Path, labels: &Path) -> Result<ImageSet, DataError> {
    let (dims, pixels) = values::<3>(images)?;
    let ([count], classes) = values::<1>(labels)?;
    let [rows, height, width] = dims;
    if rows != count {
        let what = format!("there are {rows} images and {count} labels");
        return Err(DataError::data(what, labels.display(), "use the files of one set"));
    }
    if rows == 0 || height == 0 || width == 0 {
        return Err(DataError::data("the file has no images", images.display(), "choose other data"));
    }
    let most = classes.iter().max().map_or(0, |&class| usize::from(class));
    let is_fashion = images.to_string_lossy().to_lowercase().contains("fashion") && most < FASHION.len();
    let labels = match is_fashion {
        true => FASHION.map(str::to_owned).to_vec(),
        false => (0..=most).map(|class| class.to_string()).collect(),
    };
    let classes = classes.into_iter().map(u32::from).collect();
    Ok(ImageSet::new(ImageFormat::Idx, ((height, width), 1), labels, (pixels, classes), Vec::new()))
}

/// The dimensions and the bytes of a file.
fn values<const DIMS: usize>(path: &Path) -> Result<([usize; DIMS], Vec<u8>), DataError> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
            damaged(path, &format!("it ends too early or cannot be unpacked ({error})"))
        }
        _ => DataError::io("cannot read the IDX file", path, error),
    };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let packed = std::io::BufRead::fill_buf(&mut file).map_err(io)?.starts_with(&GZIP);
    let mut reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut head = [0u8; 4];
    reader.read_exact(&mut head).map_err(io)?;
    if head != [0, 0, UBYTE, DIMS as u8] {
        return Err(damaged(path, &format!("it begins with {head:?}, not as bytes in {DIMS} dimensions")));
    }
    let mut dims = [0usize; DIMS];
    for dim in &mut dims {
        let mut number = [0u8; 4];
        reader.read_exact(&mut number).map_err(io)?;
        *dim = u32::from_be_bytes(number) as usize;
    }
    let bytes = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let Some(bytes) = bytes.filter(|&bytes| bytes <= MOST_BYTES) else {
        return Err(damaged(path, &format!("it claims to hold {dims:?} values")));
    };
    // taken as they come: a header alone must not claim memory
    let mut values = Vec::new();
    reader.by_ref().take(bytes as u64 + 1).read_to_end(&mut values).map_err(io)?;
    if values.len() != bytes {
        let found = if values.len() > bytes { "more".to_owned() } else { values.len().to_string() };
        return Err(damaged(path, &format!("it holds {found} instead of {bytes} values")));
    }
    Ok((dims, values))
}

fn damaged(path: &Path, why: &str) -> DataError {
    DataError::data(format!("the IDX file is damaged: {why}"), path.display(), "get the file again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, UBYTE, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        bytes.extend_from_slice(values);
        bytes
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn pairs_are_read_packed_or_not_and_parts_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).unwrap();
        put("train-images-idx3-ubyte.gz", packed(&idx(&[2, 2, 3], &(0..12).collect::<Vec<u8>>())));
        put("train-labels-idx1-ubyte", idx(&[2], &[4, 0]));
        put("t10k-images-idx3-ubyte", idx(&[1, 2, 3], &[9; 6]));
        put("t10k-labels-idx1-ubyte.gz", packed(&idx(&[1], &[1])));
        assert!(ImageSet::is_at(dir.path()));
        let set = ImageSet::open(dir.path(), Part::Train).unwrap();
        assert_eq!((set.size, set.channels, set.classes()), ((2, 3), 1, &[4, 0][..]));
        assert_eq!((set.labels.len(), set.image(1)), (5, &[6, 7, 8, 9, 10, 11][..]));
        let test = ImageSet::open(dir.path(), Part::Test).unwrap();
        assert_eq!((test.len(), test.image(0)), (1, &[9; 6][..]));
        let looked = ImageSet::look(dir.path()).unwrap();
        assert_eq!((looked.images, looked.labels.len(), looked.complete), (2, 5, true));
        let alone = ImageSet::open(&dir.path().join("train-images-idx3-ubyte.gz"), Part::Train).unwrap();
        assert_eq!(alone, set);
    }

    #[test]
    fn damaged_files_say_what_is_wrong() {
        let whole = idx(&[1, 2, 2], &[1, 2, 3, 4]);
        let cut_packed = packed(&whole);
        for (images, labels, why) in [
            (idx(&[1, 2, 2], &[1, 2, 3]), idx(&[1], &[0]), "3 instead of 4"),
            (idx(&[1, 2, 2], &[1; 5]), idx(&[1], &[0]), "more instead of 4"),
            (idx(&[u32::MAX, u32::MAX, 9], &[]), idx(&[1], &[0]), "claims"),
            (cut_packed[..cut_packed.len() / 2].to_vec(), idx(&[1], &[0]), "ends too early"),
            (b"no idx".to_vec(), idx(&[1], &[0]), "begins with"),
            (whole.clone(), idx(&[2], &[0, 1]), "1 images and 2 labels"),
            (idx(&[0, 2, 2], &[]), idx(&[0], &[]), "no images"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("train-images-idx3-ubyte"), images).unwrap();
            std::fs::write(dir.path().join("train-labels-idx1-ubyte"), labels).unwrap();
            let error = ImageSet::open(dir.path(), Part::Train).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("train-images-idx3-ubyte"), whole).unwrap();
        let error = ImageSet::open(dir.path(), Part::Train).unwrap_err().to_string();
        assert!(error.contains("no labels"), "{error}");
    }
}
