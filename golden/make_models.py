"""Records golden/models/: tiny random models, and in cases.json what sentence-transformers 6.2 answers for them.

Run `python golden/make_models.py` to write everything anew, `python golden/make_models.py --check` to compare what is there with
what sentence-transformers answers now (nothing is written). golden/README.md says what a case is and how to set up Python.

The vocabularies are trained on the sentences below, the weights are drawn from fixed seeds. Vectors are recorded in float32 on the
CPU; each is compared with the same model in float64, every text by itself, so that no recorded number is worse than ROUNDING.
"""

import argparse
import copy
import io
import json
import logging
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # everything is local; a look-up would only cost time

import numpy
import sentencepiece
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from model_cases import POSITIONS, all_cases, assemble

GOLDEN = Path(__file__).resolve().parent
# Largest difference that float32 arithmetic may make in a recorded component, relative to the vector's largest component.
ROUNDING = 3e-6

SENTENCES = """
The quick brown fox jumps over the lazy dog near the old mill.
A small boat crossed the quiet lake before sunrise.
She asked how to upload a video and how long the check takes.
Our library reads models, encodes sentences and finds the nearest ones.
The weather is fine today, but tomorrow it will rain again.
How do I change the password of my account?
Why was my video removed from the channel?
Two children are playing with a red ball in the garden.
He bought three apples, seven pears and 12 oranges for 4.50 dollars.
Numbers such as 1, 23, 456 and 7890 are tokens too.
Nobody expected the train to arrive on time, yet it did.
The café on the corner serves naïve tourists a fine crème brûlée.
Search engines compare the vectors of questions and answers.
A long sentence has many words, and many words make a long sentence even longer.
Please write to support if the problem does not go away.
Быстрая лисица прыгает через ленивую собаку возле старой мельницы.
Маленькая лодка пересекла тихое озеро ещё до рассвета.
Она спросила, как загрузить видео и сколько длится проверка.
Наша библиотека читает модели, кодирует предложения и находит ближайшие.
Сегодня хорошая погода, но завтра снова пойдёт дождь.
Как изменить пароль от моей учётной записи?
Почему моё видео удалили с канала?
Двое детей играют в саду с красным мячом.
Он купил три яблока, семь груш и двенадцать апельсинов.
Никто не ждал, что поезд придёт вовремя, однако он пришёл.
Чай стоит на столе, а йогурт и ёлка ждут зимы.
Поисковые системы сравнивают векторы вопросов и ответов.
Напишите в поддержку, если неполадка не исчезла.
""".strip().splitlines()


def randomize(module, seed):
    """Fills every parameter: embeddings N(0, 0.5), matrices and vectors N(0, 0.3), the weights of layer norms 1 + N(0, 0.3)."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(0, 0.5 if "embeddings" in name else 0.3)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.add_(1)
    return module


def compact(path):
    """Rewrites a JSON file without indentation."""
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")) + "\n")


def write_base(folder, tokenizer, model, seed):
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder)
    compact(folder / "tokenizer.json")
    randomize(model, seed).save_pretrained(folder)


def word_pieces(special, words, suffixes, lower):
    """A WordPiece vocabulary: letters, the most frequent words and word endings. The trainer of tokenizers breaks ties at random."""
    normalizer = normalizers.BertNormalizer(lowercase=lower)
    split = pre_tokenizers.BertPreTokenizer()
    found = Counter(word for line in SENTENCES for word, _ in split.pre_tokenize_str(normalizer.normalize_str(line)))
    endings = Counter()
    for word, count in found.items():
        for length in (2, 3, 4):
            if len(word) > length:
                endings["##" + word[-length:]] += count
    letters = sorted(set("".join(found)))
    frequent = [sorted(counts, key=lambda piece: (-counts[piece], piece)) for counts in (found, endings)]
    pieces = [*special, *letters, *("##" + letter for letter in letters), *(w for w in frequent[0] if len(w) > 1)][:words]
    return {piece: index for index, piece in enumerate([*pieces, *frequent[1][:suffixes]])}


def write_bert(folder, seed, cased, **shape):
    vocabulary = word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], 300, 60, lower=not cased)
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=POSITIONS, **shape)
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, do_lower_case=not cased, model_max_length=POSITIONS)
    write_base(folder, tokenizer, transformers.BertModel(config), seed)
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in vocabulary))


def write_roberta(folder, seed, **shape):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(SENTENCES, trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    trained = json.loads(tokenizer.to_str())["model"]
    vocabulary = {**trained["vocab"], "<mask>": len(trained["vocab"])}  # the mask is the last row, as in roberta-base
    tokenizer = transformers.RobertaTokenizer(vocab=vocabulary, merges=[tuple(merge) for merge in trained["merges"]],
                                              model_max_length=POSITIONS)
    config = transformers.RobertaConfig(vocab_size=len(vocabulary), max_position_embeddings=POSITIONS + 2, type_vocab_size=1,
                                        layer_norm_eps=1e-5, **shape)
    write_base(folder, tokenizer, transformers.RobertaModel(config), seed)


def write_xlm_roberta(folder, seed, **shape):
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        # A small character map in place of nmt_nfkc (240 kB): full-width letters, the ligature fi, no-break space, ellipsis, blanks.
        rules = [(chr(0xFF21 + i), chr(0x41 + i)) for i in range(26)] + [("\ufb01", "fi"), ("\u00a0", " "), ("\u2026", "..."),
                                                                   ("\t", " "), ("\n", " ")]
        (work / "rules.tsv").write_text("".join(
            " ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n" for source, target in rules))
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES), model_writer=written, model_type="unigram", vocab_size=280,
            normalization_rule_tsv=str(work / "rules.tsv"), character_coverage=1.0, num_threads=1, minloglevel=2)
        model = sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
        model.normalizer_spec.ClearField("normalization_rule_tsv")  # a path of this machine
        spm = work / "sentencepiece.bpe.model"
        spm.write_bytes(model.SerializeToString())
        (work / "config.json").write_text(json.dumps({"model_type": "xlm-roberta"}))
        tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(work, model_max_length=POSITIONS)
        config = transformers.XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=POSITIONS + 2, type_vocab_size=1,
                                               layer_norm_eps=1e-5, **shape)
        write_base(folder, tokenizer, transformers.XLMRobertaModel(config), seed)
        shutil.copy(spm, folder)
        # What the conversion leaves behind, paths and ids of the sentencepiece file, is in no published model.
        path = folder / "tokenizer_config.json"
        kept = {key: value for key, value in json.loads(path.read_text()).items()
                if key not in ("unk_id", "is_local", "local_files_only", "extra_special_tokens")}
        path.write_text(json.dumps(kept, indent=2) + "\n")


def write_static(folder, seed):
    """A sentence-transformers StaticEmbedding directory: tokenizer.json and embedding.weight."""
    folder.mkdir(parents=True)
    vocabulary = word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], 200, 40, lower=True)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    compact(folder / "tokenizer.json")
    table = torch.nn.Embedding(tokenizer.get_vocab_size(), 24)
    randomize(table, seed)
    save_file({"embedding.weight": table.weight.detach()}, folder / "model.safetensors")


def write_modules(folder):
    """Weights of Dense and LayerNorm modules, named by their shape."""
    def linear(name, inputs, outputs, seed, bias=True, residual=False):
        layer = randomize(torch.nn.Linear(inputs, outputs, bias=bias), seed)
        weights = {"linear." + key: value.detach() * (0.5 if key == "weight" else 1) for key, value in layer.named_parameters()}
        if residual:
            weights["residual.weight"] = randomize(torch.nn.Linear(inputs, outputs, bias=False), seed + 1).weight.detach()
        save_file(weights, folder / f"{name}.safetensors")
        return weights

    folder.mkdir(parents=True)
    weights = linear("dense-32-20", 32, 20, 31)
    torch.save(weights, folder / "dense-32-20.bin")
    linear("dense-32-32", 32, 32, 32)
    linear("dense-32-40-without-bias", 32, 40, 33, bias=False)
    linear("dense-20-12", 20, 12, 34)
    linear("dense-64-10", 64, 10, 36)
    linear("dense-32-20-with-residual", 32, 20, 35, residual=True)
    for width in (20, 32):
        norm = randomize(torch.nn.LayerNorm(width), 40 + width)
        save_file({"norm." + key: value.detach() for key, value in norm.named_parameters()}, folder / f"layer-norm-{width}.safetensors")


def write_variants(folder, base, roberta):
    """The weights of bert-cased in the forms and under the names that are met in the wild, and two of roberta."""
    folder.mkdir(parents=True)
    plain = load_file(base / "model.safetensors")
    width = plain["embeddings.word_embeddings.weight"].shape[1]
    save_file({key: value.half() for key, value in plain.items()}, folder / "f16.safetensors", {"format": "pt"})
    save_file({key: value.bfloat16() for key, value in plain.items()}, folder / "bf16.safetensors", {"format": "pt"})
    save_file({key: value.half() if "layer.0" in key else value.bfloat16() if "layer.1" in key else value
               for key, value in plain.items()}, folder / "mixed.safetensors", {"format": "pt"})

    names = sorted(plain)
    total = sum(value.numel() * value.element_size() for value in plain.values())
    for extension in ("safetensors", "bin"):
        stem = "model" if extension == "safetensors" else "pytorch_model"
        where = {}
        for number, part in enumerate((names[:13], names[13:]), 1):
            file = f"{stem}-{number:05}-of-00002.{extension}"
            shard = {key: plain[key] for key in part}
            save_file(shard, folder / file, {"format": "pt"}) if extension == "safetensors" else torch.save(shard, folder / file)
            where.update(dict.fromkeys(part, file))
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / f"{stem}.{extension}.index.json").write_text(json.dumps(index, indent=1) + "\n")

    # A state dict as torch.save writes it for a model: an OrderedDict with the attribute _metadata.
    model = transformers.BertModel.from_pretrained(base)
    torch.save(model.state_dict(), folder / "zip.bin")
    torch.save(model.state_dict(), folder / "legacy.bin", _use_new_zipfile_serialization=False)
    # Views: two tensors in one storage, a transposed matrix, Parameters, float16, and the int64 buffer of old checkpoints.
    odd = dict(plain)
    query, key = ("encoder.layer.0.attention.self.query.weight", "encoder.layer.0.attention.self.key.weight")
    both = torch.cat([plain[query], plain[key]])
    odd[query], odd[key] = both[:width], both[width:]
    dense = "encoder.layer.1.attention.output.dense.weight"
    odd[dense] = plain[dense].t().contiguous().t()
    odd["pooler.dense.weight"] = torch.nn.Parameter(plain["pooler.dense.weight"])
    odd["pooler.dense.bias"] = plain["pooler.dense.bias"].half()
    odd["embeddings.position_ids"] = torch.arange(POSITIONS).unsqueeze(0)
    torch.save(odd, folder / "views.bin")
    torch.save(odd, folder / "views-legacy.bin", _use_new_zipfile_serialization=False)

    # BertForPreTraining of the first years: prefix, gamma and beta, heads, the decoder tied to the embeddings.
    old = {"bert." + key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for key, value in plain.items()}
    generator = torch.Generator().manual_seed(77)
    old["bert.embeddings.position_ids"] = torch.arange(POSITIONS).unsqueeze(0)
    old["cls.predictions.bias"] = torch.randn(len(plain["embeddings.word_embeddings.weight"]), generator=generator)
    old["cls.predictions.transform.dense.weight"] = torch.randn(width, width, generator=generator)
    old["cls.predictions.transform.LayerNorm.gamma"] = torch.randn(width, generator=generator)
    old["cls.seq_relationship.weight"] = torch.randn(2, width, generator=generator)
    save_file({key: value.contiguous() for key, value in old.items()}, folder / "pretraining.safetensors", {"format": "pt"})
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"]  # the same storage twice
    torch.save(old, folder / "pretraining.bin")
    save_file({**plain, "embeddings.position_ids": torch.arange(POSITIONS).unsqueeze(0)}, folder / "position-ids.safetensors",
              {"format": "pt"})
    save_file({key: value for key, value in plain.items() if "pooler" not in key}, folder / "without-pooler.safetensors", {"format": "pt"})

    plain = load_file(roberta / "model.safetensors")
    masked = {"roberta." + key: value for key, value in plain.items() if "pooler" not in key}
    masked["lm_head.bias"] = torch.zeros(len(plain["embeddings.word_embeddings.weight"]))
    masked["lm_head.dense.weight"] = torch.randn(32, 32, generator=generator)
    save_file(masked, folder / "roberta-masked-lm.safetensors", {"format": "pt"})

    # As all-MiniLM-L6-v2 has it: truncation and padding to a fixed length baked into tokenizer.json. Nobody may obey them.
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    tokenizer["padding"] = {"strategy": {"Fixed": 30}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
                            "pad_token": "[PAD]"}
    (folder / "tokenizer-with-padding.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_models(folder):
    shape = dict(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=64)
    write_bert(folder / "bert", 11, cased=False, **shape)
    write_bert(folder / "bert-cased", 12, cased=True, num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=37)
    write_roberta(folder / "roberta", 13, **shape)
    write_xlm_roberta(folder / "xlm-roberta", 14, **shape)
    write_static(folder / "static", 15)
    write_modules(folder / "modules")
    write_variants(folder / "variants", folder / "bert-cased", folder / "roberta")


def encode(model, made, texts, output):
    options = made["encode"]
    method = {None: model.encode, "query": model.encode_query, "document": model.encode_document}[options.get("task")]
    names = ("prompt", "prompt_name", "normalize_embeddings", "truncate_dim", "batch_size")
    return method(texts, output_value=output, show_progress_bar=False, **{key: options[key] for key in names if key in options})


def vectors(model, made):
    if made["encode"].get("output") == "token":
        return [part.numpy() for part in encode(model, made, made["texts"], "token_embeddings")]
    return list(encode(model, made, made["texts"], "sentence_embedding"))


def numbers(array):
    """Nested lists with nine significant digits, which is a float32 exactly."""
    return [numbers(row) for row in array] if array.ndim else float(f"{float(array):.9g}")


def record(made, folder):
    """What sentence-transformers answers: the case with its expectations, and how far float32 is from float64."""
    # transformers would compute in the type of the file; float32 is asked for. StaticEmbedding takes no such argument.
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()
    recorded = {key: value for key, value in made.items() if not key.startswith("_") and key != "similarity"}
    length = model.max_seq_length
    if "_clamp" in made:
        try:
            vectors(model, made)
            sys.exit(f"{made['name']}: sentence-transformers does not fail")
        except (IndexError, RuntimeError):
            recorded["sentence_transformers_max_seq_length"] = length
            length = model.max_seq_length = made["_clamp"]
    found = vectors(model, made)
    recorded["max_seq_length"] = None if math.isinf(length) else length
    if hasattr(model[0], "processor"):
        features = [encode(model, made, [text], None)[0] for text in made["texts"]]
        recorded["token_ids"] = [one["input_ids"][one["attention_mask"].bool()].tolist() for one in features]
    recorded["expected"] = [numbers(part) for part in found]
    recorded["expected_similarity_fn"] = model.similarity_fn_name
    if made.get("similarity"):
        recorded["expected_similarity"] = numbers(model.similarity(numpy.array(found), numpy.array(found)).numpy())
    # In float64 each text goes alone, so padding and neighbors have no part in it.
    exact = vectors(copy.deepcopy(model).double(), {**made, "encode": {**made["encode"], "batch_size": 1}})
    error = max(float(numpy.abs(a - b).max()) / max(1.0, float(numpy.abs(b).max())) for a, b in zip(found, exact))
    for part in found:
        assert part.dtype == numpy.float32 and numpy.isfinite(part).all(), made["name"]
    return recorded, error


def raw_token_ids(recorded, folder):
    """The ids that tokenizer.json gives by itself, or None where a prompt or the base make the question moot."""
    path = folder / "tokenizer.json"
    saved = recorded["files"].get("config_sentence_transformers.json", {})
    if not path.exists() or "token_ids" not in recorded or recorded["encode"] or saved.get("default_prompt_name"):
        return None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(recorded["max_seq_length"])
    return [tokenizer.encode(text).ids for text in recorded["texts"]]


def check(models_folder):
    """Records every case of cases.json again, and compares."""
    worst = 0.0
    cases = json.loads((models_folder / "cases.json").read_text())
    for old in cases:
        made = {key: value for key, value in old.items() if not key.startswith("expected") and key not in ("token_ids", "max_seq_length")}
        if "expected_similarity" in old:
            made["similarity"] = True
        if made.pop("sentence_transformers_max_seq_length", None):
            made["_clamp"] = old["max_seq_length"]
        with tempfile.TemporaryDirectory() as work:
            assemble(made, models_folder, Path(work))
            new, _ = record(made, Path(work))
        for key in ("max_seq_length", "token_ids", "expected_similarity_fn"):
            assert new.get(key) == old.get(key), f"{old['name']}: {key}"
        for a, b in zip(old["expected"], new["expected"], strict=True):
            difference = float(numpy.abs(numpy.array(a) - numpy.array(b)).max())
            worst = max(worst, difference)
            assert difference <= 1e-5, f"{old['name']}: {difference}"
    print(f"{len(cases)} cases, largest difference {worst:.2g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare golden/models with sentence-transformers, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    models_folder = GOLDEN / "models"
    if arguments.check:
        return check(models_folder)
    with tempfile.TemporaryDirectory(dir=GOLDEN) as fresh:
        fresh = Path(fresh) / "models"
        write_models(fresh)
        recorded, errors = {}, {}
        for made in all_cases(fresh):
            name = made["name"]
            assert name not in recorded, f"two cases are called {name}"
            with tempfile.TemporaryDirectory() as work:
                assemble(made, fresh, Path(work))
                recorded[name], errors[name] = record(made, Path(work))
                raw = raw_token_ids(recorded[name], Path(work))
            if errors[name] > ROUNDING:
                sys.exit(f"{name}: float32 is off by {errors[name]:.2g}")
            if raw is not None and raw != recorded[name]["token_ids"]:
                print(f"{name}: tokenizer.json alone gives other ids")
            if made["_same_as"] and recorded[name]["expected"] != recorded[made["_same_as"]]["expected"]:
                sys.exit(f"{name}: the vectors are not those of {made['_same_as']}")
        lines = ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in recorded.values())
        for path in fresh.rglob("*.safetensors"):
            path.chmod(0o644)
        (fresh / "cases.json").write_text(f"[\n{lines}\n]\n")
        shutil.rmtree(models_folder, ignore_errors=True)
        fresh.rename(models_folder)
    name = max(errors, key=errors.get)
    print(f"{len(recorded)} cases; float32 is off float64 by at most {errors[name]:.2g} ({name})")


if __name__ == "__main__":
    main()
