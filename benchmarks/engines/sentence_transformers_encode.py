"""Measures sentence-transformers: seconds to encode a file of texts in float32 on the CPU. Prints one JSON line.

    python benchmarks/engines/sentence_transformers_encode.py --model DIR --texts FILE [--batch-size 32] [--threads N] [--repeat 3]

Only `encode` is timed (tokenization to numpy array), after one warm-up call with the first batch. benchmarks/README.md names the keys.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from common import peak_rss_bytes, positive


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a sentence-transformers directory")
    parser.add_argument("--texts", type=Path, required=True, help="UTF-8, one text a line")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--threads", type=positive, default=os.cpu_count(), help="of PyTorch and of the tokenizer; default: all cores")
    parser.add_argument("--repeat", type=positive, default=3)
    parser.add_argument("--output", type=Path, help="write the vectors here (.npy)")
    arguments = parser.parse_args()
    texts = arguments.texts.read_text(encoding="utf-8").removesuffix("\n").split("\n")

    # Read by the libraries when they are loaded.
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    started = time.perf_counter()
    import numpy
    import sentence_transformers
    import tokenizers
    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()
    imported = time.perf_counter()
    model = sentence_transformers.SentenceTransformer(str(arguments.model), device="cpu", model_kwargs={"dtype": torch.float32})
    loaded = time.perf_counter()

    def encode(some):
        return model.encode(some, batch_size=arguments.batch_size, show_progress_bar=False)

    encode(texts[:arguments.batch_size])
    seconds = []
    for _ in range(arguments.repeat):
        begun = time.perf_counter()
        vectors = encode(texts)
        seconds.append(time.perf_counter() - begun)
    if arguments.output:
        numpy.save(arguments.output, vectors)
    print(json.dumps({
        "engine": "sentence-transformers",
        "dtype": "float32",
        "texts": len(texts),
        "dimensions": vectors.shape[1],
        "batch_size": arguments.batch_size,
        "threads": torch.get_num_threads(),
        "encode_seconds": seconds,
        "import_seconds": imported - started,
        "load_seconds": loaded - imported,
        "peak_rss_bytes": peak_rss_bytes(),
        "versions": {
            "python": sys.version.split()[0],
            "sentence-transformers": sentence_transformers.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
        },
    }))


if __name__ == "__main__":
    main()
