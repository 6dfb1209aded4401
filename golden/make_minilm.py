"""Records golden/minilm/: what sentence-transformers 6.2 gives for the real model all-MiniLM-L6-v2, float32 on the CPU.

    python golden/make_minilm.py [--model DIR] [--shared DIR] [--check]

The model comes from scripts/fetch-minilm.sh; the texts are read from the data folder `shared` beside the repository and never written.
golden/README.md describes the files.
"""

import argparse
import csv
import hashlib
import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import scipy
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import semantic_search
from sentence_transformers.util.quantization import quantize_embeddings

GOLDEN = Path(__file__).resolve().parent
TOLERANCE = 1e-5


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def rounded(value):
    """Nine significant digits, which is a float32 exactly."""
    return float(f"{float(value):.9g}")


def read_pairs(path):
    """The distinct sentences in order of first appearance (sentence1, then sentence2 of each row), the rows as indices, the scores."""
    index, rows, scores = {}, [], []
    with path.open(encoding="utf-8", newline="") as file:
        for first, second, score in csv.reader(file):
            rows.append([index.setdefault(text, len(index)) for text in (first, second)])
            scores.append(float(score))
    return list(index), numpy.array(rows), numpy.array(scores)


def token_digest(model, texts):
    """SHA-256 over, for each text, the number of its token ids and the ids, as little-endian u32; and how many ids there are."""
    ids = [model.preprocess([text])["input_ids"][0].tolist() for text in texts]
    flat = numpy.array([number for one in ids for number in (len(one), *one)], dtype="<u4")
    return {"token_ids": sum(map(len, ids)), "longest": max(map(len, ids)), "token_ids_sha256": sha256(flat.tobytes())}


def record_stsb(model, exact, shared):
    texts, rows, scores = read_pairs(shared / "data/stsb/stsb-en-dev.csv")
    vectors = model.encode(texts, show_progress_bar=False)
    difference = float(numpy.abs(exact.encode(texts, show_progress_bar=False) - vectors).max())
    first, second = (vectors[rows[:, side]].astype(numpy.float64) for side in (0, 1))
    cosine = (first * second).sum(1) / numpy.linalg.norm(first, axis=1) / numpy.linalg.norm(second, axis=1)
    quantized = {}
    for precision in ("int8", "uint8", "binary", "ubinary"):
        numbers = quantize_embeddings(vectors, precision=precision, calibration_embeddings=vectors)
        quantized[precision] = {"shape": list(numbers.shape), "dtype": str(numbers.dtype), "sha256": sha256(numbers.tobytes())}
    return vectors, {
        "sentences": len(texts),
        "sentences_sha256": sha256("\n".join(texts).encode()),
        "pairs": len(rows),
        **token_digest(model, texts),
        "spearman_cosine": float(scipy.stats.spearmanr(scores, cosine).statistic),
        "pearson_cosine": float(scipy.stats.pearsonr(scores, cosine).statistic),
        "largest_difference_to_float64": difference,
        "quantized": quantized,
    }


def record_search(model, shared):
    def column(name, key):
        with (shared / "data/rutube" / name).open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line)[key] for line in file]

    corpus, queries = column("kb.jsonl", "question"), column("cases-dev.jsonl", "text")
    found = semantic_search(model.encode(queries, convert_to_tensor=True, show_progress_bar=False),
                            model.encode(corpus, convert_to_tensor=True, show_progress_bar=False), top_k=10)
    hits = [[[hit["corpus_id"], rounded(hit["score"])] for hit in sorted(one, key=lambda hit: (-hit["score"], hit["corpus_id"]))]
            for one in found]
    return {"corpus": len(corpus), "corpus_sha256": sha256("\n".join(corpus).encode()), "corpus_tokens": token_digest(model, corpus),
            "queries": len(queries), "queries_sha256": sha256("\n".join(queries).encode()), "query_tokens": token_digest(model, queries),
            "hits": hits}


def record_published(model, shared):
    """Vectors of the texts of published-values, in the order of that file, compared with the values published."""
    published = list(json.loads((shared / "data/published-values/values.json").read_text(encoding="utf-8")).values())
    vectors = model.encode([published[0]["input"], *published[1]["inputs"]], show_progress_bar=False)
    components = published[0]["sentence-transformers/all-MiniLM-L6-v2"]
    assert numpy.allclose(vectors[0][:len(components)], components, atol=1e-3)
    assert numpy.allclose(vectors[1:].sum(1), published[1]["AllMiniLML6V2"], atol=1e-2)
    return vectors


def compare(old, new, where):
    """Fails where two recordings differ by more than rounding; hashes of numbers that rounding may change are left out."""
    if isinstance(new, dict):
        for key in new:
            if key not in ("quantized", "largest_difference_to_float64", "versions"):
                compare(old[key], new[key], f"{where}.{key}")
    elif isinstance(new, list):
        assert len(old) == len(new), where
        for position, (a, b) in enumerate(zip(old, new)):
            compare(a, b, f"{where}[{position}]")
    elif isinstance(new, float):
        assert abs(old - new) <= TOLERANCE, f"{where}: {old} and {new}"
    else:
        assert old == new, f"{where}: {old} and {new}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=GOLDEN.parent / "models/all-MiniLM-L6-v2")
    parser.add_argument("--shared", type=Path, default=GOLDEN.parent.parent / "shared", help="the data folder")
    parser.add_argument("--check", action="store_true", help="compare golden/minilm with sentence-transformers, write nothing")
    arguments = parser.parse_args()
    if not (arguments.model / "modules.json").exists():
        parser.error(f"no model in {arguments.model}: run scripts/fetch-minilm.sh")

    def load():
        return SentenceTransformer(str(arguments.model), device="cpu", model_kwargs={"dtype": torch.float32})

    transformers.utils.logging.disable_progress_bar()
    model, exact = load(), load().double()
    vectors, stsb = record_stsb(model, exact, arguments.shared)
    arrays = {"stsb-en-dev.npy": vectors, "published.npy": record_published(model, arguments.shared)}
    record = {
        "versions": {"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__,
                     "torch": torch.__version__},
        "weights_sha256": sha256((arguments.model / "model.safetensors").read_bytes()),
        "max_seq_length": model.max_seq_length,
        "stsb_en_dev": stsb,
        "rutube": record_search(model, arguments.shared),
    }
    folder = GOLDEN / "minilm"
    if arguments.check:
        for name, array in arrays.items():
            difference = float(numpy.abs(numpy.load(folder / name) - array).max())
            assert difference <= TOLERANCE, f"{name}: {difference}"
            print(f"{name}: largest difference {difference:.2g}")
        return compare(json.loads((folder / "minilm.json").read_text()), record, "minilm")
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        assert array.dtype == numpy.float32
        numpy.save(folder / name, array)
    hits = ",\n".join("    " + json.dumps(one, separators=(",", ":")) for one in record["rutube"].pop("hits"))
    text = json.dumps(record, indent=2)
    assert text.endswith("\n  }\n}")
    (folder / "minilm.json").write_text(text.removesuffix("\n  }\n}") + f',\n    "hits": [\n{hits}\n    ]\n  }}\n}}\n')


if __name__ == "__main__":
    main()
