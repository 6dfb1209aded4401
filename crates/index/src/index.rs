//! [`Index`]: the rows of all segments that were not removed.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use sentir_vectors::compress::{Embeddings, Precision, Ranges, quantize};
use sentir_vectors::quantized::{QuantizedSearchOptions, Rescore, quantized_search};
use sentir_vectors::top_k::{Hit, SearchOptions, search_slice};
use sentir_vectors::{Rows, Similarity};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::manifest::{Listed, Manifest};
use crate::segment::{Entry, Part, Segment};
use crate::{Found, Store};

/// Held while an index is changed. The system lets go of it when the process ends, however it does.
const LOCK: &str = "lock";
/// Candidates of compressed vectors that are scored again by the whole ones, if those are kept, for each hit that is wanted.
const RESCORE_MULTIPLIER: usize = 4;

/// What a new index is.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How vectors are compared. Default: cosine.
    pub similarity: Similarity,
    /// How vectors are stored: float32 (the default), or int8 or ubinary, which are for cosine and dot.
    pub precision: Precision,
    /// Whether compressed vectors are kept whole too, on disk, to score again by. Default: no.
    pub keep_full: bool,
    /// Whatever the user of the index wants to find again.
    pub about: Map<String, Value>,
}

/// What an upsert did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// Rows of new ids.
    pub added: usize,
    /// Rows whose id was there.
    pub replaced: usize,
}

/// An index that is open.
#[derive(Debug)]
pub struct Index {
    directory: PathBuf,
    manifest: Manifest,
    segments: Vec<Segment>,
}

impl Index {
    /// Makes a new index in `directory`, which must not exist yet: it is there whole or not at all. Ranges of int8 and uint8 are those of these
    /// vectors.
    ///
    /// # Errors
    /// If the directory exists, ids come twice, a vector is not finite, or nothing can be written.
    pub fn create(directory: &Path, settings: Settings, entries: &[Entry], vectors: Rows) -> Result<Self> {
        let Settings { similarity, precision, keep_full, about } = settings;
        if matches!(precision, Precision::Uint8 | Precision::Binary) {
            let instead = if precision == Precision::Uint8 { Precision::Int8 } else { Precision::Ubinary };
            return Err(Error::Rows(format!(
                "an index does not store {precision}: {instead} holds the same"
            )));
        }
        if precision != Precision::Float32 && !matches!(similarity, Similarity::Cosine | Similarity::Dot) {
            return Err(Error::Rows(format!(
                "{precision} vectors are compared by cosine or dot, not {similarity}"
            )));
        }
        check(entries, &vectors, vectors.width())?;
        let vectors = prepared(vectors, similarity);
        let ranges = precision.needs_ranges().then(|| Ranges::from_calibration(&vectors)).transpose()?;
        let full = keep_full || precision == Precision::Float32;
        let manifest = Manifest::new(vectors.width(), similarity, precision, full, ranges.as_ref(), about);
        sentir_model::directory::create(directory, |folder| -> Result<()> {
            let index = Self { directory: folder.to_owned(), manifest, segments: Vec::new() };
            let mut manifest = index.manifest.clone();
            if !entries.is_empty() {
                let part = index.part(entries, vectors)?;
                index.append(&part, &mut manifest)?;
            }
            manifest.write(folder)
        })?;
        Self::open(directory)
    }

    /// Opens an index.
    ///
    /// # Errors
    /// If there is none, or a file of it is missing or damaged.
    pub fn open(directory: &Path) -> Result<Self> {
        let manifest = Manifest::read(directory)?;
        let open = |listed: &Listed| Segment::open(directory, listed, &manifest);
        let segments = manifest.segments.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { directory: directory.to_owned(), manifest, segments })
    }

    /// What the index is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many rows can be found.
    pub fn len(&self) -> usize {
        self.manifest.segments.iter().map(Listed::live).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        let files = self.manifest.segments.iter().map(|listed| self.directory.join(listed.file()));
        files.filter_map(|path| fs::metadata(path).ok()).map(|data| data.len()).sum()
    }

    /// All ids, in the order in which their rows were added.
    ///
    /// # Errors
    /// If a segment is damaged.
    pub fn ids(&self) -> Result<Vec<String>> {
        self.rows().map(|(segment, row)| Ok(self.segments[segment].id(row)?.to_owned())).collect()
    }

    /// All entries and whole vectors, in the order in which rows were added: of unit length, if the index compares by cosine.
    ///
    /// # Errors
    /// If a segment is damaged, or the vectors are not kept whole.
    pub fn export(&self) -> Result<(Vec<Entry>, Rows)> {
        let width = self.manifest.dimensions;
        let (mut entries, mut values) = (Vec::new(), Vec::with_capacity(self.len() * width));
        for (segment, row) in self.rows() {
            let segment = &self.segments[segment];
            let Some(vectors) = segment.vectors()? else {
                return Err(Error::invalid(
                    &self.directory,
                    "it has compressed vectors only: build it with the whole ones",
                ));
            };
            values.extend(&vectors[row * width..][..width]);
            entries.push(Entry { id: segment.id(row)?.to_owned(), fields: segment.entry(row)? });
        }
        Ok((entries, Rows::new(values, width)?))
    }

    /// Segment and row of all that can be found, in order.
    fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        self.manifest.segments.iter().enumerate().flat_map(|(segment, listed)| {
            let gone = |row: &usize| listed.removed.binary_search(&(*row as u32)).is_err();
            (0..listed.rows).filter(gone).map(move |row| (segment, row))
        })
    }

    /// The rows, whose vectors are [`prepared`], as they are stored.
    fn part(&self, entries: &[Entry], vectors: Rows) -> Result<Part> {
        let mut part = Part::default();
        for entry in entries {
            let text = serde_json::to_vec(&entry.fields).map_err(|error| Error::Rows(error.to_string()))?;
            part.push_texts(&entry.id, &text);
        }
        let ranges = self.manifest.ranges().transpose()?;
        let precision = self.manifest.precision();
        if self.manifest.full {
            part.vectors = vectors.as_slice().to_vec();
        }
        part.codes = match quantize(vectors, precision, ranges.as_ref())? {
            Embeddings::Float32(_) => Vec::new(),
            Embeddings::Int8 { values, .. } | Embeddings::Binary { values, .. } => {
                values.into_iter().map(i8::cast_unsigned).collect()
            }
            Embeddings::Uint8 { values, .. } | Embeddings::Ubinary { values, .. } => values,
        };
        Ok(part)
    }

    /// Writes a part as the next segment.
    fn append(&self, part: &Part, manifest: &mut Manifest) -> Result<()> {
        let listed = Listed { number: manifest.next, rows: part.rows(), removed: Vec::new() };
        part.write(&self.directory, &listed, manifest)?;
        manifest.next += 1;
        manifest.segments.push(listed);
        Ok(())
    }

    /// Nobody else changes the index while the result is held, and what it holds is what is on disk.
    fn lock(&mut self) -> Result<File> {
        let path = self.directory.join(LOCK);
        let io = |source| Error::io(&path, source);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::invalid(
                    &self.directory,
                    "another process changes this index: wait until it is done",
                ));
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        *self = Self::open(&self.directory)?;
        Ok(file)
    }

    /// Makes `manifest` the state of the index, and sweeps away what no longer belongs to it.
    fn commit(&mut self, mut manifest: Manifest) -> Result<()> {
        manifest.segments.retain(|listed| listed.live() > 0);
        manifest.write(&self.directory)?;
        *self = Self::open(&self.directory)?;
        let names: Vec<String> = self.manifest.segments.iter().map(Listed::file).collect();
        for file in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with("segment-") || name.starts_with(".sentir-");
            if ours && !names.contains(&name) {
                // Another process may have it open, where that forbids removing it: next time.
                let _ = fs::remove_file(file.path());
            }
        }
        Ok(())
    }

    /// The last segments, while they are not larger than what is written anyway, and those that are mostly gone, become part of what is
    /// written: the order of rows stays, and each row is copied a few times at most while the index doubles.
    fn fold(&self, manifest: &mut Manifest, new: Option<Part>) -> Result<()> {
        let mut first = manifest.segments.len();
        let mut rows = new.as_ref().map_or(0, Part::rows);
        let may = new.is_some();
        while may && first > 0 && manifest.segments[first - 1].live() <= 2 * rows {
            first -= 1;
            rows += manifest.segments[first].live();
        }
        let tail = manifest.segments.split_off(first);
        for at in 0..manifest.segments.len() {
            let listed = &manifest.segments[at];
            if listed.live() > 0 && listed.removed.len() > listed.live() {
                let mut part = Part::default();
                self.copy(listed, &mut part)?;
                self.append(&part, manifest)?;
                manifest.segments.swap_remove(at);
            }
        }
        let mut part = Part::default();
        for listed in &tail {
            self.copy(listed, &mut part)?;
        }
        if let Some(new) = new {
            if part.rows() == 0 {
                part = new;
            } else {
                part.join(new);
            }
        }
        if part.rows() > 0 { self.append(&part, manifest) } else { Ok(()) }
    }

    /// Adds what is left of a segment to a part.
    fn copy(&self, listed: &Listed, part: &mut Part) -> Result<()> {
        let Some(at) = self.manifest.segments.iter().position(|own| own.number == listed.number) else {
            return Ok(());
        };
        let left = (0..listed.rows).filter(|row| listed.removed.binary_search(&(*row as u32)).is_err());
        left.into_iter().try_for_each(|row| part.push_row(&self.segments[at], row))
    }

    /// Where the rows of `ids` are.
    fn find(&self, ids: &[&str]) -> Result<HashMap<String, (usize, usize)>> {
        let wanted: std::collections::HashSet<&str> = ids.iter().copied().collect();
        let mut found = HashMap::new();
        for (segment, row) in self.rows() {
            let id = self.segments[segment].id(row)?;
            if wanted.contains(id) {
                found.insert(id.to_owned(), (segment, row));
            }
        }
        Ok(found)
    }
}

/// Of unit length for cosine, which then is the dot product.
fn prepared(mut vectors: Rows, similarity: Similarity) -> Rows {
    if similarity == Similarity::Cosine {
        vectors.normalize();
    }
    vectors
}

fn remove(manifest: &mut Manifest, places: impl Iterator<Item = (usize, usize)>) {
    for (segment, row) in places {
        manifest.segments[segment].removed.push(row as u32);
    }
    manifest.segments.iter_mut().for_each(|listed| listed.removed.sort_unstable());
}

/// Rows that an index can take.
fn check(entries: &[Entry], vectors: &Rows, dimensions: usize) -> Result<()> {
    if entries.len() != vectors.rows() {
        return Err(Error::Rows(format!("{} entries for {} vectors", entries.len(), vectors.rows())));
    }
    if u32::try_from(entries.len()).is_err() {
        return Err(Error::Rows("more than 2³² rows at once: add them in parts".to_owned()));
    }
    if vectors.width() != dimensions {
        return Err(Error::Rows(format!(
            "vectors of {} dimensions do not go into an index of {dimensions}: use the model that the index was built with",
            vectors.width()
        )));
    }
    let mut seen = HashMap::new();
    for (row, entry) in entries.iter().enumerate() {
        if let Some(before) = seen.insert(entry.id.as_str(), row) {
            return Err(Error::Rows(format!(
                "the id \"{}\" comes twice, in rows {} and {}: an id names one row",
                entry.id,
                before + 1,
                row + 1
            )));
        }
    }
    if let Some(row) = vectors.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
        return Err(Error::Rows(format!("the vector of \"{}\" holds NaN or infinity", entries[row].id)));
    }
    Ok(())
}

impl Store for Index {
    fn search(&self, queries: &Rows, top_k: usize) -> Result<Vec<Vec<Found>>> {
        let Manifest { dimensions, .. } = self.manifest;
        if queries.width() != dimensions {
            return Err(Error::Rows(format!(
                "questions of {} dimensions cannot be looked for in an index of {dimensions}: use the model that the index was built with",
                queries.width()
            )));
        }
        let similarity = self.manifest.similarity();
        let queries = prepared(queries.clone(), similarity);
        let similarity = if similarity == Similarity::Cosine { Similarity::Dot } else { similarity };
        let ranges = self.manifest.ranges().transpose()?;
        // Per query: segment and hit. Segments come in order, so that sorting by score alone keeps equals in order.
        let mut all: Vec<Vec<(usize, Hit)>> = vec![Vec::new(); queries.rows()];
        for (at, (segment, listed)) in self.segments.iter().zip(&self.manifest.segments).enumerate() {
            let keep = |row: usize| listed.removed.binary_search(&(row as u32)).is_err();
            let found = match (segment.codes(self.manifest.precision()), segment.vectors()?) {
                (Some(codes), full) => {
                    let options = QuantizedSearchOptions {
                        top_k,
                        rescore: full.map_or(Rescore::Compressed, Rescore::Full),
                        rescore_multiplier: RESCORE_MULTIPLIER,
                    };
                    quantized_search(&queries, codes, ranges.as_ref(), &options, &keep)?
                }
                (None, Some(full)) => {
                    search_slice(&queries, full, &SearchOptions { similarity, top_k }, &keep)
                }
                (None, None) => return Err(Error::invalid(&self.directory, "it has no vectors")),
            };
            for (all, hits) in all.iter_mut().zip(found) {
                all.extend(hits.into_iter().map(|hit| (at, hit)));
            }
        }
        all.into_iter()
            .map(|mut hits| {
                hits.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
                hits.truncate(top_k);
                let found = hits.into_iter().map(|(segment, hit)| {
                    let segment = &self.segments[segment];
                    Ok(Found {
                        id: segment.id(hit.index)?.to_owned(),
                        entry: segment.entry(hit.index)?,
                        score: hit.score,
                    })
                });
                found.collect()
            })
            .collect()
    }

    fn upsert(&mut self, entries: &[Entry], vectors: Rows) -> Result<Changed> {
        check(entries, &vectors, self.manifest.dimensions)?;
        let _lock = self.lock()?;
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        let there = self.find(&ids)?;
        let changed = Changed { added: entries.len() - there.len(), replaced: there.len() };
        if entries.is_empty() {
            return Ok(changed);
        }
        let part = self.part(entries, prepared(vectors, self.manifest.similarity()))?;
        let mut manifest = self.manifest.clone();
        remove(&mut manifest, there.into_values());
        self.fold(&mut manifest, Some(part))?;
        self.commit(manifest)?;
        Ok(changed)
    }

    fn delete(&mut self, ids: &[String]) -> Result<Vec<String>> {
        let _lock = self.lock()?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let there = self.find(&ids)?;
        let missing = ids.into_iter().filter(|id| !there.contains_key(*id)).map(str::to_owned).collect();
        let mut manifest = self.manifest.clone();
        remove(&mut manifest, there.into_values());
        self.fold(&mut manifest, None)?;
        self.commit(manifest)?;
        Ok(missing)
    }
}
