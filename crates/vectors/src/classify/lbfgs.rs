//! L-BFGS: the lowest point of a smooth function from its values and gradients. Nocedal and Wright, Numerical Optimization (2006): algorithms 7.4
//! (two loops), 7.5, and for the length of a step 3.5 and 3.6 (strong Wolfe conditions).
//!
//! Not here: what is minimised.

use std::cell::Cell;

/// How far back curvature is remembered; as scipy's L-BFGS-B.
const MEMORY: usize = 10;
/// Sufficient decrease and curvature of the Wolfe conditions.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
/// Values are believed up to this part of them, slopes beyond: near the end a step lowers the value by less than its rounding (the approximate Wolfe
/// conditions of Hager and Zhang 2005).
const NOISE: f64 = 1e-6;

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// Where.
    pub x: Vec<f64>,
    /// The value there.
    pub value: f64,
    /// Steps that were taken.
    pub iterations: usize,
    /// Whether the largest component of the gradient came below the tolerance; if not, steps ran out or no longer helped.
    pub converged: bool,
}

/// Goes down from `start` until no component of the gradient is above `tolerance`, or for `max_iter` steps. `function` writes the gradient into its
/// second argument and returns the value.
pub fn minimize(
    start: Vec<f64>,
    tolerance: f64,
    max_iter: usize,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let n = start.len();
    let mut x = start;
    let mut gradient = vec![0.0; n];
    let mut value = function(&x, &mut gradient);
    // Differences of places and of gradients, the oldest first.
    let (mut moves, mut turns): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    for iterations in 0..=max_iter {
        let converged = gradient.iter().all(|g| g.abs() <= tolerance);
        if converged || iterations == max_iter {
            return Minimum { x, value, iterations, converged };
        }
        let mut direction = downhill(&gradient, &moves, &turns);
        let mut slope = dot(&gradient, &direction);
        if slope >= 0.0 {
            (moves, turns) = (Vec::new(), Vec::new());
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        // Without a memory the gradient says nothing about how far to go.
        let first = if moves.is_empty() { (1.0 / dot(&gradient, &gradient).sqrt()).min(1.0) } else { 1.0 };
        let mut place = vec![0.0; n];
        let mut gradient_there = vec![0.0; n];
        // The step that place and gradient there are of.
        let last = Cell::new(0.0);
        let mut along = |step: f64| {
            last.set(step);
            place.iter_mut().zip(&x).zip(&direction).for_each(|((to, x), d)| *to = x + step * d);
            let value = function(&place, &mut gradient_there);
            (value, dot(&gradient_there, &direction))
        };
        let Some((step, value_there)) = length(&mut along, value, slope, first) else {
            return Minimum { x, value, iterations, converged: false };
        };
        if last.get() != step {
            along(step);
        }
        let difference: Vec<f64> = place.iter().zip(&x).map(|(a, b)| a - b).collect();
        let turn: Vec<f64> = gradient_there.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&difference, &turn) > 1e-10 * dot(&turn, &turn) {
            if moves.len() == MEMORY {
                moves.remove(0);
                turns.remove(0);
            }
            moves.push(difference);
            turns.push(turn);
        }
        (x, gradient, value) = (place, gradient_there, value_there);
    }
    unreachable!("the last turn of the loop returns")
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Minus the inverse Hessian, as far as it is remembered, times the gradient (algorithm 7.4).
fn downhill(gradient: &[f64], moves: &[Vec<f64>], turns: &[Vec<f64>]) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut weights = vec![0.0; moves.len()];
    for (i, (s, y)) in moves.iter().zip(turns).enumerate().rev() {
        weights[i] = dot(s, &q) / dot(s, y);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= weights[i] * y);
    }
    if let (Some(s), Some(y)) = (moves.last(), turns.last()) {
        let scale = dot(s, y) / dot(y, y);
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for (i, (s, y)) in moves.iter().zip(turns).enumerate() {
        let back = dot(y, &q) / dot(s, y);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (weights[i] - back) * s);
    }
    q
}

/// A step that meets the strong Wolfe conditions (algorithms 3.5 and 3.6), and the value there; if rounding hides them, one that goes down at least;
/// none if there is none.
fn length(
    along: &mut impl FnMut(f64) -> (f64, f64),
    value: f64,
    slope: f64,
    first: f64,
) -> Option<(f64, f64)> {
    let noise = NOISE * value.abs();
    let low_enough = |step: f64, there: f64| there <= value + DECREASE * step * slope + noise;
    let flat_enough = |slope_there: f64| slope_there.abs() <= -CURVATURE * slope;
    let (mut low, mut low_value, mut low_slope) = (0.0, value, slope);
    let mut step = first;
    let mut high = None;
    for _ in 0..30 {
        let (there, slope_there) = along(step);
        if !there.is_finite() || !low_enough(step, there) || (low > 0.0 && there > low_value + noise) {
            high = Some((step, there));
            break;
        }
        if flat_enough(slope_there) {
            return Some((step, there));
        }
        let before = (low, low_value);
        (low, low_value, low_slope) = (step, there, slope_there);
        if slope_there >= 0.0 {
            high = Some(before);
            break;
        }
        step *= 2.0;
    }
    let (mut high, mut high_value) = high?;
    for _ in 0..40 {
        // The middle, or where the parabola through value and slope at `low` has its lowest point, if that is well inside.
        let width = high - low;
        let curve = 2.0 * (high_value - low_value - low_slope * width);
        let parabola = -low_slope * width * width / curve;
        let inside = curve > 0.0 && (0.1..=0.9).contains(&(parabola / width));
        let step = low + if inside { parabola } else { 0.5 * width };
        let (there, slope_there) = along(step);
        if !there.is_finite() || !low_enough(step, there) || there > low_value + noise {
            (high, high_value) = (step, there);
        } else {
            if flat_enough(slope_there) {
                return Some((step, there));
            }
            if slope_there * (high - low) >= 0.0 {
                (high, high_value) = (low, low_value);
            }
            (low, low_value, low_slope) = (step, there, slope_there);
        }
        if (high - low).abs() <= 1e-12 * low.abs().max(1.0) {
            break;
        }
    }
    (low > 0.0 && low_value <= value + noise).then_some((low, low_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_lowest_point_of_known_functions() {
        // Rosenbrock's valley, whose lowest point is at (1, …, 1).
        let valley = |x: &[f64], gradient: &mut [f64]| {
            gradient.fill(0.0);
            let mut value = 0.0;
            for i in 0..x.len() - 1 {
                let (a, b) = (1.0 - x[i], x[i + 1] - x[i] * x[i]);
                value += a * a + 100.0 * b * b;
                gradient[i] += -2.0 * a - 400.0 * b * x[i];
                gradient[i + 1] += 200.0 * b;
            }
            value
        };
        let found = minimize(vec![-1.2, 1.0, -0.5, 2.0, 0.0, 3.0], 1e-9, 500, valley);
        assert!(found.converged && found.iterations < 120, "{found:?}");
        assert!(found.x.iter().all(|x| (x - 1.0).abs() < 1e-7), "{found:?}");
        // A bowl that is a million times as steep in one direction.
        let bowl = |x: &[f64], gradient: &mut [f64]| {
            let steep = |i: usize| 10f64.powi(i as i32);
            (0..x.len()).for_each(|i| gradient[i] = steep(i) * (x[i] - 3.0));
            (0..x.len()).map(|i| 0.5 * steep(i) * (x[i] - 3.0).powi(2)).sum()
        };
        let found = minimize(vec![0.0; 7], 1e-8, 200, bowl);
        assert!(found.converged && found.x.iter().all(|x| (x - 3.0).abs() < 1e-7), "{found:?}");
    }

    #[test]
    fn steps_run_out_and_a_flat_place_is_the_end() {
        let bowl = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = 4.0 * x[0].powi(3);
            x[0].powi(4)
        };
        let found = minimize(vec![100.0], 1e-12, 2, bowl);
        assert!(!found.converged && found.iterations == 2 && found.value < 1e8);
        let found = minimize(vec![0.0], 1e-12, 50, bowl);
        assert!(found.converged && found.iterations == 0);
    }
}
