"""Records golden/metrics.json: what InformationRetrievalEvaluator of sentence-transformers makes of random scores.

Scores are small integers, so that many are equal: the evaluator orders them by (-score, corpus id). The ranking is recorded
as rows of the corpus, by this script's own sort in the same order; documents are called so that the order of their names
is the order of their rows.
"""

import json
import random
from pathlib import Path

from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

random.seed(5)


def case(name, queries, documents, levels, most_relevant, **cutoffs):
    names = [f"{row:04}" for row in range(documents)]
    relevant = [sorted(random.sample(range(documents), random.randint(1, most_relevant))) for _ in range(queries)]
    evaluator = InformationRetrievalEvaluator(
        queries={str(query): "" for query in range(queries)}, corpus=dict.fromkeys(names, ""),
        relevant_docs={str(query): {names[row] for row in rows} for query, rows in enumerate(relevant)}, **cutoffs)
    depth = max(max(getattr(evaluator, key)) for key in
                ["accuracy_at_k", "precision_recall_at_k", "ndcg_at_k", "mrr_at_k", "map_at_k"])
    rankings, found = [], []
    for rows in relevant:
        # Relevant documents score higher more often than not, so that no metric is near 0.
        scores = [random.randrange(levels) + 2 * (row in rows) for row in range(documents)]
        ranking = sorted(range(documents), key=lambda row: (-scores[row], row))[:depth]
        rankings.append(ranking)
        # In any order: the evaluator sorts.
        found.append([{"corpus_id": names[row], "score": scores[row]} for row in random.sample(ranking, len(ranking))])
    metrics = [[key.replace("@k", f"@{k}"), float(value)]
               for key, values in evaluator.compute_metrics(found).items() for k, value in values.items()]
    return {"name": name, "cutoffs": cutoffs, "rankings": rankings, "relevant": relevant, "metrics": metrics}


cases = [
    case("defaults", 12, 150, 9, 6),
    case("one relevant document", 9, 40, 12, 1),
    case("a corpus smaller than the cutoffs", 5, 4, 3, 4),
    case("other cutoffs", 8, 60, 5, 12, accuracy_at_k=[2], precision_recall_at_k=[7, 20], ndcg_at_k=[1, 5, 30],
         mrr_at_k=[3, 100], map_at_k=[4, 10]),
    case("most documents are relevant", 1, 30, 1, 30),
]
lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
Path(__file__).with_name("metrics.json").write_text(f"[\n{lines}\n]\n")
