//! Products against the plain loops, and their bits against themselves.

use proptest::prelude::*;

use super::packed::gemm_on;
use super::plain::gemm_nt_on;
use super::{Epilogue, PackedMatrix};
use crate::activation::Activation;
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_the_plain_loops(m in 0usize..40, n in 0usize..70, k in 0usize..1100, extras: bool, seed: u64) {
        let (x, w) = (numbers(m * k, seed), numbers(n * k, seed ^ 1));
        let (bias, residual) = (numbers(n, seed ^ 2), numbers(m * n, seed ^ 3));
        let epilogue = if extras {
            Epilogue { bias: Some(&bias), activation: Activation::Gelu, residual: Some(&residual) }
        } else {
            Epilogue::default()
        };
        let mut expected = vec![0.0; m * n];
        naive::gemm(&x, m, &w, n, k, epilogue.bias, epilogue.activation, epilogue.residual, &mut expected);
        let packed = PackedMatrix::pack(&w, n, k);
        let tolerance = (k as f32 + 8.0) * f32::EPSILON;
        for &isa in Isa::available() {
            let mut out = vec![f32::NAN; m * n];
            gemm_on(isa, &x, m, &packed, epilogue, &mut out);
            for (a, e) in out.iter().zip(&expected) {
                prop_assert!((a - e).abs() <= tolerance * e.abs().max(1.0), "{a} for {e}");
            }
            if !extras {
                gemm_nt_on(isa, &x, m, &w, n, k, &mut out);
                for (a, e) in out.iter().zip(&expected) {
                    prop_assert!((a - e).abs() <= tolerance * e.abs().max(1.0), "{a} for {e}, unpacked");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others(m in 1usize..230, n in 1usize..300, k in 1usize..1100, seed: u64) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, seed ^ 1), numbers(n, seed ^ 2));
        let packed = PackedMatrix::pack(&w, n, k);
        let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Gelu, residual: None };
        for &isa in Isa::available() {
            for pool in pools() {
                let (mut all, mut all_nt) = (vec![0.0; m * n], vec![0.0; m * n]);
                pool.install(|| gemm_on(isa, &x, m, &packed, epilogue, &mut all));
                pool.install(|| gemm_nt_on(isa, &x, m, &w, n, k, &mut all_nt));
                for i in [0, m / 3, m / 2, m - 1] {
                    let mut one = vec![0.0; n];
                    gemm_on(isa, &x[i * k..][..k], 1, &packed, epilogue, &mut one);
                    prop_assert_eq!(&one, &all[i * n..][..n]);
                    gemm_nt_on(isa, &x[i * k..][..k], 1, &w, n, k, &mut one);
                    prop_assert_eq!(&one, &all_nt[i * n..][..n]);
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_among_a_thousand() {
    let (m, n, k) = (1000, 131, 769);
    let (x, w) = (numbers(m * k, 1), numbers(n * k, 2));
    let packed = PackedMatrix::pack(&w, n, k);
    for &isa in Isa::available() {
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
fn nan_and_infinity_stay_in_their_rows() {
    let (m, n, k) = (9, 19, 21);
    let (mut x, w) = (numbers(m * k, 1), vec![1.0; n * k]);
    x[2 * k + 20] = f32::NAN;
    x[5 * k] = f32::INFINITY;
    let packed = PackedMatrix::pack(&w, n, k);
    for &isa in Isa::available() {
        let mut out = vec![0.0; m * n];
        let epilogue = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
        gemm_on(isa, &x, m, &packed, epilogue, &mut out);
        for (i, row) in out.chunks_exact(n).enumerate() {
            assert!(row.iter().all(|y| match i {
                2 => y.is_nan(),
                5 => *y == f32::INFINITY,
                _ => y.is_finite(),
            }));
        }
    }
}
