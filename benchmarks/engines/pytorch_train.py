"""Seconds of a step of fine-tuning with PyTorch and transformers: 64 pairs of a workload, in its own (random) order, padded to the
longest of a column, MultipleNegativesRankingLoss, dropout, AdamW. bf16 is autocast over float32 weights, as their trainers do."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", type=Path, required=True, help="a directory that make_shape.py wrote")
parser.add_argument("--workload", type=Path, required=True, help="a file that workloads.py wrote")
parser.add_argument("--dtype", choices=["f32", "bf16"], required=True)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--steps", type=int, default=2)
parser.add_argument("--pairs", type=int, default=64)
parser.add_argument("--gradient-checkpointing", action="store_true")
arguments = parser.parse_args()
os.environ.update(HF_HUB_OFFLINE="1")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(arguments.threads)

import torch  # noqa: E402
import transformers  # noqa: E402

from common import peak_rss_bytes  # noqa: E402

torch.set_num_threads(arguments.threads)
torch.manual_seed(42)
workload = json.loads(arguments.workload.read_text())
sentences = workload["ids"]
begun = time.perf_counter()
model = transformers.AutoModel.from_pretrained(arguments.model, dtype=torch.float32)
model.train()
if arguments.gradient_checkpointing:
    model.gradient_checkpointing_enable()
load_seconds = time.perf_counter() - begun
padding = model.config.pad_token_id
decayed = [p for name, p in model.named_parameters() if "LayerNorm" not in name and "bias" not in name and "pooler" not in name]
others = [p for name, p in model.named_parameters() if ("LayerNorm" in name or "bias" in name) and "pooler" not in name]
optimizer = torch.optim.AdamW(
    [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], lr=2e-5
)


def embed(batch):
    longest = max(map(len, batch))
    ids = torch.full((len(batch), longest), padding)
    mask = torch.zeros_like(ids)
    for row, sentence in enumerate(batch):
        ids[row, : len(sentence)] = torch.tensor(sentence)
        mask[row, : len(sentence)] = 1
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    weights = mask[:, :, None].float()
    return (hidden * weights).sum(1) / weights.sum(1)


seconds, losses, tokens = [], [], 0
for step in range(arguments.steps + 1):
    begun = time.perf_counter()
    columns = []
    for column in range(2):
        first = (2 * step + column) * arguments.pairs
        columns.append([sentences[at % len(sentences)] for at in range(first, first + arguments.pairs)])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.dtype == "bf16"):
        anchors, positives = (torch.nn.functional.normalize(embed(batch).float()) for batch in columns)
    loss = torch.nn.functional.cross_entropy(anchors @ positives.T * 20, torch.arange(arguments.pairs))
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if step > 0:
        seconds.append(time.perf_counter() - begun)
        losses.append(loss.item())
        tokens += sum(len(sentence) for batch in columns for sentence in batch)
print(json.dumps({
    "engine": "pytorch",
    "dtype": arguments.dtype,
    "workload": workload["name"],
    "pairs": arguments.pairs,
    "tokens": tokens // max(arguments.steps, 1),
    "threads": arguments.threads,
    "step_seconds": seconds,
    "losses": losses,
    "load_seconds": load_seconds,
    "peak_rss_bytes": peak_rss_bytes(),
    "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "transformers": transformers.__version__},
}))
