//! A classifier of texts beside a model: the names of its classes, its weights, and what tells whether it belongs to a model. Two files in a folder,
//! `classifier.json` and `classifier.safetensors` (`coef.N` `[classes, dimensions]` and `intercept.N` `[classes]` for level N).
//!
//! Not here: how weights are learned (`sentir_vectors::classify`), and how texts become vectors.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sentir_model::weights::Weights;
use sentir_vectors::Rows;
use sentir_vectors::classify::logistic::LogisticRegression;
use sentir_vectors::classify::prototype::NearestPrototype;
use sentir_vectors::classify::{Classifier, softmax};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const DESCRIPTION: &str = "classifier.json";
const WEIGHTS: &str = "classifier.safetensors";
/// Raised when an older sentir would read a classifier wrongly.
const VERSION: u64 = 1;

/// How classes are told apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// By linear scores.
    Logistic(LogisticRegression),
    /// By the nearest of the means.
    Prototype(NearestPrototype),
}

impl Head {
    fn classifier(&self) -> &dyn Classifier {
        match self {
            Self::Logistic(model) => model,
            Self::Prototype(model) => model,
        }
    }
}

/// One question that is answered about a text, such as its category.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// What is asked: the name of the column that the classes came from.
    pub name: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// What tells them apart.
    pub head: Head,
    /// Scores are multiplied with it before they become probabilities (`temperature_scale`). 1 if nothing was calibrated.
    pub scale: f32,
    /// For each class, its class of the level before, if there is one: what is predicted lies within what was predicted there.
    pub parents: Option<Vec<usize>>,
}

impl Level {
    /// Probabilities `[n, classes]` of scores `[n, classes]`. With `before`, the class of each row at the level before, only classes within that
    /// have one: there is at least one, since classes come from rows that have both.
    #[must_use]
    pub fn probabilities(&self, mut scores: Rows, before: Option<&[usize]>) -> Rows {
        let width = scores.width();
        for (row, scores) in scores.as_mut_slice().chunks_exact_mut(width).enumerate() {
            if let (Some(parents), Some(before)) = (&self.parents, before) {
                let outside = parents.iter().zip(&mut *scores).filter(|(parent, _)| **parent != before[row]);
                outside.for_each(|(_, score)| *score = f32::NEG_INFINITY);
            }
            softmax(scores, self.scale);
        }
        scores
    }
}

/// A classifier of one or two levels, the coarser first.
#[derive(Debug, Clone, PartialEq)]
pub struct TextClassifier {
    /// The levels.
    pub levels: Vec<Level>,
    /// The model whose vectors it learned from, as the user named it.
    pub model: String,
    /// The vector of a fixed text, by which that model is known again.
    pub probe: Vec<f32>,
    /// Whether vectors were cut to their first so many components.
    pub truncate_dim: Option<usize>,
    /// Whether it classifies pairs of texts, by [`sentir_vectors::classify::pair_features`] of their vectors.
    pub pairs: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    format_version: u64,
    model: String,
    probe: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate_dim: Option<usize>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pairs: bool,
    levels: Vec<DescribedLevel>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedLevel {
    name: String,
    kind: String,
    classes: Vec<String>,
    scale: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    parents: Option<Vec<usize>>,
}

/// What is predicted for one text at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// Classes and their probabilities, the most probable first.
    pub classes: Vec<(usize, f32)>,
}

impl Predicted {
    /// The most probable class.
    pub fn best(&self) -> usize {
        self.classes.first().map_or(0, |(class, _)| *class)
    }
}

impl TextClassifier {
    /// Predictions of `rows` `[n, dimensions]` (of pairs, of their [`sentir_vectors::classify::pair_features`]): for each level, for each row, all classes that can be.
    ///
    /// # Errors
    /// If the rows are of another width than those that were learned from.
    pub fn predict(&self, rows: &Rows) -> Result<Vec<Vec<Predicted>>> {
        let mut all: Vec<Vec<Predicted>> = Vec::new();
        for level in &self.levels {
            let scores = level.head.classifier().decision_function(rows)?;
            let before: Option<Vec<usize>> = all.last().map(|all| all.iter().map(Predicted::best).collect());
            let probabilities = level.probabilities(scores, before.as_deref());
            let found = probabilities.iter().map(|own| {
                let mut classes: Vec<(usize, f32)> = own.iter().copied().enumerate().collect();
                classes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                Predicted { classes }
            });
            let found = found.collect();
            all.push(found);
        }
        Ok(all)
    }

    /// Writes the two files into `directory`, which must not exist yet: they are there whole or not at all.
    ///
    /// # Errors
    /// If the directory exists or nothing can be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        sentir_model::directory::create(directory, |folder| self.fill(folder))
    }

    fn fill(&self, folder: &Path) -> Result<()> {
        let levels = self.levels.iter().map(|level| DescribedLevel {
            name: level.name.clone(),
            kind: match level.head {
                Head::Logistic(_) => "logistic".to_owned(),
                Head::Prototype(_) => "prototype".to_owned(),
            },
            classes: level.classes.clone(),
            scale: level.scale,
            parents: level.parents.clone(),
        });
        let described = Described {
            format_version: VERSION,
            model: self.model.clone(),
            probe: self.probe.clone(),
            truncate_dim: self.truncate_dim,
            pairs: self.pairs,
            levels: levels.collect(),
        };
        let text =
            serde_json::to_string_pretty(&described).map_err(|error| Error::Argument(error.to_string()))?;
        sentir_model::directory::write_whole(&folder.join(DESCRIPTION), (text + "\n").as_bytes())?;
        let mut tensors: BTreeMap<String, (Vec<usize>, &[f32])> = BTreeMap::new();
        for (at, level) in self.levels.iter().enumerate() {
            let rows = match &level.head {
                Head::Logistic(model) => {
                    let intercepts = model.intercepts();
                    tensors.insert(format!("intercept.{at}"), (vec![intercepts.len()], intercepts));
                    model.weights()
                }
                Head::Prototype(model) => model.prototypes(),
            };
            tensors.insert(format!("coef.{at}"), (rows.shape().into(), rows.as_slice()));
        }
        let path = folder.join(WEIGHTS);
        let views = tensors.into_iter().map(|(name, (shape, numbers))| {
            let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(numbers));
            view.map(|view| (name, view)).map_err(|error| wrong(&path, error.to_string()))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        Ok(sentir_model::layout::write_tensors(&path, views)?)
    }

    /// Reads a classifier.
    ///
    /// # Errors
    /// If there is none, or a file is damaged: sizes, names and numbers are checked.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(DESCRIPTION);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = format!(
                    "this is no classifier: there is no {DESCRIPTION} in it; make one with sentir classify train"
                );
                return Err(wrong(directory, message));
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        let described: Described =
            serde_json::from_str(&text).map_err(|error| wrong(&path, format!("it is damaged: {error}")))?;
        if described.format_version != VERSION {
            let message = format!(
                "its format version is {}, but this sentir reads {VERSION}; train the classifier again",
                described.format_version
            );
            return Err(wrong(&path, message));
        }
        let weights = Weights::open_file(&directory.join(WEIGHTS))?;
        let mut levels: Vec<Level> = Vec::new();
        let mut width = None;
        for (at, own) in described.levels.into_iter().enumerate() {
            let about = |message: String| wrong(&path, format!("level {}: {message}", own.name));
            let mut names: Vec<&String> = own.classes.iter().collect();
            names.sort();
            if own.classes.len() < 2 || names.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(about("its classes are fewer than two, or not different".to_owned()));
            }
            if !(own.scale > 0.0 && own.scale.is_finite()) {
                return Err(about(format!("its scale is {}", own.scale)));
            }
            let before = levels.last().map_or(0, |level| level.classes.len());
            if let Some(parents) = &own.parents {
                let reached = |parent: usize| parents.contains(&parent);
                let fits =
                    parents.len() == own.classes.len() && parents.iter().all(|&parent| parent < before);
                if !fits || !(0..before).all(reached) {
                    return Err(about("its classes do not lie within those of the level before".to_owned()));
                }
            }
            let view = weights.get(&format!("coef.{at}"))?;
            let [classes, dimensions] = view.shape[..] else {
                return Err(about("its weights are no matrix".to_owned()));
            };
            if classes != own.classes.len()
                || dimensions == 0
                || *width.get_or_insert(dimensions) != dimensions
            {
                return Err(about(format!(
                    "weights [{classes}, {dimensions}] are not those of {} classes",
                    own.classes.len()
                )));
            }
            let rows = Rows::new(view.to_f32()?, dimensions)?;
            let head = match own.kind.as_str() {
                "logistic" => {
                    let intercepts =
                        weights.get(&format!("intercept.{at}"))?.expect_shape(&[classes])?.to_f32()?;
                    Head::Logistic(LogisticRegression::from_parts(rows, intercepts)?)
                }
                "prototype" => Head::Prototype(NearestPrototype::from_parts(rows)?),
                other => {
                    return Err(about(format!(
                        "kind \"{other}\" is not known; known are logistic and prototype"
                    )));
                }
            };
            levels.push(Level {
                name: own.name,
                classes: own.classes,
                head,
                scale: own.scale,
                parents: own.parents,
            });
        }
        if levels.is_empty() || levels[0].parents.is_some() {
            return Err(wrong(&path, "it has no first level".to_owned()));
        }
        if described.probe.iter().any(|x| !x.is_finite()) {
            return Err(wrong(&path, "its probe is not finite".to_owned()));
        }
        if described.pairs && width.is_none_or(|width| !width.is_multiple_of(3)) {
            return Err(wrong(&path, "its weights are not those of pairs".to_owned()));
        }
        let Described { model, probe, truncate_dim, pairs, .. } = described;
        Ok(Self { levels, model, probe, truncate_dim, pairs })
    }
}

fn wrong(path: &Path, message: String) -> Error {
    Error::Data { path: path.to_owned(), row: None, message }
}

#[cfg(test)]
mod tests {
    use sentir_vectors::classify::logistic::LogisticOptions;
    use serde_json::{Value, json};

    use super::*;

    fn classifier() -> (TextClassifier, Rows) {
        let number = |i: usize| ((i * i * 7 + i / 3) % 19) as f32 - 9.0;
        let rows = Rows::new((0..60 * 4).map(number).collect(), 4).unwrap();
        let fine: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let coarse: Vec<usize> = fine.iter().map(|label| label / 2).collect();
        let level = |name: &str, classes: &[&str], head, parents| Level {
            name: name.to_owned(),
            classes: classes.iter().map(|name| (*name).to_owned()).collect(),
            head,
            scale: 1.5,
            parents,
        };
        let logistic = LogisticRegression::fit(&rows, &fine, &LogisticOptions::default()).unwrap().model;
        let prototype = NearestPrototype::fit(&rows, &coarse).unwrap();
        let levels = vec![
            level("kind", &["animal", "thing"], Head::Prototype(prototype), None),
            level("name", &["cat", "dog", "bus"], Head::Logistic(logistic), Some(vec![0, 0, 1])),
        ];
        let (model, probe, truncate_dim) = ("m".to_owned(), vec![0.5, 1.0], Some(4));
        (TextClassifier { levels, model, probe, truncate_dim, pairs: false }, rows)
    }

    #[test]
    fn comes_back_from_its_files_and_keeps_to_the_level_before() {
        let (own, rows) = classifier();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        own.write(&path).unwrap();
        let read = TextClassifier::read(&path).unwrap();
        assert_eq!(read, own);
        let found = read.predict(&rows).unwrap();
        for (kind, name) in found[0].iter().zip(&found[1]) {
            let within = kind.classes[0].0;
            assert_eq!([0, 0, 1][name.classes[0].0], within);
            for own in [kind, name] {
                assert!((own.classes.iter().map(|(_, p)| p).sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(own.classes.is_sorted_by(|a, b| a.1 >= b.1));
            }
        }
        assert!(read.predict(&Rows::empty(5)).is_err());
        assert!(own.write(&path).unwrap_err().to_string().contains("exists already"));
    }

    #[test]
    fn damaged_files_are_errors() {
        let (own, _) = classifier();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        own.write(&path).unwrap();
        let text = std::fs::read_to_string(path.join(DESCRIPTION)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        for (pointer, wrong) in [
            ("/format_version", json!(9)),
            ("/levels", json!([])),
            ("/levels/0/classes", json!(["a", "a"])),
            ("/levels/0/classes", json!(["a", "b", "c"])),
            ("/levels/0/kind", json!("forest")),
            ("/levels/0/scale", json!(0.0)),
            ("/levels/1/parents", json!([0, 0, 2])),
            ("/levels/1/parents", json!([0, 0, 0])),
            ("/levels/1/parents", json!([0, 1])),
            ("/probe", json!("x")),
            ("/pairs", json!(true)),
        ] {
            let mut changed = value.clone();
            match changed.pointer_mut(pointer) {
                Some(value) => *value = wrong,
                None => changed[&pointer[1..]] = wrong,
            }
            std::fs::write(path.join(DESCRIPTION), changed.to_string()).unwrap();
            let error = TextClassifier::read(&path).unwrap_err().to_string();
            assert!(error.contains(DESCRIPTION), "{pointer}: {error}");
        }
        std::fs::write(path.join(DESCRIPTION), &text).unwrap();
        let whole = std::fs::read(path.join(WEIGHTS)).unwrap();
        std::fs::write(path.join(WEIGHTS), &whole[..whole.len() - 3]).unwrap();
        assert!(TextClassifier::read(&path).unwrap_err().to_string().contains(WEIGHTS));
        let nothing = TextClassifier::read(folder.path()).unwrap_err().to_string();
        assert!(nothing.contains("sentir classify train"), "{nothing}");
    }
}
