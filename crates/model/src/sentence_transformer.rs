//! [`SentenceTransformer`]: a model directory, loaded. How texts go through it is `encode`; what is in it, `inspect`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sentir_compute::ops::PoolingMode;
use sentir_compute::{Backend, Cpu, WeightType};
use sentir_vectors::Rows;
use sentir_vectors::similarity::{self, Similarity};

use crate::download::{self, DownloadOptions};
use crate::modules::{self, Kind, Module, Pooling, RowModule, StaticEmbedding, Transformer};
use crate::parameters::Trainable;
use crate::prompts::Prompts;
use crate::settings::{self, Settings};
use crate::tokens::Tokenizer;
use crate::{Error, Result};

/// A sentence-embedding model: texts in, vectors out.
///
/// It is read-only and can be shared among threads: `encode` takes `&self`.
#[derive(Debug)]
pub struct SentenceTransformer {
    pub(crate) path: PathBuf,
    pub(crate) backend: Arc<dyn Backend>,
    /// The modules as listed: where their files are.
    pub(crate) listed: Vec<Module>,
    pub(crate) reader: Reader,
    /// Those after the reader.
    pub(crate) modules: Vec<RowModule>,
    pub(crate) settings: Settings,
    pub(crate) dimension: usize,
    pub(crate) notices: Vec<String>,
}

/// What makes one vector out of the tokens of a text.
#[derive(Debug)]
pub(crate) enum Reader {
    Transformer(Box<Transformer>, Pooling),
    Static(Box<StaticEmbedding>),
}

impl Reader {
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        match self {
            Self::Transformer(transformer, _) => &transformer.tokenizer,
            Self::Static(embedding) => &embedding.tokenizer,
        }
    }

    /// Width of the vectors before the modules that follow.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Transformer(transformer, pooling) => transformer.encoder.shape.width * pooling.modes.len(),
            Self::Static(embedding) => embedding.table.width(),
        }
    }

    /// Number of tokens that have an embedding.
    pub(crate) fn vocabulary(&self) -> usize {
        match self {
            Self::Transformer(transformer, _) => transformer.encoder.shape.vocabulary,
            Self::Static(embedding) => embedding.table.rows(),
        }
    }
}

/// How to load a model.
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// Where a model that is not a local directory comes from, and in which revision.
    pub download: DownloadOptions<'a>,
    /// Reads at most so many tokens of a text, special tokens included, in place of what the model says.
    pub max_seq_length: Option<usize>,
    /// The type of the encoder's matrices, in which its products are computed; those of modules after pooling stay f32. A
    /// narrower type than f32 is faster and smaller, and changes the vectors a little. Default: that of packed weights
    /// ([`crate::quantize_model`]), else f32.
    pub dtype: Option<WeightType>,
    /// What can be trained. Then matrices are not packed but stay in f32, and `dtype` (f32 or bf16) is the type in which
    /// products with them, and gradients, are computed.
    pub trainable: Trainable,
    /// The device; the CPU if `None`.
    pub backend: Option<Arc<dyn Backend>>,
}

impl SentenceTransformer {
    /// Loads a model from a directory, the cache of the Hugging Face hub, or the hub.
    ///
    /// A directory without modules.json is taken for a transformer whose states are averaged.
    ///
    /// # Errors
    /// Whatever is missing, damaged or not supported, with the file that has it.
    pub fn load(id_or_path: impl AsRef<str>) -> Result<Self> {
        Self::load_with(id_or_path, &LoadOptions::default())
    }

    /// [`SentenceTransformer::load`] with options.
    pub fn load_with(id_or_path: impl AsRef<str>, options: &LoadOptions<'_>) -> Result<Self> {
        let resolved = download::resolve(id_or_path.as_ref(), &options.download)?;
        let mut model = Self::load_directory(&resolved.path, options)?;
        model.notices.splice(0..0, resolved.notice);
        Ok(model)
    }

    fn load_directory(directory: &Path, options: &LoadOptions<'_>) -> Result<Self> {
        let backend = options.backend.clone().unwrap_or_else(|| Arc::new(Cpu));
        let mut notices = Vec::new();
        let listed = modules::read(directory)?;
        let file = settings::File::read(directory)?;
        let other = file.other_model_type().map(str::to_owned);
        let (reader, listed, settings) = match (listed, other) {
            (Some(listed), None) => {
                let reader = load_reader(&listed, options, &*backend, &mut notices)?;
                (reader, listed, file.settings(directory, &mut notices)?)
            }
            // As sentence-transformers does: default modules over the transformer; nothing else of the file counts.
            (listed, other) => {
                if let (Some(_), Some(kind)) = (&listed, &other) {
                    notices.push(format!("the model is a {kind}: its transformer is used with mean pooling, its other modules and prompts are not"));
                } else {
                    notices.push("there is no modules.json: the directory is taken for a transformer with mean pooling".to_owned());
                }
                let transformer = Transformer::load(directory, false, options, &*backend, &mut notices)?;
                let mode = if transformer.causal { PoolingMode::LastToken } else { PoolingMode::Mean };
                let listed = [Kind::Transformer, Kind::Pooling];
                let listed =
                    listed.map(|kind| Module { kind, name: String::new(), folder: directory.to_owned() });
                (
                    Reader::Transformer(Box::new(transformer), Pooling::only(mode)),
                    listed.into(),
                    Settings::default(),
                )
            }
        };

        let mut dimension = reader.width();
        let mut modules = Vec::new();
        let of_reader = if matches!(reader, Reader::Static(_)) { 1 } else { 2 };
        for module in listed.iter().skip(of_reader) {
            let module = RowModule::load(module, dimension, options.trainable, &*backend)?;
            dimension = module.width(dimension);
            modules.push(module);
        }
        Ok(Self {
            path: directory.to_owned(),
            backend,
            listed,
            reader,
            modules,
            settings,
            dimension,
            notices,
        })
    }

    /// The directory that the model was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of components of a vector: that of the last module, or `truncate_dim` if the model has a smaller one.
    pub fn embedding_dimension(&self) -> usize {
        self.settings.truncate_dim.map_or(self.dimension, |dim| dim.min(self.dimension))
    }

    /// The most tokens of a text that are read, special tokens included. `None`: all.
    pub fn max_seq_length(&self) -> Option<usize> {
        self.reader.tokenizer().max_length()
    }

    /// The prompts that the model was saved with.
    pub fn prompts(&self) -> &Prompts {
        &self.settings.prompts
    }

    /// The function that says how similar two vectors of this model are; cosine unless the model says otherwise.
    pub fn similarity_function(&self) -> Similarity {
        self.settings.similarity
    }

    /// What was adjusted or ignored while loading, a sentence each; to be shown to the user once.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The similarity of each row of `a` with each of `b`, `[a.rows(), b.rows()]`, by the model's function.
    ///
    /// # Errors
    /// [`Error::Vectors`] if the widths differ.
    pub fn similarity(&self, a: &Rows, b: &Rows) -> Result<Rows> {
        Ok(similarity::matrix(a, b, self.settings.similarity)?)
    }

    /// The similarity of each row of `a` with the same row of `b`, by the model's function.
    ///
    /// # Errors
    /// [`Error::Vectors`] if widths or numbers of rows differ.
    pub fn similarity_pairwise(&self, a: &Rows, b: &Rows) -> Result<Vec<f32>> {
        Ok(similarity::pairwise(a, b, self.settings.similarity)?)
    }
}

/// Loads the first one or two modules of a list in good order.
fn load_reader(
    listed: &[Module],
    options: &LoadOptions<'_>,
    backend: &dyn Backend,
    notices: &mut Vec<String>,
) -> Result<Reader> {
    if listed[0].kind == Kind::StaticEmbedding {
        if options.max_seq_length.is_some() {
            let message = "max_seq_length: a static model reads all tokens of a text; it cannot be limited";
            return Err(Error::Argument(message.to_owned()));
        }
        return Ok(Reader::Static(Box::new(StaticEmbedding::load(&listed[0].folder, options.trainable)?)));
    }
    let transformer = Transformer::load(&listed[0].folder, true, options, backend, notices)?;
    let pooling = Pooling::load(&listed[1].folder, transformer.encoder.shape.width)?;
    Ok(Reader::Transformer(Box::new(transformer), pooling))
}
