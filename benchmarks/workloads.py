"""Writes a workload as token ids, so that no tokenizer takes part in what is measured. The ids are random: only their number counts.

    python benchmarks/workloads.py --workload faq|passage|single --vocab-size N --output FILE.json [--count N]

faq: 512 questions of 6 to 34 tokens, 16.34 on average, skewed to the right as lengths of questions are. passage: 64 × 256 tokens.
single: one sentence of 16 tokens. The same arguments give the same file. Needs nothing but Python.
"""

import argparse
import json
import random
from pathlib import Path

COUNT, SHORTEST, LONGEST, MEAN = 512, 6, 34, 16.34


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=["faq", "passage", "single"], required=True)
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, help="only the first sentences, for a trial")
    arguments = parser.parse_args()
    if arguments.vocab_size < 3000:
        parser.error("--vocab-size must be at least 3000")
    generator = random.Random(1)
    lengths = {"faq": faq, "passage": lambda _: [256] * 64, "single": lambda _: [16]}[arguments.workload](generator)
    # Of XLM-RoBERTa, and of BERT.
    first, last = (0, 2) if arguments.vocab_size == 250002 else (101, 102)
    ids = [[first, *(generator.randrange(1000, arguments.vocab_size - 1000) for _ in range(length - 2)), last]
           for length in lengths[:arguments.count]]
    arguments.output.write_text(json.dumps({"name": arguments.workload, "ids": ids}) + "\n")


def faq(generator):
    """Lengths from a gamma distribution, then moved by single tokens until the mean is as it is stated."""
    lengths = [SHORTEST, LONGEST]
    while len(lengths) < COUNT:
        length = SHORTEST + round(generator.gammavariate(4.0, (MEAN - SHORTEST) / 4.0))
        if length <= LONGEST:
            lengths.append(length)
    missing = round(COUNT * MEAN) - sum(lengths)
    step = 1 if missing > 0 else -1
    while missing:
        i = generator.randrange(2, COUNT)
        if SHORTEST <= lengths[i] + step <= LONGEST:
            lengths[i] += step
            missing -= step
    generator.shuffle(lengths)
    return lengths


if __name__ == "__main__":
    main()
