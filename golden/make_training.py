"""Records golden/training: what PyTorch and sentence-transformers give in ten steps of fine-tuning the tiny models.

MultipleNegativesRankingLoss over the pairs of training/pairs.jsonl, batches of six in the order of the file (five batches,
twice), AdamW with a linear schedule, no dropout, everything in float64, so that the numbers are the mathematical truth.
For each model: the ten losses, the gradient norms, and all gradients of the first step.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

HERE = Path(__file__).parent
PAIRS = [json.loads(line) for line in (HERE / "training" / "pairs.jsonl").read_text().splitlines()]
BATCH, STEPS, LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM = 6, 10, 3e-3, 0.1, 1.0

record = {
    "batch_size": BATCH,
    "learning_rate": LEARNING_RATE,
    "weight_decay": WEIGHT_DECAY,
    "max_grad_norm": MAX_GRAD_NORM,
    "models": {},
}
for name in ["bert", "xlm-roberta"]:
    model = SentenceTransformer(str(HERE / "models" / name), device="cpu").double()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    loss = MultipleNegativesRankingLoss(model)
    parameters = [(key, value) for key, value in model.named_parameters() if "pooler" not in key]
    decayed = [value for key, value in parameters if "LayerNorm" not in key and "bias" not in key]
    others = [value for key, value in parameters if "LayerNorm" in key or "bias" in key]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}], lr=LEARNING_RATE
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, (STEPS - step) / STEPS))
    losses, norms = [], []
    for step in range(STEPS):
        start = step * BATCH % len(PAIRS)
        rows = PAIRS[start : start + BATCH]
        columns = [model.preprocess([row[column] for row in rows]) for column in ["anchor", "positive"]]
        value = loss(columns, torch.zeros(len(rows)))
        value.backward()
        if step == 0:
            gradients = {
                key.split(".", 2)[2] if key.startswith("0.") else key: value.grad.float().contiguous().clone()
                for key, value in parameters
                if value.grad is not None
            }
            save_file(gradients, HERE / "training" / f"{name}-gradients.safetensors")
        norms.append(torch.nn.utils.clip_grad_norm_([value for _, value in parameters], MAX_GRAD_NORM).item())
        losses.append(value.item())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    record["models"][name] = {"losses": losses, "gradient_norms": norms}
    print(name, losses)
    print(sorted(gradients)[:4], len(gradients))

(HERE / "training" / "record.json").write_text(json.dumps(record, indent=1) + "\n")
