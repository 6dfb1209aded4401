"""What the engines have in common: command line, batches, mean pooling, timing and the JSON line. Not a program by itself."""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

CALLS = 20  # of a workload that is one sentence, in each timed run


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def options(description, dtypes, exported=False):
    """The command line of an engine. Call it before numpy and the engine are imported: it sets what they read from the environment."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a directory that make_shape.py wrote")
    if exported:
        parser.add_argument("--onnx", type=Path, required=True, help="the directory that export_onnx.py made of the model")
    parser.add_argument("--dtype", choices=dtypes, required=True)
    parser.add_argument("--workload", type=Path, required=True, help="a file that workloads.py wrote")
    parser.add_argument("--threads", type=positive, default=os.cpu_count(), help="default: all cores")
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--repeat", type=positive, default=1)
    parser.add_argument("--output", type=Path, help="write the vectors here (.npy)")
    arguments = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", CI="true")  # no look-ups in the hub; OpenVINO sends no statistics of use
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of numpy, which does nothing but pool
    return arguments


def run(engine, arguments, load, versions):
    """Measures an engine and prints the JSON line. `load()` gives the encoder: a function of token ids and mask (int64, one row per
    sentence) that returns the last hidden state in float32."""
    import numpy

    workload = json.loads(arguments.workload.read_text())
    sentences = workload["ids"]
    padding = json.loads((arguments.model / "config.json").read_text())["pad_token_id"]
    begun = time.perf_counter()
    encoder = load()
    load_seconds = time.perf_counter() - begun

    def encode(some):
        begun = time.perf_counter()
        vectors = encode_sorted(encoder, some, arguments.batch_size, padding)
        return vectors, time.perf_counter() - begun

    encode(sorted(sentences, key=len, reverse=True)[:arguments.batch_size])
    calls = CALLS if len(sentences) == 1 else 1
    seconds = []
    for _ in range(arguments.repeat):
        results = [encode(sentences) for _ in range(calls)]
        seconds.append(statistics.median(took for _, took in results))
    vectors = results[-1][0]
    if not numpy.isfinite(vectors).all():
        sys.exit("the vectors are not finite")
    if arguments.output:
        numpy.save(arguments.output, vectors)
    print(json.dumps({
        "engine": engine,
        "dtype": arguments.dtype,
        "workload": workload["name"],
        "sentences": len(sentences),
        "tokens": sum(map(len, sentences)),
        "dimensions": vectors.shape[1],
        "batch_size": arguments.batch_size,
        "threads": arguments.threads,
        "encode_seconds": seconds,
        "load_seconds": load_seconds,
        "peak_rss_bytes": peak_rss_bytes(),
        "versions": {"python": sys.version.split()[0], "numpy": numpy.__version__, **versions},
    }))


def encode_sorted(encoder, sentences, size, padding):
    """A vector per sentence. Sentences of like length are encoded together, each batch padded to its longest, the longest batch first."""
    import numpy

    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]), reverse=True)
    pooled = []
    for at in range(0, len(order), size):
        batch = [sentences[i] for i in order[at:at + size]]
        ids = numpy.full((len(batch), len(batch[0])), padding, numpy.int64)
        mask = numpy.zeros_like(ids)
        for row, sentence in enumerate(batch):
            ids[row, :len(sentence)] = sentence
            mask[row, :len(sentence)] = 1
        weights = mask.astype(numpy.float32)
        sums = numpy.matmul(weights[:, None, :], encoder(ids, mask))[:, 0]
        pooled.append(sums / weights.sum(axis=1, keepdims=True))
    vectors = numpy.concatenate(pooled)
    vectors[order] = vectors.copy()
    return vectors


def peak_rss_bytes():
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
