"""Writes a random model of the shape of XLM-RoBERTa-large (and multilingual-e5-large), and the vectors that sentence-transformers gives.

    python benchmarks/engines/make_xlmr_large.py --tokenizer DIR --texts FILE --output DIR [--count 16] [--layers 24] [--seed 1]

The output is a sentence-transformers directory (Transformer and mean pooling, not normalized; 2.2 GB with an XLM-R vocabulary) with two
files more: expected.npy, float32, a row per text, and texts.txt, the texts encoded, one a line. Prints one JSON line. For the check that
sentir is within 1e-4 on the large shape; nothing of it is committed. Needs 8 GB of memory.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from make_shape import write_model

os.environ["HF_HUB_OFFLINE"] = "1"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder with tokenizer.json of XLM-RoBERTa's form")
    parser.add_argument("--texts", type=Path, required=True, help="UTF-8, one text a line")
    parser.add_argument("--output", type=Path, required=True, help="a folder to make")
    parser.add_argument("--count", type=int, default=16, help="of texts, from the start of the file")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()
    if not (arguments.tokenizer / "tokenizer.json").exists():
        parser.error(f"{arguments.tokenizer} has no tokenizer.json")
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists already")
    texts = arguments.texts.read_text(encoding="utf-8").removesuffix("\n").split("\n")[:arguments.count]

    import numpy
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    try:
        parameters = write_model("xlmr-large", arguments.output, arguments.seed, arguments.layers, arguments.tokenizer)
        model = SentenceTransformer(str(arguments.output), device="cpu", model_kwargs={"dtype": torch.float32})
        vectors = model.encode(texts, batch_size=arguments.batch_size, show_progress_bar=False)
        assert vectors.dtype == numpy.float32 and numpy.isfinite(vectors).all()
        numpy.save(arguments.output / "expected.npy", vectors)
        (arguments.output / "texts.txt").write_text("".join(text + "\n" for text in texts), encoding="utf-8", newline="\n")
    except BaseException:
        shutil.rmtree(arguments.output, ignore_errors=True)
        raise
    lengths = [len(ids) for ids in model.tokenizer(texts, truncation=True)["input_ids"]]
    print(json.dumps({"model": str(arguments.output), "parameters": parameters, "texts": len(texts), "dimensions": vectors.shape[1],
                      "tokens": sum(lengths), "longest": max(lengths), "largest_component": float(numpy.abs(vectors).max()),
                      "versions": {"python": sys.version.split()[0], "transformers": transformers.__version__,
                                   "torch": torch.__version__}}))


if __name__ == "__main__":
    main()
