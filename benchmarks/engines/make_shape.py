"""Writes a random model of a known shape, for measurements of speed: nothing that it says means anything.

    python benchmarks/engines/make_shape.py --shape xlmr-large|e5-small|minilm --output DIR [--seed 1] [--layers N] [--tokenizer DIR]

The output is a sentence-transformers directory (Transformer and mean pooling, not normalized) in float32. Its tokenizer knows single
letters, unless --tokenizer names a folder with a real one. Prints one JSON line. Needs twice the memory of the model.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

SHAPES = {
    "xlmr-large": ("XLMRoberta", dict(vocab_size=250002, num_hidden_layers=24, hidden_size=1024, num_attention_heads=16,
                                      intermediate_size=4096, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)),
    "e5-small": ("Bert", dict(vocab_size=250037, num_hidden_layers=12, hidden_size=384, num_attention_heads=12,
                              intermediate_size=1536, max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12)),
    "minilm": ("Bert", dict(vocab_size=30522, num_hidden_layers=6, hidden_size=384, num_attention_heads=12,
                            intermediate_size=1536, max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12)),
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder to make")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, help="default: those of the shape")
    parser.add_argument("--tokenizer", type=Path, help="a folder with tokenizer.json; its vocabulary replaces that of the shape")
    arguments = parser.parse_args()
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists already")
    try:
        parameters = write_model(**vars(arguments))
    except BaseException:
        shutil.rmtree(arguments.output, ignore_errors=True)
        raise
    print(json.dumps({"model": str(arguments.output), "shape": arguments.shape, "parameters": parameters}))


def write_model(shape, output, seed=1, layers=None, tokenizer=None):
    """Writes the whole directory and returns the number of parameters."""
    import torch
    import transformers
    from tokenizers import Tokenizer

    transformers.utils.logging.disable_progress_bar()
    family, settings = SHAPES[shape]
    tokens = Tokenizer.from_file(str(tokenizer / "tokenizer.json")) if tokenizer else letters(family)
    settings = dict(settings, num_hidden_layers=layers or settings["num_hidden_layers"])
    if tokenizer:
        settings["vocab_size"] = tokens.get_vocab_size(with_added_tokens=True)
    torch.manual_seed(seed)
    encoder = getattr(transformers, family + "Model")(getattr(transformers, family + "Config")(**settings), add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.normal_(0, 0.02)
            if name.endswith("LayerNorm.weight"):
                parameter.add_(1)
    output.mkdir(parents=True)
    encoder.save_pretrained(output, max_shard_size="10GB")
    if tokenizer:
        shutil.copyfile(tokenizer / "tokenizer.json", output / "tokenizer.json")
    else:
        tokens.save(str(output / "tokenizer.json"))
    write_companions(output, tokens, settings["hidden_size"])
    return sum(parameter.numel() for parameter in encoder.parameters())


def letters(family):
    """A tokenizer of single letters, with the special tokens where the family has them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    if family == "Bert":
        vocabulary = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS,
                      *("##" + letter for letter in LETTERS)]
        tokens = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
        tokens.normalizer = normalizers.BertNormalizer()
        tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special, first, last = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[CLS]", "[SEP]"
    else:
        special, first, last = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s>", "</s>"
        vocabulary = [*special[:4], "\u2581", *LETTERS, "<mask>"]
        tokens = Tokenizer(models.Unigram([(token, -1.0 if len(token) == 1 else 0.0) for token in vocabulary], unk_id=3))
        tokens.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokens.add_special_tokens(special)
    tokens.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(token, tokens.token_to_id(token)) for token in (first, last)])
    return tokens


def write_companions(output, tokens, width):
    """What makes the encoder a sentence-transformers directory."""
    def write(name, value):
        path = output / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n")

    if tokens.token_to_id("<s>") is not None:
        own = {"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
               "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    else:
        own = {"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]",
               "mask_token": "[MASK]"}
    write("tokenizer_config.json", {**own, "model_max_length": 512})
    write("sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})
    write("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                           {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])
    write("1_Pooling/config.json", {"word_embedding_dimension": width, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
                                    "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})


if __name__ == "__main__":
    main()
