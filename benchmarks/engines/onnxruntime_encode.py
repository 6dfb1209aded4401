"""Measures ONNX Runtime on the CPU with the fused graph that export_onnx.py made. Prints one JSON line.

    python benchmarks/engines/onnxruntime_encode.py --model DIR --onnx DIR --dtype f32|int8 --workload FILE.json [--threads N]
        [--batch-size 64] [--repeat 1] [--output FILE.npy]

int8 is dynamic: weights per channel, activations per tensor. There is no bf16 on the CPU. benchmarks/README.md names the keys.
"""

import common


def main():
    arguments = common.options(__doc__, ["f32", "int8"], exported=True)
    import onnxruntime

    def load():
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = arguments.threads
        settings.inter_op_num_threads = 1
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        path = arguments.onnx / f"model_{arguments.dtype}.onnx"
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    common.run("onnxruntime", arguments, load, {"onnxruntime": onnxruntime.__version__})


if __name__ == "__main__":
    main()
