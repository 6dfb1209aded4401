"""Records golden/optimizer.json: AdamW and clipping from PyTorch, schedules and the number of updates from transformers, which
parameters decay from the Trainer of transformers.

    python golden/make_optimizer.py

Besides requirements.txt this needs accelerate.
"""

import json
import math
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertModel,
    RobertaConfig,
    RobertaModel,
    Trainer,
    TrainingArguments,
    XLMRobertaConfig,
    XLMRobertaModel,
    get_scheduler,
)

SMALL = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 11, "max_position_embeddings": 12,
}


def adamw():
    """Five updates of three tensors, one of which does not decay and one whose gradient is tiny, so that epsilon counts."""
    cases = []
    for name, hyper in {
        "defaults of the trainer": {"lr": 5e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
        "decay": {"lr": 2e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
        "other betas, large epsilon": {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    }.items():
        for clip in (None, 1.0, 1e6):
            generator = torch.Generator().manual_seed(len(cases))
            shapes = [37, 8, 5]
            parameters = [torch.nn.Parameter(torch.randn(n, generator=generator)) for n in shapes]
            optimizer = torch.optim.AdamW(
                [{"params": parameters[::2]}, {"params": [parameters[1]], "weight_decay": 0.0}], foreach=False, fused=False, **hyper
            )
            start = [p.detach().tolist() for p in parameters]
            steps = []
            for step in range(5):
                lr = hyper["lr"] * (5 - step) / 5
                for group in optimizer.param_groups:
                    group["lr"] = lr
                scales = [1.0, 0.1, 1e-9]
                gradients = [torch.randn(n, generator=generator) * s for n, s in zip(shapes, scales)]
                for p, g in zip(parameters, gradients):
                    p.grad = g.clone()
                norm = None if clip is None else float(torch.nn.utils.clip_grad_norm_(parameters, clip))
                optimizer.step()
                steps.append({"lr": lr, "gradients": [g.tolist() for g in gradients], "norm": norm, "parameters": [p.detach().tolist() for p in parameters]})
            cases.append({
                "name": name, "beta1": hyper["betas"][0], "beta2": hyper["betas"][1], "epsilon": hyper["eps"], "weight_decay": hyper["weight_decay"],
                "clip": clip, "decays": [True, False, True], "start": start, "steps": steps,
                "moments": [[optimizer.state[p]["exp_avg"].tolist(), optimizer.state[p]["exp_avg_sq"].tolist()] for p in parameters],
            })
    return cases


def schedules():
    """The learning rate of each update, and of two more after the last."""
    cases = []
    for kind in ("linear", "cosine", "constant", "constant_with_warmup"):
        for total, warmup in ((10, 0), (10, 0.25), (10, 3), (7, 7), (5, 10), (1, 0), (1, 0.5), (375, 0.1)):
            arguments = TrainingArguments(output_dir="unused", warmup_steps=warmup, use_cpu=True, report_to=[])
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=5e-5)
            steps = arguments.get_warmup_steps(total)
            schedule = get_scheduler(kind, optimizer, num_warmup_steps=steps, num_training_steps=total)
            rates = []
            for _ in range(total + 2):
                rates.append(schedule.get_last_lr()[0])
                optimizer.step()
                schedule.step()
            keep = list(range(total + 2)) if total < 20 else [0, 1, 5, 37, 38, 39, 200, 374, 375, 376]
            cases.append({"kind": kind, "total": total, "warmup": warmup, "warmup_steps": steps, "at": keep, "rates": [rates[i] for i in keep]})
    return cases


def updates():
    """`Trainer.set_initial_training_values`: the number of updates, and of epochs that are begun."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for batches in (1, 5, 75):
            for accumulation in (1, 2, 4, 100):
                for epochs, most in ((1, -1), (5, -1), (2.5, -1), (0.1, -1), (3, 7), (1, 400)):
                    arguments = TrainingArguments(
                        output_dir=folder, num_train_epochs=epochs, max_steps=most, gradient_accumulation_steps=accumulation, use_cpu=True, report_to=[],
                        per_device_train_batch_size=4,
                    )
                    trainer = Trainer(model=torch.nn.Linear(2, 2), args=arguments, train_dataset=[0])
                    values = trainer.set_initial_training_values(arguments, DataLoader(range(batches * 4), batch_size=4))
                    cases.append({
                        "batches": batches, "accumulation": accumulation, "epochs": epochs, "max_steps": most,
                        "epochs_begun": values[0], "updates_per_epoch": values[1], "updates": values[6],
                    })
    return cases


def decays():
    """All parameters of small models: whether the Trainer's decay, and whether `fit` of sentence-transformers decays them."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for model in (BertModel(BertConfig(**SMALL)), RobertaModel(RobertaConfig(**SMALL)), XLMRobertaModel(XLMRobertaConfig(**SMALL))):
            trainer = Trainer(model=model, args=TrainingArguments(output_dir=folder, use_cpu=True, report_to=[]))
            decay = set(trainer.get_decay_parameter_names(model))
            kept = ["bias", "LayerNorm.bias", "LayerNorm.weight"]
            for name, _ in model.named_parameters():
                cases.append({"name": name, "trainer": name in decay, "fit": not any(part in name for part in kept)})
    # Modules of sentence-transformers beside the encoder, and names that the patterns are about.
    layers = {
        "dense.linear": torch.nn.Linear(2, 2), "norm": torch.nn.LayerNorm(2), "final_norm": torch.nn.Linear(2, 2), "normal": torch.nn.Linear(2, 2),
        "layernorms": torch.nn.Linear(2, 2), "rmsnorm": torch.nn.Linear(2, 2), "embedding": torch.nn.EmbeddingBag(3, 2),
    }
    model = torch.nn.Module()
    for name, layer in layers.items():
        holder = model
        *parents, last = name.split(".")
        for parent in parents:
            holder.add_module(parent, torch.nn.Module())
            holder = getattr(holder, parent)
        holder.add_module(last, layer)
    trainer = Trainer(model=model, args=TrainingArguments(output_dir="unused", use_cpu=True, report_to=[]))
    decay = set(trainer.get_decay_parameter_names(model))
    for name, _ in model.named_parameters():
        cases.append({"name": name, "trainer": name in decay, "fit": not any(part in name for part in ["bias", "LayerNorm.bias", "LayerNorm.weight"])})
    unique = {json.dumps(case) for case in cases}
    return [json.loads(case) for case in sorted(unique)]


def main():
    record = {
        "about": "recorded by golden/make_optimizer.py",
        "adamw": adamw(),
        "schedules": schedules(),
        "updates": updates(),
        "decays": decays(),
    }
    assert not any(math.isnan(rate) for case in record["schedules"] for rate in case["rates"])
    text = json.dumps(record, separators=(",", ":"))
    Path(__file__).with_name("optimizer.json").write_text(text.replace('{"name"', '\n{"name"').replace('{"kind"', '\n{"kind"').replace('{"batches"', '\n{"batches"') + "\n")


main()
