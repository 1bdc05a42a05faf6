//! Directions in which answers can be pushed: a vector per layer, in a file that any implementation
//! reads.
//!
//! The file is the numbers and nothing else: `layers × width` little-endian 32-bit floats, row
//! after row. A row is used as it is (so its length counts), and a row of zeros leaves its layer
//! alone. [`build`] finds directions from pairs of prompts that differ in one respect, [`sweep`]
//! shows what they do to answers. Prompts are read by [`prompts`].

pub mod build;
pub mod prompts;
pub mod sweep;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::Error;

/// A direction for each layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Directions {
    /// Layers of the model.
    pub layers: usize,
    /// Its hidden width.
    pub width: usize,
    /// `[layers, width]`.
    pub values: Vec<f32>,
}

impl Directions {
    /// Reads the file at `path`, which must be for a model of this size.
    ///
    /// # Errors
    /// It cannot be read, has another length, or holds what is no number.
    pub fn open(path: &Path, layers: usize, width: usize) -> Result<Directions, Error> {
        let file = File::open(path).map_err(|source| Error::read(path, source))?;
        Directions::read(path, file, layers, width)
    }

    /// The same; messages call `reader` by `path`.
    ///
    /// # Errors
    /// As there.
    pub fn read(
        path: &Path,
        reader: impl Read,
        layers: usize,
        width: usize,
    ) -> Result<Directions, Error> {
        let expected = layers * width * size_of::<f32>();
        let mut bytes = Vec::with_capacity(expected);
        let mut reader = reader.take(expected as u64 + 1);
        reader.read_to_end(&mut bytes).map_err(|source| Error::read(path, source))?;
        let path = || path.to_owned();
        if bytes.len() != expected {
            let found = match bytes.len() > expected {
                true => "more".to_owned(),
                false => bytes.len().to_string(),
            };
            return Err(Error::Directions { path: path(), layers, width, expected, found });
        }
        let words = bytes.as_chunks::<4>().0.iter();
        let values: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (layer, offset, value) = (at / width, 4 * at, values[at]);
            return Err(Error::Direction { path: path(), layer, offset, value });
        }
        Ok(Directions { layers, width, values })
    }

    /// As the file holds them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Layers whose direction is not zero.
    pub fn steered(&self) -> usize {
        let rows = self.values.chunks_exact(self.width);
        rows.filter(|row| row.iter().any(|value| *value != 0.0)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Directions, String> {
        Directions::read(Path::new("d.f32"), bytes, 2, 3).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_numbers_and_nothing_else() {
        let values = vec![0.0, -1.5, 3.25, 0.0, 0.0, -0.0];
        let directions = Directions { layers: 2, width: 3, values };
        let bytes = directions.to_bytes();
        assert_eq!(bytes[4..8], [0x00, 0x00, 0xc0, 0xbf], "-1.5, little end first");
        assert_eq!(read(&bytes).expect("as it was written"), directions);
        assert_eq!(directions.steered(), 1);
    }

    proptest::proptest! {
        /// Any bytes are the numbers that they stand for, or an error; never something else.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            if let Ok(directions) = read(&bytes) {
                proptest::prop_assert_eq!(directions.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn other_sizes_and_what_is_no_number_are_told() {
        let expected = "expected 24: 2 layers x 3 numbers of 4 bytes";
        for (bytes, found) in [(0, "0 bytes"), (23, "23 bytes"), (25, "more bytes")] {
            let error = read(&vec![0; bytes]).expect_err("another size");
            assert!(error.contains(found) && error.contains(expected), "{error}");
        }
        let mut bytes = vec![0; 24];
        bytes[16..20].copy_from_slice(&f32::INFINITY.to_le_bytes());
        let error = read(&bytes).expect_err("no number");
        assert_eq!(error, "d.f32: the direction of layer 1 has inf at byte 16, expected a number");
    }
}
