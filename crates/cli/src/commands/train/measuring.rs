//! What measures the model during `sentir train`, and which of its findings the card has as whose.

use anyhow::Result;
use sentir::SentenceTransformer;
use sentir::train::data::Dataset;
use sentir::train::evaluate::{EvalLoss, Evaluator, Several, Watch};
use sentir::train::losses::Loss;
use sentir::train::record::Measured;
use sentir::train::trainer::Trained;

use super::Arguments;
use super::settings::Settings;
use crate::interrupt::{self, Interrupted};
use crate::terminal::{self, Progress};

/// What measures the model during training, if something does, and the classes of all; the first says which model is better.
pub(super) fn evaluator<'a>(
    arguments: &Arguments,
    settings: &Settings,
    loss: &'a dyn Loss,
    guide: Option<&'a SentenceTransformer>,
    quiet: bool,
) -> Result<(Option<Several<'a>>, Vec<&'static str>)> {
    let mut all: Vec<(&'static str, Box<dyn Evaluator + 'a>)> = arguments.evaluation.evaluators(quiet)?;
    let eval = eval_datasets(arguments, settings)?;
    if !eval.is_empty() {
        all.push(("", Box::new(EvalLoss::new(eval, loss, guide, &settings.arguments)?)));
    }
    let (classes, all): (Vec<&str>, Vec<_>) = all.into_iter().unzip();
    Ok((if all.is_empty() { None } else { Some(Several::new(all)?) }, classes))
}

/// What the card says of each evaluator; the loss is none.
pub(super) fn measured(
    all: &Several<'_>,
    classes: &[&str],
    trained: &Trained,
    quiet: bool,
) -> Result<Vec<Measured>> {
    let is_logged = trained.state.log.iter().any(|entry| !entry.metrics.is_empty());
    if is_logged && all.parts().any(|(_, metrics)| metrics.is_empty()) {
        // This process went on after the last evaluation, and the log that it read does not say which metric is whose.
        terminal::notice(
            quiet,
            "measuring once more: the log of the run does not say which evaluator found what",
        );
        let progress = Progress::new(quiet, "measuring", "done");
        let tell = |[_, what]: [&str; 2], done: usize, total: usize| {
            progress.describe(what);
            progress.set(done as u64, total as u64);
        };
        let _polling = interrupt::polling();
        let watch = Watch { interrupt: Some(interrupt::flag()), progress: Some(&tell) };
        all.evaluate(&trained.model, watch).map_err(|error| match error {
            sentir::train::Error::Interrupted => {
                Interrupted("interrupted; the model was written, but not its card: the same command with --resume writes it").into()
            }
            other => anyhow::Error::from(other),
        })?;
    }
    let named = all.parts().zip(classes).filter(|(_, class)| !class.is_empty());
    Ok(named
        .map(|((own, metrics), class)| Measured {
            class: (*class).to_owned(),
            name: own.name().to_owned(),
            primary: own.primary_metric(&trained.model),
            metrics: metrics.to_vec(),
        })
        .collect())
}

/// What the loss is measured on.
pub(super) fn eval_datasets(arguments: &Arguments, settings: &Settings) -> Result<Vec<Dataset>> {
    if arguments.eval_data.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Dataset::read("eval", &arguments.eval_data, settings.columns.as_deref())?])
}
