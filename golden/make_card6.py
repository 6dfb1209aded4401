"""Records golden/card6.json: the parts of the model card that sentence-transformers 6.2 writes after ten steps of training models/bert
over training/pairs.jsonl. Headings, tables, lists, the architecture, parameters and keys of citations; no sentence of it.
"""

import json
import os
import re
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
from datasets import Dataset  # noqa: E402
from datasets.fingerprint import Hasher  # noqa: E402
from sentence_transformers import (  # noqa: E402
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator  # noqa: E402
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss  # noqa: E402

HERE = Path(__file__).parent
# Names of caches only; pickling a tokenizer for them can fail.
Hasher.hash = classmethod(lambda cls, value: "fixed")
rows = [json.loads(line) for line in (HERE / "training" / "pairs.jsonl").read_text().splitlines()]
dataset = Dataset.from_dict({name: [row[name] for row in rows] for name in ("anchor", "positive")})
model = SentenceTransformer(str(HERE / "models" / "bert"), device="cpu")
ids = [str(i) for i in range(len(rows))]
evaluator = InformationRetrievalEvaluator(
    dict(zip(ids, dataset["anchor"])), dict(zip(ids, dataset["positive"])), {i: {i} for i in ids}
)
with tempfile.TemporaryDirectory() as folder:
    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=6,
        num_train_epochs=2,
        learning_rate=1e-4,
        logging_steps=2,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=dataset,
        loss=MultipleNegativesRankingLoss(model),
        evaluator=evaluator,
    )
    trainer.train()
    model.save_pretrained(folder + "/model")
    card = Path(folder, "model", "README.md").read_text(encoding="utf-8")


def table(block):
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.strip().splitlines()]
    return [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


body = card.split("\n---\n", 1)[1]
outside = re.sub(r"^( *)```.*?^\1```$", "", body, flags=re.MULTILINE | re.DOTALL)
blocks = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", body, flags=re.MULTILINE | re.DOTALL)
hyperparameters = outside.split("#### All Hyperparameters")[1].split("</details>")[0]
record = {
    "yaml_keys": re.findall(r"^(\w[\w-]*):", card.split("\n---\n", 1)[0], flags=re.MULTILINE),
    "headings": re.findall(r"^#+ .*$", outside, flags=re.MULTILINE),
    "tables": [table(block) for block in re.findall(r"(?:^ *\|.*\n)+", outside, flags=re.MULTILINE)],
    "hyperparameters": re.findall(r"^- `(\w+)`: (.*)$", hyperparameters, flags=re.MULTILINE),
    "architecture": next(text for _, _, text in blocks if text.startswith("SentenceTransformer(")),
    "loss_parameters": json.loads(next(text for _, language, text in blocks if language == "json")),
    "citations": [re.match(r"@\w+{([^,]+)", text).group(1) for _, language, text in blocks if language == "bibtex"],
}
(HERE / "card6.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
print(len(record["headings"]), len(record["tables"]), len(record["hyperparameters"]))
