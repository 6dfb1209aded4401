"""Records golden/card.json: the statistics that a model card of sentence-transformers 3.1.1 would show for the first 1000 rows of
rutube/pairs.jsonl with the tokenizer of XLM-RoBERTa. Only the numbers are kept.

The method is `compute_dataset_metrics` of `model_card.py` in 3.1.1: texts are stripped, tokenized together with a limit of 512, and
the sums of the attention mask are their lengths; the mean is rounded to two decimals. Needs the data folder.
"""

import argparse
import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
parser = argparse.ArgumentParser()
parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
options = parser.parse_args()
folder = options.shared / "tokenizers" / "xlm-roberta"
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
rows = [json.loads(line) for line in (options.shared / "data" / "rutube" / "pairs.jsonl").read_text().splitlines()][:1000]
record = {}
for column in ["anchor", "positive"]:
    texts = [row[column].strip() for row in rows]
    mask = tokenizer(texts, padding=True, truncation="longest_first", max_length=512)["attention_mask"]
    lengths = [sum(own) for own in mask]
    record[column] = {"min": min(lengths), "mean": round(sum(lengths) / len(lengths), 2), "max": max(lengths)}
(HERE / "card.json").write_text(json.dumps({"rows": len(rows), "statistics": record}, indent=1) + "\n")
print(record)
