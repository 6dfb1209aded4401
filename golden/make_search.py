"""Search in compressed vectors as sentence-transformers does it: golden/search.json.

Vectors are made again by the test from the same integers (`numbers_alike.py`), so only what was found is recorded. Scores of FAISS and usearch
without rescoring are distances or products of their own; here the product of the bytes and the negated number of differing bits are
recorded, from numpy, for the rows that they found."""

import json
from pathlib import Path

import numpy as np
from sentence_transformers.util import quantize_embeddings
from sentence_transformers.util.quantization import semantic_search_faiss, semantic_search_usearch

from numbers_alike import numbers

cases = []
for width, rows, queries, top_k in [(32, 300, 7, 5), (40, 1000, 3, 10), (21, 50, 40, 4)]:
    corpus = numbers(rows * width, width).reshape(rows, width)
    asked = numbers(queries * width, width + 1).reshape(queries, width)
    ranges = np.vstack([corpus.min(0), corpus.max(0)])
    for precision in ["uint8", "int8", "ubinary", "binary"]:
        stored = quantize_embeddings(corpus, precision, ranges=ranges)
        narrow = quantize_embeddings(asked, precision, ranges=ranges)
        for rescore in [True, False]:
            options = dict(corpus_precision=precision, top_k=top_k, ranges=ranges, rescore=rescore, rescore_multiplier=3)
            if precision in ("uint8", "ubinary"):
                found, _ = semantic_search_faiss(asked, stored, **options)[:2]
            else:
                found, _ = semantic_search_usearch(asked, stored, **options)[:2]
            ids = [[hit["corpus_id"] for hit in own] for own in found]
            if rescore:
                scores = [[hit["score"] for hit in own] for own in found]
            elif precision in ("uint8", "int8"):
                scores = [[int(narrow[q].astype(int) @ stored[i].astype(int)) for i in own] for q, own in enumerate(ids)]
            else:
                flip = 0x80 if precision == "binary" else 0
                bits = lambda x: np.unpackbits(x.view(np.uint8) ^ flip)
                scores = [[-int((bits(narrow[q]) != bits(stored[i])).sum()) for i in own] for q, own in enumerate(ids)]
            # Where the last candidate and the first that is none are equally near, which is taken is a matter of luck; FAISS takes the first.
            wanted = top_k * 3 if rescore else top_k
            if precision in ("uint8", "int8"):
                near = narrow.astype(int) @ stored.astype(int).T
            else:
                unpacked = [np.unpackbits(x.view(np.uint8) ^ (0x80 if precision == "binary" else 0), axis=1) for x in (narrow, stored)]
                near = -(unpacked[0][:, None] != unpacked[1][None]).sum(-1)
            ordered = -np.sort(-near, axis=1)
            clear = [wanted >= rows or bool(own[wanted - 1] != own[wanted]) for own in ordered]
            cases.append({
                "width": width, "rows": rows, "queries": queries, "top_k": top_k, "precision": precision,
                "rescore": rescore, "rescore_multiplier": 3, "clear": clear, "ids": ids, "scores": scores,
            })
path = Path(__file__).parent / "search.json"
path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
print(f"{path}: {len(cases)} cases")
