"""Writes the texts of the encode benchmark: the first distinct sentences of the English STS benchmark's train split, one a line.

    python benchmarks/stsb_texts.py --output texts.txt [--count 5000] [--shared DIR]

Distinct in order of first appearance (sentence1, then sentence2 of each row). Needs nothing but Python. The output is never committed.
"""

import argparse
import csv
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared", help="the data folder")
    arguments = parser.parse_args()
    source = arguments.shared / "data/stsb/stsb-en-train.csv"
    if not source.exists():
        sys.exit(f"{source} is missing: pass --shared DIR, the folder that holds data/stsb")
    with source.open(encoding="utf-8", newline="") as file:
        # A text with a line break inside would be two lines of the output.
        texts = dict.fromkeys(" ".join(text.splitlines()) for row in csv.reader(file) for text in row[:2])
    texts = list(texts)[:arguments.count]
    if len(texts) < arguments.count:
        sys.exit(f"{source} has only {len(texts)} distinct sentences")
    arguments.output.write_text("".join(text + "\n" for text in texts), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
