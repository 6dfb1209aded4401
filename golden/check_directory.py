"""Opens a model directory in the installed sentence-transformers and compares its vectors: `check_directory.py DIR VECTORS.npy TEXTS.jsonl`.

Prints the release and the largest difference of a component, and fails above 1e-5. With `--save OUT` it also saves the model there, as
a directory that sentence-transformers itself wrote. No network.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import sentence_transformers
from sentence_transformers import SentenceTransformer

parser = argparse.ArgumentParser()
parser.add_argument("directory")
parser.add_argument("vectors", type=Path)
parser.add_argument("texts", type=Path)
parser.add_argument("--column", default="text")
parser.add_argument("--save")
options = parser.parse_args()
texts = [json.loads(line)[options.column] for line in options.texts.read_text(encoding="utf-8").splitlines()]
model = SentenceTransformer(options.directory, device="cpu")
difference = float(np.abs(model.encode(texts) - np.load(options.vectors)).max())
print(f"sentence-transformers {sentence_transformers.__version__}: {difference:.1e}")
assert difference <= 1e-5, difference
if options.save:
    model.save(options.save)
