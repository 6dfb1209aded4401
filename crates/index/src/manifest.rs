//! `index.json`: what an index is and which segments it consists of.
//!
//! Not here: what is in a segment.

use std::path::Path;

use sentir_vectors::compress::{Precision, Ranges};
use sentir_vectors::{Rows, Similarity};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The name of the file.
pub const FILE: &str = "index.json";
/// Raised when an older sentir would read an index wrongly.
const VERSION: u64 = 1;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format_version: u64,
    /// Components of a vector.
    pub dimensions: usize,
    /// How vectors are compared, by name.
    similarity: String,
    /// How they are stored, by name.
    precision: String,
    /// Whether the vectors are there as float32, to score by (`float32`) or to score again.
    pub full: bool,
    /// For int8 and uint8: the smallest and the largest value of each dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    ranges: Option<[Vec<f32>; 2]>,
    /// What the user of the index wants to find again; not read here.
    pub about: Map<String, Value>,
    /// The segments in the order in which rows were added.
    pub segments: Vec<Listed>,
    /// The number of the next segment.
    pub next: u64,
}

/// A segment and which of its rows are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The number in the name of the file.
    pub number: u64,
    /// Rows in the file.
    pub rows: usize,
    /// Rows that were deleted or replaced, ascending.
    pub removed: Vec<u32>,
}

impl Listed {
    pub(crate) fn file(&self) -> String {
        format!("segment-{}.safetensors", self.number)
    }

    pub(crate) fn live(&self) -> usize {
        self.rows - self.removed.len()
    }
}

impl Manifest {
    pub(crate) fn new(
        dimensions: usize,
        similarity: Similarity,
        precision: Precision,
        full: bool,
        ranges: Option<&Ranges>,
        about: Map<String, Value>,
    ) -> Self {
        Self {
            format_version: VERSION,
            dimensions,
            similarity: similarity.name().to_owned(),
            precision: precision.name().to_owned(),
            full,
            ranges: ranges.map(|ranges| [ranges.minimum().to_vec(), ranges.maximum().to_vec()]),
            about,
            segments: Vec::new(),
            next: 1,
        }
    }

    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::invalid(
                    directory,
                    format!("this is no index: there is no {FILE} in it; make one with sentir index build"),
                ));
            }
            Err(source) => return Err(Error::io(&path, source)),
        };
        #[derive(Deserialize)]
        struct Version {
            format_version: u64,
        }
        let damaged = |error: serde_json::Error| Error::invalid(&path, format!("it is damaged: {error}"));
        let Version { format_version } = serde_json::from_str(&text).map_err(damaged)?;
        if format_version != VERSION {
            let message = format!(
                "its format version is {format_version}, but this sentir reads {VERSION}; build the index again"
            );
            return Err(Error::invalid(&path, message));
        }
        let found: Self = serde_json::from_str(&text).map_err(damaged)?;
        found.check().map_err(|message| Error::invalid(&path, message))?;
        Ok(found)
    }

    fn check(&self) -> Result<(), String> {
        let text = |error: sentir_vectors::Error| error.to_string();
        if self.dimensions == 0 || self.dimensions > 1 << 20 {
            return Err(format!("{} dimensions cannot be", self.dimensions));
        }
        self.similarity.parse::<Similarity>().map_err(text)?;
        let precision = self.precision.parse::<Precision>().map_err(text)?;
        if precision.needs_ranges() != self.ranges.is_some() {
            return Err(format!("{precision} and ranges do not go together"));
        }
        if let Some(ranges) = self.ranges().transpose().map_err(text)?
            && ranges.minimum().len() != self.dimensions
        {
            return Err(format!("ranges of {} for {} dimensions", ranges.minimum().len(), self.dimensions));
        }
        if precision == Precision::Float32 && !self.full {
            return Err("float32 vectors are not there".to_owned());
        }
        let mut numbers = std::collections::HashSet::new();
        for segment in &self.segments {
            let ascending = segment.removed.is_sorted_by(|a, b| a < b);
            if !ascending || segment.removed.last().is_some_and(|&row| row as usize >= segment.rows) {
                return Err(format!("the removed rows of {} are not rows of it", segment.file()));
            }
            if segment.number >= self.next || !numbers.insert(segment.number) {
                return Err(format!("{} is listed twice, or out of turn", segment.file()));
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let text =
            serde_json::to_string(self).map_err(|error| Error::invalid(directory, error.to_string()))?;
        Ok(sentir_model::directory::write_whole(&directory.join(FILE), (text + "\n").as_bytes())?)
    }

    /// How vectors are compared.
    pub fn similarity(&self) -> Similarity {
        self.similarity.parse().unwrap_or_default()
    }

    /// How vectors are stored.
    pub fn precision(&self) -> Precision {
        self.precision.parse().unwrap_or_default()
    }

    pub(crate) fn ranges(&self) -> Option<sentir_vectors::Result<Ranges>> {
        let [minimum, maximum] = self.ranges.as_ref()?;
        let matrix = Rows::new([&minimum[..], maximum].concat(), minimum.len());
        Some(matrix.and_then(|matrix| Ranges::from_matrix(&matrix)))
    }
}
