"""Numbers that Rust and Python make alike, so that only what comes of them is recorded (`crates/vectors/tests/common/mod.rs`)."""

import numpy as np


def numbers(count, seed):
    """The same integers in every language: an LCG of 64 bits, its upper bits as float32 in [-0.5, 0.5)."""
    values, state = [], seed
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 40) / 2**24 - 0.5)
    return np.array(values, dtype=np.float32)
