"""Records the order of training data: golden/order.json.

Permutations come from torch.randperm. Orders of "6.2" are those that `SentenceTransformerTrainer.train()` of
sentence-transformers 6.2 hands to the model: the trainer runs, its loss only writes down which rows it was given. Orders of "3.1" come from
the sampler classes of 3.1.1, put together as its trainer does (accelerate 0.34, which it was released with, does not tell batch
samplers the epoch).

    python golden/make_order.py --old DIR

DIR is where `pip install --no-deps --target DIR sentence-transformers==3.1.1` put the old release. Besides requirements.txt this needs
accelerate and datasets.
"""

import argparse
import hashlib
import importlib.util
import itertools
import json
import struct
import tempfile
from pathlib import Path

import datasets
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch.utils.data import ConcatDataset, SubsetRandomSampler
from transformers import TrainerCallback

EPOCHS = 3

# Names of cached tables, which nothing here reads again; pickling the tables for a name fails with some releases of dill and pyarrow.
datasets.fingerprint.Hasher.hash = classmethod(lambda _, value, count=itertools.count(): f"{next(count):016x}")


def randperms():
    cases = []
    # 624 words are one block of the generator: lengths around it, and several permutations in a row.
    for seed in (0, 1, 42, 2**31 - 1, 2**32 + 5, 67280421310721):
        for n in (1, 2, 7, 100, 623, 624, 625):
            generator = torch.Generator().manual_seed(seed)
            cases.append({"seed": seed, "n": n, "permutations": [torch.randperm(n, generator=generator).tolist() for _ in range(3)]})
    generator = torch.Generator().manual_seed(42)
    long = torch.randperm(4792, generator=generator).tolist()
    return cases, long


def content_hash(columns):
    """What `Dataset::sha256` says of its bytes, written a second time."""
    digest = hashlib.sha256()

    def add(data):
        digest.update(len(data).to_bytes(8, "little") + data)

    for name, values in columns.items():
        add(name.encode())
        digest.update(len(values).to_bytes(8, "little"))
        if name == "label":
            digest.update((1).to_bytes(8, "little"))
            digest.update(struct.pack(f"<{len(values)}d", *values))
        else:
            for value in values:
                add(value.encode())
    return digest.hexdigest()


def dataset(index, rows, positives=None, labels=None):
    """Texts that name their row, so that the collator can tell which it is. `positives` makes the second column repeat."""
    columns = {"anchor": [f"a{index}-{row}" for row in range(rows)]}
    columns["positive"] = [positives(row) if positives else f"p{index}-{row}" for row in range(rows)]
    if labels:
        columns["label"] = [labels(row) for row in range(rows)]
    return columns


class Trainer(SentenceTransformerTrainer):
    """Writes down rows instead of training."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self.seen[-1].append(inputs["rows"].tolist())
        loss = sum(parameter.sum() for parameter in model.parameters()) * 0.0
        return (loss, {}) if return_outputs else loss


class EpochCounter(TrainerCallback):
    """Begins a new list at each epoch."""

    def __init__(self, trainer):
        self.trainer = trainer

    def on_epoch_begin(self, *_, **__):
        self.trainer.seen.append([])


def tiny_model():
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=2)], device="cpu")


class Loss(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features, labels):
        return 0.0


def order_now(case, columns):
    """Batches of each epoch from a run of the trainer; rows count on through the datasets."""
    parts = [Dataset.from_dict(one) for one in columns]
    train = parts[0] if case["multi"] is None else DatasetDict({f"d{i}": one for i, one in enumerate(parts)})
    assert all(one["anchor"][0].startswith(f"a{i}-") for i, one in enumerate(columns))
    offsets = [sum(len(one) for one in parts[:i]) for i in range(len(parts))]
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=case["batch_size"],
            num_train_epochs=EPOCHS,
            seed=case["seed"],
            data_seed=case["data_seed"],
            dataloader_drop_last=case["drop_last"],
            batch_sampler=case["batch_sampler"],
            multi_dataset_batch_sampler=case["multi"] or "proportional",
            gradient_accumulation_steps=case["accumulation"],
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        model = tiny_model()
        trainer = Trainer(model=model, args=arguments, train_dataset=train, loss=Loss(model))
        trainer.seen = []
        collate = trainer.data_collator

        def collated(features):
            batch = collate(features)
            names = [feature["anchor"][1:].split("-") for feature in features]
            batch["rows"] = torch.tensor([offsets[int(which)] + int(row) for which, row in names])
            return batch

        collated.valid_label_columns = collate.valid_label_columns
        trainer.data_collator = collated
        length = len(trainer.get_train_dataloader())
        trainer.add_callback(EpochCounter(trainer))
        trainer.train()
        return {"epochs": trainer.seen, "length": length, "updates": trainer.state.max_steps}


def order_then(case, columns, old):
    """The same for 3.1.1: its samplers, its generator, epoch 0 for ever."""
    generator = torch.Generator()
    if case["seed"]:
        generator.manual_seed(case["seed"])
    parts = [Dataset.from_dict(one) for one in columns]
    samplers = [
        old.DefaultBatchSampler(SubsetRandomSampler(range(len(one)), generator=generator), case["batch_size"], case["drop_last"])
        for one in parts
    ]
    if case["multi"] is None:
        sampler = samplers[0]
    else:
        kind = old.RoundRobinBatchSampler if case["multi"] == "round_robin" else old.ProportionalBatchSampler
        sampler = kind(dataset=ConcatDataset(parts), batch_samplers=samplers, generator=generator, seed=case["seed"])
    # Its trainer's loop reads the loader to its end: batches beyond the announced length are trained on as well.
    return {"epochs": [list(sampler) for _ in range(EPOCHS)], "length": len(sampler), "updates": EPOCHS * len(sampler)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--old", type=Path, required=True)
    spec = importlib.util.spec_from_file_location("old", parser.parse_args().old / "sentence_transformers" / "sampler.py")
    old = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(old)

    plain, small, single = dataset(0, 23), dataset(1, 9), dataset(0, 1)
    third = dataset(2, 31)
    repeated = dataset(0, 23, lambda row: f"p{row % 5}")
    half = dataset(0, 24, lambda row: f"p{row * row % 17}")
    # The positive of one row is the anchor of another, and of some rows their own anchor.
    crossed = dataset(0, 20, lambda row: f"a0-{row * 7 % 20}")
    labelled = dataset(0, 40, labels=lambda row: row * row % 7)
    few = dataset(1, 15, labels=lambda row: row % 3)
    one_rare = dataset(0, 21, labels=lambda row: 0 if row < 13 else row % 5)
    repeated_b = dataset(1, 14, lambda row: f"q{row % 4}")
    cases = []

    def case(name, columns, sampler="batch_sampler", batch_size=4, multi=None, drop_last=False, seeds=(42,), data_seed=None, accumulation=1, release="6.2"):
        for seed in seeds:
            one = {
                "name": name, "release": release, "seed": seed, "data_seed": data_seed, "batch_size": batch_size,
                "drop_last": drop_last, "batch_sampler": sampler, "multi": multi, "accumulation": accumulation,
            }
            answer = order_now(one, columns) if release == "6.2" else order_then(one, columns, old)
            print(name, seed, answer["length"], [len(epoch) for epoch in answer["epochs"]])
            cases.append({**one, "datasets": columns, "sha256": [content_hash(one) for one in columns], **answer})

    for drop_last in (False, True):
        case("plain", [plain], drop_last=drop_last, seeds=(42, 0, 12345))
        case("no_duplicates", [repeated], "no_duplicates", drop_last=drop_last, seeds=(42, 7))
        case("no_duplicates, few", [half], "no_duplicates", 6, drop_last=drop_last, seeds=(42, 7))
        case("no_duplicates, crossed", [crossed], "no_duplicates", 5, drop_last=drop_last, seeds=(42, 3))
        case("group_by_label", [labelled], "group_by_label", 8, drop_last=drop_last, seeds=(42, 0))
        case("group_by_label, a rare label", [one_rare], "group_by_label", drop_last=drop_last)
        for multi in ("round_robin", "proportional"):
            case(f"{multi}", [plain, small], multi=multi, drop_last=drop_last, seeds=(42, 0))
            case(f"{multi} of three", [dataset(0, 9), dataset(1, 12), third], multi=multi, drop_last=drop_last)
            case(f"{multi}, no_duplicates", [repeated, repeated_b], "no_duplicates", multi=multi, drop_last=drop_last)
            case(f"{multi}, group_by_label", [labelled, few], "group_by_label", 6, multi=multi, drop_last=drop_last)
    # Of one value there is one row a batch: shuffled again twice, and still fewer batches than announced; or more, of which the trainer takes its number.
    case("no_duplicates, too few", [dataset(0, 19, lambda row: f"p{max(0, row - 16)}")], "no_duplicates", 3, drop_last=True)
    case("no_duplicates, all the same", [dataset(0, 10, lambda row: "p")], "no_duplicates")
    case("one row", [single])
    case("a multiple", [dataset(0, 12)])
    case("data_seed", [plain], data_seed=7)
    case("data_seed, no_duplicates", [repeated], "no_duplicates", data_seed=7)
    case("round_robin of one", [plain], multi="round_robin")
    case("accumulation", [plain], accumulation=4)
    for drop_last in (False, True):
        case("3.1", [plain], drop_last=drop_last, seeds=(42, 0), release="3.1")
        for multi in ("round_robin", "proportional"):
            case(f"3.1 {multi}", [plain, small], multi=multi, drop_last=drop_last, release="3.1")
            case(f"3.1 {multi}, the first is shorter", [dataset(0, 9), dataset(1, 23)], multi=multi, drop_last=drop_last, release="3.1")
    case("3.1 round_robin of one", [plain], multi="round_robin", release="3.1")
    case("3.1 round_robin, the second is shorter", [dataset(0, 12), dataset(1, 8)], multi="round_robin", release="3.1", seeds=(42, 0))

    permutations, long = randperms()
    record = {
        "about": "permutations of torch.randperm and orders of training data, recorded by golden/make_order.py",
        "permutations": permutations,
        "seed 42, n 4792": long,
        "orders": cases,
    }
    path = Path(__file__).with_name("order.json")
    path.write_text(json.dumps(record, separators=(",", ":")).replace('{"seed"', '\n{"seed"').replace('{"name"', '\n{"name"') + "\n")


main()
