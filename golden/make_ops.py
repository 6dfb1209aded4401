"""Records golden/ops.json: what PyTorch and sentence-transformers compute for the operations of crates/compute/src/ops.

Everything is computed in float64 from inputs that float32 holds exactly, so the numbers are the mathematical truth to
about 1e-15 and each backend is compared with its own tolerance.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.modules import Pooling

torch.manual_seed(7)


def random(*shape, scale=1.0):
    """Normal numbers, rounded to float32."""
    return (torch.randn(*shape) * scale).double()


def plain(values):
    """A tensor as nested lists; JSON has no infinity, so it becomes a string."""
    if isinstance(values, list):
        return [plain(value) for value in values]
    return values if math.isfinite(values) else str(values)


def listed(tensor):
    return plain(tensor.tolist())


x = torch.cat([torch.linspace(-8, 8, 65), torch.tensor([0.0, -0.0, 1e-6, -30.0, 30.0])]).float().double()
activation = {
    "x": listed(x),
    "gelu": listed(F.gelu(x)),
    "gelu_tanh": listed(F.gelu(x, approximate="tanh")),
    "relu": listed(F.relu(x)),
    "silu": listed(F.silu(x)),
    "tanh": listed(torch.tanh(x)),
    "sigmoid": listed(torch.sigmoid(x)),
}

x, weight, bias = random(5, 24), random(17, 24, scale=0.3), random(17)
linear = {"x": listed(x), "weight": listed(weight), "bias": listed(bias), "gelu": listed(F.gelu(F.linear(x, weight, bias)))}

x, residual, scale, shift = random(4, 20, scale=2.0), random(4, 20), random(20), random(20)
out = F.layer_norm(x + residual, (20,), scale, shift, eps=1e-5)
layer_norm = {name: listed(value) for name, value in
              [("x", x), ("residual", residual), ("scale", scale), ("shift", shift), ("out", out)]}

heads, head_dim, offsets = 4, 8, [0, 5, 6, 15]
qkv = random(offsets[-1], 3 * heads * head_dim, scale=1.5)
out = []
for start, end in zip(offsets, offsets[1:]):
    q, k, v = (part.reshape(end - start, heads, head_dim).transpose(0, 1) for part in qkv[start:end].chunk(3, dim=1))
    mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
    out.append(mixed.transpose(0, 1).reshape(end - start, heads * head_dim))
attention = {"offsets": offsets, "qkv": listed(qkv), "out": listed(torch.cat(out))}

width, offsets = 8, [0, 6, 9, 14]
lengths = [end - start for start, end in zip(offsets, offsets[1:])]
hidden = random(offsets[-1], width)
padded = torch.zeros(len(lengths), max(lengths), width, dtype=torch.float64)
mask = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
for i, length in enumerate(lengths):
    padded[i, :length] = hidden[offsets[i]:offsets[i] + length]
    mask[i, :length] = 1
skipped = []
for prompt_length in [0, 2, 3]:  # three is the whole of the second sentence
    record = {"prompt_length": prompt_length}
    for mode in ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]:
        pooling = Pooling(width, pooling_mode=mode, include_prompt=prompt_length == 0)
        features = {"token_embeddings": padded.clone(), "attention_mask": mask.clone(), "prompt_length": prompt_length}
        record[mode] = listed(pooling(features)["sentence_embedding"])
    skipped.append(record)
pool = {"offsets": offsets, "hidden": listed(hidden), "skipped": skipped}

x = random(5, 12)
x[2] = 0
unit_length = {"x": listed(x), "out": listed(F.normalize(x, p=2, dim=1, eps=1e-12))}

record = {"activation": activation, "attention": attention, "layer_norm": layer_norm, "linear": linear, "pool": pool,
          "unit_length": unit_length}
Path(__file__).with_name("ops.json").write_text(json.dumps(record) + "\n")
