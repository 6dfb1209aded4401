//! Products against the plain loops, and their bits against themselves.

use std::sync::Arc;

use proptest::prelude::*;

use super::plain::dots_on;
use super::product::{gemm_bytes_on, gemm_on};
use super::{Bytes, Epilogue, PackedMatrix, WeightType, gemm, gemm_nt, gemm_with_steps};
use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::mapped::Mapped;
use crate::naive;
use crate::simd::Isa;

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn pools() -> [rayon::ThreadPool; 2] {
    [1, 2].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

/// Each type on each instruction set.
fn everywhere() -> impl Iterator<Item = (Isa, WeightType)> {
    Isa::available().iter().flat_map(|&isa| WeightType::ALL.map(|(kind, _)| (isa, kind)))
}

#[test]
fn packed_parts_make_the_same_weight() {
    let (n, k) = (70, 37);
    let w = numbers(n * k, 5);
    for (kind, _) in WeightType::ALL {
        let packed = PackedMatrix::pack(&w, n, k, kind);
        let copy = |skipped: usize| {
            let bytes: Vec<u8> =
                packed.words()[skipped..].iter().flat_map(|word| word.to_ne_bytes()).collect();
            let length = bytes.len();
            // A vector of bytes need not be aligned to words.
            let aligned = [bytes.clone(), [&[0; 4][..], &bytes].concat()];
            aligned.into_iter().find_map(|bytes| {
                let from =
                    (0..=bytes.len() - length).find(|&at| bytes[at..].as_ptr().align_offset(4) == 0)?;
                Buffer::shared(Arc::new(bytes), from..from + length)
            })
        };
        let Some(buffer) = copy(0) else { continue };
        let parts = (packed.scales().to_vec(), packed.totals().to_vec());
        let again = PackedMatrix::from_parts(kind, n, k, buffer, parts.0.clone(), parts.1.clone()).unwrap();
        for (row, numbers) in w.chunks_exact(k).enumerate() {
            let largest = numbers.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
            let tolerance = match kind {
                WeightType::F32 => 0.0,
                WeightType::Bf16 => largest / 256.0,
                WeightType::Int8 => largest / 253.0,
            };
            let row = packed.row(row);
            assert_eq!(row.len(), k);
            assert!(row.iter().zip(numbers).all(|(a, b)| (a - b).abs() <= tolerance), "{kind}");
        }
        let x = numbers(3 * k, 6);
        let (mut a, mut b) = (vec![0.0; 3 * n], vec![1.0; 3 * n]);
        super::gemm(&x, 3, &packed, Epilogue::default(), &mut a);
        super::gemm(&x, 3, &again, Epilogue::default(), &mut b);
        assert_eq!(a, b);
        if let Some(short) = copy(1) {
            let message = PackedMatrix::from_parts(kind, n, k, short, parts.0, parts.1).unwrap_err();
            assert!(message.contains("words are not a packed"), "{message}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_the_plain_loops(m in 0usize..90, n in 0usize..70, k in 0usize..1100, extras: bool, seed: u64) {
        let (x, w) = (numbers(m * k, seed), numbers(n * k, seed ^ 1));
        let (bias, residual) = (numbers(n, seed ^ 2), numbers(m * n, seed ^ 3));
        let epilogue = if extras {
            Epilogue { bias: Some(&bias), activation: Activation::Gelu, residual: Some(&residual), ..Epilogue::default() }
        } else {
            Epilogue::default()
        };
        let mut expected = vec![0.0; m * n];
        naive::gemm(&x, m, &w, n, k, epilogue.bias, epilogue.activation, epilogue.residual, &mut expected);
        let packed = PackedMatrix::pack(&w, n, k, WeightType::F32).split_if_small();
        let tolerance = (k as f32 + 8.0) * f32::EPSILON;
        for &isa in Isa::available() {
            let mut out = vec![f32::NAN; m * n];
            gemm_on(isa, &x, m, &packed, epilogue, &mut out);
            for (a, e) in out.iter().zip(&expected) {
                prop_assert!((a - e).abs() <= tolerance * e.abs().max(1.0), "{a} for {e}");
            }
            if !extras {
                // A pair has the same product in a matrix and alone, and with its sides exchanged.
                gemm_on(isa, &x, m, &PackedMatrix::for_similarity(&w, n, k), epilogue, &mut out);
                let pairs: Vec<(u32, u32)> =
                    (0..m as u32).flat_map(|i| (0..n as u32).map(move |j| (i, j))).collect();
                let mut alone = vec![f32::NAN; m * n];
                dots_on(isa, &x, &w, k, &pairs, &mut alone);
                prop_assert_eq!(&alone, &out, "{:?}", isa);
                let exchanged: Vec<(u32, u32)> = pairs.iter().map(|&(i, j)| (j, i)).collect();
                dots_on(isa, &w, &x, k, &exchanged, &mut alone);
                prop_assert_eq!(&alone, &out, "{:?}, exchanged", isa);
                if isa == crate::simd::isa() {
                    gemm_nt(&x, m, &w, n, k, &mut out);
                    prop_assert_eq!(&alone, &out);
                }
            }
        }
    }

    #[test]
    fn bf16_equals_the_plain_loops_over_rounded_numbers(m in 0usize..90, n in 0usize..140, k in 0usize..1100, seed: u64) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, seed ^ 1), numbers(n, seed ^ 2));
        let round = |x: &[f32]| x.iter().map(|&x| naive::round_bf16(x)).collect::<Vec<_>>();
        let mut expected = vec![0.0; m * n];
        naive::gemm(&round(&x), m, &round(&w), n, k, Some(&bias), Activation::Identity, None, &mut expected);
        let packed = PackedMatrix::pack(&w, n, k, WeightType::Bf16);
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        // The sums are f32.
        let tolerance = (k as f32 + 8.0) * f32::EPSILON;
        for &isa in Isa::available() {
            let mut out = vec![f32::NAN; m * n];
            gemm_on(isa, &x, m, &packed, epilogue, &mut out);
            for (a, e) in out.iter().zip(&expected) {
                prop_assert!((a - e).abs() <= tolerance * e.abs().max(1.0), "{isa:?}: {a} for {e}");
            }
        }
    }

    #[test]
    fn int8_equals_the_plain_loops_over_integers(m in 0usize..90, n in 0usize..140, k in 1usize..1100, seed: u64) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, seed ^ 1), numbers(n, seed ^ 2));
        let left: Vec<_> = x.chunks_exact(k).map(naive::quantise_row).collect();
        let right: Vec<_> = w.chunks_exact(k).map(naive::quantise).collect();
        let packed = PackedMatrix::pack(&w, n, k, WeightType::Int8);
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        for &isa in Isa::available() {
            let mut out = vec![f32::NAN; m * n];
            gemm_on(isa, &x, m, &packed, epilogue, &mut out);
            for (i, (a, zero, a_scale)) in left.iter().enumerate() {
                for (j, (b, b_scale)) in right.iter().enumerate() {
                    let sum: i32 = a.iter().zip(b).map(|(a, b)| (a - zero) * b).sum();
                    let expected = f64::from(sum) * a_scale * b_scale + f64::from(bias[j]);
                    // A number that lies between two integers may go either way, since its scale is rounded to f32.
                    let slack = 1e-6 * expected.abs().max(1.0) + 3.0 * 127.0 * a_scale * b_scale;
                    let error = (f64::from(out[i * n + j]) - expected).abs();
                    prop_assert!(error <= slack, "{isa:?}: {} for {expected}", out[i * n + j]);
                }
            }
        }
    }

    #[test]
    fn bytes_are_multiplied_exactly(m in 0usize..90, n in 0usize..140, k in 0usize..300, seed: u64) {
        let bytes = |count: usize, seed: u64| numbers(count, seed).iter().map(|x| x.to_bits() as u8).collect::<Vec<_>>();
        let (x, w) = (bytes(m * k, seed), bytes(n * k, seed ^ 1));
        let signed = |bytes: &[u8]| bytes.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>();
        let (signed_x, w) = (signed(&x), signed(&w));
        let packed = PackedMatrix::from_int8(&w, n, k);
        for &isa in Isa::available() {
            let integers = |bytes: &[u8]| bytes.iter().map(|&x| i32::from(x)).collect::<Vec<_>>();
            let signed_integers = signed_x.iter().map(|&x| i32::from(x)).collect::<Vec<_>>();
            for (x, values) in [(Bytes::Unsigned(&x), integers(&x)), (Bytes::Signed(&signed_x), signed_integers)] {
                let mut out = vec![f32::NAN; m * n];
                gemm_bytes_on(isa, x, m, &packed, &mut out);
                for i in 0..m {
                    for j in 0..n {
                        let sum: i32 = (0..k).map(|p| values[i * k + p] * i32::from(w[j * k + p])).sum();
                        prop_assert_eq!(out[i * n + j], sum as f32, "{:?}", isa);
                    }
                }
            }
        }
    }

    #[test]
    fn steps_bound_the_error_of_int8(k in 1usize..400, seed: u64) {
        let x = numbers(2 * k, seed);
        // The unit matrix gives the row back as it was quantised.
        let mut unit = vec![0.0; k * k];
        (0..k).for_each(|i| unit[i * k + i] = 1.0);
        let packed = PackedMatrix::pack(&unit, k, k, WeightType::Int8);
        let mut out = vec![0.0; 2 * k];
        let mut steps = [0.0; 2];
        gemm_with_steps(&x, 2, &packed, &mut out, &mut steps);
        for i in 0..2 {
            for (x, y) in x[i * k..][..k].iter().zip(&out[i * k..]) {
                prop_assert!((x - y).abs() <= 0.5001 * steps[i], "{x} {y} {}", steps[i]);
            }
        }
        let mut alone = vec![0.0; 2 * k];
        gemm(&x, 2, &packed, Epilogue::default(), &mut alone);
        prop_assert_eq!(alone, out);
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others(
        m in 1usize..230, n in 1usize..300, k in 1usize..1100, seed: u64,
        kind in prop::sample::select(WeightType::ALL.map(|(kind, _)| kind).to_vec()),
    ) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, seed ^ 1), numbers(n, seed ^ 2));
        let packed = PackedMatrix::pack(&w, n, k, kind).split_if_small();
        let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Gelu, ..Epilogue::default() };
        for &isa in Isa::available() {
            for pool in pools() {
                let mut all = vec![0.0; m * n];
                pool.install(|| gemm_on(isa, &x, m, &packed, epilogue, &mut all));
                for i in [0, m / 3, m / 2, m - 1] {
                    let mut one = vec![0.0; n];
                    gemm_on(isa, &x[i * k..][..k], 1, &packed, epilogue, &mut one);
                    prop_assert_eq!(&one, &all[i * n..][..n]);
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_among_a_thousand_and_among_few() {
    let (n, k) = (131, 769);
    let w = numbers(n * k, 2);
    for ((isa, kind), m) in everywhere().flat_map(|both| [1000, 23, 16, 7].map(|m| (both, m))) {
        let x = numbers(m * k, 1);
        let packed = PackedMatrix::pack(&w, n, k, kind).split_if_small();
        for pool in pools() {
            let mut all = vec![0.0; m * n];
            pool.install(|| gemm_on(isa, &x, m, &packed, Epilogue::default(), &mut all));
            for i in (0..m).step_by(7) {
                let mut one = vec![0.0; n];
                gemm_on(isa, &x[i * k..][..k], 1, &packed, Epilogue::default(), &mut one);
                assert_eq!(one, all[i * n..][..n], "row {i}");
            }
        }
    }
}

#[test]
fn f32_is_as_exact_on_every_instruction_set() {
    // Numbers of many magnitudes: what is left out of a product of two large ones must not be seen beside small ones.
    let spread = |n, seed| {
        let powers = numbers(n, seed ^ 9);
        numbers(n, seed).iter().zip(powers).map(|(x, power)| x * (6.0 * power).exp2()).collect::<Vec<_>>()
    };
    for k in [32, 384, 1024, 4096] {
        let (m, n) = (33, 64);
        let (x, w) = (spread(m * k, k as u64), spread(n * k, 7));
        let packed = PackedMatrix::pack(&w, n, k, WeightType::F32).split_if_small();
        // In the root mean square, in units of f32 for the sum of magnitudes: no order of a sum is better than half of one.
        let error = |isa| {
            let mut out = vec![0.0; m * n];
            gemm_on(isa, &x, m, &packed, Epilogue::default(), &mut out);
            let mut squares = 0.0;
            for (i, y) in out.iter().enumerate() {
                let products = x[i / n * k..][..k]
                    .iter()
                    .zip(&w[i % n * k..])
                    .map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (sum, magnitude) = products.fold((0.0, 0.0), |(sum, all), p| (sum + p, all + p.abs()));
                squares += ((f64::from(*y) - sum) / magnitude / f64::from(f32::EPSILON)).powi(2);
            }
            (squares / (m * n) as f64).sqrt()
        };
        let plain = error(Isa::Portable);
        assert!(plain < 1.0, "{plain}");
        for &isa in Isa::available() {
            let own = error(isa);
            assert!(own <= 1.05 * plain, "{isa:?}, {k} inputs: {own}, and {plain} without vectors");
        }
    }
}

#[test]
fn nan_and_infinity_stay_in_their_rows() {
    let (m, n, k) = (9, 19, 21);
    let (mut x, w) = (numbers(m * k, 1), vec![1.0; n * k]);
    x[2 * k + 20] = f32::NAN;
    x[5 * k] = f32::INFINITY;
    for (isa, kind) in everywhere() {
        let packed = PackedMatrix::pack(&w, n, k, kind).split_if_small();
        let mut out = vec![0.0; m * n];
        let epilogue = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
        gemm_on(isa, &x, m, &packed, epilogue, &mut out);
        for (i, row) in out.chunks_exact(n).enumerate() {
            assert!(row.iter().all(|y| match i {
                2 => y.is_nan(),
                // Quantised, a row with infinity has no scale; split, it has parts that are not numbers.
                5 if kind == WeightType::Int8 => y.is_nan(),
                5 if kind == WeightType::F32 && isa.has_matrix_unit() => !y.is_finite(),
                5 => *y == f32::INFINITY,
                _ => y.is_finite(),
            }));
        }
    }
}

#[test]
fn a_weight_of_a_file_that_moves_changes_no_bit() {
    let (n, k, m) = (1024, 1040, 2);
    let (w, x) = (numbers(n * k, 3), numbers(m * k, 4));
    let file = tempfile::NamedTempFile::new().unwrap();
    for (kind, _) in WeightType::ALL {
        let packed = PackedMatrix::pack(&w, n, k, kind);
        let bytes: Vec<u8> = packed.words().iter().flat_map(|word| word.to_ne_bytes()).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let mapped = Arc::new(Mapped::open(file.path()).unwrap());
        let panels = Buffer::shared(mapped, 0..bytes.len()).unwrap();
        let parts = (packed.scales().to_vec(), packed.totals().to_vec());
        let from_file = PackedMatrix::from_parts(kind, n, k, panels, parts.0, parts.1).unwrap();
        let (mut expected, mut found) = (vec![0.0; m * n], vec![0.0; m * n]);
        gemm(&x, m, &packed, Epilogue::default(), &mut expected);
        let first = from_file.words().as_ptr();
        for _ in 0..64 {
            gemm(&x, m, &from_file, Epilogue::default(), &mut found);
            assert_eq!(found, expected, "{kind}");
        }
        assert_ne!(from_file.words().as_ptr(), first, "{kind}: it did not move");
    }
}

#[test]
fn int8_of_strange_weights_is_saturated_or_zero() {
    let bytes = |weight: [f32; 4]| {
        PackedMatrix::pack(&weight, 1, 4, WeightType::Int8).words()[0].to_le_bytes().map(u8::cast_signed)
    };
    // 190 times the smallest number there is: a 127th of it is that number again.
    let tiny = f32::from_bits(190);
    assert_eq!(bytes([tiny, -tiny, 0.0, f32::from_bits(50)]), [127, -128, 0, 50]);
    assert_eq!(bytes([1.0, f32::from_bits(0x7FC0_00FF), -0.5, -1.0]), [127, 0, -64, -127]);
    assert_eq!(bytes([1.0, f32::INFINITY, f32::NEG_INFINITY, -1.0]), [0; 4]);
}

#[test]
fn steps_that_bound_nothing_are_said() {
    let packed = PackedMatrix::pack(&[1.0], 1, 1, WeightType::Int8);
    let (mut out, mut steps) = ([0.0; 5], [0.0; 5]);
    gemm_with_steps(&[f32::NAN, f32::INFINITY, 1e-39, 0.0, 255.0], 5, &packed, &mut out, &mut steps);
    assert!(steps[0].is_nan() && steps[1].is_nan());
    assert_eq!(steps[2..], [f32::INFINITY, 0.0, 1.0]);
}
