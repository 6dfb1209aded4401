//! Each function against a naive twin, over odd shapes, ties, NaN, blocks and threads.

use std::cmp::Ordering;

use proptest::prelude::*;

use sentir_vectors::compress::{Embeddings, Precision, Ranges, quantize};
use sentir_vectors::metrics::correlation::{pearson, spearman};
use sentir_vectors::similarity::{matrix, pairwise};
use sentir_vectors::top_k::{Hit, SearchOptions, search};
use sentir_vectors::{Rows, Similarity};

/// `rows` of `width` numbers: a few small integers, so that scores tie, or anything ordinary.
fn some_rows(rows: impl Strategy<Value = usize>, width: usize) -> impl Strategy<Value = Rows> {
    let numbers = prop_oneof![(-2..3_i8).prop_map(f32::from).boxed(), (-8.0..8.0_f32).boxed()];
    (rows, Just(numbers)).prop_flat_map(move |(rows, numbers)| {
        proptest::collection::vec(numbers, rows * width)
            .prop_map(move |values| Rows::new(values, width).unwrap())
    })
}

fn two(rows: usize, width: usize) -> impl Strategy<Value = (Rows, Rows)> {
    (1..=width).prop_flat_map(move |width| (some_rows(0..=rows, width), some_rows(1..=rows, width)))
}

fn any_similarity() -> impl Strategy<Value = Similarity> {
    proptest::sample::select(&Similarity::ALL)
}

/// The formula in float64, and how far float32 may be from it.
fn naive(a: &[f32], b: &[f32], similarity: Similarity) -> (f64, f64) {
    let sum =
        |term: fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| term(a.into(), b.into())).sum::<f64>();
    let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let score = match similarity {
        Similarity::Cosine => sum(|a, b| a * b) / (norm(a).max(1e-12) * norm(b).max(1e-12)),
        Similarity::Dot => sum(|a, b| a * b),
        Similarity::Euclidean => -sum(|a, b| (a - b).powi(2)).sqrt(),
        Similarity::Manhattan => -sum(|a, b| (a - b).abs()),
    };
    let scale = match similarity {
        Similarity::Cosine => 1.0,
        Similarity::Dot => norm(a) * norm(b),
        Similarity::Euclidean | Similarity::Manhattan => score.abs(),
    };
    (score, 2e-6 * scale)
}

fn in_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Every score of the matrix sorted: higher, then earlier; NaN last.
fn naive_search(queries: &Rows, corpus: &Rows, similarity: Similarity, top_k: usize) -> Vec<Vec<Hit>> {
    let scores = matrix(queries, corpus, similarity).unwrap();
    let order = |a: &Hit, b: &Hit| match (a.score.is_nan(), b.score.is_nan()) {
        (false, false) => b.score.partial_cmp(&a.score).unwrap(),
        (true, true) => Ordering::Equal,
        (a, b) => a.cmp(&b),
    };
    let sorted = |scores: &[f32]| {
        let mut hits: Vec<Hit> =
            scores.iter().enumerate().map(|(index, &score)| Hit { index, score }).collect();
        hits.sort_by(order); // stable: equals stay in the order of the corpus
        hits.truncate(top_k);
        hits
    };
    scores.iter().map(sorted).collect()
}

fn assert_same_hits(got: &[Vec<Hit>], expected: &[Vec<Hit>]) {
    let plain = |found: &[Vec<Hit>]| -> Vec<Vec<(usize, u32)>> {
        found.iter().map(|hits| hits.iter().map(|hit| (hit.index, hit.score.to_bits())).collect()).collect()
    };
    assert_eq!(plain(got), plain(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matrix_is_the_formula((a, b) in two(90, 70), similarity in any_similarity()) {
        let scores = matrix(&a, &b, similarity).unwrap();
        prop_assert_eq!(scores.shape(), [a.rows(), b.rows()]);
        for (i, a) in a.iter().enumerate() {
            for (j, b) in b.iter().enumerate() {
                let (expected, tolerance) = naive(a, b, similarity);
                let got = f64::from(scores.row(i)[j]);
                prop_assert!((got - expected).abs() <= tolerance, "[{}, {}]: {} is not {}", i, j, got, expected);
            }
        }
    }

    #[test]
    fn a_score_depends_on_its_two_vectors((a, b) in two(150, 40), similarity in any_similarity(), threads in 1..4_usize) {
        let scores = in_threads(threads, || matrix(&a, &b, similarity)).unwrap();
        for i in (0..a.rows()).step_by(7) {
            for j in (0..b.rows()).step_by(5) {
                let one = |rows: &Rows, index| Rows::new(rows.row(index).to_vec(), rows.width()).unwrap();
                let (a, b) = (one(&a, i), one(&b, j));
                let alone = matrix(&a, &b, similarity).unwrap();
                let reversed = matrix(&b, &a, similarity).unwrap();
                let pair = pairwise(&a, &b, similarity).unwrap();
                prop_assert_eq!(bits(&scores.row(i)[j..=j]), bits(alone.as_slice()));
                prop_assert_eq!(bits(reversed.as_slice()), bits(alone.as_slice()));
                prop_assert_eq!(bits(&pair), bits(alone.as_slice()));
            }
        }
    }

    #[test]
    fn pairwise_is_the_diagonal((a, b) in two(90, 50), similarity in any_similarity()) {
        let rows = a.rows().min(b.rows());
        let cut = |x: &Rows| Rows::new(x.as_slice()[..rows * x.width()].to_vec(), x.width()).unwrap();
        let (a, b) = (cut(&a), cut(&b));
        let pairs = pairwise(&a, &b, similarity).unwrap();
        prop_assert_eq!(pairs.len(), rows);
        if rows > 0 {
            let scores = matrix(&a, &b, similarity).unwrap();
            let diagonal: Vec<f32> = (0..rows).map(|i| scores.row(i)[i]).collect();
            prop_assert_eq!(bits(&pairs), bits(&diagonal));
        }
    }

    #[test]
    fn search_is_a_sort_of_the_matrix(
        (queries, corpus) in two(40, 9), similarity in any_similarity(), top_k in 0..60_usize, nan in any::<bool>(),
    ) {
        let mut corpus = corpus;
        if nan {
            let (width, mut values) = (corpus.width(), corpus.into_vec());
            values[0] = f32::NAN;
            let last = values.len() - 1;
            values[last] = f32::INFINITY;
            corpus = Rows::new(values, width).unwrap();
        }
        let options = SearchOptions { similarity, top_k };
        let expected = naive_search(&queries, &corpus, similarity, top_k);
        assert_same_hits(&search(&queries, &corpus, &options).unwrap(), &expected);
    }

    #[test]
    fn scalar_quantization_is_the_formula((calibration, rows) in two(30, 20)) {
        prop_assume!(calibration.rows() > 0);
        let ranges = Ranges::from_calibration(&calibration).unwrap();
        let width = rows.width();
        let mut expected = Vec::new();
        for row in &rows {
            for (column, &x) in row.iter().enumerate() {
                let values: Vec<f32> = calibration.iter().map(|row| row[column]).collect();
                let minimum = values.iter().copied().fold(f32::INFINITY, f32::min);
                let maximum = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let step = if minimum == maximum { 1.0 } else { (maximum - minimum) / 255.0 };
                // The number of whole steps by counting, in place of floor and clamp.
                let quotient = (x - minimum) / step;
                expected.push((1..=255_u8).filter(|&count| quotient >= f32::from(count)).count() as u8);
            }
        }
        let uint8 = quantize(rows.clone(), Precision::Uint8, Some(&ranges)).unwrap();
        prop_assert_eq!(&uint8, &Embeddings::Uint8 { values: expected.clone(), width });
        let int8 = quantize(rows, Precision::Int8, Some(&ranges)).unwrap();
        let values = expected.iter().map(|&value| (i16::from(value) - 128) as i8).collect();
        prop_assert_eq!(int8, Embeddings::Int8 { values, width });
    }

    #[test]
    fn binary_quantization_is_the_signs((_, rows) in two(20, 40)) {
        let Embeddings::Ubinary { values, width } = quantize(rows.clone(), Precision::Ubinary, None).unwrap() else {
            panic!("another precision");
        };
        prop_assert_eq!(width, rows.width().div_ceil(8));
        prop_assert_eq!(values.len(), rows.rows() * width);
        for (row, bytes) in rows.iter().zip(values.chunks(width)) {
            for bit in 0..8 * width {
                let set = bytes[bit / 8] & (0x80 >> (bit % 8)) != 0;
                prop_assert_eq!(set, row.get(bit).is_some_and(|&x| x > 0.0));
            }
        }
        let Embeddings::Binary { values: signed, .. } = quantize(rows, Precision::Binary, None).unwrap() else {
            panic!("another precision");
        };
        let less_128: Vec<i8> = values.iter().map(|&value| (i16::from(value) - 128) as i8).collect();
        prop_assert_eq!(signed, less_128);
    }

    #[test]
    fn correlations_are_the_formulas(pairs in proptest::collection::vec((-4..5_i8, -9.0..9.0_f64), 2..60)) {
        let (x, y): (Vec<f64>, Vec<f64>) = pairs.into_iter().map(|(x, y)| (f64::from(x), y)).unzip();
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| (a - mean(x)) * (b - mean(y))).sum::<f64>();
        let naive = |x: &[f64], y: &[f64]| product(x, y) / (product(x, x) * product(y, y)).sqrt();
        let ranks = |x: &[f64]| -> Vec<f64> {
            let below = |one: f64| x.iter().filter(|&&other| other < one).count() as f64;
            let equal = |one: f64| x.iter().filter(|&&other| other == one).count() as f64;
            x.iter().map(|&one| below(one) + (equal(one) + 1.0) / 2.0).collect()
        };
        let constant = x.iter().all(|value| *value == x[0]);
        for (got, expected) in [(pearson(&x, &y), naive(&x, &y)), (spearman(&x, &y), naive(&ranks(&x), &ranks(&y)))] {
            let got = got.unwrap();
            let equal = if constant { got.is_nan() } else { (got - expected).abs() <= 1e-9 };
            prop_assert!(equal, "{} is not {}", got, expected);
        }
    }

    #[test]
    fn normalized_rows_have_unit_length((mut rows, _) in two(20, 70)) {
        let before = rows.clone();
        rows.normalize();
        for (row, before) in rows.iter().zip(&before) {
            let norm = before.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
            for (&got, &x) in row.iter().zip(before) {
                prop_assert!((f64::from(got) - f64::from(x) / norm).abs() <= 1e-6);
            }
        }
    }
}

/// More than one block of queries, groups of queries and blocks of the corpus, with ties everywhere.
#[test]
fn search_in_blocks_and_threads() {
    let numbers = |count: usize, seed: usize| {
        (0..count).map(|i| ((i * i + seed * i + i / 7) % 5) as f32 - 2.0).collect()
    };
    let (queries, corpus) =
        (Rows::new(numbers(1100 * 3, 1), 3).unwrap(), Rows::new(numbers(2600 * 3, 2), 3).unwrap());
    for similarity in Similarity::ALL {
        let expected = naive_search(&queries, &corpus, similarity, 7);
        for threads in [1, 2, 5] {
            let options = SearchOptions { similarity, top_k: 7 };
            let got = in_threads(threads, || search(&queries, &corpus, &options)).unwrap();
            assert_same_hits(&got, &expected);
        }
    }
}

/// Enough queries for estimates in int8: what they leave out must be nothing, whatever the lengths, and every score has its bits.
#[test]
fn estimates_miss_nothing() {
    let mut state = 7u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The sum of some uniform numbers is nearly normal.
        (0..4).map(|i| (state >> (16 * i) & 0xFFFF) as f32 / 65536.0 - 0.5).sum::<f32>()
    };
    let width = 40;
    let mut corpus: Vec<f32> = (0..9000 * width).map(|_| number()).collect();
    for (row, values) in corpus.chunks_mut(width).enumerate() {
        // Long and short rows, zeros, and rows of which there are two.
        let scale = [1.0, 1e-3, 30.0, 0.0, 1.0][row % 5];
        values.iter_mut().for_each(|x| *x *= scale);
    }
    corpus.copy_within(0..100 * width, 7000 * width);
    let queries: Vec<f32> = (0..70 * width).map(|_| number()).collect();
    let [queries, mut corpus] = [queries, corpus].map(|values| Rows::new(values, width).unwrap());
    for spoilt in [false, true] {
        if spoilt {
            let mut values = corpus.into_vec();
            values[6000 * width + 3] = f32::NAN;
            values[6500 * width + 3] = f32::INFINITY;
            corpus = Rows::new(values, width).unwrap();
        }
        for similarity in [Similarity::Cosine, Similarity::Dot] {
            let expected = naive_search(&queries, &corpus, similarity, 10);
            for threads in [1, 3] {
                let options = SearchOptions { similarity, top_k: 10 };
                let got = in_threads(threads, || search(&queries, &corpus, &options)).unwrap();
                assert_same_hits(&got, &expected);
            }
        }
    }
}

/// A row too small to be quantised has no estimate, and its score may be the highest all the same.
#[test]
fn rows_of_almost_nothing_are_found() {
    let width = 4;
    let queries = Rows::new(vec![1e38; 40 * width], width).unwrap();
    let mut corpus = Rows::new(vec![1e-41; 9000 * width], width).unwrap();
    corpus.as_mut_slice()[10 * width..11 * width].fill(1e-40);
    corpus.as_mut_slice()[8000 * width..8001 * width].fill(5e-40);
    for hits in search(&queries, &corpus, &SearchOptions { similarity: Similarity::Dot, top_k: 1 }).unwrap() {
        assert_eq!(hits[0].index, 8000);
    }
}
