"""Exports an encoder for ONNX Runtime and OpenVINO, each as its own tools make it fast. Prints one JSON line.

    python benchmarks/engines/export_onnx.py --model DIR --output DIR

The graph takes input_ids and attention_mask (int64, batch × sequence) and gives last_hidden_state; pooling is left to the engines. Written
are model_f32.onnx with its data (fused by ONNX Runtime's transformer optimizer), model_int8.onnx (that, quantized), openvino_f32.xml and
openvino_int8.xml with their .bin. Needs five times the memory and the disk space of the model.
"""

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", CI="true", NNCF_CI="1")  # no look-ups in the hub; OpenVINO and nncf send no statistics of use

import nncf
import onnx
import onnxruntime
import openvino
import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a directory that make_shape.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="a folder to make")
    arguments = parser.parse_args()
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists already")
    arguments.output.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory(dir=arguments.output) as folder:
            plain = Path(folder) / "model.onnx"
            config = export(arguments.model, plain)
            fused = for_onnxruntime(plain, config, arguments.output)
            for_openvino(plain, arguments.output)
    except BaseException:
        shutil.rmtree(arguments.output, ignore_errors=True)
        raise
    print(json.dumps({
        "bytes": {path.name: path.stat().st_size for path in sorted(arguments.output.iterdir())},
        "fused": fused,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "transformers": transformers.__version__,
                     "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__,
                     "nncf": nncf.__version__},
    }))


class LastHiddenState(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, ids, mask):
        return self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state


def export(model, path):
    """Writes the graph as PyTorch traces it, and returns the configuration of the model."""
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")  # of the tracer, about branches that do not depend on the input
    # Attention as single operations: neither optimizer recognizes what the exporter makes of scaled_dot_product_attention.
    encoder = transformers.AutoModel.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False).eval()
    ids = torch.arange(1000, 1014).reshape(2, 7)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    names = ["input_ids", "attention_mask", "last_hidden_state"]
    with torch.inference_mode():
        torch.onnx.export(LastHiddenState(encoder), (ids, mask), str(path), input_names=names[:2], output_names=names[2:],
                          opset_version=17, dynamo=False, dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names})
    return encoder.config


def for_onnxruntime(plain, config, output):
    """Writes both models of ONNX Runtime and returns how many operations of a kind came out of fusion."""
    settings = FusionOptions("bert")
    settings.enable_shape_inference = False  # finds nothing more, and takes three times the memory
    model = optimizer.optimize_model(str(plain), model_type="bert", num_heads=config.num_attention_heads,
                                     hidden_size=config.hidden_size, optimization_options=settings)
    fused = {name: count for name, count in model.get_fused_operator_statistics().items() if count}
    layers = config.num_hidden_layers
    expected = {"Attention": layers, "BiasGelu": layers, "SkipLayerNormalization": 2 * layers}
    if not expected.items() <= fused.items():
        sys.exit(f"the graph was not fused as it should be: {fused}")
    path = output / "model_f32.onnx"
    model.save_model_to_file(str(path), use_external_data_format=True)  # one file would be limited to 2 GB
    del model
    gc.collect()  # its parts refer to each other
    # Fused operations have no type inference, hence the default type.
    quantize_dynamic(path, output / "model_int8.onnx", per_channel=True, weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return fused


def for_openvino(plain, output):
    """Writes both models of OpenVINO, which fuses the plain graph itself when it is loaded."""
    model = openvino.Core().read_model(plain)
    openvino.save_model(model, output / "openvino_f32.xml", compress_to_fp16=False)
    model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(model, output / "openvino_int8.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()
