"""Records golden/minilm/training.json: fifty steps of fine-tuning all-MiniLM-L6-v2 by sentence-transformers' own trainer.

MultipleNegativesRankingLoss, batches of 64, learning rate 2e-5 with a linear schedule, no dropout, seed 42, over the pairs of
rutube/pairs.jsonl, of which only the hash is kept. Needs accelerate and datasets, the model (scripts/fetch-minilm.sh) and the
data folder. Ten minutes on two cores.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

HERE = Path(__file__).parent
parser = argparse.ArgumentParser()
parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
parser.add_argument("--model", type=Path, default=HERE.parent / "models" / "all-MiniLM-L6-v2")
parser.add_argument("--steps", type=int, default=50)
options = parser.parse_args()

# Names of caches only; pickling a tokenizer for them can fail.
Hasher.hash = classmethod(lambda cls, value: "fixed")

data = options.shared / "data" / "rutube" / "pairs.jsonl"
rows = [json.loads(line) for line in data.read_text().splitlines()]
dataset = Dataset.from_dict({name: [row[name] for row in rows] for name in ["anchor", "positive"]})
model = SentenceTransformer(str(options.model), device="cpu")
for module in model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
arguments = SentenceTransformerTrainingArguments(
    output_dir="/tmp/unused",
    per_device_train_batch_size=64,
    learning_rate=2e-5,
    max_steps=options.steps,
    logging_steps=1,
    save_strategy="no",
    report_to="none",
    seed=42,
    use_cpu=True,
)
trainer = SentenceTransformerTrainer(
    model=model, args=arguments, train_dataset=dataset, loss=MultipleNegativesRankingLoss(model)
)
losses = []
compute = trainer.compute_loss
trainer.compute_loss = lambda *args, **kwargs: (lambda loss: (losses.append(loss.item()), loss)[1])(compute(*args, **kwargs))
trainer.train()
record = {
    "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
    "batch_size": 64,
    "learning_rate": 2e-5,
    "seed": 42,
    "losses": losses,
}
(HERE / "minilm" / "training.json").write_text(json.dumps(record, indent=1) + "\n")
print(losses[:3], losses[-3:])
