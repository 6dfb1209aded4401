//! Checkpoints: everything that a training needs to go on as if it had never stopped, and its log.
//!
//! A checkpoint is a folder `checkpoint-N` of the output directory: the model as a sentence-transformers directory, the
//! moments of the optimizer (`optimizer.safetensors`; of embedding tables, only rows that were touched), and
//! `trainer_state.json`. It is written aside, synced and renamed: a folder of that name is whole, whenever the process ends.
//! Random numbers need no state: they are functions of the seed and the number of the batch.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sentir_model::SentenceTransformer;
use sentir_model::layout::write_tensors;
use sentir_model::weights::Weights;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Dataset;
use crate::log::LogEntry;
use crate::update::{Trained, Update};
use crate::{Error, Result};

const STATE: &str = "trainer_state.json";
const MOMENTS: &str = "optimizer.safetensors";
const LOG: &str = "train_log.jsonl";
/// In front of what is being written or removed; swept away at the next start.
const ASIDE: &str = ".sentir-";

/// How far a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Raised when an older sentir would go on wrongly.
    pub format_version: u64,
    /// Updates so far.
    pub global_step: usize,
    /// Epochs so far.
    pub epoch: f64,
    /// The epoch that the next update belongs to, and how many of its updates are done.
    pub position: (usize, usize),
    /// The best value of the metric so far.
    pub best_metric: Option<f64>,
    /// The update after which it was measured.
    pub best_step: Option<usize>,
    /// The name of its checkpoint.
    pub best_checkpoint: Option<String>,
    /// Evaluations since.
    pub evaluations_without_better: usize,
    /// Whether that was too many.
    pub stopped_early: bool,
    /// The content of each data set, as SHA-256.
    pub data: Vec<String>,
    /// The arguments, and what is frozen or trained through LoRA.
    pub arguments: Value,
    /// Everything that was logged.
    pub log: Vec<LogEntry>,
}

impl State {
    /// Before the first step.
    pub(crate) fn new(datasets: &[Dataset], arguments: Value) -> Self {
        Self {
            format_version: 2,
            global_step: 0,
            epoch: 0.0,
            position: (0, 0),
            best_metric: None,
            best_step: None,
            best_checkpoint: None,
            evaluations_without_better: 0,
            stopped_early: false,
            data: datasets.iter().map(Dataset::sha256).collect(),
            arguments,
            log: Vec::new(),
        }
    }
}

/// The checkpoints of an output directory.
#[derive(Debug)]
pub struct Checkpoints {
    directory: PathBuf,
    limit: Option<usize>,
    log: Option<File>,
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}

fn invalid(path: &Path, message: impl Into<String>) -> Error {
    Error::Data { path: path.to_owned(), row: None, message: message.into() }
}

/// A folder that is being written: removed unless it is given its name.
struct Aside(Option<PathBuf>);

impl Aside {
    fn new(directory: &Path, name: &str) -> Result<Self> {
        let path = directory.join(format!("{ASIDE}{name}"));
        remove(&path)?;
        fs::create_dir(&path).map_err(|error| io(&path, error))?;
        Ok(Self(Some(path)))
    }

    fn path(&self) -> &Path {
        self.0.as_deref().expect("not yet renamed")
    }

    fn rename(mut self, to: &Path) -> Result<()> {
        let path = self.path().to_owned();
        sync(&path)?;
        fs::rename(&path, to).map_err(|error| io(to, error))?;
        self.0 = None;
        sync(to.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Removes a folder, or the file that a log is until it has its name.
fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_file() { fs::remove_file(path) } else { fs::remove_dir_all(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path, error)),
        _ => Ok(()),
    }
}

/// What is in a folder, and that it is there, is on the disk.
fn sync(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io(folder, error))?;
    Ok(())
}

impl Checkpoints {
    /// Those of `directory`, which is made if it is not there. What a process that was killed left half-written is removed.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub fn open(directory: &Path, limit: Option<usize>) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|error| io(directory, error))?;
        for entry in fs::read_dir(directory).map_err(|error| io(directory, error))? {
            let path = entry.map_err(|error| io(directory, error))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE)) {
                remove(&path)?;
            }
        }
        Ok(Self { directory: directory.to_owned(), limit, log: None })
    }

    /// The folder of a checkpoint.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// All of them, the oldest first.
    fn all(&self) -> Result<Vec<(usize, PathBuf)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(|error| io(&self.directory, error))? {
            let path = entry.map_err(|error| io(&self.directory, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.strip_prefix("checkpoint-").and_then(|number| number.parse().ok());
            if let Some(number) = number.filter(|_| path.join(STATE).is_file()) {
                all.push((number, path));
            }
        }
        all.sort();
        Ok(all)
    }

    /// The last one.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn last(&self) -> Result<Option<PathBuf>> {
        Ok(self.all()?.pop().map(|(_, path)| path))
    }

    /// Begins the log with what was logged so far.
    pub(crate) fn begin_log(&mut self, state: &State) -> Result<()> {
        let path = self.directory.join(LOG);
        let aside = self.directory.join(format!("{ASIDE}log"));
        let write = || -> std::io::Result<File> {
            let mut file = File::create(&aside)?;
            for entry in &state.log {
                writeln!(file, "{}", serde_json::to_string(entry)?)?;
            }
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            OpenOptions::new().append(true).open(&path)
        };
        self.log = Some(write().map_err(|error| io(&path, error))?);
        Ok(())
    }

    /// Adds a line to the log.
    pub(crate) fn log(&mut self, entry: &LogEntry) -> Result<()> {
        let Some(file) = &mut self.log else { return Ok(()) };
        let line = serde_json::to_string(entry).unwrap_or_default() + "\n";
        file.write_all(line.as_bytes()).map_err(|error| io(&self.directory.join(LOG), error))
    }

    /// Writes a checkpoint, then removes the oldest beyond the limit, but never the best.
    pub(crate) fn save(
        &mut self,
        model: &mut SentenceTransformer,
        update: &Update,
        state: &mut State,
    ) -> Result<PathBuf> {
        let name = format!("checkpoint-{}", state.global_step);
        let path = self.path_of(&name);
        if path.join(STATE).is_file() {
            return Ok(path);
        }
        if state.best_step == Some(state.global_step) {
            state.best_checkpoint = Some(name.clone());
        }
        let aside = Aside::new(&self.directory, &name)?;
        model.save_files(aside.path())?;
        save_moments(update, &aside.path().join(MOMENTS))?;
        let file = aside.path().join(STATE);
        let text = serde_json::to_string_pretty(state).unwrap_or_default() + "\n";
        let written = File::create(&file).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| io(&file, error))?;
        aside.rename(&path)?;
        self.rotate(state)?;
        Ok(path)
    }

    fn rotate(&self, state: &State) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        let all = self.all()?;
        let best = state.best_checkpoint.as_ref().map(|name| self.path_of(name));
        let spare = all.len().saturating_sub(limit.max(1));
        let last = all.last().map(|(_, path)| path.clone());
        let removable = all.iter().map(|(_, path)| path);
        for path in
            removable.filter(|&path| best.as_ref() != Some(path) && last.as_ref() != Some(path)).take(spare)
        {
            // Renamed first, so that no half of a checkpoint has the name of one.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let aside = self.directory.join(format!("{ASIDE}old-{name}"));
            fs::rename(path, &aside).map_err(|error| io(path, error))?;
            remove(&aside)?;
        }
        Ok(())
    }

    /// Writes the model into the output directory itself. Its list of modules, without which it is no model, comes last.
    pub(crate) fn finish(&self, model: &mut SentenceTransformer) -> Result<()> {
        const LAST: &str = "modules.json";
        let aside = Aside::new(&self.directory, "model")?;
        model.save_files(aside.path())?;
        sync(aside.path())?;
        let last = self.directory.join(LAST);
        match fs::remove_file(&last) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(&last, error)),
            _ => {}
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(aside.path()).map_err(|error| io(aside.path(), error))? {
            names.push(entry.map_err(|error| io(aside.path(), error))?.file_name());
        }
        names.sort_by_key(|name| name == LAST);
        for name in names {
            let (from, to) = (aside.path().join(&name), self.directory.join(&name));
            if from.is_dir() {
                remove(&to)?;
            }
            fs::rename(&from, &to).map_err(|error| io(&to, error))?;
        }
        sync(&self.directory)
    }
}

/// What the moments of a parameter are called.
fn moment(own: &Trained, what: &str) -> String {
    let folder = own.folder.to_string_lossy().replace('\\', "/");
    let separator = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{separator}{}.{what}", own.names[0])
}

fn save_moments(update: &Update, path: &Path) -> Result<()> {
    let mut all: Vec<(String, Cow<'_, [f32]>)> = Vec::new();
    let mut tables: Vec<(String, Vec<u32>)> = Vec::new();
    for (id, own) in update.trained().iter().enumerate() {
        let rows = update.touched(id);
        for (what, values) in [("m", &own.m), ("v", &own.v)] {
            let values = match &rows {
                Some(rows) => {
                    let row = |&row: &u32| &values[row as usize * own.width..][..own.width];
                    rows.iter().flat_map(row).copied().collect()
                }
                None => Cow::Borrowed(values.as_slice()),
            };
            all.push((moment(own, what), values));
        }
        all.extend(
            own.adapter.iter().map(|adapter| (moment(own, "lora"), Cow::Borrowed(&*adapter.factors.values))),
        );
        tables.extend(rows.map(|rows| (moment(own, "rows"), rows)));
    }
    let numbers = all.iter().map(|(name, values)| {
        (name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values)))
    });
    let rows = tables.iter().map(|(name, rows)| {
        (name, TensorView::new(Dtype::U32, vec![rows.len()], bytemuck::cast_slice(rows)))
    });
    let mut views = Vec::new();
    for (name, view) in numbers.chain(rows) {
        views.push((name, view.map_err(|error| invalid(path, format!("{name}: {error}")))?));
    }
    Ok(write_tensors(path, views)?)
}

/// Takes the numbers of all parameters that are trained from a checkpoint.
pub(crate) fn load_weights(checkpoint: &Path, model: &mut SentenceTransformer) -> Result<()> {
    let mut open: Option<(PathBuf, Weights)> = None;
    for mut parameter in model.parameters_mut() {
        if parameter.values.trained().is_none() {
            continue;
        }
        let folder = checkpoint.join(&parameter.folder);
        let weights = match &open {
            Some((own, weights)) if *own == folder => weights,
            _ => &open.insert((folder.clone(), Weights::open(&folder)?)).1,
        };
        let mut numbers = Vec::new();
        for name in &parameter.names {
            numbers.extend(weights.get(name)?.to_f32()?);
        }
        let [rows, width] = parameter.values.shape();
        if numbers.len() != rows * width {
            let message = format!("{} is of another model", parameter.names.join(", "));
            return Err(invalid(weights.path(), message));
        }
        parameter.values.update(|values| values.copy_from_slice(&numbers));
    }
    Ok(())
}

/// Makes model and moments those of a checkpoint. `now` is what the training would begin with: data and arguments must be
/// the same.
pub(crate) fn restore(
    checkpoint: &Path,
    model: &mut SentenceTransformer,
    update: &mut Update,
    now: &State,
) -> Result<State> {
    let path = checkpoint.join(STATE);
    let text = fs::read(&path).map_err(|error| io(&path, error))?;
    let state: State = serde_json::from_slice(&text).map_err(|error| invalid(&path, error.to_string()))?;
    if state.format_version != now.format_version {
        let message = format!(
            "format version {} is not the {} of this sentir",
            state.format_version, now.format_version
        );
        return Err(invalid(&path, message));
    }
    if state.data != now.data {
        let message =
            "the data is not that of the checkpoint; give the same files, or begin anew in another directory";
        return Err(invalid(&path, message));
    }
    if let Some(name) = different(&state.arguments, &now.arguments) {
        let message = format!(
            "{name} is {} in the checkpoint and {} now; give the same arguments, or begin anew in another directory",
            state.arguments[&name], now.arguments[&name]
        );
        return Err(invalid(&path, message));
    }
    load_weights(checkpoint, model)?;
    let file = checkpoint.join(MOMENTS);
    let bytes = fs::read(&file).map_err(|error| io(&file, error))?;
    let tensors =
        safetensors::SafeTensors::deserialize(&bytes).map_err(|error| invalid(&file, error.to_string()))?;
    for id in 0..update.trained().len() {
        let own = &update.trained()[id];
        let names = ["m", "v", "rows", "lora"].map(|what| moment(own, what));
        let adapted = own.adapter.is_some();
        let words = |name: &str| -> Result<Vec<[u8; 4]>> {
            let view = tensors.tensor(name).map_err(|error| invalid(&file, format!("{name}: {error}")))?;
            Ok(view.data().as_chunks::<4>().0.to_vec())
        };
        let numbers = |name: &str| -> Result<Vec<f32>> {
            Ok(words(name)?.into_iter().map(f32::from_le_bytes).collect())
        };
        let rows: Option<Vec<u32>> = match update.touched(id) {
            Some(_) => Some(words(&names[2])?.into_iter().map(u32::from_le_bytes).collect()),
            None => None,
        };
        let (m, v) = (numbers(&names[0])?, numbers(&names[1])?);
        let mut restored = update.restore(id, rows.as_deref(), &m, &v);
        if adapted {
            let values = numbers(&names[3])?;
            restored = restored.and_then(|()| update.restore_adapter(id, &values));
        }
        restored.map_err(|message| invalid(&file, format!("{}: {message}", names[0])))?;
    }
    Ok(state)
}

/// The first argument that differs, but for those that say how often something is written and when training ends.
fn different(saved: &Value, now: &Value) -> Option<String> {
    const FREE: [&str; 4] = ["logging_steps", "save_steps", "save_strategy", "save_total_limit"];
    let (Value::Object(saved), Value::Object(now)) = (saved, now) else { return None };
    saved
        .keys()
        .chain(now.keys())
        .find(|key| !FREE.contains(&key.as_str()) && saved.get(*key) != now.get(*key))
        .cloned()
}
