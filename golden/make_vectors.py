"""Records golden/vectors.json: what sentence-transformers, numpy and scipy make of vectors, for the tests of crates/vectors.

Similarities of ordinary numbers are computed in float64 from inputs that float32 holds exactly: the mathematical truth.
Where squares overflow or underflow in float32, what it makes of them is recorded beside it (`"float32"`): either is right.
Quantization is always float32, and exact. JSON has no NaN and no infinity, so they become strings.
"""

import json
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from sentence_transformers.util import (
    cos_sim, dot_score, euclidean_sim, manhattan_sim, pairwise_cos_sim, pairwise_dot_score, pairwise_euclidean_sim,
    pairwise_manhattan_sim, quantize_embeddings, semantic_search,
)

logging.disable(logging.WARNING)  # few rows to calibrate with: on purpose
np.seterr(all="ignore")  # what overflows here should
random = np.random.default_rng(11)
f32 = np.float32


def normal(*shape, scale=1.0):
    """Normal numbers, rounded to float32."""
    return (random.standard_normal(shape) * scale).astype(f32)


def listed(values):
    """Nested lists; float32 in nine digits, which hold it exactly."""
    if isinstance(values, torch.Tensor):
        values = values.numpy()
    if values.ndim:
        return [listed(value) for value in values]
    if values.dtype.kind in "iu":
        return int(values)
    number = float(f"{values:.9g}") if values.dtype == f32 else float(values)
    return number if math.isfinite(number) else str(number)


MATRIX = {"cosine": cos_sim, "dot": dot_score, "euclidean": euclidean_sim, "manhattan": manhattan_sim}
PAIRWISE = {"cosine": pairwise_cos_sim, "dot": pairwise_dot_score, "euclidean": pairwise_euclidean_sim,
            "manhattan": pairwise_manhattan_sim}


def scores(a, b, dtype):
    x, y = torch.from_numpy(a.astype(dtype)), torch.from_numpy(b.astype(dtype))
    record = {"matrix": {key: listed(function(x, y)) for key, function in MATRIX.items()}}
    if len(a) == len(b):
        record["pairwise"] = {key: listed(function(x, y)) for key, function in PAIRWISE.items()}
    return record


def similarity(name, a, b):
    assert len(a) <= 25 and len(b) <= 25  # beyond that, cdist no longer subtracts vectors but squares
    return {"name": name, "a": listed(a), "b": listed(b), **scores(a, b, np.float64)}


similarities = [similarity(f"{width} dimensions", normal(5, width), normal(5, width)) for width in [1, 7, 8, 9, 384]]
similarities += [similarity("more of the second", normal(2, 17), normal(9, 17)),
                 similarity("more of the first", normal(9, 33), normal(1, 33))]
x = normal(6, 9)
x[1] = 0
x[4] = -x[3]
x[5] = x[0]
similarities.append(similarity("zeros, opposites and duplicates", x, x))
x = normal(4, 24)
similarities.append(similarity("nearly identical", x, x + (x * f32(2**-20)).astype(f32)))
similarities.append(similarity("nearly identical and long", x * f32(1000) + f32(4096), x * f32(1000) + f32(4096.0625)))
similarities.append(similarity("tiny", normal(4, 8, scale=1e-12), normal(4, 8, scale=1e-11)))
similarities.append(similarity("huge", normal(4, 8, scale=1e15), normal(4, 8, scale=1e15)))
similarities.append(similarity("huge and tiny", normal(3, 8, scale=1e15), normal(3, 8, scale=1e-12)))
extreme = np.array([[1e-30] * 4, [3e20] * 4, [-3e20, 3e20, 0, 0], [0] * 4, [1, 2, 3, 4]], f32)
similarities.append(similarity("squares beyond float32", extreme, extreme) | {"float32": scores(extreme, extreme, f32)})
strange = np.array([[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [1, 2, 3]], f32)
similarities.append(similarity("not finite", strange, strange))


def search(name, queries, corpus, similarity="cosine"):
    """The whole corpus in order for each query, as [index, score]; equal scores by index, where the reference leaves it open."""
    x, y = torch.from_numpy(queries.astype(np.float64)), torch.from_numpy(corpus.astype(np.float64))
    found = semantic_search(x, y, top_k=len(corpus), score_function=MATRIX[similarity])
    hits = [sorted(((hit["corpus_id"], hit["score"]) for hit in one), key=lambda hit: (-hit[1], hit[0])) for one in found]
    return {"name": name, "similarity": similarity, "queries": listed(queries), "corpus": listed(corpus), "hits": hits}


# Small integers, so that equal scores are equal in any arithmetic.
ties = random.integers(-1, 2, (24, 5)).astype(f32)
searches = [search(f"ties, {key}", ties[:4], ties, key) for key in ["dot", "euclidean", "manhattan"]]
searches += [search(f"random, {key}", normal(3, 9), normal(20, 9), key) for key in MATRIX]


def quantization(name, rows, ranges=None, calibration=None, precisions=("int8", "uint8", "binary", "ubinary")):
    record = {"name": name, "rows": listed(rows)}
    for key, value in [("ranges", ranges), ("calibration", calibration)]:
        if value is not None:
            record[key] = listed(value)
    for precision in precisions:
        # Called alone for each, so that no precision profits from another's ranges.
        record[precision] = listed(quantize_embeddings(rows, precision, ranges, calibration))
    return record


quantizations = [quantization(f"{width} dimensions", normal(6, width)) for width in [1, 7, 8, 9]]
quantizations.append(quantization("384 dimensions, ranges of others", normal(3, 384), calibration=normal(12, 384)))
quantizations.append(quantization("one row with ranges", normal(1, 17), ranges=np.array([[-1.5] * 17, [2.25] * 17], f32)))
x = normal(5, 9)
x[:, 2] = 0.25
x[:, 3] = 0
x[:, 4] = [-0.0, 0.0, -1e-45, 1e-45, 0.0]
x[:, 5] = [3e38, -1e30, 2e38, 0, 1]
quantizations.append(quantization("constant, subnormal and huge dimensions", x))
x[:, 6] = [np.inf, -np.inf, 3.4e38, -3.4e38, 7]
quantizations.append(quantization("values beyond the ranges", x, ranges=np.array([[-0.5] * 9, [0.5] * 8 + [-0.5]], f32)))
steps = np.linspace(-1, 1, 256, dtype=f32)  # each on, just below and just above the edge of a step
edges = np.concatenate([steps, np.nextafter(steps, f32(-9)), np.nextafter(steps, f32(9))])[:, None]
quantizations.append(quantization("edges of steps", edges, ranges=np.array([[-1], [1]], f32), precisions=("int8", "uint8")))
x = np.array([[np.nan, 1, -1, np.inf, -np.inf, 0, -0.0, 1e-45, 2, -2]], f32)
quantizations.append(quantization("not finite", x, precisions=("binary", "ubinary")))


def correlation(name, x, y):
    x, y = np.array(x, np.float64), np.array(y, np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constants
        return {"name": name, "x": listed(x), "y": listed(y),
                "pearson": listed(np.float64(scipy.stats.pearsonr(x, y).statistic)),
                "spearman": listed(np.float64(scipy.stats.spearmanr(x, y).statistic))}


x = random.standard_normal(40)
levels = np.round(random.random(40) * 5)
correlations = [
    correlation("random", x, x + random.standard_normal(40)),
    correlation("ties", levels, np.round(levels + random.standard_normal(40))),
    correlation("ties of one", x, levels),
    correlation("monotonic", np.arange(12), np.exp(np.arange(12))),
    correlation("reversed", x, -3 * x + 1),
    correlation("two", [1, 2], [5, 3]),
    correlation("three", [1, 2, 2], [0.5, 0.5, 3]),
    correlation("constant", [0.1] * 7, x[:7]),
    correlation("both constant", [2] * 4, [3] * 4),
    correlation("signed zeros", [0.0, -0.0, 0.0, 1, -1], [1, 2, 3, 4, 5]),
    correlation("tiny", x * 1e-200, levels * 1e-300),
    correlation("huge", x * 1e200, levels * 1e-5),
    correlation("nearly constant", 1e9 + np.round(x * 4), levels),
    correlation("NaN", [1, np.nan, 3, 4], [1, 2, 3, 4]),
]

record = {"similarity": similarities, "search": searches, "quantization": quantizations, "correlation": correlations}
parts = [f'"{key}": [\n' + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]"
         for key, cases in record.items()]
Path(__file__).with_name("vectors.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")
