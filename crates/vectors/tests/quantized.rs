//! Search in compressed vectors against `golden/search.json` (`golden/make_search.py`), and against plain loops.

mod common;

use serde::Deserialize;

use sentir_vectors::Rows;
use sentir_vectors::compress::{Precision, Ranges, quantize};
use sentir_vectors::quantized::{Compressed, QuantizedSearchOptions, Rescore, quantized_search};

use common::numbers;

#[derive(Deserialize)]
struct Case {
    width: usize,
    rows: usize,
    queries: usize,
    top_k: usize,
    precision: String,
    rescore: bool,
    rescore_multiplier: usize,
    /// Whether the candidates of a query are without doubt.
    clear: Vec<bool>,
    ids: Vec<Vec<usize>>,
    scores: Vec<Vec<f64>>,
}

fn parts(width: usize, rows: usize, queries: usize) -> (Rows, Rows, Ranges) {
    let corpus = Rows::new(numbers(rows * width, width as u64), width).unwrap();
    let queries = Rows::new(numbers(queries * width, width as u64 + 1), width).unwrap();
    let ranges = Ranges::from_calibration(&corpus).unwrap();
    (corpus, queries, ranges)
}

#[test]
fn finds_what_sentence_transformers_finds() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/search.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).expect(path)).expect(path);
    assert_eq!(cases.len(), 24);
    let mut compared = 0;
    for case in cases {
        let (corpus, queries, ranges) = parts(case.width, case.rows, case.queries);
        let precision: Precision = case.precision.parse().unwrap();
        let stored = quantize(corpus, precision, Some(&ranges)).unwrap();
        let options = QuantizedSearchOptions {
            top_k: case.top_k,
            rescore: if case.rescore { Rescore::Compressed } else { Rescore::Not },
            rescore_multiplier: case.rescore_multiplier,
        };
        let found =
            quantized_search(&queries, Compressed::of(&stored).unwrap(), Some(&ranges), &options, &|_| true)
                .unwrap();
        assert_eq!(found.len(), case.queries);
        for (query, hits) in found.iter().enumerate() {
            let about = format!("{precision}, rescore {}, width {}, query {query}", case.rescore, case.width);
            let (ids, scores) = (&case.ids[query], &case.scores[query]);
            // FAISS takes the first of equals, as is done here; usearch any.
            if precision == Precision::Binary && case.rescore && !case.clear[query] {
                continue;
            }
            compared += 1;
            assert_eq!(hits.len(), ids.len(), "{about}");
            for (place, hit) in hits.iter().enumerate() {
                let (got, expected) = (f64::from(hit.score), scores[place]);
                assert!(
                    (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                    "{about}: {got} for {expected}"
                );
                // Rows of equal scores may stand in another order, or be others where the list ends.
                let tied = scores.iter().filter(|score| **score == expected).count() > 1
                    || *scores.last().unwrap() == expected;
                assert!(hit.index == ids[place] || tied, "{about}: {hits:?} for {ids:?}");
            }
        }
    }
    assert!(compared > 350, "{compared} searches were compared");
}

#[test]
fn equals_the_plain_loops_in_any_number_of_threads() {
    let (corpus, queries, ranges) = parts(50, 4000, 60);
    for precision in [Precision::Int8, Precision::Uint8, Precision::Binary, Precision::Ubinary] {
        let stored = quantize(corpus.clone(), precision, Some(&ranges)).unwrap();
        let narrow = quantize(queries.clone(), precision, Some(&ranges)).unwrap();
        let integers = |embeddings| -> (Vec<i32>, usize) {
            match Compressed::of(embeddings).unwrap() {
                Compressed::Int8(values) => (values.iter().map(|&x| i32::from(x)).collect(), 50),
                Compressed::Uint8(values) => (values.iter().map(|&x| i32::from(x)).collect(), 50),
                Compressed::Binary(values) => {
                    (values.iter().map(|&x| i32::from(x.cast_unsigned())).collect(), 7)
                }
                Compressed::Ubinary(values) => (values.iter().map(|&x| i32::from(x)).collect(), 7),
            }
        };
        let ((rows, width), (asked, _)) = (integers(&stored), integers(&narrow));
        let score = |a: &[i32], b: &[i32]| -> i32 {
            let pairs = a.iter().zip(b);
            if width == 50 {
                pairs.map(|(a, b)| a * b).sum()
            } else {
                -pairs.map(|(a, b)| (a ^ b).count_ones().cast_signed()).sum::<i32>()
            }
        };
        let options = QuantizedSearchOptions { top_k: 12, rescore: Rescore::Not, ..Default::default() };
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| {
                quantized_search(&queries, Compressed::of(&stored).unwrap(), Some(&ranges), &options, &|_| {
                    true
                })
                .unwrap()
            });
            for (hits, query) in found.iter().zip(asked.chunks(width)) {
                let mut expected: Vec<(i32, usize)> = rows
                    .chunks(width)
                    .enumerate()
                    .map(|(row, values)| (-score(query, values), row))
                    .collect();
                expected.sort_unstable();
                let got: Vec<(i32, usize)> =
                    hits.iter().map(|hit| (-(hit.score as i32), hit.index)).collect();
                assert_eq!(got, expected[..12], "{precision}");
            }
        }
    }
}

#[test]
fn the_whole_vectors_settle_it() {
    let (corpus, queries, ranges) = parts(32, 500, 5);
    for precision in [Precision::Int8, Precision::Ubinary] {
        let stored = quantize(corpus.clone(), precision, Some(&ranges)).unwrap();
        let search = |multiplier| {
            let options = QuantizedSearchOptions {
                top_k: 4,
                rescore: Rescore::Full(corpus.as_slice()),
                rescore_multiplier: multiplier,
            };
            quantized_search(&queries, Compressed::of(&stored).unwrap(), Some(&ranges), &options, &|_| true)
        };
        // With all rows as candidates it is the exact search.
        let options =
            sentir_vectors::top_k::SearchOptions { top_k: 4, similarity: sentir_vectors::Similarity::Dot };
        assert_eq!(search(125).unwrap(), sentir_vectors::top_k::search(&queries, &corpus, &options).unwrap());
        assert!(search(0).unwrap_err().to_string().contains("rescore_multiplier"));
    }
    let stored = quantize(corpus, Precision::Int8, Some(&ranges)).unwrap();
    let search = |queries: &Rows, ranges: Option<&Ranges>| {
        quantized_search(queries, Compressed::of(&stored).unwrap(), ranges, &Default::default(), &|_| true)
    };
    assert!(search(&queries, None).unwrap_err().to_string().contains("ranges"));
    let narrow = Rows::new(vec![1.0; 7], 7).unwrap();
    assert!(search(&narrow, Some(&ranges)).unwrap_err().to_string().contains("not whole rows of 7"));
    assert!(search(&Rows::empty(32), Some(&ranges)).unwrap().is_empty());
}
