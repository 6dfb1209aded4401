"""Computes the coefficients of src/simd/math.rs. Needs numpy and scipy: python coefficients.py

Each is a least-squares fit whose weights are raised where the error is large (Lawson's algorithm), so that the largest
relative error becomes as small as it can. The tests of src/simd/math.rs and src/activation.rs measure the result.
"""

import numpy as np
from scipy.special import erfc


def fit(name, target, variable, degree, fixed=()):
    """target ~ sum fixed[i] variable^i + sum c[i] variable^(len(fixed)+i), smallest relative error."""
    rest = target - sum(c * variable**i for i, c in enumerate(fixed))
    powers = np.stack([variable**i for i in range(len(fixed), degree + 1)], axis=1)
    error, c = smallest_error(powers / target[:, None], rest / target)
    show(f"{name}: relative error {error:.2e}", c)


def smallest_error(powers, target):
    """max |powers c - target| and c for which it is smallest."""
    norms = np.linalg.norm(powers, axis=0)
    weights = np.full(len(target), 1 / len(target))
    best = np.inf, None
    for _ in range(300):
        root = np.sqrt(weights)
        c = np.linalg.lstsq(powers / norms * root[:, None], target * root, rcond=None)[0] / norms
        error = np.abs(powers @ c - target)
        if error.max() < best[0]:
            best = error.max(), c
        weights *= error
        weights /= weights.sum()
    return best


def show(what, coefficients):
    print(f"{what}, ascending", ", ".join(f"{c:.9e}" for c in coefficients))


def chebyshev(low, high, n=2000):
    return low + (high - low) * (1 + np.cos(np.pi * (np.arange(n) + 0.5) / n)) / 2


# e^r on [-ln 2 / 2, ln 2 / 2], 1 + r + r^2 (...)
r = chebyshev(-np.log(2) / 2, np.log(2) / 2)
fit("exp", np.exp(r), r, 6, fixed=(1.0, 1.0))

# tanh t / t as a polynomial in t^2 up to t = 0.625
t = chebyshev(1e-4, 0.625)
fit("tanh", np.tanh(t) / t, t * t, 5, fixed=(1.0,))

# GELU: t (1 - Phi(t)) ~ t p^8 up to t = 8, p = (8 - t) r(t) a polynomial that ends in zero, in ascending powers of n = -t.
# The eighth root is smoother than the Gaussian in it, and so needs few terms. An error d of p is one of 8 t p^7 d; the small
# constant keeps p near zero where its eighth power is below everything.
t = chebyshev(0, 8)
root = (erfc(t / np.sqrt(2)) / 2) ** (1 / 8)
scale = 8 * t * root**7 + 1e-7
error, r = smallest_error(np.stack([(8 - t) * (-t) ** i for i in range(8)], axis=1) * scale[:, None], root * scale)
p = np.convolve(r, [8, 1])
show(f"gelu: absolute error {error:.2e}", [p[0] - 1, *p[1:]])
