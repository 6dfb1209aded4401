//! Search in compressed vectors: candidates by the compressed numbers alone, then a finer look at some more of them than are wanted.
//! `semantic_search_faiss` (uint8, ubinary) and `semantic_search_usearch` (int8, binary) of sentence-transformers 6.2
//! (`util/quantization.py`), exact. Here equal scores have an order: that of the corpus.
//!
//! Not here: how vectors are compressed.

use sentir_kernels::gemm::{Bytes, PackedMatrix, dots, gemm_bytes};
use sentir_kernels::select::{BitColumns, hamming};

use crate::compress::{Embeddings, Precision, Ranges, quantize};
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::scan::{Found, QUERIES, collect, rows_of_block};
use crate::top_k::{Hit, Keep, best_of_blocks};

/// What candidates are scored by in the end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Rescore<'a> {
    /// The compressed numbers of both: the product of the bytes, or the number of bits that differ, negated.
    Not,
    /// The query as it is, times what the compressed vector stands for: for bytes the lower end of their step, for bits 0 and 1. As
    /// sentence-transformers, whose default it is.
    #[default]
    Compressed,
    /// The query times the vectors as they were before compression, `[rows, width]` of the corpus.
    Full(&'a [f32]),
}

/// How compressed vectors are searched; the defaults are those of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizedSearchOptions<'a> {
    /// The most hits per query. Default: 10.
    pub top_k: usize,
    /// Default: [`Rescore::Compressed`].
    pub rescore: Rescore<'a>,
    /// As many times `top_k` candidates are looked at again. Default: 2.
    pub rescore_multiplier: usize,
}

impl Default for QuantizedSearchOptions<'_> {
    fn default() -> Self {
        Self { top_k: 10, rescore: Rescore::default(), rescore_multiplier: 2 }
    }
}

/// Compressed vectors as they lie in memory or in a file, row after row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressed<'a> {
    /// `int8`, a byte a dimension.
    Int8(&'a [i8]),
    /// `uint8`, a byte a dimension.
    Uint8(&'a [u8]),
    /// `binary`, a byte for eight dimensions.
    Binary(&'a [i8]),
    /// `ubinary`, a byte for eight dimensions.
    Ubinary(&'a [u8]),
}

impl<'a> Compressed<'a> {
    /// None for float32, which is not compressed.
    pub fn of(embeddings: &'a Embeddings) -> Option<Self> {
        Some(match embeddings {
            Embeddings::Float32(_) => return None,
            Embeddings::Int8 { values, .. } => Self::Int8(values),
            Embeddings::Uint8 { values, .. } => Self::Uint8(values),
            Embeddings::Binary { values, .. } => Self::Binary(values),
            Embeddings::Ubinary { values, .. } => Self::Ubinary(values),
        })
    }

    /// How they are compressed.
    pub fn precision(self) -> Precision {
        match self {
            Self::Int8(_) => Precision::Int8,
            Self::Uint8(_) => Precision::Uint8,
            Self::Binary(_) => Precision::Binary,
            Self::Ubinary(_) => Precision::Ubinary,
        }
    }

    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Int8(values) | Self::Binary(values) => bytemuck::cast_slice(values),
            Self::Uint8(values) | Self::Ubinary(values) => values,
        }
    }
}

/// The vectors of `corpus` that are nearest to each of `queries` `[queries, dimensions]`, best first, by the dot product, among those that `keep` says yes to.
/// `ranges` are those by which int8 and uint8 were made. Memory beside the result is that of [`crate::top_k::search`].
///
/// # Errors
/// If the corpus is not whole rows of the queries' width, ranges are missing, the multiplier is zero, or a query has NaN (for int8 and
/// uint8).
pub fn quantized_search(
    queries: &Rows,
    corpus: Compressed<'_>,
    ranges: Option<&Ranges>,
    options: &QuantizedSearchOptions<'_>,
    keep: Keep<'_>,
) -> Result<Vec<Vec<Hit>>> {
    let width = queries.width();
    let precision = corpus.precision();
    let stored = if precision.needs_ranges() { width } else { width.div_ceil(8) };
    if !corpus.bytes().len().is_multiple_of(stored) {
        return Err(Error::Ragged { values: corpus.bytes().len(), width: stored });
    }
    let rows = corpus.bytes().len() / stored;
    if precision.needs_ranges() && ranges.is_none() {
        return Err(Error::Setting(format!(
            "searching {precision} needs the ranges by which the corpus was quantized"
        )));
    }
    let multiplier = if options.rescore == Rescore::Not { 1 } else { options.rescore_multiplier };
    if multiplier == 0 {
        return Err(Error::Setting("rescore_multiplier must be at least 1".to_owned()));
    }
    if let Rescore::Full(full) = options.rescore
        && Some(full.len()) != rows.checked_mul(width)
    {
        return Err(Error::LengthMismatch { left: rows, right: full.len() / width });
    }
    let candidates = options.top_k.saturating_mul(multiplier);
    let mut result = Vec::with_capacity(queries.rows());
    for some in queries.as_slice().chunks(QUERIES.saturating_mul(width)) {
        let some = Rows::new(some.to_vec(), width)?;
        let narrow = quantize(some.clone(), precision, ranges)?;
        let narrow = Compressed::of(&narrow).map_or(&[][..], Compressed::bytes);
        let found = match corpus {
            Compressed::Int8(values) => {
                products(bytemuck::cast_slice(narrow), Bytes::Signed(values), width, candidates, keep)
            }
            Compressed::Uint8(values) => {
                let less: Vec<i8> = narrow.iter().map(|byte| (byte ^ 0x80).cast_signed()).collect();
                products(&less, Bytes::Unsigned(values), width, candidates, keep)
            }
            // The highest bit of all bytes flipped on both sides changes no distance.
            Compressed::Binary(_) | Compressed::Ubinary(_) => {
                distances(narrow, corpus.bytes(), stored, candidates, keep)
            }
        };
        for (query, hits) in some.iter().zip(found) {
            result.push(rescored(query, hits, corpus, ranges, options));
        }
    }
    Ok(result)
}

#[derive(Default)]
struct Memory {
    scores: Vec<f32>,
    places: Vec<u32>,
}

impl Memory {
    /// Replaces `found` by the scores, `queries` a row, that reach their floor.
    fn reaching(&mut self, floors: &[f32], ones: &[f32], found: &mut Vec<Found>) {
        found.clear();
        let no_floor = |_: usize| f32::INFINITY;
        collect(&self.scores, (floors, no_floor), |_| (ones, 0.0), &mut self.places, found);
    }
}

/// The highest products of bytes. Queries of an unsigned corpus are 128 less than they are.
fn products(queries: &[i8], corpus: Bytes<'_>, width: usize, top_k: usize, keep: Keep<'_>) -> Vec<Vec<Hit>> {
    let count = queries.len() / width;
    let packed = PackedMatrix::from_int8(queries, count, width);
    let ones = vec![1.0; count];
    let rows = match corpus {
        Bytes::Signed(values) => values.len() / width,
        Bytes::Unsigned(values) => values.len() / width,
    };
    best_of_blocks(
        [rows, count],
        rows_of_block(count),
        top_k,
        keep,
        |rows, floors, memory: &mut Memory, found| {
            memory.scores.resize(rows.len() * count, 0.0);
            let here = rows.start * width..rows.end * width;
            match corpus {
                Bytes::Signed(values) => {
                    gemm_bytes(Bytes::Signed(&values[here]), rows.len(), &packed, &mut memory.scores)
                }
                Bytes::Unsigned(values) => {
                    let values = &values[here];
                    gemm_bytes(Bytes::Unsigned(values), rows.len(), &packed, &mut memory.scores);
                    for (row, scores) in values.chunks_exact(width).zip(memory.scores.chunks_exact_mut(count))
                    {
                        let sum: u32 = row.iter().map(|&byte| u32::from(byte)).sum();
                        scores.iter_mut().for_each(|score| *score += 128.0 * sum as f32);
                    }
                }
            }
            memory.reaching(floors, &ones, found);
        },
    )
}

/// The lowest numbers of bits that differ, negated.
fn distances(queries: &[u8], corpus: &[u8], bytes: usize, top_k: usize, keep: Keep<'_>) -> Vec<Vec<Hit>> {
    let count = queries.len() / bytes;
    let ones = vec![1.0; count];
    let columns = BitColumns::new(queries, bytes);
    let shape = [corpus.len() / bytes, count];
    best_of_blocks(shape, rows_of_block(count), top_k, keep, |rows, floors, memory: &mut Memory, found| {
        memory.scores.resize(rows.len() * count, 0.0);
        hamming(&corpus[rows.start * bytes..rows.end * bytes], &columns, &mut memory.scores);
        memory.reaching(floors, &ones, found);
    })
}

/// The best of the candidates of one query by the finer score.
fn rescored(
    query: &[f32],
    mut hits: Vec<Hit>,
    corpus: Compressed<'_>,
    ranges: Option<&Ranges>,
    options: &QuantizedSearchOptions<'_>,
) -> Vec<Hit> {
    let width = query.len();
    match options.rescore {
        Rescore::Not => {}
        Rescore::Compressed => {
            for hit in &mut hits {
                let product = |value: &dyn Fn(usize) -> f64| -> f64 {
                    query.iter().enumerate().map(|(at, x)| f64::from(*x) * value(at)).sum()
                };
                let score = match (corpus, ranges) {
                    (Compressed::Int8(_) | Compressed::Uint8(_), Some(ranges)) => {
                        let offset = if matches!(corpus, Compressed::Int8(_)) { 0x80 } else { 0 };
                        let row = &corpus.bytes()[hit.index * width..][..width];
                        let (minimum, steps) = (ranges.minimum(), ranges.steps());
                        product(&|at| {
                            f64::from(row[at] ^ offset) * f64::from(steps[at]) + f64::from(minimum[at])
                        })
                    }
                    _ => {
                        let offset = if matches!(corpus, Compressed::Binary(_)) { 0x80 } else { 0 };
                        let row = &corpus.bytes()[hit.index * width.div_ceil(8)..][..width.div_ceil(8)];
                        product(&|at| f64::from((row[at / 8] ^ offset) >> (7 - at % 8) & 1))
                    }
                };
                hit.score = score as f32;
            }
        }
        Rescore::Full(full) => {
            // Rows are counted in 32 bits there, so the few are put together first.
            let rows: Vec<f32> =
                hits.iter().flat_map(|hit| &full[hit.index * width..][..width]).copied().collect();
            let pairs: Vec<(u32, u32)> = (0..hits.len() as u32).map(|row| (0, row)).collect();
            let mut scores = vec![0.0; hits.len()];
            dots(query, &rows, width, &pairs, &mut scores);
            hits.iter_mut().zip(scores).for_each(|(hit, score)| hit.score = score);
        }
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    hits.truncate(options.top_k);
    hits
}
