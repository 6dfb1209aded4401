"""Vectors to search in, cluster and mine, without a model: points of a 48-dimensional space in 2,000 heaps of different width, projected at
random into `--width` dimensions, of unit length. They look like sentence vectors in what counts here: neighbors stand out, most pairs do not.
Written in parts, so that ten million need no more memory than one."""

import argparse
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--width", type=int, default=384)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--output", type=Path, required=True, help="an .npy file of float32")
arguments = parser.parse_args()

LATENT, HEAPS, PART = 48, 2_000, 100_000
# The space is the same for every seed: queries are of the kind of the corpus.
space = np.random.default_rng(0)
centers = space.standard_normal((HEAPS, LATENT)).astype(np.float32)
widths = space.uniform(0.2, 1.0, HEAPS).astype(np.float32)
projection = space.standard_normal((LATENT, arguments.width)).astype(np.float32)
random = np.random.default_rng(arguments.seed)
vectors = np.lib.format.open_memmap(
    arguments.output, mode="w+", dtype=np.float32, shape=(arguments.rows, arguments.width)
)
for start in range(0, arguments.rows, PART):
    count = min(PART, arguments.rows - start)
    heap = random.integers(0, HEAPS, count)
    points = centers[heap] + widths[heap, None] * random.standard_normal((count, LATENT), dtype=np.float32)
    part = points @ projection + 2.0 * random.standard_normal((count, arguments.width), dtype=np.float32)
    vectors[start : start + count] = part / np.linalg.norm(part, axis=1, keepdims=True)
vectors.flush()
