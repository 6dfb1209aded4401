"""Reads model cards with huggingface_hub and PyYAML: `check_cards.py FOLDER`, which holds X.md beside X.json, what is expected of it.

Widget texts must be the originals, every table must have as many cells in each row, and the card's data must make a valid
front matter again. No network. The test `the_code_of_the_hub_reads_every_card` makes the folder.
"""

import json
import re
import sys
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

folder = Path(sys.argv[1])
count = 0
for path in sorted(folder.glob("*.md")):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    text = path.read_bytes().decode("utf-8")
    card = ModelCard.load(path)
    data = card.data.to_dict()
    front = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL).group(1))
    for found in (data["widget"], front["widget"]):
        assert found == expected["widget"], (path.name, found, expected["widget"])
    again = yaml.safe_load(card.data.to_yaml())
    assert again["widget"] == expected["widget"], path.name
    assert data["pipeline_tag"] == "sentence-similarity" and "generated_from_trainer" in data["tags"]
    assert card.data.eval_results is None or len(card.data.eval_results) == 2, path.name
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.5, path.name
    tables = re.findall(r"(?:^ *\|.*\n)+", card.text, re.MULTILINE)
    assert len(tables) == expected["tables"], (path.name, len(tables))
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, (path.name, table)
    count += 1
print(f"{count} cards")
