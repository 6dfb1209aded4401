"""Clusterings by scikit-learn and sentence-transformers: golden/clusters.json. Rows are made again by the test from the same integers
(`numbers_alike.py`); all are scaled to unit length before, in float64, as the test's library does in float32."""

import json
from pathlib import Path

import numpy as np
from sentence_transformers.util import community_detection
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

from numbers_alike import numbers


def groups(rows, width, count, spread, seed):
    """Row i is around center i² mod count, more tightly around the first centers than around the last."""
    centers = numbers(count * width, seed).reshape(count, width)
    noise = numbers(rows * width, seed + 1).reshape(rows, width)
    own = np.array([i * i % count for i in range(rows)])
    tightness = np.float32(spread) * (np.float32(0.4) + own.astype(np.float32) / np.float32(count))
    return (centers[own] + tightness[:, None] * noise).astype(np.float32)


def unit(x):
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


record = {"agglomerative": [], "hdbscan": [], "community": [], "kmeans": [], "pca": [], "maps": []}
for rows, width, count, spread, seed in [(60, 5, 7, 1.0, 1), (150, 8, 11, 1.2, 2), (200, 3, 13, 0.8, 3)]:
    shape = {"rows": rows, "width": width, "count": count, "spread": spread, "seed": seed}
    x = groups(rows, width, count, spread, seed)
    for linkage in ["average", "complete", "single", "ward"]:
        by_count = AgglomerativeClustering(n_clusters=6, linkage=linkage).fit(unit(x)).labels_
        by_distance = AgglomerativeClustering(n_clusters=None, distance_threshold=0.6, linkage=linkage).fit(unit(x)).labels_
        record["agglomerative"].append({**shape, "linkage": linkage, "six": by_count.tolist(), "near": by_distance.tolist()})
    for size, samples in [(5, 1), (3, 2), (8, 2), (5, None), (6, 3), (10, 4), (4, 3)]:
        find = lambda x: HDBSCAN(min_cluster_size=size, min_samples=samples, copy=True).fit(x).labels_
        labels = find(unit(x))
        # Clusters that are equally far apart join in the order of rows there: only what no order changes is kept.
        orders = [np.random.default_rng(i).permutation(rows) for i in range(20)]
        together = lambda labels: (labels[:, None] == labels[None]) & (labels[:, None] >= 0)
        if any((together(find(unit(x)[order])) != together(labels)[np.ix_(order, order)]).any() for order in orders):
            continue
        record["hdbscan"].append({**shape, "min_cluster_size": size, "min_samples": samples, "labels": labels.tolist()})
    for threshold, size in [(0.75, 5), (0.9, 2), (0.97, 1), (0.5, 20)]:
        found = community_detection(x, threshold=threshold, min_community_size=size, batch_size=64)
        record["community"].append({**shape, "threshold": threshold, "min_community_size": size, "communities": found})
    record["kmeans"].append({**shape, "inertia": float(KMeans(9, n_init=30, random_state=1).fit(unit(x)).inertia_)})
    record["pca"].append({**shape, "points": PCA(2).fit_transform(unit(x)).tolist()})
for rows, width, count, spread, seed in [(400, 24, 12, 1.0, 4), (150, 8, 11, 1.2, 2)]:
    x = unit(groups(rows, width, count, spread, seed))
    kept = {name: float(trustworthiness(x, how.fit_transform(x), n_neighbors=12)) for name, how in [("t_sne", TSNE(init="pca")), ("pca", PCA(2))]}
    record["maps"].append({"rows": rows, "width": width, "count": count, "spread": spread, "seed": seed, **kept})
# No cosine is so near to a threshold that rounding decides.
for case in record["community"]:
    x = unit(groups(*(case[key] for key in ["rows", "width", "count", "spread", "seed"])))
    assert np.abs(x @ x.T - case["threshold"]).min() > 1e-6
path = Path(__file__).parent / "clusters.json"
path.write_text(json.dumps(record) + "\n")
print(path.stat().st_size, [len(set(case["labels"])) for case in record["hdbscan"]], [len(case["communities"]) for case in record["community"]])
