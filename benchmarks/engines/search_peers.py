"""Exact search, mining and clustering by others, over .npy files of float32: seconds and peak memory, as one JSON line.

`search`: the 10 best of --vectors for each of --queries, by sentence-transformers' semantic_search, FAISS IndexFlatIP (building it is
timed apart) or numpy (a product and argpartition in blocks). `mine`: sentence-transformers' paraphrase_mining_embeddings. `kmeans`:
scikit-learn's MiniBatchKMeans or FAISS' Kmeans, with the inertia over all rows. --output keeps what was found, to compare."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--task", choices=["search", "mine", "kmeans"], required=True)
parser.add_argument("--engine", choices=["sentence-transformers", "faiss", "numpy", "scikit-learn"], required=True)
parser.add_argument("--vectors", type=Path, required=True)
parser.add_argument("--queries", type=Path)
parser.add_argument("--top-k", type=int, default=10)
parser.add_argument("--max-pairs", type=int, default=500_000)
parser.add_argument("--clusters", type=int, default=256)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--output", type=Path)
arguments = parser.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(arguments.threads)

import numpy as np  # noqa: E402

from common import peak_rss_bytes  # noqa: E402

vectors = np.load(arguments.vectors)
queries = np.load(arguments.queries) if arguments.queries else None
versions = {"python": sys.version.split()[0], "numpy": np.__version__}
result = {}

if arguments.engine == "sentence-transformers":
    import sentence_transformers
    import torch
    from sentence_transformers import util

    torch.set_num_threads(arguments.threads)
    versions.update({"torch": torch.__version__, "sentence-transformers": sentence_transformers.__version__})
    vectors = torch.from_numpy(vectors)
elif arguments.engine == "faiss":
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    versions["faiss"] = faiss.__version__
elif arguments.engine == "scikit-learn":
    import sklearn
    from sklearn.cluster import MiniBatchKMeans

    versions["scikit-learn"] = sklearn.__version__


def inertia(centers):
    total = 0.0
    squares = (centers.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(vectors), 100_000):
        part = vectors[start : start + 100_000]
        near = (squares - 2.0 * (part @ centers.T)).min(1)
        total += float(near.sum()) + float((part.astype(np.float64) ** 2).sum())
    return total


begun = time.perf_counter()
if arguments.task == "search":
    if arguments.engine == "sentence-transformers":
        hits = util.semantic_search(torch.from_numpy(queries), vectors, top_k=arguments.top_k)
        found = [[hit["corpus_id"] for hit in own] for own in hits]
    elif arguments.engine == "faiss":
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        result["index_seconds"] = time.perf_counter() - begun
        begun = time.perf_counter()
        found = index.search(queries, arguments.top_k)[1].tolist()
    else:
        best = np.full((len(queries), arguments.top_k), -np.inf, np.float32)
        ids = np.zeros((len(queries), arguments.top_k), np.int64)
        for start in range(0, len(vectors), 100_000):
            scores = queries @ vectors[start : start + 100_000].T
            at = np.argpartition(-scores, arguments.top_k, axis=1)[:, : arguments.top_k]
            best = np.concatenate([best, np.take_along_axis(scores, at, 1)], 1)
            ids = np.concatenate([ids, at + start], 1)
            at = np.argsort(-best, axis=1, kind="stable")[:, : arguments.top_k]
            best, ids = np.take_along_axis(best, at, 1), np.take_along_axis(ids, at, 1)
        found = ids.tolist()
elif arguments.task == "mine":
    pairs = util.paraphrase_mining_embeddings(vectors, max_pairs=arguments.max_pairs)
    found = [[float(score), int(first), int(second)] for score, first, second in pairs]
elif arguments.engine == "faiss":
    kmeans = faiss.Kmeans(vectors.shape[1], arguments.clusters, niter=20, seed=1, max_points_per_centroid=10**9)
    kmeans.train(vectors)
    found = kmeans.centroids
else:
    kmeans = MiniBatchKMeans(arguments.clusters, random_state=1, n_init=1)
    kmeans.fit(vectors)
    found = kmeans.cluster_centers_
result["seconds"] = time.perf_counter() - begun
if arguments.task == "kmeans":
    result["inertia"] = inertia(found)
elif arguments.output:
    arguments.output.write_text(json.dumps(found))
print(json.dumps({
    "engine": arguments.engine, "task": arguments.task, "rows": len(vectors), **result,
    "peak_rss_bytes": peak_rss_bytes(), "versions": versions,
}))
