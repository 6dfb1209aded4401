"""Records golden/tokens/: token ids as transformers 5 and tokenizers give them.

    python golden/make_tokens.py [--shared DIR]

`cases.json` holds directories (in the manner of golden/models/cases.json) with texts written for this project, and their ids.
`xlm-roberta.json` holds ids of the same texts, and hashes of the ids of real questions, from the real XLM-RoBERTa tokenizer of the
data folder `shared` beside the repository; the questions themselves are not written.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers
from transformers import AutoTokenizer

from model_cases import assemble

GOLDEN = Path(__file__).resolve().parent
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"]

NASTY = [
    "", " ", "   ", "\t\n\r ", "\u00a0", "\u200b", "\ufeff", "\x00", "a\x00b", "\x01\x02\x1f\x7f\x80\x9f", "\ufffd", "a\ufffdb", "\uffff",
    "\U0010ffff", "\ue000\uf8ff", "\u2028\u2029\x0b\x0c\x85", "👨\u200d👩\u200d👧\u200d👦 family", "🏳️\u200d🌈🇷🇺🇩🇪🇫", "👍🏽✌️☝🏿", "e\u0301 e\u0300\u0301\u0302",
    "a" + "\u0301" * 40, "Z\u0351\u036b\u0343\u0363a\u0328\u0321lgo", "й й ё ё Й", "İstanbul ıI ſ ß ẞ ﬀ ﬁ ǅ", "Ὀδυσσεύς ΑΣ ας", "ＦＵＬＬ ｗｉｄｔｈ １２３ ｶﾀｶﾅ",
    "한국어 \u1112\u1161\u11ab \u1100\u1161", "日本語のテキスト。改行なし", "漢字かな交じり文 mixed 中文。", "\U00020000\U0002a6d6", "שלום עולם", "مرحبا بالعالم ١٢٣",
    "\u202eright to left\u202c \u2066x\u2069", "हिन्दी क्षि ज्ञ", "ไทยไม่มีช่องว่าง", "နမူနာ", "x" * 99, "x" * 100, "x" * 101, "й" * 300, "ab" * 400,
    "don't I'll we've they're it's I'm he'd 'S 'LL ’s", "3.14 1,000 1e-5 0x1F ½ ² Ⅷ ①", "a.b,c;d:e!f?g(h)i[j]k{l}m", "—–-‐‑−…·•«»„“”‘’",
    "https://example.org/a?b=c&d=%20#e me@example.org", "C:\\path\\to \\n \\t", "<s></s> <s> </s>x", "<mask>", "x <mask> y", "x<mask>y", "a <pad> b <unk> c",
    "[CLS] [SEP]x[MASK]", "[cls] [mask] <MASK>", "▁ ▁a a▁b _ __", "Ġword ĊĠ ##ing ##", "  leading and trailing  ", "two  spaces   three",
    "line\nbreak\r\nwindows\n\nparagraph", "tab\tseparated\tvalues", "ok\x00", "\x00ok", "\u0300", "\u200d", "\u20e3 1\u20e3", "™℠©® ㎏㍿", "…\u3000　x",
    "The quick brown fox " * 40, "ВЕРХНИЙ регистр и нижний", "ŠĐČĆŽ äöü ÅØÆ ñ ç", "ʼn ŉ ǰ ΐ ᾳ", "\u1e9b\u0323", "a\u034fb", "\ud7a3\uac00", "😀" * 50, "1" * 200, "." * 300,
]


def case(name, base, max_seq_length=None, texts=NASTY, remove=(), copy=None, files=None):
    return {"name": name, "base": base, "remove": list(remove), "copy": copy or {}, "files": files or {}, "texts": texts,
            "max_seq_length": max_seq_length}


def config(base, drop=(), **changes):
    saved = json.loads((GOLDEN / "models" / base / "tokenizer_config.json").read_text())
    return {"tokenizer_config.json": {key: value for key, value in {**saved, **changes}.items() if key not in drop}}


def token(content, special=True, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": not special, "special": special, **flags}


def tokenizer_json(base, change):
    saved = json.loads((GOLDEN / "models" / base / "tokenizer.json").read_text())
    change(saved)
    return {"tokenizer.json": saved}


def cases():
    added = "an <ent> entity, <Ent> and NEW new words; x<ent>y <tail> end"
    for base in ("bert", "bert-cased", "roberta", "xlm-roberta"):
        yield case(f"{base}: nasty", base)
        short = NASTY[-30:]
        for length in (3, 7, 20):
            yield case(f"{base}: cut at the end, {length}", base, length, short)
            yield case(f"{base}: cut at the beginning, {length}", base, length, short, files=config(base, truncation_side="left"))
        yield case(f"{base}: as it is", base, files=config(base, tokenizer_class="PreTrainedTokenizerFast"))
        yield case(f"{base}: no tokenizer_config.json", base, remove=["tokenizer_config.json"])
        decoder = {"900": token("<ent>"), "901": token("NEW", special=False), "902": token("<tail>", lstrip=True, rstrip=True)}
        yield case(f"{base}: added_tokens_decoder", base, texts=[added, *NASTY], files=config(base, added_tokens_decoder=decoder))
        yield case(f"{base}: added_tokens_decoder, as it is", base, texts=[added, *NASTY],
                   files=config(base, added_tokens_decoder=decoder, tokenizer_class="PreTrainedTokenizerFast"))
        yield case(f"{base}: special_tokens_map.json", base, texts=[added, *NASTY], files={"special_tokens_map.json": {
            "additional_special_tokens": ["<ent>", "<tail>"]}})
        yield case(f"{base}: additional_special_tokens", base, texts=[added, *NASTY],
                   files=config(base, additional_special_tokens=["<ent>", "<tail>"]))

        def stored(file):
            file["truncation"] = {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}

        yield case(f"{base}: truncation to the left stored in tokenizer.json", base, 9, files=tokenizer_json(base, stored))
    yield case("bert: vocab.txt alone, no tokenizer_config.json", "bert", remove=["tokenizer.json", "tokenizer_config.json"])
    yield case("bert: strip_accents without do_lower_case", "bert", files=config("bert", strip_accents=True, do_lower_case=False))
    yield case("bert: do_lower_case without strip_accents", "bert", files=config("bert", strip_accents=False))
    yield case("bert: no tokenize_chinese_chars", "bert", files=config("bert", tokenize_chinese_chars=False))
    yield case("bert: added_tokens.json", "bert", texts=[added, *NASTY], remove=["tokenizer.json"],
               files={"added_tokens.json": {"<ent>": 900, "NEW": 901}})
    bpe = {"vocab.json": "../tokens/vocab.json", "merges.txt": "../tokens/merges.txt"}
    yield case("roberta: vocab.json and merges.txt alone", "roberta", remove=["tokenizer.json"], copy=bpe)
    yield case("roberta: vocab.json and merges.txt, no tokenizer_config.json", "roberta", remove=["tokenizer.json", "tokenizer_config.json"],
               copy=bpe)
    mask = token("<mask>", lstrip=True)
    yield case("roberta: add_prefix_space", "roberta", files=config("roberta", add_prefix_space=True))
    yield case("roberta: mask takes the space before it", "roberta", files=config("roberta", mask_token={"__type": "AddedToken", **mask},
                                                                                added_tokens_decoder={"420": mask}))
    yield case("roberta: mask with its space in special_tokens_map.json", "roberta", remove=["tokenizer.json"], copy=bpe,
               files={"special_tokens_map.json": {"mask_token": {key: value for key, value in mask.items() if key != "special"}}})
    yield case("xlm-roberta: sentencepiece.bpe.model alone, no tokenizer_config.json", "xlm-roberta",
               remove=["tokenizer.json", "tokenizer_config.json"])
    yield case("xlm-roberta: sentencepiece.bpe.model alone", "xlm-roberta", remove=["tokenizer.json"])
    yield case("xlm-roberta: no prefix space", "xlm-roberta", files=config("xlm-roberta", add_prefix_space=False))

    def sequence(file):
        spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
        file["normalizer"] = {"type": "Sequence", "normalizers": [file["normalizer"], spaces]}
        file["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}

    yield case("xlm-roberta: another normalizer in tokenizer.json", "xlm-roberta", files=tokenizer_json("xlm-roberta", sequence))
    yield case("xlm-roberta: another normalizer in tokenizer.json, as it is", "xlm-roberta",
               files={**tokenizer_json("xlm-roberta", sequence), **config("xlm-roberta", tokenizer_class="PreTrainedTokenizerFast")})


def write_roberta_files(folder):
    """vocab.json and merges.txt of the tiny roberta."""
    model = json.loads((GOLDEN / "models/roberta/tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False) + "\n")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def ids(tokenizer, text, length=None):
    return tokenizer(text, truncation=length is not None, max_length=length)["input_ids"]


def fnv(numbers):
    """FNV-1a of 64 bits over little-endian u32 (http://www.isthe.com/chongo/tech/comp/fnv/)."""
    digest = 0xCBF29CE484222325
    for number in numbers:
        for byte in number.to_bytes(4, "little"):
            digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return digest


def strings(line):
    """The texts of a line, in the order of its keys."""
    return [value for value in json.loads(line).values() if isinstance(value, str)]


def record_real(shared):
    source = shared / "tokenizers/xlm-roberta"
    recorded = {}
    for name in ("tokenizer.json", "sentencepiece.bpe.model"):
        with tempfile.TemporaryDirectory() as work:
            shutil.copy(source / name, work)
            (Path(work) / "config.json").write_text('{"model_type": "xlm-roberta"}')
            tokenizer = AutoTokenizer.from_pretrained(work)
        files = {}
        for path in sorted((shared / "data/rutube").glob("*.jsonl")):
            lines = [[ids(tokenizer, text) for text in strings(line)] for line in path.read_text().splitlines()]
            hashes = [fnv([number for one in texts for number in (len(one), *one)]) for texts in lines]
            files[path.name] = {"ids": sum(len(one) for texts in lines for one in texts), "hashes": "".join(f"{h & 0xFFFFFFFF:08x}" for h in hashes)}
        recorded[name] = {"nasty": [ids(tokenizer, text) for text in NASTY], "rutube": files}
    first, second = recorded.values()
    for name, file in first["rutube"].items():
        other = second["rutube"][name]["hashes"]
        differ = [i // 8 for i in range(0, len(other), 8) if other[i:i + 8] != file["hashes"][i:i + 8]]
        print(f"{name}: lines that differ between the two files: {differ}")
    print("nasty texts that differ:", [i for i, (a, b) in enumerate(zip(first["nasty"], second["nasty"])) if a != b])
    return recorded


def compact(value):
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=GOLDEN.parent.parent / "shared")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    folder = GOLDEN / "tokens"
    folder.mkdir(exist_ok=True)
    write_roberta_files(folder)
    recorded = []
    for made in cases():
        with tempfile.TemporaryDirectory() as work:
            assemble(made, GOLDEN / "models", Path(work))
            tokenizer = AutoTokenizer.from_pretrained(work)
            recorded.append({**made, "token_ids": [ids(tokenizer, text, made["max_seq_length"]) for text in made["texts"]]})
    for made in recorded:  # the list of all texts is there once
        made["texts"] = None if made["texts"] == NASTY else [text if text not in NASTY else NASTY.index(text) for text in made["texts"]]
    (folder / "cases.json").write_text(compact({"nasty": NASTY, "cases": "@"}).replace('"@"', "[\n" + ",\n".join(map(compact, recorded)) + "\n]") + "\n")
    print(len(recorded), "cases")
    if arguments.shared.exists():
        (folder / "xlm-roberta.json").write_text(compact(record_real(arguments.shared)) + "\n")


if __name__ == "__main__":
    main()
