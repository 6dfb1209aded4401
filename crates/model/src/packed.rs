//! Model directories with packed weights: `packed.json` (what and which version) and `packed.safetensors` in place of the
//! weights of the transformer. What [`quantize_model`] writes is mapped into memory at load and ready at once.
//!
//! In `packed.safetensors`, a matrix (or query, key and value stacked) is three tensors named after its first layer:
//! `.packed` `[panels, steps, 64, 4]`, bytes in the layout of [`PackedMatrix`], and for int8 `.scales` and `.totals`
//! `[panels · 64]`. Everything else has its name and bytes of the original. Other tools do not know these files: the
//! original stays what models are exchanged as.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sentir_compute::WeightType;
use sentir_kernels::buffer::Buffer;
use sentir_kernels::gemm::PackedMatrix;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::families::{Names, TransformerConfig};
use crate::modules::{self, Kind};
use crate::shape::EncoderShape;
use crate::weights::{Dtype, View, Weights};
use crate::{Error, Result, json as json_file, parameters};

const DESCRIPTION: &str = "packed.json";
pub(crate) const FILE: &str = "packed.safetensors";
/// Raised when an older sentir would read a file wrongly.
const VERSION: u64 = 1;
/// Files of weights, for whatever tool, that a packed directory does without.
const WEIGHTS: [&str; 7] = ["safetensors", "bin", "onnx", "h5", "msgpack", "ot", "pt"];

#[derive(Serialize, Deserialize)]
struct Description {
    format_version: u64,
    dtype: String,
}

/// The type of the packed weights in a folder; `None` if they are not packed.
pub(crate) fn kind(folder: &Path) -> Result<Option<WeightType>> {
    let path = folder.join(DESCRIPTION);
    let Some(found) = json_file::read_optional::<Description>(&path)? else { return Ok(None) };
    if found.format_version != VERSION {
        let message = format!(
            "its format version is {}, but this sentir reads {VERSION}; quantize the original model again",
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
    /// Rows: the width of its result.
    pub outputs: usize,
    /// Columns: the width of its operand.
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
    if target.exists() {
        let message = "it exists already; choose a new directory, or remove it first";
        return Err(Error::invalid(target, message));
    }
    let listed = modules::read(source)?;
    let folders: Vec<PathBuf> = listed.iter().flatten().map(|module| module.folder.clone()).collect();
    if listed.as_ref().is_some_and(|listed| listed[0].kind == Kind::StaticEmbedding) {
        return Err(Error::invalid(source, "a static model has no matrices to quantize"));
    }
    let folder = folders.first().map_or(source, PathBuf::as_path);
    if self::kind(folder)?.is_some() {
        return Err(Error::invalid(folder, "its weights are packed already; quantize the original model"));
    }
    let config_path = folder.join("config.json");
    let config: TransformerConfig = json_file::read(&config_path)?;
    let (family, shape) = config.translate(&config_path)?;
    let weights = Weights::open(folder)?;

    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new().prefix(".sentir-quantize-").tempdir_in(parent);
    let temporary = temporary.map_err(|error| Error::io(parent, error))?;
    copy(source, temporary.path(), &folders, folder)?;
    let inside = folder.strip_prefix(source).unwrap_or(Path::new(""));
    let own = temporary.path().join(inside);
    let description = Description { format_version: VERSION, dtype: kind.name().to_owned() };
    let path = own.join(DESCRIPTION);
    let text = serde_json::to_string_pretty(&description).unwrap_or_default() + "\n";
    fs::write(&path, text).map_err(|error| Error::io(&path, error))?;
    let report = write(&own.join(FILE), &weights, &plan(&weights, &family.names, &shape), kind, options)?;
    check_interrupt(options)?;
    let kept = temporary.keep();
    fs::rename(&kept, target).map_err(|error| {
        let _ = fs::remove_dir_all(&kept);
        Error::io(target, error)
    })?;
    Ok(report)
}

fn check_interrupt(options: QuantizeOptions<'_>) -> Result<()> {
    match options.interrupt {
        Some(interrupt) if interrupt.load(Ordering::Relaxed) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}

/// Copies a model directory and the folders of its modules, without the weights of the transformer in `folder`.
fn copy(source: &Path, target: &Path, folders: &[PathBuf], folder: &Path) -> Result<()> {
    let mut all = vec![source.to_owned()];
    all.extend(folders.iter().filter(|folder| folder.as_path() != source && folder.is_dir()).cloned());
    for from in all {
        let to = target.join(from.strip_prefix(source).unwrap_or(Path::new("")));
        fs::create_dir_all(&to).map_err(|error| Error::io(&to, error))?;
        for entry in fs::read_dir(&from).map_err(|error| Error::io(&from, error))? {
            let path = entry.map_err(|error| Error::io(&from, error))?.path();
            let name = path.file_name().unwrap_or_default();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let is_weights = WEIGHTS.contains(&extension) || name.to_string_lossy().ends_with(".index.json");
            if path.is_file() && !(from == folder && is_weights) {
                fs::copy(&path, to.join(name)).map_err(|error| Error::io(&path, error))?;
            }
        }
    }
    Ok(())
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

/// Writes `packed.safetensors`: the matrices first, so that each begins at a multiple of 64 bytes.
fn write(
    path: &Path,
    weights: &Weights,
    matrices: &[Planned],
    kind: WeightType,
    options: QuantizeOptions<'_>,
) -> Result<Vec<MatrixError>> {
    let io = |error| Error::io(path, error);
    let mut header = serde_json::Map::new();
    let mut end = 0usize;
    let mut entry = |name: String, dtype: &str, shape: Value, bytes: usize| {
        let offsets = [end, end + bytes];
        end += bytes;
        header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
    };
    let columns = |planned: &Planned| (planned.names.len() * planned.outputs).next_multiple_of(64);
    let group = match kind {
        WeightType::F32 => 1,
        WeightType::Bf16 => 2,
        WeightType::Int8 => 4,
    };
    for planned in matrices {
        let (columns, steps) = (columns(planned), planned.inputs.div_ceil(group));
        let shape = json!([columns / 64, steps, 64, 4]);
        entry(format!("{}.packed", planned.names[0]), "U8", shape, columns * steps * 4);
    }
    if kind == WeightType::Int8 {
        for planned in matrices {
            let columns = columns(planned);
            entry(format!("{}.scales", planned.names[0]), "F32", json!([columns]), columns * 4);
            entry(format!("{}.totals", planned.names[0]), "I32", json!([columns]), columns * 4);
        }
    }
    let packed: Vec<String> =
        matrices.iter().flat_map(|planned| &planned.names).map(|name| format!("{name}.weight")).collect();
    // The widest types first, so that all are aligned.
    let mut others: Vec<&View> = weights.tensors().filter(|view| !packed.contains(&view.name)).collect();
    others.sort_by_key(|view| std::cmp::Reverse(view.dtype.size()));
    for view in &others {
        entry(view.name.clone(), &view.dtype.to_string(), json!(view.shape), view.bytes());
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize((8 + text.len()).next_multiple_of(64) - 8, b' ');

    let mut out = BufWriter::new(File::create(path).map_err(io)?);
    out.write_all(&(text.len() as u64).to_le_bytes()).map_err(io)?;
    out.write_all(&text).map_err(io)?;
    let (mut report, mut scales) = (Vec::new(), Vec::new());
    for (done, planned) in matrices.iter().enumerate() {
        check_interrupt(options)?;
        let values =
            parameters::stacked(weights, &planned.names, "weight", &[planned.outputs, planned.inputs])?;
        let outputs = planned.names.len() * planned.outputs;
        let matrix = PackedMatrix::pack(&values, outputs, planned.inputs, kind);
        for words in matrix.words().chunks(1 << 14) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            out.write_all(&bytes).map_err(io)?;
        }
        report.push(MatrixError {
            name: planned.names[0].clone(),
            outputs,
            inputs: planned.inputs,
            relative_error: relative_error(&matrix, &values),
        });
        scales.extend(matrix.scales().iter().flat_map(|scale| scale.to_le_bytes()));
        scales.extend(matrix.totals().iter().flat_map(|total| total.to_le_bytes()));
        if let Some(progress) = options.progress {
            progress(done + 1, matrices.len());
        }
    }
    out.write_all(&scales).map_err(io)?;
    for view in others {
        out.write_all(view.shared_bytes().as_ref()).map_err(io)?;
        view.release();
    }
    let file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    Ok(report)
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
