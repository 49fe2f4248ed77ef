//! Read-only bytes that are either a slice of a mapped file or owned.
//!
//! Place in the data flow: readers of model files map a file once and cut one [`Bytes`] per tensor out of it;
//! [`crate::FrozenWeight`] holds them. This is the only module that maps files.

use crate::{NnError, Result};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file mapped into memory, read only.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    /// `None` for an empty file, which cannot be mapped on every system.
    map: Option<memmap2::Mmap>,
}

impl Map {
    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether the file is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Clone, Debug)]
enum Source {
    Mapped(Arc<Map>),
    Owned(Arc<Vec<u8>>),
    /// Floats of our own: aligned, so that products read them without a copy.
    Floats(Arc<Vec<f32>>),
}

/// Read-only bytes; cheap to clone and to cut.
#[derive(Clone, Debug)]
pub struct Bytes {
    source: Source,
    range: Range<usize>,
}

impl Bytes {
    /// Maps a whole file.
    ///
    /// # Errors
    /// [`NnError::Io`] when the file cannot be opened or mapped.
    pub fn map_file(path: &Path) -> Result<Arc<Map>> {
        let io = |source| NnError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let map = if file.metadata().map_err(io)?.len() == 0 {
            None
        } else {
            #[expect(unsafe_code, reason = "mapping a file has no safe form")]
            // SAFETY: the map is read only. Model files are opened, never written, by this program; its own
            // outputs are written under a temporary name and renamed, so no mapped file is changed in place.
            // A foreign program that truncates the file under us can only end the process, not corrupt it.
            let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
            Some(map)
        };
        Ok(Arc::new(Map { path: path.to_owned(), map }))
    }

    /// A part of a mapped file.
    ///
    /// # Errors
    /// [`NnError::Shape`] when the range leaves the file.
    pub fn mapped(map: &Arc<Map>, range: Range<usize>) -> Result<Self> {
        let whole = Self { source: Source::Mapped(Arc::clone(map)), range: 0..map.len() };
        whole.slice(range)
    }

    /// Owned bytes.
    #[must_use]
    pub fn owned(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { source: Source::Owned(Arc::new(bytes)), range }
    }

    /// Owned floats, in the machine's byte order.
    #[must_use]
    pub fn from_f32(values: Vec<f32>) -> Self {
        let range = 0..values.len() * size_of::<f32>();
        Self { source: Source::Floats(Arc::new(values)), range }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        let all = match &self.source {
            Source::Mapped(map) => map.as_slice(),
            Source::Owned(bytes) => bytes.as_slice(),
            Source::Floats(values) => bytemuck::cast_slice(values.as_slice()),
        };
        // The range was checked when it was made and none of the sources can shrink.
        all.get(self.range.clone()).unwrap_or(&[])
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Whether they lie in a mapped file: the system may drop and reload such pages.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        matches!(self.source, Source::Mapped(_))
    }

    /// Tells the system that these bytes are not needed soon: pages of a mapped file leave memory, and are read again
    /// when somebody looks. Owned bytes stay.
    pub fn let_go(&self) {
        #[cfg(unix)]
        if let Source::Mapped(map) = &self.source
            && let Some(map) = &map.map
        {
            #[expect(unsafe_code, reason = "the advice could lose changes to a map, of which there are none")]
            // SAFETY: the map is read only and backed by its file, so a dropped page comes back with the same bytes. The
            // range lies within the map: it was checked when it was made.
            let advised = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, self.range.start, self.range.len())
            };
            // Advice may be refused; then the pages stay.
            drop(advised);
        }
    }

    /// A part of these bytes, counted from their start.
    ///
    /// # Errors
    /// [`NnError::Shape`] when the range is not inside.
    pub fn slice(&self, range: Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > self.len() {
            return Err(NnError::Shape(format!(
                "bytes {}..{} asked for, there are {}",
                range.start,
                range.end,
                self.len()
            )));
        }
        let start = self.range.start + range.start;
        Ok(Self { source: self.source.clone(), range: start..start + range.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_is_cut_where_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.bin");
        std::fs::write(&path, [0u8, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        let map = Bytes::map_file(&path).unwrap();
        let middle = Bytes::mapped(&map, 2..6).unwrap();
        assert_eq!(middle.as_slice(), [2, 3, 4, 5]);
        assert_eq!(middle.slice(1..3).unwrap().as_slice(), [3, 4]);
        assert!(middle.is_mapped());
        assert!(middle.slice(1..5).is_err(), "a cut may not reach beyond its parent");
        assert!(Bytes::mapped(&map, 4..9).is_err());
        middle.let_go();
        assert_eq!(middle.as_slice(), [2, 3, 4, 5], "what was let go is read again");
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes_and_a_missing_one_names_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.bin");
        std::fs::write(&path, []).unwrap();
        assert!(Bytes::map_file(&path).unwrap().is_empty());
        let missing = folder.path().join("missing.bin");
        let error = Bytes::map_file(&missing).unwrap_err().to_string();
        assert!(error.contains("missing.bin"), "{error}");
    }

    #[test]
    fn floats_keep_their_bits() {
        let bytes = Bytes::from_f32(vec![1.0, -0.0, f32::MIN_POSITIVE]);
        assert_eq!(bytes.len(), 12);
        assert_eq!(bytes.as_slice()[0..4], 1.0f32.to_ne_bytes());
        assert_eq!(bytes.slice(4..8).unwrap().as_slice(), (-0.0f32).to_ne_bytes());
    }
}
