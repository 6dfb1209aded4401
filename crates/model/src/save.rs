//! Writing a model as a directory that sentence-transformers from 2.3 to 6.2 opens: the layout of 5.3 and before, which all
//! of them read.
//!
//! Files of the tokenizer and the configuration of the transformer are copied byte by byte; of the weights, what was not
//! trained (a pooler, a head) is copied too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use crate::directory::Original;
use crate::layout::{pooling_config, write_json, write_modules, write_tensors};
use crate::modules::{Kind, Module};
use crate::sentence_transformer::Reader;
use crate::weights::{Dtype, SharedBytes, View, Weights};
use crate::{Error, Result, SentenceTransformer, json};

/// Files that are written anew, or that speak of another model.
const LEFT_OUT: [&str; 4] =
    ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "README.md"];

impl SentenceTransformer {
    /// Writes the model as the new directory `target`, which appears whole or not at all. The directory that the model was
    /// loaded from must still be there.
    ///
    /// # Errors
    /// If `target` exists, or something cannot be read or written.
    pub fn save(&mut self, target: &Path) -> Result<()> {
        let path = self.path.clone();
        Original::of(&path)?.make(target, &LEFT_OUT, |new, _| self.write_parts(new))
    }

    /// Writes the files of the model into `target`, an existing directory without a model, and syncs them. Whoever calls
    /// this sees to it that nobody takes a half-written directory for a model.
    ///
    /// # Errors
    /// If something cannot be read or written.
    pub fn save_files(&mut self, target: &Path) -> Result<()> {
        let path = self.path.clone();
        Original::of(&path)?.copy(target, &LEFT_OUT)?;
        self.write_parts(target)
    }

    /// What is not copied: weights and the description of the modules.
    fn write_parts(&mut self, target: &Path) -> Result<()> {
        let path = self.path.clone();
        let parameters = self.parameters_mut();
        let mut folders: BTreeMap<&Path, BTreeMap<&str, Cow<'_, [f32]>>> = BTreeMap::new();
        for parameter in &parameters {
            let own = folders.entry(&parameter.folder).or_default();
            let Some(values) = parameter.values.trained() else { continue };
            let part = values.len() / parameter.names.len();
            for (i, name) in parameter.names.iter().enumerate() {
                let range = i * part..(i + 1) * part;
                own.insert(
                    name,
                    match &values {
                        Cow::Borrowed(values) => Cow::Borrowed(&values[range]),
                        Cow::Owned(values) => Cow::Owned(values[range].to_vec()),
                    },
                );
            }
        }
        for (folder, values) in folders {
            let own = target.join(folder);
            fs::create_dir_all(&own).map_err(|error| Error::io(&own, error))?;
            write_weights(&Weights::open(&path.join(folder))?, &values, &own.join("model.safetensors"))?;
        }
        self.write_layout(target)
    }

    /// modules.json and the configurations of the modules.
    fn write_layout(&self, target: &Path) -> Result<()> {
        let folder = |module: &Module| {
            module
                .folder
                .strip_prefix(&self.path)
                .unwrap_or(&module.folder)
                .to_string_lossy()
                .replace('\\', "/")
        };
        // A directory that had no list of modules has all of them at its root; a pooling needs a folder of its own.
        let paths: Vec<String> = self
            .listed
            .iter()
            .enumerate()
            .map(|(i, module)| match module.kind {
                Kind::Pooling if folder(module).is_empty() => format!("{i}_Pooling"),
                _ => folder(module),
            })
            .collect();
        let entries = self.listed.iter().zip(&paths);
        let entries: Vec<(&str, &str, &str)> =
            entries.map(|(module, path)| (&*module.name, module.kind.name(), path.as_str())).collect();
        write_modules(target, &entries)?;
        for (module, path) in self.listed.iter().zip(&paths) {
            let own = target.join(path);
            fs::create_dir_all(&own).map_err(|error| Error::io(&own, error))?;
            match (module.kind, &self.reader) {
                (Kind::Transformer, Reader::Transformer(transformer, _)) => {
                    let lower = transformer.lower_case;
                    let settings = json!({"max_seq_length": self.max_seq_length(), "do_lower_case": lower});
                    write_json(&own.join("sentence_bert_config.json"), &settings)?;
                }
                (Kind::Pooling, Reader::Transformer(transformer, pooling)) => {
                    let width = transformer.encoder.shape.width;
                    let config = pooling_config(width, &pooling.modes, pooling.include_prompt);
                    write_json(&own.join("config.json"), &config)?;
                }
                (Kind::Dense, _) => {
                    // Releases before 5.4 refuse keys that they do not know.
                    let mut config: Map<String, Value> = json::read(&module.folder.join("config.json"))?;
                    config.retain(|key, value| {
                        ["in_features", "out_features", "bias", "activation_function"].contains(&key.as_str())
                            || (key == "use_residual" && *value == Value::Bool(true))
                    });
                    write_json(&own.join("config.json"), &Value::Object(config))?;
                }
                _ => {}
            }
        }
        write_json(&target.join("config_sentence_transformers.json"), &self.settings_json())
    }

    fn settings_json(&self) -> Value {
        let prompts: BTreeMap<&str, &str> = self.settings.prompts.iter().collect();
        json!({
            "__version__": {"sentir": env!("CARGO_PKG_VERSION")},
            "model_type": "SentenceTransformer",
            "prompts": prompts,
            "default_prompt_name": self.settings.prompts.default_name(),
            "similarity_fn_name": self.settings.similarity.name(),
            "truncate_dim": self.settings.truncate_dim,
        })
    }
}

/// The tensors of `original`, with the numbers of `values` in place of their own, as transformers writes them.
fn write_weights(original: &Weights, values: &BTreeMap<&str, Cow<'_, [f32]>>, path: &Path) -> Result<()> {
    let untouched: Vec<(&View, SharedBytes)> = original
        .tensors()
        .filter(|view| !values.contains_key(view.name.as_str()))
        .map(|view| (view, view.shared_bytes()))
        .collect();
    let mut tensors = Vec::new();
    let invalid = |name: &str, error: &dyn std::fmt::Display| Error::tensor(path, name, error.to_string());
    for (view, bytes) in &untouched {
        let tensor = TensorView::new(dtype(view.dtype), view.shape.clone(), bytes.as_ref());
        tensors.push((view.name.as_str(), tensor.map_err(|error| invalid(&view.name, &error))?));
    }
    for (&name, values) in values {
        let shape = original.get(name)?.shape.clone();
        let tensor = TensorView::new(safetensors::Dtype::F32, shape, bytemuck::cast_slice(values));
        tensors.push((name, tensor.map_err(|error| invalid(name, &error))?));
    }
    write_tensors(path, tensors)?;
    for view in original.tensors() {
        view.release();
    }
    Ok(())
}

fn dtype(dtype: Dtype) -> safetensors::Dtype {
    match dtype {
        Dtype::F64 => safetensors::Dtype::F64,
        Dtype::F32 => safetensors::Dtype::F32,
        Dtype::F16 => safetensors::Dtype::F16,
        Dtype::Bf16 => safetensors::Dtype::BF16,
        Dtype::I64 => safetensors::Dtype::I64,
        Dtype::I32 => safetensors::Dtype::I32,
        Dtype::I16 => safetensors::Dtype::I16,
        Dtype::I8 => safetensors::Dtype::I8,
        Dtype::U8 => safetensors::Dtype::U8,
        Dtype::Bool => safetensors::Dtype::BOOL,
    }
}
