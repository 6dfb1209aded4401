//! modules.json: what a sentence-transformers directory is made of, in all layouts from 2.x to 6.x.
//!
//! This file reads the list; each module reads its own folder in a file of its own. What the list may hold:
//! `Transformer` and `Pooling` or `StaticEmbedding` first, then any number of `Dense`, `LayerNorm` and `Normalize`.

mod dense;
mod layer_norm;
mod pooling;
mod static_embedding;
mod transformer;

use std::path::{Component, Path, PathBuf};

use sentir_compute::ops::{self, Norm};
use sentir_compute::{Backend, ParameterMut, Pass, Tensor};
use serde::Deserialize;

pub(crate) use dense::Dense;
pub(crate) use pooling::{MODES, Pooling, mode_names};
pub(crate) use static_embedding::StaticEmbedding;
pub(crate) use transformer::Transformer;

use crate::parameters::Trainable;
use crate::{Error, Result, json};

/// The kinds of modules that sentir computes; the last part of the dotted class path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Transformer,
    Pooling,
    Dense,
    LayerNorm,
    Normalize,
    StaticEmbedding,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transformer => "Transformer",
            Self::Pooling => "Pooling",
            Self::Dense => "Dense",
            Self::LayerNorm => "LayerNorm",
            Self::Normalize => "Normalize",
            Self::StaticEmbedding => "StaticEmbedding",
        }
    }

    /// Whether its folder holds tensors.
    pub(crate) fn has_weights(self) -> bool {
        !matches!(self, Self::Pooling | Self::Normalize)
    }
}

const KINDS: [Kind; 6] =
    [Kind::Transformer, Kind::Pooling, Kind::Dense, Kind::LayerNorm, Kind::Normalize, Kind::StaticEmbedding];

/// One module: its kind and the folder of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub kind: Kind,
    /// `name` in modules.json, unique.
    pub name: String,
    /// The folder, inside the model directory or the directory itself.
    pub folder: PathBuf,
}

#[derive(Deserialize)]
struct Entry {
    name: serde_json::Value,
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    class: String,
}

/// Reads modules.json of the model directory; `None` if there is none.
pub(crate) fn read(directory: &Path) -> Result<Option<Vec<Module>>> {
    let path = directory.join("modules.json");
    match std::fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(&path, error)),
    }
}

/// Parses what was read from `path`, whose folder is the model directory. The order of the list counts, not `idx`.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Module>> {
    let entries: Vec<Entry> = json::parse(path, bytes)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut modules: Vec<Module> = Vec::new();
    for entry in entries {
        let name = match entry.name {
            serde_json::Value::String(name) => name,
            other => other.to_string(),
        };
        if modules.iter().any(|module| module.name == name) {
            return Err(Error::invalid(
                path,
                format!("two modules have the name \"{name}\"; give each its own"),
            ));
        }
        let folder = directory.join(inside(path, &entry.path)?);
        modules.push(Module { kind: kind(path, &entry.class)?, name, folder });
    }
    check_order(path, &modules)?;
    Ok(modules)
}

/// The folders of the modules in a modules.json. For fuzzing.
#[doc(hidden)]
pub fn module_folders(path: &Path, bytes: &[u8]) -> Result<Vec<PathBuf>> {
    Ok(parse(path, bytes)?.into_iter().map(|module| module.folder).collect())
}

/// The class path of a module of sentence-transformers, whatever release wrote it, as a kind.
fn kind(path: &Path, class: &str) -> Result<Kind> {
    let unsupported = |message: String| Error::UnsupportedModule {
        path: path.to_owned(),
        module: class.to_owned(),
        message,
    };
    let supported = || KINDS.map(Kind::name).join(", ");
    let Some(inner) = class.strip_prefix("sentence_transformers.") else {
        return Err(unsupported(format!(
            "it is code of the model's own, which sentir does not run; supported are {}",
            supported()
        )));
    };
    let last = inner.rsplit('.').next().unwrap_or(inner);
    let kind = KINDS.into_iter().find(|kind| kind.name() == last);
    kind.ok_or_else(|| unsupported(format!("supported are {}", supported())))
}

/// A `path` of modules.json must stay inside the model directory, in the syntax of any system.
fn inside<'a>(file: &Path, path: &'a str) -> Result<&'a Path> {
    let outside = path.contains(['\0', '\\'])
        || path.as_bytes().get(1) == Some(&b':')
        || Path::new(path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
    if outside {
        let message = format!(
            "the module path \"{}\" leaves the model directory; it must be relative, without \"..\"",
            path.escape_debug()
        );
        return Err(Error::invalid(file, message));
    }
    Ok(Path::new(path))
}

/// The first modules give a vector per text, all others take and give vectors.
fn check_order(path: &Path, modules: &[Module]) -> Result<()> {
    let kinds: Vec<Kind> = modules.iter().map(|module| module.kind).collect();
    let rest = match kinds.as_slice() {
        [] => return Err(Error::invalid(path, "the list of modules is empty; at least one is needed")),
        [Kind::StaticEmbedding, rest @ ..] | [Kind::Transformer, Kind::Pooling, rest @ ..] => rest,
        _ => {
            let found = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            let message = format!(
                "the modules {found} give no vectors: Transformer and Pooling, or StaticEmbedding, must come first"
            );
            return Err(Error::invalid(path, message));
        }
    };
    match rest.iter().find(|kind| matches!(kind, Kind::Transformer | Kind::Pooling | Kind::StaticEmbedding)) {
        Some(kind) => Err(Error::invalid(
            path,
            format!("{} cannot follow after the texts have become vectors", kind.name()),
        )),
        None => Ok(()),
    }
}

/// A module that takes vectors and gives vectors.
#[derive(Debug)]
pub(crate) enum RowModule {
    Dense(Box<Dense>),
    LayerNorm(Norm),
    Normalize,
}

impl RowModule {
    /// Loads one; `width` is that of the vectors it gets.
    pub(crate) fn load(
        module: &Module,
        width: usize,
        trainable: Trainable,
        backend: &dyn Backend,
    ) -> Result<Self> {
        match module.kind {
            Kind::Dense => {
                Dense::load(&module.folder, width, trainable, backend).map(Box::new).map(Self::Dense)
            }
            Kind::LayerNorm => layer_norm::load(&module.folder, width, backend).map(Self::LayerNorm),
            Kind::Normalize => {
                expect_sentence_embedding(&module.folder.join("config.json")).map(|()| Self::Normalize)
            }
            kind => unreachable!("check_order lets no {kind:?} come here"),
        }
    }

    /// Width of the vectors it gives, for vectors of the given width.
    pub(crate) fn width(&self, input: usize) -> usize {
        match self {
            Self::Dense(dense) => dense.outputs(),
            Self::LayerNorm(_) | Self::Normalize => input,
        }
    }

    /// Number of its parameters.
    pub(crate) fn parameters(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.parameters(),
            Self::LayerNorm(norm) => 2 * norm.scale.width(),
            Self::Normalize => 0,
        }
    }

    /// Its settings, for people.
    pub(crate) fn details(&self) -> String {
        match self {
            Self::Dense(dense) => dense.details(),
            Self::LayerNorm(norm) => format!("{} components", norm.scale.width()),
            Self::Normalize => "to unit length".to_owned(),
        }
    }

    /// All parameters, with the names of their tensors.
    pub(crate) fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_>)> {
        match self {
            Self::Dense(dense) => dense.parameters_mut(),
            Self::LayerNorm(Norm { scale, shift, .. }) => vec![
                ("norm.weight".to_owned(), ParameterMut::Vector(scale)),
                ("norm.bias".to_owned(), ParameterMut::Vector(shift)),
            ],
            Self::Normalize => Vec::new(),
        }
    }

    /// `x` is `[texts, width]`.
    pub(crate) fn forward<'a>(&'a self, pass: &mut Pass<'a>, x: Tensor) -> Tensor {
        match self {
            Self::Dense(dense) => dense.forward(pass, x),
            Self::LayerNorm(norm) => ops::layer_norm(pass, x, None, norm),
            Self::Normalize => ops::unit_length(pass, x),
        }
    }
}

/// What a module of 5.4 and later works on. Token embeddings as the input of a module belong to other kinds of models.
#[derive(Default, Deserialize)]
struct Names {
    module_input_name: Option<String>,
    module_output_name: Option<String>,
}

/// Refuses a module whose config.json, if any, has it work on something else than sentence vectors.
fn expect_sentence_embedding(config: &Path) -> Result<()> {
    let names: Names = json::read_optional(config)?.unwrap_or_default();
    for (key, name) in
        [("module_input_name", names.module_input_name), ("module_output_name", names.module_output_name)]
    {
        if let Some(name) = name.filter(|name| name != "sentence_embedding") {
            let message = format!(
                "\"{key}\" is \"{name}\": only modules that work on \"sentence_embedding\" are supported"
            );
            return Err(Error::invalid(config, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(json: &str) -> Result<Vec<Kind>> {
        let modules = parse(Path::new("model/modules.json"), json.as_bytes())?;
        Ok(modules.into_iter().map(|module| module.kind).collect())
    }

    fn entry(name: &str, class: &str, path: &str) -> String {
        format!(
            r#"{{"idx": 0, "name": "{name}", "path": "{path}", "type": "sentence_transformers.{class}"}}"#
        )
    }

    #[test]
    fn class_paths_of_every_release() {
        let list = [
            entry("0", "base.modules.transformer.Transformer", ""),
            entry("1", "sentence_transformer.modules.pooling.Pooling", "1_Pooling"),
            entry("2", "models.Dense", "2_Dense"),
            entry("3", "base.modules.normalize.Normalize", "."),
        ];
        let expected = [Kind::Transformer, Kind::Pooling, Kind::Dense, Kind::Normalize];
        assert_eq!(kinds(&format!("[{}]", list.join(","))).unwrap(), expected);
    }

    #[test]
    fn bad_lists_are_refused_with_the_reason() {
        let transformer = entry("0", "models.Transformer", "");
        let pooling = entry("1", "models.Pooling", "1_Pooling");
        for (list, part) in [
            ("[]".to_owned(), "empty"),
            ("{}".to_owned(), "line 1"),
            (format!("[{transformer},\n {{]"), "line 2, column"),
            (format!("[{transformer}]"), "give no vectors"),
            (format!("[{pooling}, {transformer}]"), "give no vectors"),
            (
                format!("[{transformer}, {pooling}, {}]", entry("1", "models.Normalize", "")),
                "two modules have the name \"1\"",
            ),
            (
                format!("[{transformer}, {pooling}, {}]", entry("2", "models.Pooling", "")),
                "Pooling cannot follow",
            ),
            (
                format!("[{transformer}, {pooling}, {}]", entry("2", "models.CNN", "")),
                "\"sentence_transformers.models.CNN\" is not supported",
            ),
            (
                r#"[{"name": "0", "path": "", "type": "os.system"}]"#.to_owned(),
                "\"os.system\" is not supported: it is code of the model's own",
            ),
            (
                format!("[{}]", entry("0", "models.Transformer", "../elsewhere")),
                "\"../elsewhere\" leaves the model directory",
            ),
            (format!("[{}]", entry("0", "models.Transformer", "/etc")), "leaves"),
            (format!("[{}]", entry("0", "models.Transformer", r"C:\\model")), "leaves"),
            (format!("[{}]", entry("0", "models.Transformer", r"..\\model")), "leaves"),
            (format!("[{}]", entry("0", "models.Transformer", r"a\u0000b")), "leaves"),
        ] {
            let message = kinds(&list).err().unwrap_or_else(|| panic!("{list} was accepted")).to_string();
            assert!(
                message.starts_with("model/modules.json: ") && message.contains(part),
                "{list}\n{message}"
            );
        }
    }
}
