"""Measures OpenVINO on the CPU with the graph that export_onnx.py made. Prints one JSON line.

    python benchmarks/engines/openvino_encode.py --model DIR --onnx DIR --dtype f32|bf16|int8 --workload FILE.json [--threads N]
        [--batch-size 64] [--repeat 1] [--output FILE.npy]

int8 is weights in int8 (one scale per channel) and activations quantized as they come, in groups as wide as the hidden state; the rest is
in the precision that OpenVINO prefers on the machine, bf16 where the processor has it. benchmarks/README.md names the keys.
"""

import json

import common


def main():
    arguments = common.options(__doc__, ["f32", "bf16", "int8"], exported=True)
    import openvino

    def load():
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": arguments.threads}
        if arguments.dtype == "int8":
            # A group wider than the columns of a matrix turns quantization of its input off without a word.
            width = json.loads((arguments.model / "config.json").read_text())["hidden_size"]
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = width
        else:
            settings["INFERENCE_PRECISION_HINT"] = arguments.dtype
        path = arguments.onnx / f"openvino_{'int8' if arguments.dtype == 'int8' else 'f32'}.xml"
        request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()

        def encoder(ids, mask):
            # The result is read before the next call overwrites it.
            return request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True, share_outputs=True)[0]

        return encoder

    common.run("openvino", arguments, load, {"openvino": openvino.__version__})


if __name__ == "__main__":
    main()
