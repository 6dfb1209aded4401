"""Tasks of MTEB with all-MiniLM-L6-v2, by other tools: golden/published.json.

banking77: few texts of each class are learned from, ten times, and the accuracies and F1 are kept (AbsTaskClassification: logistic regression of
at most 100 steps over 8 texts a class). MTEB draws the texts at random; here experiment e takes eight in a row, from the (8 e)th of each class
on, so that both sides take the same. Every tenth row is for the test.
tatoeba: the nearest English sentence of each Russian one (BitextMiningEvaluator). xquad: the paragraph of each question among all
(InformationRetrievalEvaluator), in English and in Russian.

    .venv/bin/python golden/make_published.py --model models/all-MiniLM-L6-v2 --data ../shared/data"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_fscore_support

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--data", type=Path, required=True)
arguments = parser.parse_args()
model = SentenceTransformer(str(arguments.model), device="cpu")
record = {}

rows = list(csv.DictReader((arguments.data / "banking77/train.csv").open(encoding="utf-8")))
vectors = model.encode([row["text"] for row in rows])
names = sorted({row["category"] for row in rows})
labels = np.array([names.index(row["category"]) for row in rows])
test = np.arange(len(rows)) % 10 == 0
accuracies, f1s = [], []
for experiment in range(10):
    chosen = []
    for label in range(len(names)):
        own = np.flatnonzero((labels == label) & ~test)
        chosen += [own[(8 * experiment + i) % len(own)] for i in range(8)]
    learned = LogisticRegression(max_iter=100, random_state=42).fit(vectors[chosen], labels[chosen])
    predicted = learned.predict(vectors[test])
    accuracies.append(float((predicted == labels[test]).mean()))
    f1s.append(float(f1_score(labels[test], predicted, average="macro")))
record["banking77"] = {"accuracy": accuracies, "f1": f1s}

sides = [
    (arguments.data / f"tatoeba-rus-eng/tatoeba.rus-eng.{side}").read_text(encoding="utf-8").splitlines() for side in ["rus", "eng"]
]
source, target = (model.encode(side, normalize_embeddings=True) for side in sides)
nearest = np.argmax(source @ target.T, axis=1)
gold = np.arange(len(source))
precision, recall, f1, _ = precision_recall_fscore_support(gold, nearest, average="weighted", zero_division=0)
record["tatoeba"] = {"f1": f1, "accuracy": float((gold == nearest).mean()), "precision": precision, "recall": recall}

for language in ["en", "ru"]:
    articles = json.loads((arguments.data / f"xquad/xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    corpus, queries, relevant = {}, {}, {}
    for article in articles:
        for paragraph in article["paragraphs"]:
            document = str(len(corpus))
            corpus[document] = paragraph["context"]
            for question in paragraph["qas"]:
                queries[question["id"]] = question["question"]
                relevant[question["id"]] = {document}
    found = InformationRetrievalEvaluator(queries, corpus, relevant)(model)
    record[f"xquad-{language}"] = {name: float(found[f"cosine_{name}"]) for name in ["accuracy@1", "mrr@10", "ndcg@10"]}

path = Path(__file__).parent / "published.json"
path.write_text(json.dumps(record, indent=1) + "\n")
print({name: {key: np.mean(value) for key, value in own.items()} for name, own in record.items()})
