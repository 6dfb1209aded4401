"""The cases of golden/models/cases.json before recording: directories as each release of sentence-transformers wrote them, texts and
options. make_models.py puts them together, asks sentence-transformers and writes the answers.
"""

import json
import shutil
import tempfile
from pathlib import Path

from sentence_transformers import SentenceTransformer

POSITIONS = 48  # tokens that each base model can take

SHORT = "How do I upload a video?"
RUSSIAN = "Чей это йогурт? Моё видео ещё не прошло ПРОВЕРКУ!"
MIXED = "  Crème brûlée, 12 яблок и\tа few UNKNOWN zebras: 世界 🙂 ok\n"
LONG = ("The boat crossed the lake, and then the children asked why the train was late; " * 3
        + "никто не ждал, что поезд придёт вовремя, однако он пришёл. " * 2).strip()
TEXTS = [SHORT, RUSSIAN, "", LONG, SHORT]
# Very different lengths, duplicates, blanks and one-letter texts: more than one batch of four.
CROWD = [LONG, "a", "", SHORT, RUSSIAN, "Видео.", LONG, " ", MIXED, "a", "The old mill near the lake.", "\n"]

FAMILIES = ["bert", "roberta", "xlm-roberta"]
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
LEGACY = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
          "weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}


def types(version):
    """The class paths that each release wrote to modules.json."""
    if version < "5.4":
        return {name: f"sentence_transformers.models.{name}" for name in
                ["Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "StaticEmbedding"]}
    modules = "sentence_transformers.sentence_transformer.modules"
    return {
        "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
        "Pooling": f"{modules}.pooling.Pooling",
        "Normalize": f"{modules}.normalize.Normalize" if version < "6" else "sentence_transformers.base.modules.normalize.Normalize",
        "Dense": "sentence_transformers.base.modules.dense.Dense",
        "LayerNorm": f"{modules}.layer_norm.LayerNorm",
        "StaticEmbedding": f"{modules}.static_embedding.StaticEmbedding",
    }


def pooling_config(version, modes, width, include_prompt=True):
    if version >= "5.4":
        return {"embedding_dimension": width, "pooling_mode": modes[0] if len(modes) == 1 else modes, "include_prompt": include_prompt}
    known = MODES[:4] if version < "2.3" else MODES
    assert set(modes) <= set(known), f"{version} has no {modes}"
    config = {"word_embedding_dimension": width, **{"pooling_mode_" + LEGACY[mode]: mode in modes for mode in known}}
    return config if version < "2.4" else {**config, "include_prompt": include_prompt}


def settings(version, **more):
    """config_sentence_transformers.json."""
    config = {"__version__": {"sentence_transformers": version, "transformers": "4.41.0", "pytorch": "2.3.0"}}
    if version >= "2.4":
        config.update(prompts={}, default_prompt_name=None)
    if version >= "3":
        config["similarity_fn_name"] = None
    if version >= "5":
        config.update(model_type="SentenceTransformer", prompts={"query": "", "document": ""})
    return {**config, **more}


def dense(weights, inputs, outputs, activation="activation.Tanh", bias=True, file="model.safetensors", **more):
    config = {"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": "torch.nn.modules." + activation, **more}
    return ("Dense", config, {file: f"modules/{weights}"})


def layer_norm(width):
    return ("LayerNorm", {"dimension": width}, {"model.safetensors": f"modules/layer-norm-{width}.safetensors"})


NORMALIZE = ("Normalize", None, {})
CHAINS = {
    "normalize": [NORMALIZE],
    "dense-tanh": [dense("dense-32-20.safetensors", 32, 20)],
    "dense-identity-without-bias": [dense("dense-32-40-without-bias.safetensors", 32, 40, "linear.Identity", bias=False)],
    "layer-norm": [layer_norm(32)],
    "dense-normalize": [dense("dense-32-20.safetensors", 32, 20), NORMALIZE],
    "dense-dense-layer-norm-normalize": [dense("dense-32-20.safetensors", 32, 20, "activation.GELU"), layer_norm(20),
                                         dense("dense-20-12.safetensors", 20, 12, "linear.Identity"), NORMALIZE],
}


def layout(version="3.1.1", modes=("mean",), chain=(), width=32, include_prompt=True, max_seq_length=POSITIONS, do_lower_case=False, **more):
    """The companions of a transformer directory as `version` wrote them: (files, copy)."""
    names = types(version)
    parts = [("Pooling", pooling_config(version, list(modes), width, include_prompt), {}), *chain]
    listed = [{"idx": 0, "name": "0", "path": "", "type": names["Transformer"]}]
    files, copied = {}, {}
    for index, (name, config, weights) in enumerate(parts, 1):
        path = f"{index}_{name}"
        listed.append({"idx": index, "name": str(index), "path": path, "type": names[name]})
        if name == "Normalize" and version >= "6":
            config = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
        if name == "Dense" and version >= "5.4":
            config = {**config, "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
        if config is not None:
            files[f"{path}/config.json"] = config
        copied.update({f"{path}/{file}": source for file, source in weights.items()})
    files["modules.json"] = listed
    files["config_sentence_transformers.json"] = settings(version, **more)
    if version < "5.4":
        files["sentence_bert_config.json"] = {"max_seq_length": max_seq_length, "do_lower_case": do_lower_case}
    else:
        files["sentence_bert_config.json"] = {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings"}
    return files, copied


def case(name, base, parts=({}, {}), texts=TEXTS, encode=None, remove=(), same_as=None, **more):
    """One case before recording; `same_as` names a case whose vectors must be the very same."""
    files, copied = parts
    made = {"name": name, "base": base, "files": files, "copy": copied, "remove": list(remove), "encode": encode or {}, "texts": list(texts)}
    return {**made, **more, "_same_as": same_as}


def with_config(models_folder, base, **changes):
    return {"config.json": {**json.loads((models_folder / base / "config.json").read_text()), **changes}}


def tokenizer_config(models_folder, base, drop=(), **changes):
    config = {**json.loads((models_folder / base / "tokenizer_config.json").read_text()), **changes}
    return {"tokenizer_config.json": {key: value for key, value in config.items() if key not in drop}}


def joined(parts, *files, copied=None):
    merged = dict(parts[0])
    for more in files:
        merged.update(more)
    return merged, {**parts[1], **(copied or {})}


def assemble(made, models_folder, folder):
    """Writes the model directory of a case: the base, without `remove`, then `copy`, then `files`."""
    if made["base"] is not None:
        shutil.copytree(models_folder / made["base"], folder, dirs_exist_ok=True)
    for name in made["remove"]:
        (folder / name).unlink()
    for name, source in made["copy"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(models_folder / source, folder / name)
    for name, value in made["files"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2))


def pooling_cases():
    """Each family × pooling × chain, the layouts of all releases in turn."""
    poolings = [[mode] for mode in MODES] + [["cls", "mean"], ["weightedmean", "max", "cls"]]
    chains = list(CHAINS)
    turn = 0
    yield case("bert: plain", "bert", layout())
    for f, family in enumerate(FAMILIES):
        for p, modes in enumerate(poolings):
            for chain in ("none", chains[(2 * f + p) % len(chains)]):
                versions = ["3.1.1", "5.4.0", "6.2.0", "2.2.2", "2.7.0", "4.1.0", "5.1.0"]
                version = versions[turn % len(versions)]
                turn += 1
                if version == "2.2.2" and not set(modes) <= set(MODES[:4]) or modes[0] == "weightedmean" and version < "5.4":
                    version = "6.2.0"  # a list keeps its order, the booleans have none
                steps = CHAINS.get(chain, [])
                if len(modes) > 1 and chain != "none":
                    steps, chain = [NORMALIZE], "normalize"
                yield case(f"{family}: {'+'.join(modes)}, {chain}, {version}", family, layout(version, modes, steps))


def prompt_cases():
    prompts = {"query": "query: ", "passage": "Отрывок: ", "none": ""}
    texts = [SHORT, RUSSIAN, "", LONG]
    for family in FAMILIES:
        excluded = layout("6.2.0", MODES, include_prompt=False, prompts=prompts)
        yield case(f"{family}: all modes, prompt excluded", family, excluded, texts, {"prompt_name": "query"})
        yield case(f"{family}: all modes, prompt included", family, layout("6.2.0", MODES, prompts=prompts), texts, {"prompt_name": "query"})
        yield case(f"{family}: legacy include_prompt false, all booleans", family, layout("3.1.1", MODES, include_prompt=False), texts,
                   {"prompt": "Отрывок без пробела:"})
    family = "bert"
    saved = layout("3.1.1", prompts=prompts)
    yield case("bert: prompt wins over prompt_name", family, saved, texts, {"prompt": "passage — ", "prompt_name": "query"})
    yield case("bert: empty prompt by name", family, saved, texts, {"prompt_name": "none"})
    yield case("bert: prompts saved but not asked for", family, saved, texts)
    default = layout("3.1.1", prompts=prompts, default_prompt_name="passage")
    yield case("bert: default_prompt_name", family, default, texts)
    yield case("bert: default_prompt_name, empty prompt given", family, default, texts, {"prompt": ""})
    yield case("bert: default_prompt_name, other name given", family, default, texts, {"prompt_name": "query"})
    yield case("bert: encode_query", family, default, texts, {"task": "query"})
    empty = "every model has the prompts query and document, empty if nothing is saved, and they win over the other names"
    yield case("bert: encode_query without a query prompt", family, layout("3.1.1", prompts={"passage": "x: "}, default_prompt_name="passage"),
               texts, {"task": "query"}, note=empty)
    yield case("bert: encode_document, document", family, layout("5.1.0", prompts={"document": "doc: ", "passage": "psg: "}), texts,
               {"task": "document"})
    yield case("bert: encode_document, passage", family, layout("3.1.1", prompts={"query": "q: ", "passage": "psg: "}), texts,
               {"task": "document"}, note=empty)
    yield case("bert: encode_document, corpus", family, layout("3.1.1", prompts={"corpus": "corpus: "}), texts, {"task": "document"}, note=empty)
    yield case("bert: encode_document, prompt given", family, default, texts, {"task": "document", "prompt": "own: "})
    cut = layout("3.1.1", MODES, include_prompt=False, max_seq_length=5)
    yield case("bert: excluded prompt longer than max_seq_length", family, cut, texts, {"prompt": "How do I change the password: "})
    yield case("roberta: excluded prompt ending in a space", "roberta", layout("6.2.0", ["cls", "mean", "lasttoken"], include_prompt=False),
               texts, {"prompt": "the query "})
    yield case("xlm-roberta: prompt with Dense and Normalize", "xlm-roberta",
               layout("3.1.1", chain=CHAINS["dense-normalize"], prompts=prompts, default_prompt_name="query"), texts)


def saved_by_sentence_transformers(folder):
    """The JSON files that the installed sentence-transformers writes when it saves bert with Dense and Normalize."""
    parts = layout(chain=CHAINS["dense-normalize"])
    with tempfile.TemporaryDirectory() as work:
        read, written = Path(work) / "read", Path(work) / "written"
        assemble(case("", "bert", parts), folder, read)
        SentenceTransformer(str(read), device="cpu").save_pretrained(str(written), create_model_card=False)
        names = [path.relative_to(written).as_posix() for path in sorted(written.rglob("*.json")) if path.name != "tokenizer.json"]
        return {name: json.loads((written / name).read_text()) for name in names}, parts[1]


def output_cases():
    plain, unit = layout(), layout(chain=[NORMALIZE])
    yield case("bert: normalize_embeddings", "bert", plain, encode={"normalize_embeddings": True})
    yield case("bert: truncate_dim", "bert", plain, encode={"truncate_dim": 10})
    yield case("bert: truncate_dim, normalize_embeddings", "bert", plain, encode={"truncate_dim": 10, "normalize_embeddings": True})
    yield case("bert: Normalize, then truncate_dim", "bert", unit, encode={"truncate_dim": 10})
    yield case("bert: truncate_dim larger than the vector", "bert", plain, encode={"truncate_dim": 99})
    saved = layout("5.4.0", truncate_dim=12)
    yield case("bert: truncate_dim saved", "bert", saved)
    yield case("bert: truncate_dim saved and given", "bert", saved, encode={"truncate_dim": 20})
    for family in FAMILIES:
        yield case(f"{family}: token vectors", family, layout(chain=CHAINS["dense-normalize"]), [SHORT, "", "Моё видео"],
                   {"output": "token"})
    yield case("bert: token vectors with prompt", "bert", layout(include_prompt=False), [SHORT, ""],
               {"output": "token", "prompt": "query: "})
    yield case("bert: token vectors, options that do not apply", "bert", plain, [SHORT, ""],
               {"output": "token", "truncate_dim": 5, "normalize_embeddings": True})
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        yield case(f"bert: similarity {name}", "bert", layout("3.1.1", similarity_fn_name=name), similarity=True)
    for family in FAMILIES:
        yield case(f"{family}: many lengths, small batches", family, layout(), CROWD, {"batch_size": 4})
    special = {"bert": "one [SEP] two [MASK] [CLS] [PAD] three", "roberta": "one</s> two <mask> <s> three",
               "xlm-roberta": "one</s> two <mask> <s> three"}
    for family in FAMILIES:
        yield case(f"{family}: special tokens written out in the text", family, layout(), [special[family], SHORT])
    note = "transformers gives the written-out <pad> the padding position, and counts positions without it"
    for family in FAMILIES[1:]:
        yield case(f"{family}: <pad> written out in the text", family, layout(), ["one <pad> two", "<pad>", SHORT], note=note)


def layout_cases(folder):
    yield case("bert: Dense and Normalize", "bert", layout(chain=CHAINS["dense-normalize"]))
    yield case("bert: as sentence-transformers saves it", "bert", saved_by_sentence_transformers(folder), same_as="bert: Dense and Normalize")
    yield case("bert: bare directory", "bert", same_as="bert: plain")
    yield case("xlm-roberta: bare directory, ForMaskedLM named in config.json", "xlm-roberta",
               (with_config(folder, "xlm-roberta", architectures=["XLMRobertaForMaskedLM"]), {}))
    files, copied = layout()
    yield case("bert: no config_sentence_transformers.json", "bert",
               ({key: value for key, value in files.items() if key != "config_sentence_transformers.json"}, copied))
    without = {key: value for key, value in files.items() if key != "sentence_bert_config.json"}
    yield case("bert: no sentence_bert_config.json", "bert", (without, copied))
    for kind, family in [("roberta", "roberta"), ("distilbert", "bert"), ("camembert", "roberta"), ("albert", "bert"),
                         ("xlm-roberta", "xlm-roberta"), ("xlnet", "bert")]:
        yield case(f"{family}: sentence_{kind}_config.json", family,
                   joined((without, copied), {f"sentence_{kind}_config.json": {"max_seq_length": 11, "do_lower_case": False}}))
    yield case("roberta: two sentence_*_config.json", "roberta", joined(
        (without, copied), {"sentence_roberta_config.json": {"max_seq_length": 13, "do_lower_case": False},
                            "sentence_xlm-roberta_config.json": {"max_seq_length": 7, "do_lower_case": False}}))
    for family in FAMILIES:
        yield case(f"{family}: max_seq_length 9", family, layout(max_seq_length=9))
    yield case("bert: max_seq_length 2, only the special tokens", "bert", layout(max_seq_length=2))
    yield case("bert: max_seq_length 3", "bert", layout(max_seq_length=3))
    yield case("bert: max_seq_length null", "bert", layout(max_seq_length=None))
    yield case("bert: model_max_length larger than the table, nothing stored", "bert",
               joined((without, copied), tokenizer_config(folder, "bert", model_max_length=512)))
    yield case("bert: no model_max_length, nothing stored", "bert",
               joined((without, copied), tokenizer_config(folder, "bert", drop=["model_max_length"])))
    yield case("bert: model_max_length 10 in the layout of 6.x", "bert",
               joined(layout("6.2.0"), tokenizer_config(folder, "bert", model_max_length=10)))
    yield case("bert: stored max_seq_length wins over model_max_length", "bert",
               joined(layout(max_seq_length=20), tokenizer_config(folder, "bert", model_max_length=10)))
    clamped = "sentence-transformers fails on texts above the position table; recorded with the length that the table allows"
    for family in FAMILIES[1:]:
        yield case(f"{family}: stored max_seq_length = rows of the position table", family, layout(max_seq_length=POSITIONS + 2),
                   note=clamped, _clamp=POSITIONS)
        yield case(f"{family}: bare directory without model_max_length", family,
                   (tokenizer_config(folder, family, drop=["model_max_length"]), {}), note=clamped, _clamp=POSITIONS)
    yield case("bert: stored max_seq_length above the position table", "bert", layout(max_seq_length=512), note=clamped, _clamp=POSITIONS)
    yield case("bert: Transformer in a folder of its own", None, (
        {**files, "modules.json": [{**files["modules.json"][0], "path": "0_Transformer"}, *files["modules.json"][1:]],
         "0_Transformer/sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": False}},
        {f"0_Transformer/{name}": f"bert/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")}))
    yield case("bert: Normalize of 5.4 without its folder, idx out of order", "bert", joined(
        layout("5.4.0", chain=[NORMALIZE]), {"modules.json": [
            {**entry, "idx": 7 - entry["idx"]} for entry in layout("5.4.0", chain=[NORMALIZE])[0]["modules.json"]]}))
    yield case("bert: pooling booleans all false", "bert", joined(
        layout(), {"1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
                                             "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}}))
    yield case("bert: pooling_mode beside the old booleans", "bert", joined(
        layout(), {"1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "cls", "pooling_mode_mean_tokens": True}}))
    yield case("bert: pooling with nothing but the dimension", "bert", joined(
        layout(), {"1_Pooling/config.json": {"word_embedding_dimension": 32}}))
    yield case("bert: written by a newer release", "bert", layout("99.0.0"))
    yield case("bert: saved as another model_type", "bert",
               layout("5.1.0", ["cls"], model_type="SparseEncoder", prompts={"query": "q: "}, default_prompt_name="query"),
               note="the modules and prompts are replaced by Transformer and mean pooling")


def text_cases(folder):
    texts = [SHORT, SHORT.upper(), RUSSIAN, MIXED, ""]
    small = dict(width=16)
    yield case("bert-cased: cased", "bert-cased", layout(**small), texts)
    yield case("bert-cased: do_lower_case", "bert-cased", layout(do_lower_case=True, **small), texts)
    yield case("bert: do_lower_case on an uncased tokenizer", "bert", layout(do_lower_case=True), texts)
    yield case("roberta: do_lower_case", "roberta", layout(do_lower_case=True), texts)
    yield case("xlm-roberta: do_lower_case", "xlm-roberta", layout(do_lower_case=True), texts)
    fancy = ["ＦＯＸ and the ﬁne café…", "two\u00a0words", "tail \u200b joined", "e\u0301 and \u0439", "ёлка Ёлка", "a" * 130]
    for family in FAMILIES:
        yield case(f"{family}: unusual characters", family, layout(), [*fancy, MIXED])
    yield case("bert: vocab.txt alone", "bert", layout(), [*texts, *fancy], remove=["tokenizer.json"])
    yield case("bert-cased: vocab.txt alone, cased", "bert-cased", layout(**small), [*texts, *fancy], remove=["tokenizer.json"])
    yield case("xlm-roberta: sentencepiece.bpe.model alone", "xlm-roberta", layout(), [*texts, *fancy], remove=["tokenizer.json"])
    yield case("bert: tokenizer_config.json says cased, tokenizer.json uncased", "bert",
               joined(layout(), tokenizer_config(folder, "bert", do_lower_case=False)), texts,
               note="BertTokenizer builds its normalizer from tokenizer_config.json, not from tokenizer.json")
    yield case("bert-cased: tokenizer_config.json without do_lower_case", "bert-cased",
               joined(layout(**small), tokenizer_config(folder, "bert-cased", drop=["do_lower_case"])), texts,
               note="BertTokenizer lowercases unless tokenizer_config.json says otherwise")
    yield case("bert-cased: PreTrainedTokenizerFast takes tokenizer.json as it is", "bert-cased",
               joined(layout(**small), {"tokenizer_config.json": {
                   "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS, "pad_token": "[PAD]", "unk_token": "[UNK]",
                   "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}}), texts, same_as="bert-cased: cased")
    yield case("bert-cased: tokenizer.json with truncation and padding", "bert-cased",
               joined(layout(**small), copied={"tokenizer.json": "variants/tokenizer-with-padding.json"}), texts, same_as="bert-cased: cased")


def computation_cases(folder):
    for name in ("gelu", "relu", "gelu_new", "silu", "swish", "gelu_pytorch_tanh", "gelu_python"):
        yield case(f"bert: hidden_act {name}", "bert", joined(layout(), with_config(folder, "bert", hidden_act=name)))
    yield case("roberta: hidden_act gelu_new", "roberta", joined(layout(), with_config(folder, "roberta", hidden_act="gelu_new")))
    yield case("bert: layer_norm_eps 0.05", "bert", joined(layout(), with_config(folder, "bert", layer_norm_eps=0.05)))
    yield case("bert: one layer of two", "bert", joined(layout(), with_config(folder, "bert", num_hidden_layers=1)))
    yield case("bert: two heads instead of four", "bert", joined(layout(), with_config(folder, "bert", num_attention_heads=2)))
    for name in ("activation.Tanh", "linear.Identity", "activation.ReLU", "activation.GELU", "activation.Sigmoid", "activation.SiLU"):
        yield case(f"bert: Dense {name}", "bert", layout(chain=[dense("dense-32-32.safetensors", 32, 32, name)]))
    yield case("bert: Dense from pytorch_model.bin", "bert",
               layout("2.2.2", chain=[dense("dense-32-20.bin", 32, 20, file="pytorch_model.bin")]))
    yield case("bert: Dense with residual", "bert",
               layout("6.2.0", chain=[dense("dense-32-32.safetensors", 32, 32, use_residual=True)]))
    yield case("bert: Dense with projected residual", "bert",
               layout("6.2.0", chain=[dense("dense-32-20-with-residual.safetensors", 32, 20, use_residual=True)]))
    yield case("bert: Dense over two pooling modes", "bert", layout("6.2.0", ["max", "cls"], chain=[dense("dense-64-10.safetensors", 64, 10)]))
    yield case("bert: Dense over two pooling booleans", "bert", layout("3.1.1", ["cls", "max"], chain=[dense("dense-64-10.safetensors", 64, 10)]))


def weight_cases():
    plain = layout(width=16)
    upcast = "half precision is widened to float32, and everything is computed in float32"
    yield case("weights: as saved", "bert-cased", plain)
    same = {"same_as": "weights: as saved"}

    def replaced(name, copied, **more):
        return case(f"weights: {name}", "bert-cased", joined(plain, copied={to: f"variants/{source}" for to, source in copied.items()}),
                    remove=["model.safetensors"], **more)

    yield replaced("float16", {"model.safetensors": "f16.safetensors"}, note=upcast)
    yield replaced("bfloat16", {"model.safetensors": "bf16.safetensors"}, note=upcast)
    yield replaced("three types in one file", {"model.safetensors": "mixed.safetensors"}, note=upcast)
    for stem, extension in (("model", "safetensors"), ("pytorch_model", "bin")):
        shards = [f"{stem}.{extension}.index.json", *(f"{stem}-0000{i}-of-00002.{extension}" for i in (1, 2))]
        yield replaced(f"two shards, {extension}", {name: name for name in shards}, **same)
    for source in ("zip", "legacy", "views", "views-legacy", "pretraining"):
        yield replaced(f"pytorch_model.bin, {source}", {"pytorch_model.bin": f"{source}.bin"}, **same)
    for source in ("pretraining", "position-ids", "without-pooler"):
        yield replaced(source, {"model.safetensors": f"{source}.safetensors"}, **same)
    yield case("weights: RobertaForMaskedLM", "roberta",
               joined(layout(), copied={"model.safetensors": "variants/roberta-masked-lm.safetensors"}), remove=["model.safetensors"])
    yield case("weights: safetensors wins over pytorch_model.bin", "bert",
               joined(layout(), copied={"pytorch_model.bin": "modules/dense-32-20.bin"}), same_as="bert: plain")


def static_cases():
    def static(version, path, chain=()):
        names = types(version)
        listed = [{"idx": 0, "name": "0", "path": path, "type": names["StaticEmbedding"]}]
        listed += [{"idx": 1, "name": "1", "path": "1_Normalize", "type": names["Normalize"]} for _ in chain]
        return {"modules.json": listed, "config_sentence_transformers.json": settings(version)}, {}

    inside = {f"0_StaticEmbedding/{name}": f"static/{name}" for name in ("model.safetensors", "tokenizer.json")}
    texts = [SHORT, RUSSIAN, "", LONG, MIXED, SHORT]
    yield case("static: in the root", "static", static("6.2.0", ""), texts)
    yield case("static: in a folder of its own", None, joined(static("3.4.0", "0_StaticEmbedding"), copied=inside), texts)
    yield case("static: Normalize", "static", static("6.2.0", "", [NORMALIZE]), texts)
    yield case("static: prompt, truncate_dim, normalize_embeddings", "static", static("5.1.0", ""), texts,
               {"prompt": "query: ", "truncate_dim": 7, "normalize_embeddings": True})


def all_cases(folder):
    yield from pooling_cases()
    yield from prompt_cases()
    yield from output_cases()
    yield from layout_cases(folder)
    yield from text_cases(folder)
    yield from computation_cases(folder)
    yield from weight_cases()
    yield from static_cases()
