"""Records golden/mine.json: pairs that `paraphrase_mining_embeddings` of sentence-transformers 6.2 finds among random vectors, in
which no two scores are equal, for several sizes of the result."""

import json
from pathlib import Path

import numpy as np
import torch
from sentence_transformers.util import dot_score, paraphrase_mining_embeddings

HERE = Path(__file__).parent
random = np.random.default_rng(5)
vectors = (np.round(random.standard_normal((60, 6)) * 64) / 64).astype(np.float32)
cases = []
for top_k, max_pairs, dot in [(100, 500000, False), (3, 500000, False), (5, 25, False), (1, 10, False), (4, 40, True)]:
    options = {"score_function": dot_score} if dot else {}
    pairs = paraphrase_mining_embeddings(
        torch.from_numpy(vectors), query_chunk_size=7, corpus_chunk_size=13, top_k=top_k, max_pairs=max_pairs, **options
    )
    cases.append({
        "top_k": top_k,
        "max_pairs": max_pairs,
        "similarity": "dot" if dot else "cosine",
        "count": len(pairs),
        "pairs": [[i, j, float(f"{score:.8g}")] for score, i, j in pairs[:120]],
    })
record = {"vectors": [[float(x) for x in row] for row in vectors], "cases": cases}
(HERE / "mine.json").write_text(json.dumps(record) + "\n")
print([case["count"] for case in cases])
