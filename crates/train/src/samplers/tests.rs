//! The samplers against the orders that sentence-transformers made, and their refusals.

use serde_json::Value;

use super::*;
use crate::data::{Dataset, Labels, TextColumn};
use crate::golden;

fn dataset(value: &Value) -> Dataset {
    let texts = |name: &str| TextColumn {
        name: name.to_owned(),
        texts: serde_json::from_value(value[name].clone()).unwrap(),
    };
    let labels = value.get("label").map(|label| {
        let values: Vec<f64> = serde_json::from_value(label.clone()).unwrap();
        Labels::new("label", 1, values).unwrap()
    });
    Dataset::new("data", vec![texts("anchor"), texts("positive")], labels).unwrap()
}

fn settings(case: &Value) -> Settings {
    let get = |name: &str| case[name].clone();
    Settings {
        batch_sampler: serde_json::from_value(get("batch_sampler")).unwrap(),
        multi: serde_json::from_value(get("multi")).unwrap(),
        batch_size: serde_json::from_value(get("batch_size")).unwrap(),
        drop_last: serde_json::from_value(get("drop_last")).unwrap(),
        seed: serde_json::from_value(get("seed")).unwrap(),
        data_seed: serde_json::from_value(get("data_seed")).unwrap(),
        release: serde_json::from_value(get("release")).unwrap(),
    }
}

#[test]
fn batches_are_those_of_sentence_transformers() {
    let golden = golden::read("order.json");
    let cases = golden["orders"].as_array().unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let place = format!("{} (seed {}, drop_last {})", case["name"], case["seed"], case["drop_last"]);
        let datasets: Vec<Dataset> = case["datasets"].as_array().unwrap().iter().map(dataset).collect();
        let sampler = Sampler::new(&datasets.iter().collect::<Vec<_>>(), settings(case)).unwrap();
        assert_eq!(sampler.batches_per_epoch() as u64, case["length"].as_u64().unwrap(), "{place}");
        let offset = |which: usize| datasets[..which].iter().map(Dataset::len).sum::<usize>() as u32;
        for (epoch, expected) in case["epochs"].as_array().unwrap().iter().enumerate() {
            let expected: Vec<Vec<u32>> = serde_json::from_value(expected.clone()).unwrap();
            let found: Vec<Vec<u32>> = (sampler.epoch(epoch).iter())
                .map(|batch| batch.rows.iter().map(|row| row + offset(batch.dataset)).collect())
                .collect();
            assert_eq!(found, expected, "{place}, epoch {epoch}");
        }
    }
}

#[test]
fn hashes_of_content_are_those_of_an_independent_program() {
    for case in golden::read("order.json")["orders"].as_array().unwrap() {
        for (value, expected) in
            case["datasets"].as_array().unwrap().iter().zip(case["sha256"].as_array().unwrap())
        {
            assert_eq!(dataset(value).sha256(), expected.as_str().unwrap(), "{}", case["name"]);
        }
    }
}

fn plain(rows: usize, labels: Option<Vec<f64>>) -> Dataset {
    let texts = (0..rows).map(|row| row.to_string()).collect();
    let labels = labels.map(|values| Labels::new("label", 1, values).unwrap());
    Dataset::new("d", vec![TextColumn { name: "a".into(), texts }], labels).unwrap()
}

#[test]
fn what_cannot_be_sampled_is_refused() {
    let settings = Settings {
        batch_sampler: BatchSampler::BatchSampler,
        multi: None,
        batch_size: 4,
        drop_last: false,
        seed: 1,
        data_seed: None,
        release: Release::V6,
    };
    let error =
        |datasets: &[&Dataset], settings: Settings| Sampler::new(datasets, settings).unwrap_err().to_string();
    let three = plain(3, None);
    let grouped = Settings { batch_sampler: BatchSampler::GroupByLabel, ..settings.clone() };
    let cases = [
        (error(&[&three, &three], settings.clone()), "multi_dataset_batch_sampler"),
        (error(&[], settings.clone()), "0 data sets"),
        (
            error(&[], Settings { multi: Some(MultiDatasetBatchSampler::RoundRobin), ..settings.clone() }),
            "no batch",
        ),
        (error(&[&three], Settings { batch_size: 0, ..settings.clone() }), "batch size is 0"),
        (error(&[&three], Settings { drop_last: true, ..settings.clone() }), "fewer rows than a batch of 4"),
        (error(&[&three], grouped.clone()), "no column of numbers"),
        (error(&[&plain(4, Some(vec![1.0; 4]))], grouped.clone()), "1 labels have two rows"),
        (
            error(&[&plain(4, Some(vec![1.0; 4]))], Settings { batch_size: 5, ..grouped.clone() }),
            "even number",
        ),
        (error(&[&three], Settings { release: Release::V3, ..grouped }), "order of 3.1"),
        (error(&[&plain(0, None)], settings), "0 rows"),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{message}");
    }
}
