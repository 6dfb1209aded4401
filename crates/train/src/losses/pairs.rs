//! Row i of one column against row i of another: similarities, distances, and their gradients, in f64.

use rayon::prelude::*;
use sentir_vectors::Rows;

/// A function of two vectors x and y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pair {
    /// `x·y / (max(‖x‖, ε) max(‖y‖, ε))`: ε = 1e-12 in `pairwise_cos_sim` of sentence-transformers (`util/similarity.py`),
    /// 1e-8 in `torch.cosine_similarity`.
    Cosine(f64),
    /// `x·y`
    Dot,
    /// `‖x − y + ε‖₂`: ε = 1e-6 in `torch.nn.functional.pairwise_distance`, 0 in `pairwise_euclidean_sim`.
    Euclidean(f64),
    /// `‖x − y + ε‖₁`
    Manhattan(f64),
    /// `|x̂·ŷ + Σ_{i<h} (x̂_{h+i} ŷ_i − x̂_i ŷ_{h+i})|`, h = ⌈width / 2⌉, with a zero behind an odd width (`pairwise_angle_sim`,
    /// `util/similarity.py`); x̂ as in cosine with ε = 1e-12.
    Angle,
}

/// A similarity of pairs by its name in `sentence_transformers.util`; higher is more alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PairSimilarity {
    /// `pairwise_cos_sim`
    #[default]
    Cosine,
    /// `pairwise_dot_score`
    Dot,
    /// `pairwise_euclidean_sim`: minus the distance
    Euclidean,
    /// `pairwise_manhattan_sim`: minus the distance
    Manhattan,
    /// `pairwise_angle_sim` of [`super::Angle`]
    Angle,
}

impl PairSimilarity {
    pub(super) const NAMES: [(&'static str, Self); 5] = [
        ("pairwise_cos_sim", Self::Cosine),
        ("pairwise_dot_score", Self::Dot),
        ("pairwise_euclidean_sim", Self::Euclidean),
        ("pairwise_manhattan_sim", Self::Manhattan),
        ("pairwise_angle_sim", Self::Angle),
    ];

    pub(super) fn name(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }

    /// The function and the factor that makes it a similarity.
    pub(super) fn pair(self) -> (Pair, f64) {
        match self {
            Self::Cosine => (Pair::Cosine(1e-12), 1.0),
            Self::Dot => (Pair::Dot, 1.0),
            Self::Euclidean => (Pair::Euclidean(0.0), -1.0),
            Self::Manhattan => (Pair::Manhattan(0.0), -1.0),
            Self::Angle => (Pair::Angle, 1.0),
        }
    }
}

/// A distance of `SiameseDistanceMetric` (`contrastive.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distance {
    /// `1 − cos(x, y)`, with lengths of at least 1e-8
    #[default]
    Cosine,
    /// `‖x − y + 1e-6‖₂`
    Euclidean,
    /// `‖x − y + 1e-6‖₁`
    Manhattan,
}

impl Distance {
    pub(super) const NAMES: [(&'static str, Self); 4] = [
        ("SiameseDistanceMetric.COSINE_DISTANCE", Self::Cosine),
        ("cosine", Self::Cosine),
        ("SiameseDistanceMetric.EUCLIDEAN", Self::Euclidean),
        ("SiameseDistanceMetric.MANHATTAN", Self::Manhattan),
    ];

    /// `(f, a, b)`: the distance is `a + b f`.
    pub(super) fn pair(self) -> (Pair, f64, f64) {
        match self {
            Self::Cosine => (Pair::Cosine(1e-8), 1.0, -1.0),
            Self::Euclidean => (Pair::Euclidean(1e-6), 0.0, 1.0),
            Self::Manhattan => (Pair::Manhattan(1e-6), 0.0, 1.0),
        }
    }
}

/// A distance of `TripletDistanceMetric` (`triplet.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TripletDistance {
    /// `‖x − y‖₂`
    #[default]
    Euclidean,
    /// `1 − cos(x, y)`
    Cosine,
    /// `‖x − y‖₁`
    Manhattan,
}

impl TripletDistance {
    pub(super) const NAMES: [(&'static str, Self); 3] = [
        ("TripletDistanceMetric.EUCLIDEAN", Self::Euclidean),
        ("TripletDistanceMetric.COSINE", Self::Cosine),
        ("TripletDistanceMetric.MANHATTAN", Self::Manhattan),
    ];

    /// `(f, a, b)`: the distance is `a + b f`.
    pub(super) fn pair(self) -> (Pair, f64, f64) {
        match self {
            Self::Euclidean => (Pair::Euclidean(0.0), 0.0, 1.0),
            Self::Cosine => (Pair::Cosine(1e-12), 1.0, -1.0),
            Self::Manhattan => (Pair::Manhattan(0.0), 0.0, 1.0),
        }
    }
}

/// The first name of a choice.
pub(super) fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, choice)| *choice == value).map_or("", |(name, _)| name)
}

/// The length of x, but at least `least`, and whether it is the length: then it depends on x. NaN stays NaN.
pub(super) fn length(x: &[f32], least: f64) -> (f64, bool) {
    let length = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if length < least { (least, false) } else { (length, true) }
}

impl Pair {
    /// f(x, y)
    fn value(self, x: &[f32], y: &[f32]) -> f64 {
        let pairs = || x.iter().zip(y).map(|(&x, &y)| (f64::from(x), f64::from(y)));
        match self {
            Self::Dot => pairs().map(|(x, y)| x * y).sum(),
            Self::Euclidean(epsilon) => pairs().map(|(x, y)| (x - y + epsilon).powi(2)).sum::<f64>().sqrt(),
            Self::Manhattan(epsilon) => pairs().map(|(x, y)| (x - y + epsilon).abs()).sum(),
            Self::Cosine(least) => Self::Dot.value(x, y) / (length(x, least).0 * length(y, least).0),
            Self::Angle => signed_angle(x, y).abs(),
        }
    }

    /// Adds `factor` ∂f/∂x to `dx` and `factor` ∂f/∂y to `dy`. Where f has no derivative (equal vectors in a distance), it is
    /// taken as 0, as torch does.
    fn add_gradient(self, x: &[f32], y: &[f32], factor: f64, dx: &mut [f32], dy: &mut [f32]) {
        let mut add = |i: usize, to_x: f64, to_y: f64| {
            dx[i] += (factor * to_x) as f32;
            dy[i] += (factor * to_y) as f32;
        };
        let numbers = || x.iter().zip(y).map(|(&x, &y)| (f64::from(x), f64::from(y))).enumerate();
        match self {
            Self::Dot => numbers().for_each(|(i, (x, y))| add(i, y, x)),
            Self::Euclidean(epsilon) => {
                let distance = self.value(x, y);
                if distance != 0.0 {
                    numbers().for_each(|(i, (x, y))| {
                        let to_x = (x - y + epsilon) / distance;
                        add(i, to_x, -to_x);
                    });
                }
            }
            Self::Manhattan(epsilon) => numbers().for_each(|(i, (x, y))| {
                let difference = x - y + epsilon;
                let to_x = if difference == 0.0 { 0.0 } else { difference.signum() };
                add(i, to_x, -to_x);
            }),
            // ∂(x̂·v)/∂x = (v − x̂ (x̂·v)) / ‖x‖, or v / ε where the length is less than ε.
            Self::Cosine(least) => {
                let (x_length, y_length) = (length(x, least), length(y, least));
                let cosine = self.value(x, y);
                numbers().for_each(|(i, (x, y))| {
                    let (x, y) = (x / x_length.0, y / y_length.0);
                    let along = |depends: bool| if depends { cosine } else { 0.0 };
                    add(
                        i,
                        (y - x * along(x_length.1)) / x_length.0,
                        (x - y * along(y_length.1)) / y_length.0,
                    );
                });
            }
            // The same with v = ŷ + (−ŷ₂, ŷ₁) for x and x̂ + (x̂₂, −x̂₁) for y, the halves of the vectors.
            Self::Angle => {
                let (x_length, y_length) = (length(x, 1e-12), length(y, 1e-12));
                let half = x.len().div_ceil(2);
                let signed = signed_angle(x, y);
                let sign = if signed == 0.0 { 0.0 } else { signed.signum() };
                let other = |v: &[f32], i: usize| {
                    let j = if i < half { i + half } else { i - half };
                    v.get(j).map_or(0.0, |&v| f64::from(v))
                };
                numbers().for_each(|(i, (a, b))| {
                    let turn = if i < half { 1.0 } else { -1.0 };
                    let to_x = (b - turn * other(y, i)) / y_length.0;
                    let to_y = (a + turn * other(x, i)) / x_length.0;
                    let along = |depends: bool| if depends { signed } else { 0.0 };
                    add(
                        i,
                        sign * (to_x - a / x_length.0 * along(x_length.1)) / x_length.0,
                        sign * (to_y - b / y_length.0 * along(y_length.1)) / y_length.0,
                    );
                });
            }
        }
    }

    /// f(a_i, b_i) for each row.
    pub(super) fn values(self, a: &Rows, b: &Rows) -> Vec<f64> {
        let width = a.width();
        let pairs = a.as_slice().par_chunks_exact(width).zip(b.as_slice().par_chunks_exact(width));
        pairs.map(|(a, b)| self.value(a, b)).collect()
    }

    /// Adds Σ_i factor_i ∂f(a_i, b_i) to the sums of columns `a` and `b`, which are two.
    pub(super) fn add_gradients(
        self,
        columns: &[Rows],
        [a, b]: [usize; 2],
        factors: &[f64],
        sums: &mut [Vec<f32>],
    ) {
        let width = columns[a].width();
        let Ok([to_a, to_b]) = sums.get_disjoint_mut([a, b]) else { return };
        let rows =
            columns[a].as_slice().par_chunks_exact(width).zip(columns[b].as_slice().par_chunks_exact(width));
        let sums = to_a.par_chunks_exact_mut(width).zip(to_b.par_chunks_exact_mut(width));
        rows.zip(sums).zip(factors).for_each(|(((a, b), (to_a, to_b)), &factor)| {
            // Nothing to add; and 0 times the gradient of two zeros would be 0 times infinity.
            if factor != 0.0 {
                self.add_gradient(a, b, factor, to_a, to_b);
            }
        });
    }
}

/// [`Pair::Angle`] before the absolute value.
fn signed_angle(x: &[f32], y: &[f32]) -> f64 {
    let half = x.len().div_ceil(2);
    let products =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    let sines = products(&x[half..], &y[..half]) - products(&x[..half], &y[half..]);
    (products(x, y) + sines) / (length(x, 1e-12).0 * length(y, 1e-12).0)
}
