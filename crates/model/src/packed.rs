//! Model directories with packed weights: `packed.json` (what and which version) and `packed.safetensors` in place of the
//! weights of the transformer. What [`quantize_model`] writes is mapped into memory at load and ready at once; in a process that goes on, large matrices
//! move from the map into memory of its own ([`Buffer::shared`]).
//!
//! In `packed.safetensors`, a matrix (or query, key and value stacked) is three tensors named after its first layer:
//! `.packed` `[panels, steps, 64, 4]`, bytes in the layout of [`PackedMatrix`], and for int8 `.scales` and `.totals`
//! `[panels · 64]`. The table of token embeddings may be rounded to BF16, or to I8 `[vocabulary, width]` with a scale per row in `.scales`
//! `[vocabulary]`. Everything else has its name and bytes of the original. Other tools do not know these files: the original stays what
//! models are exchanged as.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use sentir_compute::WeightType;
use sentir_kernels::buffer::Buffer;
use sentir_kernels::gemm::PackedMatrix;
use serde::{Deserialize, Serialize};

use crate::directory::Original;
use crate::families::{Names, TransformerConfig};
use crate::shape::EncoderShape;
use crate::weights::{Dtype, Entry, View, Weights, Writer};
use crate::{Error, Result, json, parameters};

const DESCRIPTION: &str = "packed.json";
pub(crate) const FILE: &str = "packed.safetensors";
/// Raised when an older sentir would read a file wrongly. Version 2 has a table of token embeddings in int8.
const VERSION: u64 = 2;

#[derive(Serialize, Deserialize)]
struct Description {
    format_version: u64,
    dtype: String,
}

/// The type of the packed weights in a folder; `None` if they are not packed.
pub(crate) fn kind(folder: &Path) -> Result<Option<WeightType>> {
    let path = folder.join(DESCRIPTION);
    let Some(found) = json::read_optional::<Description>(&path)? else { return Ok(None) };
    if !(1..=VERSION).contains(&found.format_version) {
        let message = format!(
            "its format version is {}, but this sentir reads 1 to {VERSION}; quantize the original model again",
            found.format_version
        );
        return Err(Error::invalid(&path, message));
    }
    let known = WeightType::ALL.into_iter().find(|(_, name)| *name == found.dtype);
    let message = || format!("dtype \"{}\" is not known; known are f32, bf16, int8", found.dtype);
    known.map(|(kind, _)| Some(kind)).ok_or_else(|| Error::invalid(&path, message()))
}

/// The packed matrix called `name`, `[outputs, inputs]`, where it lies.
pub(crate) fn matrix(
    weights: &Weights,
    name: &str,
    outputs: usize,
    inputs: usize,
    kind: WeightType,
) -> Result<PackedMatrix> {
    let view = weights.get(&format!("{name}.packed"))?;
    let wrong =
        |message: String| Error::tensor(weights.path(), &view.name, message + "; quantize the model again");
    if view.dtype != Dtype::U8 {
        return Err(wrong(format!("its type is {}, not U8", view.dtype)));
    }
    let bytes = view.shared_bytes();
    let length = bytes.as_ref().len();
    let panels = Buffer::shared(Arc::new(bytes), 0..length)
        .ok_or_else(|| wrong("its bytes are not whole, aligned words".to_owned()))?;
    let (mut scales, mut totals) = (Vec::new(), Vec::new());
    if kind == WeightType::Int8 {
        scales = weights.get(&format!("{name}.scales"))?.to_f32()?;
        let integers = weights.get(&format!("{name}.totals"))?.to_i64()?;
        totals = integers.into_iter().map(|total| total as i32).collect();
    }
    PackedMatrix::from_parts(kind, outputs, inputs, panels, scales, totals).map_err(wrong)
}

/// How to quantize.
#[derive(Clone, Copy, Default)]
pub struct QuantizeOptions<'a> {
    /// The type of the table of token embeddings; int8 has a scale per row. Default, and for f32: it stays as it is.
    pub embeddings: Option<WeightType>,
    /// Called with the number of matrices done and of all.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
    /// Ends the work with [`Error::Interrupted`] soon after it becomes true; nothing is left behind.
    pub interrupt: Option<&'a AtomicBool>,
}

/// What packing did to one matrix.
#[derive(Debug, Clone, Serialize)]
pub struct MatrixError {
    /// The name of its (first) layer.
    pub name: String,
    /// Rows: the width of its result; of a table, its entries.
    pub outputs: usize,
    /// Columns: the width of its operand; of a table, of an entry.
    pub inputs: usize,
    /// ‖packed − original‖ / ‖original‖ in the Frobenius norm.
    pub relative_error: f64,
}

/// Writes the model of `source` with its transformer's matrices packed as `kind` into the new directory `target`, and says
/// what that did to each matrix. The directory appears whole or not at all.
///
/// # Errors
/// If `target` exists, `source` is not a model with a transformer or is packed already, or something cannot be read or
/// written.
pub fn quantize_model(
    source: &Path,
    target: &Path,
    kind: WeightType,
    options: QuantizeOptions<'_>,
) -> Result<Vec<MatrixError>> {
    let original = Original::with_transformer(source)?;
    let folder = original.transformer.as_path();
    if self::kind(folder)?.is_some() {
        return Err(Error::invalid(folder, "its weights are packed already; quantize the original model"));
    }
    let config_path = folder.join("config.json");
    let config: TransformerConfig = json::read(&config_path)?;
    let (family, shape) = config.translate(&config_path)?;
    let weights = Weights::open(folder)?;
    original.make(target, &[], |_, own| {
        let format_version = if options.embeddings == Some(WeightType::Int8) { 2 } else { 1 };
        let description = Description { format_version, dtype: kind.name().to_owned() };
        let path = own.join(DESCRIPTION);
        let text = serde_json::to_string_pretty(&description).unwrap_or_default() + "\n";
        fs::write(&path, text).map_err(|error| Error::io(&path, error))?;
        let words = format!("{}{}", family.names.prefix(&weights), family.names.words);
        let table = RoundedTable::of(&weights, words, [shape.vocabulary, shape.width], options)?;
        write(&own.join(FILE), &weights, &plan(&weights, &family.names, &shape), table, kind, options)
    })
}

fn check_interrupt(options: QuantizeOptions<'_>) -> Result<()> {
    match options.interrupt {
        Some(interrupt) if interrupt.load(Ordering::Relaxed) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}

/// A matrix to pack: the layers that are stacked, and its shape.
struct Planned {
    names: Vec<String>,
    outputs: usize,
    inputs: usize,
}

fn plan(weights: &Weights, names: &Names, shape: &EncoderShape) -> Vec<Planned> {
    let prefix = names.prefix(weights);
    let (width, feed_forward) = (shape.width, shape.feed_forward);
    let mut matrices = Vec::new();
    for layer in 0..shape.layers {
        let of_layer = |name: &str| format!("{prefix}{}.{layer}.{name}", names.layer);
        for (stacked, outputs, inputs) in [
            (vec![names.query, names.key, names.value], width, width),
            (vec![names.attention_output], width, width),
            (vec![names.up], feed_forward, width),
            (vec![names.down], width, feed_forward),
        ] {
            matrices.push(Planned { names: stacked.into_iter().map(of_layer).collect(), outputs, inputs });
        }
        // A number of layers that nothing backs.
        if !weights.contains(&format!("{}.weight", of_layer(names.query))) {
            break;
        }
    }
    matrices
}

/// Where the scales of a table of int8 called `name` are.
pub(crate) fn scales_name(name: &str) -> String {
    format!("{}.scales", name.strip_suffix(".weight").unwrap_or(name))
}

/// Writes `packed.safetensors`: the matrices first, so that each begins at a multiple of 64 bytes. `table` is not copied but rounded.
fn write(
    path: &Path,
    weights: &Weights,
    matrices: &[Planned],
    table: Option<RoundedTable<'_>>,
    kind: WeightType,
    options: QuantizeOptions<'_>,
) -> Result<Vec<MatrixError>> {
    let columns = |planned: &Planned| (planned.names.len() * planned.outputs).next_multiple_of(64);
    let mut entries = Vec::new();
    let mut entry =
        |name: String, dtype, shape: Vec<usize>, bytes| entries.push(Entry { name, dtype, shape, bytes });
    for planned in matrices {
        let (columns, steps) = (columns(planned), planned.inputs.div_ceil(kind.group()));
        entry(
            format!("{}.packed", planned.names[0]),
            "U8",
            vec![columns / 64, steps, 64, 4],
            columns * steps * 4,
        );
    }
    if kind == WeightType::Int8 {
        for planned in matrices {
            let columns = columns(planned);
            entry(format!("{}.scales", planned.names[0]), "F32", vec![columns], columns * 4);
            entry(format!("{}.totals", planned.names[0]), "I32", vec![columns], columns * 4);
        }
    }
    let mut written: Vec<String> =
        matrices.iter().flat_map(|planned| &planned.names).map(|name| format!("{name}.weight")).collect();
    if let Some(table) = &table {
        written.push(table.view.name.clone());
        if !table.scales.is_empty() {
            let rows = table.scales.len();
            entry(scales_name(&table.view.name), "F32", vec![rows], rows * 4);
        }
    }
    // The widest types first, so that all are aligned.
    let mut others: Vec<&View> = weights.tensors().filter(|view| !written.contains(&view.name)).collect();
    others.sort_by_key(|view| std::cmp::Reverse(view.dtype.size()));
    let is_wide = |view: &&View| view.dtype.size() > 1;
    let (wide, narrow): (Vec<&View>, Vec<&View>) = others.into_iter().partition(is_wide);
    for view in &wide {
        entry(view.name.clone(), view.dtype.name(), view.shape.clone(), view.bytes());
    }
    if let Some(table) = &table {
        let bytes = table.view.elements() * table.dtype.size();
        entry(table.view.name.clone(), table.dtype.name(), table.view.shape.clone(), bytes);
    }
    for view in &narrow {
        entry(view.name.clone(), view.dtype.name(), view.shape.clone(), view.bytes());
    }
    let mut out = Writer::create(path, &entries)?;
    let (mut report, mut small) = (Vec::new(), Vec::new());
    for (done, planned) in matrices.iter().enumerate() {
        check_interrupt(options)?;
        let values =
            parameters::stacked(weights, &planned.names, "weight", &[planned.outputs, planned.inputs])?;
        let outputs = planned.names.len() * planned.outputs;
        let matrix = PackedMatrix::pack(&values, outputs, planned.inputs, kind);
        for words in matrix.words().chunks(1 << 14) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            out.write(&bytes)?;
        }
        report.push(MatrixError {
            name: planned.names[0].clone(),
            outputs,
            inputs: planned.inputs,
            relative_error: relative_error(&matrix, &values),
        });
        small.extend(matrix.scales().iter().flat_map(|scale| scale.to_le_bytes()));
        small.extend(matrix.totals().iter().flat_map(|total| total.to_le_bytes()));
        if let Some(progress) = options.progress {
            progress(done + 1, matrices.len());
        }
    }
    out.write(&small)?;
    let copy = |out: &mut Writer, views: Vec<&View>| -> Result<()> {
        for view in views {
            out.write(view.shared_bytes().as_ref())?;
            view.release();
        }
        Ok(())
    };
    if let Some(table) = &table {
        out.write(&table.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    copy(&mut out, wide)?;
    if let Some(table) = table {
        report.push(table.write(&mut out, options)?);
    }
    copy(&mut out, narrow)?;
    out.finish()?;
    Ok(report)
}

/// The table of token embeddings, `[vocabulary, width]`, to be rounded row by row.
struct RoundedTable<'a> {
    name: String,
    view: &'a View,
    dtype: Dtype,
    /// For int8, the largest magnitude of each row / 127.
    scales: Vec<f32>,
}

impl<'a> RoundedTable<'a> {
    /// Rows that are converted at once.
    const ROWS: usize = 4096;

    /// What the options ask for; `None` if the table stays as it is.
    fn of(
        weights: &'a Weights,
        name: String,
        shape: [usize; 2],
        options: QuantizeOptions<'_>,
    ) -> Result<Option<Self>> {
        let dtype = match options.embeddings {
            None | Some(WeightType::F32) => return Ok(None),
            Some(WeightType::Bf16) => Dtype::Bf16,
            Some(WeightType::Int8) => Dtype::I8,
        };
        let view = weights.get(&format!("{name}.weight"))?;
        view.expect_shape(&shape)?;
        let mut table = Self { name, view, dtype, scales: Vec::new() };
        if dtype == Dtype::I8 {
            let mut scales = Vec::new();
            table.for_each_row(options, |row| {
                scales.push(row.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / 127.0);
                Ok(())
            })?;
            table.scales = scales;
        }
        Ok(Some(table))
    }

    /// Calls `each` with every row.
    fn for_each_row(
        &self,
        options: QuantizeOptions<'_>,
        mut each: impl FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        let (rows, width) = (self.view.shape[0], self.view.shape[1]);
        for first in (0..rows).step_by(Self::ROWS) {
            check_interrupt(options)?;
            let values = self.view.rows(first..(first + Self::ROWS).min(rows)).to_f32()?;
            self.view.release();
            values.chunks_exact(width).try_for_each(&mut each)?;
        }
        Ok(())
    }

    /// Writes the rounded numbers.
    fn write(self, out: &mut Writer, options: QuantizeOptions<'_>) -> Result<MatrixError> {
        let (mut difference, mut total) = (0.0, 0.0);
        let (mut row_number, mut bytes) = (0, Vec::new());
        self.for_each_row(options, |row| {
            bytes.clear();
            for &x in row {
                let rounded = if self.dtype == Dtype::I8 {
                    let scale = self.scales[row_number];
                    // A row of zeros has no scale.
                    let step = if scale > 0.0 { (x / scale).round_ties_even() as i8 } else { 0 };
                    bytes.push(step.cast_unsigned());
                    scale * f32::from(step)
                } else {
                    let rounded = bf16::from_f32(x);
                    bytes.extend(rounded.to_le_bytes());
                    rounded.to_f32()
                };
                difference += (f64::from(rounded) - f64::from(x)).powi(2);
                total += f64::from(x).powi(2);
            }
            row_number += 1;
            out.write(&bytes)
        })?;
        let relative_error = if total > 0.0 { (difference / total).sqrt() } else { 0.0 };
        let (outputs, inputs) = (self.view.shape[0], self.view.shape[1]);
        Ok(MatrixError { name: self.name, outputs, inputs, relative_error })
    }
}

fn relative_error(matrix: &PackedMatrix, values: &[f32]) -> f64 {
    let (mut difference, mut total) = (0.0, 0.0);
    for (row, values) in values.chunks_exact(matrix.inputs()).enumerate() {
        for (packed, &value) in matrix.row(row).into_iter().zip(values) {
            difference += (f64::from(packed) - f64::from(value)).powi(2);
            total += f64::from(value).powi(2);
        }
    }
    if total > 0.0 { (difference / total).sqrt() } else { 0.0 }
}
