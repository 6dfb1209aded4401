"""Measures PyTorch with the encoder of transformers, without sentence-transformers around it, on the CPU. Prints one JSON line.

    python benchmarks/engines/pytorch_encode.py --model DIR --dtype f32|bf16 --workload FILE.json [--threads N] [--batch-size 64]
        [--repeat 1] [--output FILE.npy]

bf16 is the whole model cast to bfloat16, not autocast. Nothing is compiled: it is what `AutoModel` does.
benchmarks/README.md names the keys.
"""

import common


def main():
    arguments = common.options(__doc__, ["f32", "bf16"])
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    transformers.MODEL_MAPPING[type(transformers.AutoConfig.from_pretrained(arguments.model))]  # imports the family: not loading

    def load():
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype]
        model = transformers.AutoModel.from_pretrained(
            arguments.model, dtype=dtype, attn_implementation="sdpa", add_pooling_layer=False).eval()

        @torch.inference_mode()
        def encoder(ids, mask):
            output = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
            return output.last_hidden_state.float().numpy()

        return encoder

    common.run("pytorch", arguments, load, {"torch": torch.__version__, "transformers": transformers.__version__})


if __name__ == "__main__":
    main()
