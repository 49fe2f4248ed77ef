//! Where the lines of a file begin: every 64th is remembered, so that a file of any size has a small index.
//!
//! Place in the data flow: [`super::Lens`] lets it grow block by block while rows before its end are read already.

/// One line in so many has its place remembered; the others are found by reading on from it.
const STRIDE: u64 = 64;
/// Bytes counted at once; where none of their lines is to be remembered, their places do not matter.
const STEP: usize = 4096;

/// Beginnings of lines, as far as a file was looked through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LineIndex {
    /// Byte where line `k * STRIDE` begins, counted from 0.
    starts: Vec<u64>,
    /// Line ends seen.
    ends: u64,
    /// Bytes seen.
    bytes: u64,
    /// Whether the last byte seen ends a line.
    at_start: bool,
}

impl LineIndex {
    /// Looks at the next bytes of the file.
    pub(crate) fn add(&mut self, block: &[u8]) {
        if self.bytes == 0 && !block.is_empty() {
            self.starts.push(0);
        }
        for step in block.chunks(STEP) {
            let ends = step.iter().filter(|byte| **byte == b'\n').count() as u64;
            if (self.ends + ends) / STRIDE > self.ends / STRIDE {
                let breaks = step.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                for (number, (at, _)) in (self.ends + 1..).zip(breaks) {
                    if number.is_multiple_of(STRIDE) {
                        self.starts.push(self.bytes + at as u64 + 1);
                    }
                }
            }
            self.ends += ends;
            self.bytes += step.len() as u64;
            self.at_start = step.last() == Some(&b'\n');
        }
    }

    /// Lines that are known; a last one without an end counts as soon as its first byte was seen.
    pub(crate) fn lines(&self) -> u64 {
        self.ends + u64::from(self.bytes > 0 && !self.at_start)
    }

    /// Bytes looked at.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The byte from which line `line` (counted from 0) is read, and how many lines lie between.
    pub(crate) fn place(&self, line: u64) -> Option<(u64, u64)> {
        if line >= self.lines() {
            return None;
        }
        let start = *self.starts.get(usize::try_from(line / STRIDE).ok()?)?;
        Some((start, line % STRIDE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow way: every line's first byte.
    fn starts(text: &[u8]) -> Vec<usize> {
        let mut starts = vec![0];
        starts.extend(text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
        if starts.last() == Some(&text.len()) {
            starts.pop();
        }
        starts
    }

    #[test]
    fn every_line_is_found_whatever_the_blocks() {
        let mut text = Vec::new();
        for line in 0..1000_usize {
            text.extend(std::iter::repeat_n(b'x', line * 7919 % 301));
            text.push(b'\n');
        }
        for open_end in [false, true] {
            if open_end {
                text.extend(b"last");
            }
            let wanted = starts(&text);
            for block in [1, 63, 4096, 5000, text.len()] {
                let mut index = LineIndex::default();
                text.chunks(block).for_each(|part| index.add(part));
                assert_eq!(index.lines(), wanted.len() as u64, "blocks of {block}");
                assert_eq!(index.bytes(), text.len() as u64);
                for (line, start) in wanted.iter().enumerate() {
                    let (from, skip) = index.place(line as u64).expect("a known line");
                    let near = wanted[line - skip as usize];
                    assert_eq!((from as usize, skip < STRIDE), (near, true), "line {line} begins at {start}");
                }
                assert_eq!(index.place(wanted.len() as u64), None);
            }
        }
    }

    #[test]
    fn an_empty_file_has_no_lines() {
        let mut index = LineIndex::default();
        index.add(b"");
        assert_eq!((index.lines(), index.place(0)), (0, None));
    }
}
