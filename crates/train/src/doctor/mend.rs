//! Applies what the findings of an examination say can be mended.

use std::collections::{BTreeMap, BTreeSet};

use super::{Examination, Fix, of};
use crate::arguments::TrainingArguments;
use crate::data::{Dataset, Labels};
use crate::samplers::BatchSampler;

/// Mends what can be mended, and says what was done, a sentence each. The data must be what was examined; a data set of another length is
/// left alone, and so is one that would lose all of its rows. Afterwards another examination may find what was hidden before.
pub fn fix(
    examination: &Examination,
    datasets: &mut [Dataset],
    arguments: &mut TrainingArguments,
) -> Vec<String> {
    let mut done = Vec::new();
    let mut dropped: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
    for fix in examination.findings.iter().filter_map(|finding| finding.fix.as_ref()) {
        match fix {
            Fix::SetBatchSampler(sampler) if arguments.batch_sampler != *sampler => {
                arguments.batch_sampler = *sampler;
                let name = match sampler {
                    BatchSampler::BatchSampler => "batch_sampler",
                    BatchSampler::NoDuplicates => "no_duplicates",
                    BatchSampler::GroupByLabel => "group_by_label",
                };
                done.push(format!("batch_sampler is now \"{name}\""));
            }
            Fix::SetPrompts(prompts) if arguments.prompts.as_ref() != Some(prompts) => {
                arguments.prompts = Some(prompts.clone());
                let shown = serde_json::to_string(prompts).unwrap_or_default();
                done.push(format!("prompts are now {shown}"));
            }
            Fix::SetGradientCheckpointing if !arguments.gradient_checkpointing => {
                arguments.gradient_checkpointing = true;
                done.push("gradient_checkpointing is now true".to_owned());
            }
            // Said already, by another data set.
            Fix::SetBatchSampler(_) | Fix::SetPrompts(_) | Fix::SetGradientCheckpointing => {}
            Fix::DropRows { dataset, rows } => dropped.entry(*dataset).or_default().extend(rows),
        }
    }
    for (at, rows) in dropped {
        let examined = examination.facts.datasets.get(at).map(|facts| (&facts.name, facts.rows));
        let Some(dataset) = datasets.get_mut(at) else { continue };
        let name = dataset.name.clone();
        if examined != Some((&name, dataset.len())) {
            done.push(format!("\"{name}\" is left alone: it is not the data that was examined"));
        } else if rows.len() == dataset.len() {
            done.push(format!("\"{name}\" is left alone: none of its rows would be left"));
        } else if let Some(kept) = without(dataset, &rows) {
            let (before, after) = (dataset.len(), kept.len());
            *dataset = kept;
            done.push(format!("\"{name}\": {} left out, {after} of {before} kept", of(rows.len(), "row")));
        }
    }
    done
}

/// The data set without these rows; none if labels do not allow it, which they do if they were ever accepted.
fn without(dataset: &Dataset, rows: &BTreeSet<u32>) -> Option<Dataset> {
    let keep = |row: usize| !u32::try_from(row).is_ok_and(|row| rows.contains(&row));
    let mut kept = dataset.clone();
    for column in &mut kept.columns {
        let mut at = 0..;
        column.texts.retain(|_| at.next().is_none_or(keep));
    }
    if let Some(labels) = &dataset.labels {
        let rows = labels.values().chunks_exact(labels.width()).enumerate();
        let values = rows.filter(|(row, _)| keep(*row)).flat_map(|(_, label)| label).copied().collect();
        kept.labels = Some(Labels::new(labels.name(), labels.width(), values).ok()?);
    }
    Some(kept)
}
