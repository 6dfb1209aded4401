//! Random weights of a new model. Not the random numbers of order and of dropout.

use crate::order::Mt19937;

/// Normal deviates of mean 0 and standard deviation 1, a function of the seed: Box and Muller, "A Note on the Generation of
/// Random Normal Deviates" (1958), over the words of MT19937. They are not PyTorch's of that seed.
pub(super) struct Normal {
    words: Mt19937,
    second: Option<f64>,
}

impl Normal {
    pub(super) fn new(seed: u64) -> Self {
        Self { words: Mt19937::new(seed), second: None }
    }

    pub(super) fn next(&mut self) -> f64 {
        if let Some(second) = self.second.take() {
            return second;
        }
        // From (0, 1], whose logarithm is finite, and from [0, 1).
        let first = (f64::from(self.words.next_u32()) + 1.0) / 2f64.powi(32);
        let angle = f64::from(self.words.next_u32()) / 2f64.powi(32) * std::f64::consts::TAU;
        let length = (-2.0 * first.ln()).sqrt();
        self.second = Some(length * angle.sin());
        length * angle.cos()
    }

    pub(super) fn fill(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        (0..count).map(|_| (self.next() * deviation) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_a_normal_distribution() {
        let mut normal = Normal::new(42);
        let values: Vec<f64> = (0..200_000).map(|_| normal.next()).collect();
        let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / values.len() as f64;
        // Each within five of its standard errors: 1/√n, √2/√n, √15/√n, √96/√n.
        let error = 5.0 / (values.len() as f64).sqrt();
        for (power, expected, factor) in [(1, 0.0, 1.0), (2, 1.0, 2f64), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let found = moment(power);
            assert!((found - expected).abs() < error * factor.sqrt(), "moment {power}: {found}");
        }
        assert_eq!(Normal::new(1).fill(9, 0.5), Normal::new(1).fill(9, 0.5));
        assert_ne!(Normal::new(1).fill(9, 0.5), Normal::new(2).fill(9, 0.5));
    }
}
