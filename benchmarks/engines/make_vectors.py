"""Vectors to search in, cluster and mine, without a model: points of a 48-dimensional space in 2,000 heaps of different width, projected at
random into `--width` dimensions, of unit length. They look like sentence vectors in what counts here: neighbors stand out, most pairs do not.
Written in parts, so that ten million need no more memory than one. --precision int8 or ubinary writes compressed vectors, as quantize_embeddings of
sentence-transformers makes them, int8 with the ranges of the first part beside them (OUTPUT.ranges.npy)."""

import argparse
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--width", type=int, default=384)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--precision", choices=["float32", "int8", "ubinary"], default="float32")
parser.add_argument("--output", type=Path, required=True, help="an .npy file of float32")
arguments = parser.parse_args()

LATENT, HEAPS, PART = 48, 2_000, 100_000
# The space is the same for every seed: queries are of the kind of the corpus.
space = np.random.default_rng(0)
centers = space.standard_normal((HEAPS, LATENT)).astype(np.float32)
widths = space.uniform(0.2, 1.0, HEAPS).astype(np.float32)
projection = space.standard_normal((LATENT, arguments.width)).astype(np.float32)
random = np.random.default_rng(arguments.seed)
dtype = {"float32": np.float32, "int8": np.int8, "ubinary": np.uint8}[arguments.precision]
width = arguments.width // 8 if arguments.precision == "ubinary" else arguments.width
vectors = np.lib.format.open_memmap(arguments.output, mode="w+", dtype=dtype, shape=(arguments.rows, width))
ranges = None
for start in range(0, arguments.rows, PART):
    count = min(PART, arguments.rows - start)
    heap = random.integers(0, HEAPS, count)
    points = centers[heap] + widths[heap, None] * random.standard_normal((count, LATENT), dtype=np.float32)
    part = points @ projection + 2.0 * random.standard_normal((count, arguments.width), dtype=np.float32)
    part /= np.linalg.norm(part, axis=1, keepdims=True)
    if arguments.precision == "int8":
        if ranges is None:
            ranges = np.vstack([part.min(0), part.max(0)])
            np.save(f"{arguments.output}.ranges.npy", ranges)
        steps = (ranges[1] - ranges[0]) / np.float32(255)
        part = np.clip(np.floor((part - ranges[0]) / steps), 0, 255) - 128
    elif arguments.precision == "ubinary":
        part = np.packbits(part > 0, axis=1)
    vectors[start : start + count] = part.astype(dtype)
vectors.flush()
