"""Hard negatives that sentence-transformers mines with `models/bert`: golden/hard_negatives.json. After make_models.py."""

import json
from pathlib import Path

from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

HERE = Path(__file__).parent
ANCHORS = [
    "how to open the door", "where is my parcel", "what does it cost", "can I pay later", "the lamp is broken",
    "who do I call at night", "how to open the door", "is there parking", "may I bring a dog", "what does it cost",
]
POSITIVES = [
    "turn the key twice to the left", "your parcel lies in the yellow box", "a ticket is four coins", "yes, within thirty days",
    "new lamps are in the cellar", "the night watch answers at nine", "push the handle down first", "behind the house, for guests",
    "small dogs are welcome", "children travel for half of it",
]
OTHERS = [
    "the museum closes on Monday", "bread is baked at five", "a ticket is four coins", "the river is cold in May",
    "keys are kept at the desk", "dogs sleep in the barn", "the bill comes by letter", "coins are counted twice",
]
OPTIONS = [
    {},
    {"num_negatives": 2, "range_min": 1},
    {"num_negatives": 2, "absolute_margin": 0.01},
    {"num_negatives": 2, "relative_margin": 0.02, "range_max": 8},
    {"num_negatives": 3, "max_score": 0.9, "min_score": 0.2},
    {"num_negatives": 2, "output_format": "n-tuple", "output_scores": True},
    {"num_negatives": 2, "output_format": "labeled-pair"},
    {"num_negatives": 2, "output_format": "labeled-pair", "output_scores": True},
    {"num_negatives": 2, "output_format": "labeled-list"},
    {"num_negatives": 2, "output_format": "labeled-list", "output_scores": True, "absolute_margin": 0.02},
    {"num_negatives": 2, "output_scores": True},
    {"num_negatives": 3, "output_format": "n-tuple", "include_positives": True},
]
model = SentenceTransformer(str(HERE / "models/bert"), device="cpu")
dataset = Dataset.from_dict({"question": ANCHORS, "answer": POSITIVES})
cases = []
for corpus in [None, OTHERS]:
    for options in OPTIONS:
        found = mine_hard_negatives(
            dataset, model, anchor_column_name="question", positive_column_name="answer", corpus=corpus, verbose=False, **options
        ) if "output_format" in options else mine_hard_negatives(
            dataset, model, anchor_column_name="question", positive_column_name="answer", corpus=corpus, verbose=False,
            output_format="triplet", **options
        )
        cases.append({"options": options, "corpus": corpus is not None, "columns": found.column_names, "rows": [dict(row) for row in found]})
text = json.dumps({"anchors": ANCHORS, "positives": POSITIVES, "others": OTHERS, "cases": []}, ensure_ascii=False)
lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
(HERE / "hard_negatives.json").write_text(text[:-3] + "[\n" + lines + "\n]}\n")
print(len(cases), [len(case["rows"]) for case in cases])
