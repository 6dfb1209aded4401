"""Fine-tunes a model with sentence-transformers' own trainer and measures retrieval before and after: what the same settings give
there. MultipleNegativesRankingLoss (cached, with --mini-batch-size), AdamW, linear schedule, dropout as in the model's configuration.
The last line is JSON. With --checkpoints, a run that was stopped goes on from its last epoch."""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--data", type=Path, required=True, help="JSON lines with anchor and positive")
parser.add_argument("--queries", type=Path, required=True, help="JSON lines with id, text and kb, the id of what answers")
parser.add_argument("--corpus", type=Path, required=True, help="JSON lines with id and question")
parser.add_argument("--epochs", type=float, default=5)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--mini-batch-size", type=int, help="the cached form of the loss, by so many rows at once")
parser.add_argument("--learning-rate", type=float, default=2e-5)
parser.add_argument("--warmup-ratio", type=float, default=0.0)
parser.add_argument("--batch-sampler", choices=["batch_sampler", "no_duplicates"], default="batch_sampler")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--checkpoints", type=Path, help="where each epoch is kept; removed at the end")
parser.add_argument("--threads", type=int, default=os.cpu_count())
options = parser.parse_args()
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(options.threads)

import sentence_transformers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from datasets import Dataset  # noqa: E402
from datasets.fingerprint import Hasher  # noqa: E402
from sentence_transformers import (  # noqa: E402
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator  # noqa: E402
from sentence_transformers.sentence_transformer.losses import (  # noqa: E402
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)

from transformers.trainer_utils import get_last_checkpoint  # noqa: E402

# Names of caches only; pickling a tokenizer for them can fail.
Hasher.hash = classmethod(lambda cls, value: "fixed")
torch.set_num_threads(options.threads)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


rows, queries, corpus = lines(options.data), lines(options.queries), lines(options.corpus)
evaluator = InformationRetrievalEvaluator(
    {row["id"]: row["text"] for row in queries},
    {row["id"]: row["question"] for row in corpus},
    {row["id"]: {row["kb"]} for row in queries},
)


def measure(model):
    found = evaluator(model)
    return {name: found[f"cosine_{name}"] for name in ("accuracy@1", "mrr@10", "ndcg@10")}


model = SentenceTransformer(str(options.model), device="cpu")
before = measure(model)
if options.mini_batch_size:
    loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=options.mini_batch_size)
else:
    loss = MultipleNegativesRankingLoss(model)


class Seconds(transformers.TrainerCallback):
    """How long training took, in all processes together."""

    def __init__(self, path):
        self.path, self.begun = path, time.perf_counter()
        self.before = json.loads(path.read_text()) if path.exists() else 0.0

    def total(self):
        return self.before + time.perf_counter() - self.begun

    def on_save(self, *_, **__):
        self.path.write_text(json.dumps(self.total()))


with tempfile.TemporaryDirectory() as folder:
    folder = str(options.checkpoints or folder)
    os.makedirs(folder, exist_ok=True)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_ratio=options.warmup_ratio,
        batch_sampler=options.batch_sampler,
        logging_steps=10,
        save_strategy="epoch" if options.checkpoints else "no",
        save_total_limit=1,
        report_to="none",
        seed=options.seed,
        use_cpu=True,
    )
    dataset = Dataset.from_dict({name: [row[name] for row in rows] for name in ("anchor", "positive")})
    seconds = Seconds(Path(folder) / "seconds.json")
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=dataset, loss=loss, callbacks=[seconds]
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(folder))
    seconds = seconds.total()
    shutil.rmtree(folder, ignore_errors=True)
print(json.dumps({
    "engine": "sentence-transformers",
    "before": before,
    "after": measure(model),
    "train_seconds": seconds,
    "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    "versions": {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sentence_transformers": sentence_transformers.__version__,
    },
}))
