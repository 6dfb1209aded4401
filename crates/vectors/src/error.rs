//! The one error of this crate: which shapes or names do not fit, and what to do about it.

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why vectors could not be compared, searched or compressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A matrix without columns.
    #[error("rows must have at least one column; got a width of 0")]
    ZeroWidth,
    /// Numbers that do not make whole rows.
    #[error(
        "{values} numbers are not whole rows of {width}: pass a multiple of {width} numbers or another width"
    )]
    Ragged {
        /// How many numbers there are.
        values: usize,
        /// Columns asked for.
        width: usize,
    },
    /// Two matrices whose vectors have different lengths.
    #[error(
        "vectors of {left} and of {right} dimensions cannot be compared: encode both with the same model and truncate_dim"
    )]
    WidthMismatch {
        /// Columns of the first.
        left: usize,
        /// Columns of the second.
        right: usize,
    },
    /// Two lists that are compared entry by entry and have different lengths.
    #[error("{left} and {right} entries cannot be paired: pass two of the same length")]
    LengthMismatch {
        /// Entries of the first.
        left: usize,
        /// Entries of the second.
        right: usize,
    },
    /// Too little data for what was asked.
    #[error("{what} needs at least {needed} {unit}, got {got}{remedy}")]
    TooFew {
        /// What was to be computed.
        what: &'static str,
        /// The least that it needs.
        needed: usize,
        /// What is counted.
        unit: &'static str,
        /// How many there were.
        got: usize,
        /// Empty, or what to do, beginning with a separator.
        remedy: &'static str,
    },
    /// A name that stands for nothing.
    #[error("\"{name}\" is not a {what}: use one of {expected}")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// What it should have named.
        what: &'static str,
        /// The names there are.
        expected: String,
    },
    /// Ranges are a matrix of two rows: the smallest and the largest value of each dimension.
    #[error("ranges must be a matrix of two rows, minima and maxima; got {rows} rows")]
    RangesShape {
        /// How many rows were given.
        rows: usize,
    },
    /// A dimension whose range is not a finite interval.
    #[error(
        "dimension {dimension}: {minimum} to {maximum} is not a finite range of float32: \
         look for NaN or infinity in the calibration vectors, and put the minima in the first row of ranges"
    )]
    Range {
        /// Zero-based column.
        dimension: usize,
        /// The smallest value, as text.
        minimum: String,
        /// The largest value, as text.
        maximum: String,
    },
    /// NaN has no place among 256 steps.
    #[error(
        "row {row}, column {column} is NaN, which cannot be quantized: remove the row, or find out what made it"
    )]
    NotANumber {
        /// Zero-based row.
        row: usize,
        /// Zero-based column.
        column: usize,
    },
    /// A ranking that cannot be judged.
    #[error("query {query}: {message}")]
    Ranking {
        /// Zero-based position of the query.
        query: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// The caller ended the work.
    #[error("interrupted")]
    Interrupted,
    /// A setting out of its range.
    #[error("{0}")]
    Setting(String),
}
