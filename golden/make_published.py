"""Tasks of MTEB with all-MiniLM-L6-v2, by other tools: golden/published.json.

banking77: classification by mteb's own code, every tenth row for the test; clustering too, in three sets of every twelfth row, and by draws
from the rows of the test.
tatoeba: the nearest English sentence of each Russian one (BitextMiningEvaluator). xquad: the paragraph of each question among all
(InformationRetrievalEvaluator), in English and in Russian.

    .venv/bin/python golden/make_published.py --model models/all-MiniLM-L6-v2 --data ../shared/data"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict
from mteb.tasks.classification.eng.banking77_classification import Banking77Classification
from mteb.tasks.clustering.eng.twenty_newsgroups_clustering import TwentyNewsgroupsClustering, TwentyNewsgroupsClusteringFast
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sklearn.metrics import precision_recall_fscore_support

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--data", type=Path, required=True)
arguments = parser.parse_args()
model = SentenceTransformer(str(arguments.model), device="cpu")
record = {}

rows = list(csv.DictReader((arguments.data / "banking77/train.csv").open(encoding="utf-8")))
texts, labels = [row["text"] for row in rows], [row["category"] for row in rows]


class Encoder:
    """What mteb asks of a model: vectors of the texts that a loader gives."""

    mteb_model_meta = None

    def encode(self, inputs, **_):
        return model.encode([text for batch in inputs for text in batch["text"]])

    def similarity(self, left, right):
        return model.similarity(left, right)

    def similarity_pairwise(self, left, right):
        return model.similarity_pairwise(left, right)


def measured(task, splits):
    """What mteb finds, with texts of ours in place of those that it would download."""
    task.dataset, task.data_loaded = DatasetDict({name: Dataset.from_dict(split) for name, split in splits.items()}), True
    return task.evaluate(Encoder(), "test", encode_kwargs={})["default"]


def part(chosen):
    return {"text": [texts[i] for i in chosen], "label": [labels[i] for i in chosen]}


test = [i for i in range(len(rows)) if i % 10 == 0]
found = measured(Banking77Classification(), {"train": part([i for i in range(len(rows)) if i % 10]), "test": part(test)})
names = ["accuracy", "f1", "f1_weighted", "precision", "precision_weighted", "recall", "recall_weighted"]
record["banking77"] = {name: found[name] for name in names}
sets = [part(range(start, len(rows), 12)) for start in range(3)]
found = measured(TwentyNewsgroupsClustering(), {"test": {"sentences": [own["text"] for own in sets], "labels": [own["label"] for own in sets]}})
record["banking77-sets"] = {name: found[name] for name in ["v_measure", "v_measure_std"]}
task = TwentyNewsgroupsClusteringFast()
# All texts take part: the draws are what is measured.
task.max_document_to_embed, task.max_fraction_of_documents_to_embed = None, None
found = measured(task, {"test": {"sentences": part(test)["text"], "labels": part(test)["label"]}})
record["banking77-draws"] = {name: found[name] for name in ["v_measure", "v_measure_std"]}

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
