//! Vectors in fewer bytes: [`quantize`] gives the very bytes of `quantize_embeddings` of sentence-transformers 6.2
//! (`util/quantization.py`). Searching in compressed vectors is not here.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::rows::Rows;

/// [`quantize`] without ranges is unstable with fewer rows than this: sentence-transformers warns, and so should whoever
/// can reach the user ([`too_few_to_calibrate`]).
pub const ENOUGH_TO_CALIBRATE: usize = 100;

/// How vectors are stored, by the names of sentence-transformers: `float32` (the default), `int8`, `uint8`, `binary`,
/// `ubinary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As they are: four bytes a dimension.
    #[default]
    Float32,
    /// 256 steps between the smallest and the largest value of the dimension, less 128: one byte a dimension.
    Int8,
    /// 256 steps between the smallest and the largest value of the dimension: one byte a dimension.
    Uint8,
    /// Whether the value is above zero, eight dimensions a byte, less 128.
    Binary,
    /// Whether the value is above zero, eight dimensions a byte.
    Ubinary,
}

impl Precision {
    /// All of them, in the order of sentence-transformers.
    pub const ALL: [Self; 5] = [Self::Float32, Self::Int8, Self::Uint8, Self::Binary, Self::Ubinary];

    /// The name as the argument `precision` of `encode` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }

    /// Whether [`quantize`] needs to know the range of each dimension.
    pub fn needs_ranges(self) -> bool {
        matches!(self, Self::Int8 | Self::Uint8)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| Error::UnknownName {
            name: name.to_owned(),
            what: "precision",
            expected: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// The smallest and the largest value of each dimension, finite and in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    minimum: Vec<f32>,
    maximum: Vec<f32>,
}

impl Ranges {
    /// The ranges of `calibration`, `[rows, width]`: vectors like those that will be quantized, the more the better.
    ///
    /// # Errors
    /// If there are no rows, or a dimension holds NaN or infinity or spans more than float32 can hold.
    pub fn from_calibration(calibration: &Rows) -> Result<Self> {
        let Some(first) = calibration.iter().next() else {
            return Err(Error::TooFew {
                what: "calibration",
                needed: 1,
                unit: "vectors",
                got: 0,
                remedy: "",
            });
        };
        let (mut minimum, mut maximum) = (first.to_vec(), first.to_vec());
        for row in calibration {
            for ((value, minimum), maximum) in row.iter().zip(&mut minimum).zip(&mut maximum) {
                // As numpy, and unlike f32::min: NaN stays, and `checked` reports it.
                if value.is_nan() || value < minimum {
                    *minimum = *value;
                }
                if value.is_nan() || value > maximum {
                    *maximum = *value;
                }
            }
        }
        Self::checked(minimum, maximum)
    }

    /// Ranges as the argument `ranges` of `quantize_embeddings` has them: `[2, width]`, minima and maxima.
    ///
    /// # Errors
    /// If there are not two rows, or a dimension is no finite range with its minimum first.
    pub fn from_matrix(matrix: &Rows) -> Result<Self> {
        if matrix.rows() != 2 {
            return Err(Error::RangesShape { rows: matrix.rows() });
        }
        Self::checked(matrix.row(0).to_vec(), matrix.row(1).to_vec())
    }

    fn checked(minimum: Vec<f32>, maximum: Vec<f32>) -> Result<Self> {
        for (dimension, (minimum, maximum)) in minimum.iter().zip(&maximum).enumerate() {
            // Infinity less infinity is NaN, and NaN is not at or above zero.
            let span = maximum - minimum;
            if !(span >= 0.0 && span.is_finite()) {
                let (minimum, maximum) = (minimum.to_string(), maximum.to_string());
                return Err(Error::Range { dimension, minimum, maximum });
            }
        }
        Ok(Self { minimum, maximum })
    }

    /// The smallest value of each dimension.
    pub fn minimum(&self) -> &[f32] {
        &self.minimum
    }

    /// The largest value of each dimension.
    pub fn maximum(&self) -> &[f32] {
        &self.maximum
    }

    /// The 255th part of each range, or 1 where that is zero.
    pub(crate) fn steps(&self) -> Vec<f32> {
        let step = |(minimum, maximum): (&f32, &f32)| {
            let step = (maximum - minimum) / 255.0;
            if step == 0.0 { 1.0 } else { step }
        };
        self.minimum.iter().zip(&self.maximum).map(step).collect()
    }
}

/// Sentence vectors in the precision in which they are stored. `width` is what is stored per row: dimensions, or bytes of
/// eight dimensions for the two binary ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Embeddings {
    /// `float32`
    Float32(Rows),
    /// `int8`
    Int8 {
        /// `[rows, width]`
        values: Vec<i8>,
        /// Dimensions.
        width: usize,
    },
    /// `uint8`
    Uint8 {
        /// `[rows, width]`
        values: Vec<u8>,
        /// Dimensions.
        width: usize,
    },
    /// `binary`: the bytes of `ubinary` less 128
    Binary {
        /// `[rows, width]`
        values: Vec<i8>,
        /// Dimensions / 8, rounded up.
        width: usize,
    },
    /// `ubinary`: the first dimension is the highest bit of the first byte; what is left of the last byte is zero
    Ubinary {
        /// `[rows, width]`
        values: Vec<u8>,
        /// Dimensions / 8, rounded up.
        width: usize,
    },
}

impl Embeddings {
    /// How the vectors are stored.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Float32(_) => Precision::Float32,
            Self::Int8 { .. } => Precision::Int8,
            Self::Uint8 { .. } => Precision::Uint8,
            Self::Binary { .. } => Precision::Binary,
            Self::Ubinary { .. } => Precision::Ubinary,
        }
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        match self {
            Self::Float32(rows) => rows.rows(),
            Self::Int8 { values, width } | Self::Binary { values, width } => {
                values.len().checked_div(*width).unwrap_or(0)
            }
            Self::Uint8 { values, width } | Self::Ubinary { values, width } => {
                values.len().checked_div(*width).unwrap_or(0)
            }
        }
    }

    /// Stored numbers per vector: dimensions, or an eighth of them (rounded up) for the two binary precisions.
    pub fn width(&self) -> usize {
        match self {
            Self::Float32(rows) => rows.width(),
            Self::Int8 { width, .. }
            | Self::Uint8 { width, .. }
            | Self::Binary { width, .. }
            | Self::Ubinary { width, .. } => *width,
        }
    }
}

/// Whether [`quantize`] would take its ranges from `rows` vectors and those are so few (under [`ENOUGH_TO_CALIBRATE`])
/// that the user should be told: give ranges, or calibrate with more vectors.
pub fn too_few_to_calibrate(rows: usize, precision: Precision, ranges: Option<&Ranges>) -> bool {
    precision.needs_ranges() && ranges.is_none() && (1..ENOUGH_TO_CALIBRATE).contains(&rows)
}

/// Stores `rows`, `[rows, dimensions]`, in `precision`.
///
/// - `int8`, `uint8`: `clamp(⌊(x − min) / step⌋, 0, 255)` with `step = (max − min) / 255`, or 1 where that is zero (a
///   constant dimension); `int8` is that less 128. Values outside the range get its ends, infinities too. `ranges` are
///   ignored by the other precisions; without them they are those of `rows` (see [`too_few_to_calibrate`]).
/// - `ubinary`: bit `x > 0` (so zero, negative numbers and NaN give 0), packed as by `numpy.packbits`; `binary` is that
///   less 128.
///
/// No rows give no rows. Not as numpy, whose cast of NaN to an integer is undefined: NaN is an error in `int8`, `uint8`.
///
/// # Errors
/// For `int8` and `uint8`: if `ranges` have another width, if they would have to come from a single row, or are not finite
/// (see [`Ranges`]), or if a value is NaN.
pub fn quantize(rows: Rows, precision: Precision, ranges: Option<&Ranges>) -> Result<Embeddings> {
    let width = rows.width();
    let packed = width.div_ceil(8);
    Ok(match precision {
        Precision::Float32 => Embeddings::Float32(rows),
        Precision::Uint8 => Embeddings::Uint8 { values: scalar(&rows, ranges)?, width },
        Precision::Int8 => Embeddings::Int8 { values: less_128(scalar(&rows, ranges)?), width },
        Precision::Ubinary => Embeddings::Ubinary { values: signs(&rows), width: packed },
        Precision::Binary => Embeddings::Binary { values: less_128(signs(&rows)), width: packed },
    })
}

/// The steps 0 to 255, `[rows, width]`. Every operation is in float32 and in numpy's order, so the bytes are numpy's.
fn scalar(rows: &Rows, ranges: Option<&Ranges>) -> Result<Vec<u8>> {
    let width = rows.width();
    if let Some(at) = rows.as_slice().iter().position(|value| value.is_nan()) {
        return Err(Error::NotANumber { row: at / width, column: at % width });
    }
    let own;
    let ranges = match ranges {
        Some(ranges) if ranges.minimum.len() != width => {
            return Err(Error::WidthMismatch { left: width, right: ranges.minimum.len() });
        }
        Some(ranges) => ranges,
        None if rows.is_empty() => return Ok(Vec::new()),
        None if rows.rows() == 1 => {
            return Err(Error::TooFew {
                what: "quantizing without ranges",
                needed: 2,
                unit: "vectors",
                got: 1,
                remedy: ": give ranges or calibration vectors",
            });
        }
        None => {
            own = Ranges::from_calibration(rows)?;
            &own
        }
    };
    let steps = ranges.steps();
    let mut quantized = Vec::with_capacity(rows.as_slice().len());
    for row in rows {
        let bounds = ranges.minimum.iter().zip(&steps);
        // `as` is exact here: an integer from 0 to 255.
        quantized.extend(
            row.iter()
                .zip(bounds)
                .map(|(x, (minimum, step))| ((x - minimum) / step).floor().clamp(0.0, 255.0) as u8),
        );
    }
    Ok(quantized)
}

/// Bit `x > 0` of each dimension, the first in the highest bit: `[rows, width / 8 rounded up]`.
fn signs(rows: &Rows) -> Vec<u8> {
    let byte = |eight: &[f32]| {
        eight.iter().enumerate().fold(0, |byte, (i, x)| byte | (u8::from(*x > 0.0) << (7 - i)))
    };
    rows.iter().flat_map(|row| row.chunks(8).map(byte)).collect()
}

/// 0 to 255 as -128 to 127: the same bytes with the highest bit flipped.
fn less_128(bytes: Vec<u8>) -> Vec<i8> {
    bytes.into_iter().map(|byte| (byte ^ 0x80).cast_signed()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f32], width: usize) -> Rows {
        Rows::new(values.to_vec(), width).unwrap()
    }

    #[test]
    fn names() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        let error = "int4".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(error, "\"int4\" is not a precision: use one of float32, int8, uint8, binary, ubinary");
    }

    #[test]
    fn float32_is_left_alone() {
        let one = rows(&[1.0, f32::NAN], 2);
        let Embeddings::Float32(same) = quantize(one.clone(), Precision::Float32, None).unwrap() else {
            panic!("another precision");
        };
        assert_eq!((same.row(0)[0], same.shape()), (1.0, one.shape()));
    }

    #[test]
    fn no_rows_give_no_rows() {
        for precision in Precision::ALL {
            let none = quantize(Rows::empty(9), precision, None).unwrap();
            let width = if matches!(precision, Precision::Binary | Precision::Ubinary) { 2 } else { 9 };
            assert_eq!((none.precision(), none.rows(), none.width()), (precision, 0, width));
        }
    }

    #[test]
    fn what_cannot_be_quantized() {
        let two = rows(&[1.0, 2.0, 3.0, 4.0], 2);
        for precision in [Precision::Int8, Precision::Uint8] {
            let single = quantize(rows(&[1.0, 2.0], 2), precision, None).unwrap_err().to_string();
            assert_eq!(
                single,
                "quantizing without ranges needs at least 2 vectors, got 1: give ranges or calibration vectors"
            );
            let ranges = Ranges::from_calibration(&rows(&[1.0, 2.0, 3.0], 3)).unwrap();
            let width = quantize(two.clone(), precision, Some(&ranges));
            assert_eq!(width, Err(Error::WidthMismatch { left: 2, right: 3 }));
            let ranges = Ranges::from_calibration(&two).unwrap();
            let nan = quantize(rows(&[0.0, 1.0, 2.0, f32::NAN], 2), precision, Some(&ranges));
            assert_eq!(nan, Err(Error::NotANumber { row: 1, column: 1 }));
            let infinite = quantize(rows(&[0.0, 1.0, 2.0, f32::INFINITY], 2), precision, None);
            assert!(matches!(infinite, Err(Error::Range { dimension: 1, .. })));
        }
    }

    #[test]
    fn ranges_are_finite_and_in_order() {
        let two = Ranges::from_matrix(&rows(&[-1.0, 0.0, 1.0, 0.0], 2)).unwrap();
        assert_eq!((two.minimum(), two.maximum()), (&[-1.0, 0.0][..], &[1.0, 0.0][..]));
        assert_eq!(Ranges::from_matrix(&rows(&[1.0; 3], 1)), Err(Error::RangesShape { rows: 3 }));
        assert!(matches!(Ranges::from_calibration(&Rows::empty(2)), Err(Error::TooFew { got: 0, .. })));
        for (minimum, maximum) in [(1.0, 0.0), (f32::NAN, 1.0), (0.0, f32::INFINITY), (-3e38, 3e38)] {
            let matrix = Ranges::from_matrix(&rows(&[0.0, minimum, 0.0, maximum], 2));
            assert!(matches!(matrix, Err(Error::Range { dimension: 1, .. })), "{minimum} {maximum}");
        }
        for values in [[0.0, f32::NAN, 1.0], [f32::NAN, 0.0, 1.0], [0.0, 1.0, f32::NEG_INFINITY]] {
            assert!(matches!(
                Ranges::from_calibration(&rows(&values, 1)),
                Err(Error::Range { dimension: 0, .. })
            ));
        }
    }

    #[test]
    fn few_rows_are_told() {
        let ranges = Ranges::from_calibration(&rows(&[1.0, 2.0], 2)).unwrap();
        assert!(too_few_to_calibrate(99, Precision::Int8, None));
        assert!(!too_few_to_calibrate(100, Precision::Uint8, None));
        assert!(!too_few_to_calibrate(99, Precision::Int8, Some(&ranges)));
        assert!(!too_few_to_calibrate(99, Precision::Binary, None));
        assert!(!too_few_to_calibrate(0, Precision::Int8, None));
    }
}
