"""Computes the coefficients of src/simd/math.rs. Needs numpy and scipy: python coefficients.py

Each is a least-squares fit whose weights are raised where the error is large (Lawson's algorithm), so that the largest
relative error becomes as small as it can. The tests of src/simd/math.rs and src/activation.rs measure the result.
"""

import numpy as np
from scipy.special import erfcx


def fit(name, points, target, variable, degree, first=0, fixed=()):
    """target(points) ~ sum fixed[i] variable^(first+i) + sum c[i] variable^(first+len(fixed)+i), smallest relative error."""
    target = target - sum(c * variable ** (first + i) for i, c in enumerate(fixed)) if fixed else target
    scale = 1 / np.abs(target + sum(c * variable ** (first + i) for i, c in enumerate(fixed)))
    powers = np.stack([variable**i for i in range(first + len(fixed), degree + 1)], axis=1) * scale[:, None]
    norms = np.linalg.norm(powers, axis=0)
    weights = np.full(len(points), 1 / len(points))
    best = np.inf, None
    for _ in range(300):
        root = np.sqrt(weights)
        c = np.linalg.lstsq(powers / norms * root[:, None], target * scale * root, rcond=None)[0] / norms
        error = np.abs(powers @ c - target * scale)
        if error.max() < best[0]:
            best = error.max(), c
        weights *= error
        weights /= weights.sum()
    print(f"{name}: relative error {best[0]:.2e}, ascending", ", ".join(f"{x:.9e}" for x in best[1]))


def chebyshev(low, high, n=2000):
    return low + (high - low) * (1 + np.cos(np.pi * (np.arange(n) + 0.5) / n)) / 2


# e^r on [-ln 2 / 2, ln 2 / 2], 1 + r + r^2 (...)
r = chebyshev(-np.log(2) / 2, np.log(2) / 2)
fit("exp", r, np.exp(r), r, 6, fixed=(1.0, 1.0))

# tanh t / t as a polynomial in t^2 up to t = 0.625
t = chebyshev(1e-4, 0.625)
fit("tanh", t, np.tanh(t) / t, t * t, 5, fixed=(1.0,))

# 1 - Phi(t) = e^(-t^2/2) u P(u), u = 1 / (1 + t / 4): the form of Abramowitz & Stegun 7.1.26
u = chebyshev(1 / (1 + 15 / 4), 1.0)
t = (1 / u - 1) * 4
for degree in (8, 9, 10):
    fit(f"normal tail, degree {degree}", u, erfcx(t / np.sqrt(2)) / 2 / u, u, degree)
