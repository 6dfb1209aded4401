//! Bad input, case by case: each ends with an error that says what, where and what to do, a non-zero exit code, nothing on
//! standard output and nothing written.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::path::Path;

use common::{case, finish, path, sentir};
use hostile::{edit_header, edit_json, edit_tensors, named, write_safetensors, zip};
use safetensors::Dtype;
use serde_json::json;

/// One bad input. It runs in a directory of its own that holds a good model, `model`, and good texts, `in.txt`.
struct Case {
    name: &'static str,
    /// What makes it bad.
    prepare: fn(&Path),
    /// The arguments; `@` stands for the directory and a slash.
    arguments: &'static str,
    /// What the message must say: what is wrong, where, and what to do.
    says: &'static [&'static str],
    /// The exit code: 1, or 2 for wrong arguments.
    code: i32,
}

const ENCODE: &str = "encode --model @model --input @in.txt --output @out.npy";

/// A model that is bad after `prepare`.
const fn model(name: &'static str, prepare: fn(&Path), says: &'static [&'static str]) -> Case {
    Case { name, prepare, arguments: ENCODE, says, code: 1 }
}

/// Texts that are bad.
const fn input(
    name: &'static str,
    arguments: &'static str,
    prepare: fn(&Path),
    says: &'static [&'static str],
) -> Case {
    Case { name, prepare, arguments, says, code: 1 }
}

/// Arguments that do not fit the model or the texts.
const fn option(name: &'static str, arguments: &'static str, says: &'static [&'static str]) -> Case {
    Case { name, prepare: |_| (), arguments, says, code: 1 }
}

/// Arguments that are wrong whatever the files.
const fn usage(name: &'static str, arguments: &'static str, says: &'static [&'static str]) -> Case {
    Case { name, prepare: |_| (), arguments, says, code: 2 }
}

fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
    std::fs::write(path, contents).unwrap();
}

fn remove(path: impl AsRef<Path>) {
    std::fs::remove_file(path).unwrap();
}

fn cut(path: impl AsRef<Path>, length: usize) {
    let bytes = std::fs::read(&path).unwrap();
    write(path, &bytes[..length]);
}

const WEIGHTS: &str = "model/model.safetensors";

/// Puts a pickle in place of the weights, as the bare file of old or as the zip of today.
fn pickle(directory: &Path, bytes: &[u8]) {
    remove(directory.join(WEIGHTS));
    write(directory.join("model/pytorch_model.bin"), bytes);
}

const MODELS: &[Case] = &[
    Case {
        name: "a directory that is not there",
        prepare: |_| (),
        arguments: "encode --model @nowhere --input @in.txt --output @out.npy",
        says: &["nowhere"],
        code: 1,
    },
    Case {
        name: "a file for a model",
        prepare: |_| (),
        arguments: "encode --model @in.txt --input @in.txt --output @out.npy",
        says: &["in.txt", "director"],
        code: 1,
    },
    Case {
        name: "a directory without a model",
        prepare: |d| std::fs::create_dir(d.join("empty")).unwrap(),
        arguments: "encode --model @empty --input @in.txt --output @out.npy",
        says: &["empty", "config.json"],
        code: 1,
    },
    Case {
        name: "an id that is not in the cache while offline",
        prepare: |_| (),
        arguments: "encode --model nobody/no-such-model --input @in.txt --output @out.npy",
        says: &["nobody/no-such-model", "HF_HUB_OFFLINE"],
        code: 1,
    },
    Case {
        name: "an id that is none",
        prepare: |_| (),
        arguments: "download a/b/../c",
        says: &["a/b/../c"],
        code: 1,
    },
    model("no config.json", |d| remove(d.join("model/config.json")), &["config.json"]),
    model(
        "no tokenizer",
        |d| {
            for file in ["tokenizer.json", "vocab.txt"] {
                remove(d.join("model").join(file));
            }
        },
        &["tokenizer.json", "vocab.txt"],
    ),
    model("no weights", |d| remove(d.join(WEIGHTS)), &["model.safetensors", "pytorch_model.bin"]),
    model("no pooling", |d| remove(d.join("model/1_Pooling/config.json")), &["1_Pooling", "config.json"]),
    model("config.json cut", |d| cut(d.join("model/config.json"), 40), &["config.json", "line "]),
    model(
        "config.json with a bad line",
        |d| {
            write(d.join("model/config.json"), "{\n  \"model_type\": \"bert\",\n  \"hidden_size\" 32\n}\n");
        },
        &["config.json: line 3", "expected"],
    ),
    model(
        "config.json not UTF-8",
        |d| write(d.join("model/config.json"), b"{\"model_type\": \"b\xffrt\"}"),
        &["config.json", "line 1"],
    ),
    model(
        "config.json with text for a number",
        |d| {
            edit_json(&d.join("model/config.json"), |config| config["hidden_size"] = json!("wide"));
        },
        &["config.json", "wide"],
    ),
    model(
        "config.json with a negative number",
        |d| {
            edit_json(&d.join("model/config.json"), |config| config["num_hidden_layers"] = json!(-2));
        },
        &["config.json", "-2"],
    ),
    model(
        "a width of nothing",
        |d| {
            edit_json(&d.join("model/config.json"), |config| config["hidden_size"] = json!(0));
        },
        &["config.json", "hidden_size", "0"],
    ),
    model(
        "heads that do not divide the width",
        |d| {
            edit_json(&d.join("model/config.json"), |config| config["num_attention_heads"] = json!(7));
        },
        &["config.json", "num_attention_heads", "7"],
    ),
    model(
        "more layers than there are weights",
        |d| {
            edit_json(&d.join("model/config.json"), |config| {
                config["num_hidden_layers"] = json!(1_000_000_000u64)
            });
        },
        &["model.safetensors", "layer"],
    ),
    model(
        "another family",
        |d| {
            edit_json(&d.join("model/config.json"), |config| config["model_type"] = json!("t5"));
        },
        &["config.json", "t5", "bert"],
    ),
    model(
        "an activation that is not known",
        |d| {
            edit_json(&d.join("model/config.json"), |config| config["hidden_act"] = json!("swoosh"));
        },
        &["config.json", "swoosh"],
    ),
    model(
        "modules.json with a bad line",
        |d| {
            write(d.join("model/modules.json"), "[\n  {\"idx\": 0},\n  oops\n]\n");
        },
        &["modules.json: line "],
    ),
    model(
        "modules.json without modules",
        |d| write(d.join("model/modules.json"), "[]"),
        &["modules.json", "empty"],
    ),
    model(
        "a module path that leaves the directory",
        |d| {
            edit_json(&d.join("model/modules.json"), |modules| modules[1]["path"] = json!("../../etc"));
        },
        &["modules.json", "../../etc", "leaves"],
    ),
    model(
        "a module path from the root",
        |d| {
            edit_json(&d.join("model/modules.json"), |modules| modules[1]["path"] = json!("/etc"));
        },
        &["modules.json", "/etc", "leaves"],
    ),
    model(
        "a module that is not supported",
        |d| {
            edit_json(&d.join("model/modules.json"), |m| {
                m[1]["type"] = json!("sentence_transformers.models.CNN")
            });
        },
        &["modules.json", "sentence_transformers.models.CNN", "not supported"],
    ),
    model(
        "a module that is somebody's code",
        |d| {
            edit_json(&d.join("model/modules.json"), |modules| modules[1]["type"] = json!("os.system"));
        },
        &["modules.json", "os.system", "not supported"],
    ),
    model(
        "a pooling mode that is not known",
        |d| {
            let config = json!({ "embedding_dimension": 32, "pooling_mode": "median" });
            write(d.join("model/1_Pooling/config.json"), config.to_string());
        },
        &["1_Pooling", "config.json", "median"],
    ),
    model(
        "pooling of another width",
        |d| {
            edit_json(&d.join("model/1_Pooling/config.json"), |config| {
                for key in ["embedding_dimension", "word_embedding_dimension"] {
                    if config.get(key).is_some() {
                        config[key] = json!(768);
                    }
                }
            });
        },
        &["1_Pooling", "768", "32"],
    ),
    model("a tokenizer that is cut", |d| cut(d.join("model/tokenizer.json"), 1000), &["tokenizer.json"]),
    model(
        "a tokenizer of another shape",
        |d| write(d.join("model/tokenizer.json"), "{\"model\": 5}"),
        &["tokenizer.json"],
    ),
    model("weights that are cut", |d| cut(d.join(WEIGHTS), 3000), &["model.safetensors"]),
    model(
        "weights cut in the last tensor",
        |d| {
            let length = std::fs::metadata(d.join(WEIGHTS)).unwrap().len() as usize;
            cut(d.join(WEIGHTS), length - 1);
        },
        &["model.safetensors"],
    ),
    model("weights of no bytes", |d| write(d.join(WEIGHTS), ""), &["model.safetensors"]),
    model(
        "a header longer than all memory",
        |d| write(d.join(WEIGHTS), [0xff; 16]),
        &["model.safetensors", "header"],
    ),
    model(
        "a header longer than the file",
        |d| {
            let mut bytes = std::fs::read(d.join(WEIGHTS)).unwrap();
            bytes[..8].copy_from_slice(&90_000_000u64.to_le_bytes());
            write(d.join(WEIGHTS), bytes);
        },
        &["model.safetensors", "header"],
    ),
    model(
        "a header that is no JSON",
        |d| write_safetensors(&d.join(WEIGHTS), b"{\"a\": oops}", &[]),
        &["model.safetensors"],
    ),
    model(
        "tensors that overlap",
        |d| {
            edit_header(&d.join(WEIGHTS), |header| {
                let all: Vec<String> = header
                    .as_object()
                    .unwrap()
                    .keys()
                    .filter(|key| !key.starts_with("__"))
                    .cloned()
                    .collect();
                let same =
                    |key: &&String| header[*key]["shape"] == header[&all[0]]["shape"] && **key != all[0];
                let other = all.iter().find(same).unwrap();
                header[other]["data_offsets"] = header[&all[0]]["data_offsets"].clone();
            });
        },
        &["model.safetensors"],
    ),
    model(
        "offsets that overflow",
        |d| {
            edit_header(&d.join(WEIGHTS), |header| {
                let first =
                    header.as_object().unwrap().keys().find(|key| !key.starts_with("__")).unwrap().clone();
                header[&first]["data_offsets"] = json!([u64::MAX - 3, u64::MAX]);
            });
        },
        &["model.safetensors"],
    ),
    model(
        "a shape that overflows",
        |d| {
            edit_header(&d.join(WEIGHTS), |header| {
                let first =
                    header.as_object().unwrap().keys().find(|key| !key.starts_with("__")).unwrap().clone();
                header[&first]["shape"] = json!([1u64 << 62, 1u64 << 62]);
            });
        },
        &["model.safetensors"],
    ),
    model(
        "a shape that does not fit the bytes",
        |d| {
            edit_header(&d.join(WEIGHTS), |header| {
                let first =
                    header.as_object().unwrap().keys().find(|key| !key.starts_with("__")).unwrap().clone();
                header[&first]["shape"] = json!([3, 5]);
            });
        },
        &["model.safetensors"],
    ),
    model(
        "a type that is not known",
        |d| {
            edit_header(&d.join(WEIGHTS), |header| {
                let first =
                    header.as_object().unwrap().keys().find(|key| !key.starts_with("__")).unwrap().clone();
                header[&first]["dtype"] = json!("F99");
            });
        },
        &["model.safetensors", "F99"],
    ),
    model(
        "a tensor of whole numbers",
        |d| {
            edit_tensors(&d.join(WEIGHTS), |tensors| {
                named(tensors, "embeddings.word_embeddings.weight").dtype = Dtype::I32
            });
        },
        &["model.safetensors", "word_embeddings.weight", "I32"],
    ),
    model(
        "a tensor of another shape",
        |d| {
            edit_tensors(&d.join(WEIGHTS), |tensors| {
                named(tensors, "layer.0.intermediate.dense.weight").shape.reverse();
            });
        },
        &["model.safetensors", "intermediate.dense.weight", "32"],
    ),
    model(
        "a tensor that is missing",
        |d| {
            edit_tensors(&d.join(WEIGHTS), |tensors| {
                tensors.retain(|tensor| !tensor.name.ends_with("layer.1.output.dense.bias"))
            });
        },
        &["model.safetensors", "layer.1.output.dense.bias"],
    ),
    model(
        "NaN in the weights",
        |d| {
            edit_tensors(&d.join(WEIGHTS), |tensors| {
                named(tensors, "layer.1.output.dense.weight").data[..4]
                    .copy_from_slice(&f32::NAN.to_le_bytes());
            });
        },
        &["model.safetensors", "layer.1.output.dense.weight", "NaN", "get the file again"],
    ),
    model(
        "infinity in the weights",
        |d| {
            edit_tensors(&d.join(WEIGHTS), |tensors| {
                for four in named(tensors, "embeddings.LayerNorm.bias").data.chunks_mut(4) {
                    four.copy_from_slice(&f32::INFINITY.to_le_bytes());
                }
            });
        },
        &["model.safetensors", "embeddings.LayerNorm.bias", "inf", "get the file again"],
    ),
    model(
        "weights too large to compute with",
        |d| {
            edit_tensors(&d.join(WEIGHTS), |tensors| {
                for four in named(tensors, "layer.1.output.dense.weight").data.chunks_mut(4) {
                    four.copy_from_slice(&3e38f32.to_le_bytes());
                }
            });
        },
        &["in.txt: line 1", "not finite", "weights"],
    ),
    model(
        "a token beyond the embeddings",
        |d| {
            edit_json(&d.join("model/config.json"), |config| config["vocab_size"] = json!(6));
            edit_tensors(&d.join(WEIGHTS), |tensors| {
                let table = named(tensors, "embeddings.word_embeddings.weight");
                table.shape[0] = 6;
                table.data.truncate(6 * 32 * 4);
            });
        },
        &["in.txt: line 1", "token", "6 rows", "tokenizer"],
    ),
    model(
        "a shard outside the directory",
        |d| {
            remove(d.join(WEIGHTS));
            let index = json!({ "metadata": {}, "weight_map": { "embeddings.word_embeddings.weight": "../secret.safetensors" } });
            write(d.join("model/model.safetensors.index.json"), index.to_string());
        },
        &["model.safetensors.index.json", "../secret.safetensors"],
    ),
    model(
        "a shard that is missing",
        |d| {
            remove(d.join(WEIGHTS));
            let index = json!({ "metadata": {}, "weight_map": { "embeddings.word_embeddings.weight": "model-00001-of-00001.safetensors" } });
            write(d.join("model/model.safetensors.index.json"), index.to_string());
        },
        &["model-00001-of-00001.safetensors"],
    ),
    model(
        "a pickle that calls the system",
        |d| {
            pickle(d, b"cposix\nsystem\n(S'touch pwned'\ntR.");
        },
        &["pytorch_model.bin", "not a PyTorch file"],
    ),
    model(
        "a pickle of today that calls the system",
        |d| {
            pickle(d, b"\x80\x02cposix\nsystem\nq\x00X\x0b\x00\x00\x00touch pwnedq\x01\x85q\x02Rq\x03.");
        },
        &["pytorch_model.bin", "posix"],
    ),
    model(
        "a pickle in a zip that calls the system",
        |d| {
            let attack = b"\x80\x02cposix\nsystem\nq\x00X\x0b\x00\x00\x00touch pwnedq\x01\x85q\x02Rq\x03.";
            pickle(d, &zip(&[("archive/data.pkl", attack), ("archive/version", b"3\n")]));
        },
        &["pytorch_model.bin", "posix"],
    ),
    model(
        "a pickle that evaluates",
        |d| {
            let attack = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x15open('pwned','w').read()\x85R.";
            pickle(d, &zip(&[("archive/data.pkl", attack), ("archive/version", b"3\n")]));
        },
        &["pytorch_model.bin", "builtins"],
    ),
    model("a pickle that is none", |d| pickle(d, b"hello, world"), &["pytorch_model.bin"]),
    model(
        "a zip that is cut",
        |d| {
            let whole = std::fs::read(common::golden().join("variants/zip.bin")).unwrap();
            pickle(d, &whole[..whole.len() / 2]);
        },
        &["pytorch_model.bin"],
    ),
];

const INPUTS: &[Case] = &[
    input(
        "a file that is not there",
        "encode --model @model --input @texts.txt --output @out.npy",
        |_| (),
        &["texts.txt: cannot be read", "check the spelling"],
    ),
    input(
        "a directory for a file",
        "encode --model @model --input @model --output @out.npy",
        |_| (),
        &["model: this is a directory", "name a file"],
    ),
    input(
        "an extension that is not known",
        "encode --model @model --input @in.docx --output @out.npy",
        |d| write(d.join("in.docx"), "x"),
        &["in.docx: unknown extension \".docx\"", "--input-format"],
    ),
    input(
        "an empty file",
        ENCODE,
        |d| write(d.join("in.txt"), ""),
        &["in.txt: the file is empty", "at least one text"],
    ),
    input(
        "bytes that are not UTF-8",
        ENCODE,
        |d| write(d.join("in.txt"), b"one\ntwo \xff\n"),
        &["in.txt: line 2: byte 0xff at offset 8", "UTF-8", "iconv"],
    ),
    input("UTF-16", ENCODE, |d| write(d.join("in.txt"), b"\xff\xfeo\0k\0"), &["in.txt", "UTF-16", "iconv"]),
    input(
        "a column of a file without columns",
        "encode --model @model --input @in.txt --column text --output @out.npy",
        |_| (),
        &["in.txt: a .txt file has no columns", "leave the column out"],
    ),
    input(
        "invalid JSON",
        "encode --model @model --input @in.jsonl --column t --output @out.npy",
        |d| write(d.join("in.jsonl"), "{\"t\": \"a\"}\n{\"t\": \"b\"}\n{\"t\": \"c}\n"),
        &["in.jsonl: line 3, column 9: invalid JSON", "one whole JSON object"],
    ),
    input(
        "an empty line in JSON lines",
        "encode --model @model --input @in.jsonl --column t --output @out.npy",
        |d| write(d.join("in.jsonl"), "{\"t\": \"a\"}\n\n{\"t\": \"b\"}\n"),
        &["in.jsonl: line 2: empty", "remove it"],
    ),
    input(
        "a column that JSON lines do not have",
        "encode --model @model --input @in.jsonl --column text --output @out.npy",
        |d| write(d.join("in.jsonl"), "{\"t\": \"a\", \"n\": 1}\n"),
        &["in.jsonl: line 1: no column \"text\"", "the columns are \"n\", \"t\""],
    ),
    input(
        "no column among several",
        "encode --model @model --input @in.jsonl --output @out.npy",
        |d| write(d.join("in.jsonl"), "{\"t\": \"a\", \"n\": 1}\n"),
        &["in.jsonl: line 1: which column holds the texts?", "--column", "\"n\", \"t\""],
    ),
    input(
        "a number for a text",
        "encode --model @model --input @in.jsonl --column t --output @out.npy",
        |d| write(d.join("in.jsonl"), "{\"t\": \"a\"}\n{\"t\": 5}\n"),
        &["in.jsonl: line 2, column \"t\": a number where a string must be", "choose another column"],
    ),
    input(
        "a row with too many fields",
        "encode --model @model --input @in.csv --column t --output @out.npy",
        |d| write(d.join("in.csv"), "id,t\n1,a\n2,b, c\n"),
        &["in.csv: line 3: 3 fields where the header has 2", "quotation marks"],
    ),
    input(
        "a quotation mark that never closes",
        "encode --model @model --input @in.csv --column t --output @out.npy",
        |d| write(d.join("in.csv"), "id,t\n1,a\n2,\"b\n3,c\n4,d\n"),
        &["in.csv: line 3: a quoted field never ends", "close"],
    ),
    input(
        "a column that a csv does not have",
        "encode --model @model --input @in.csv --column text --output @out.npy",
        |d| write(d.join("in.csv"), "id,t\n1,a\n"),
        &["in.csv: no column \"text\"", "\"id\", \"t\""],
    ),
    input(
        "a header and no rows",
        "encode --model @model --input @in.tsv --column t --output @out.npy",
        |d| write(d.join("in.tsv"), "id\tt\n"),
        &["in.tsv: no texts", "at least one"],
    ),
    input(
        "parquet that is none",
        "encode --model @model --input @in.parquet --column t --output @out.npy",
        |d| write(d.join("in.parquet"), "PAR1 and then nothing of the kind"),
        &["in.parquet: not a parquet file", "write it again"],
    ),
    input(
        "a corpus without the column",
        "search --model @model --corpus @in.csv --column question --json q",
        |d| write(d.join("in.csv"), "id,t\n1,a\n"),
        &["in.csv: no column \"question\"", "\"id\", \"t\""],
    ),
    input(
        "queries without the column",
        "search --model @model --corpus @in.txt --queries @q.csv --query-column text",
        |d| write(d.join("q.csv"), "id,t\n1,a\n"),
        &["q.csv: no column \"text\"", "\"id\", \"t\""],
    ),
    input(
        "queries of which no column is named",
        "search --model @model --corpus @in.txt --queries @q.csv",
        |d| write(d.join("q.csv"), "id,t\n1,a\n"),
        &["q.csv: which column", "--query-column"],
    ),
    input(
        "a shown column that is not there",
        "search --model @model --corpus @in.csv --column t --show answer -- q",
        |d| write(d.join("in.csv"), "id,t\n1,a\n"),
        &["in.csv: no column \"answer\""],
    ),
    input(
        "calibration that is no matrix",
        "encode --model @model --input @in.txt --precision int8 --calibration @c.npy --output @out.npy",
        |d| write(d.join("c.npy"), "numbers"),
        &["c.npy: not a .npy file", "sentir encode"],
    ),
    input(
        "calibration of another width",
        "encode --model @model --input @in.txt --precision int8 --calibration @c.npy --output @out.npy",
        |d| {
            let mut bytes =
                b"\x93NUMPY\x01\x00\x3b\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }"
                    .to_vec();
            bytes.resize(10 + 0x3b, b' ');
            bytes.extend([0; 8]);
            write(d.join("c.npy"), bytes);
        },
        &["c.npy: its vectors have 1 components", "32", "--truncate-dim"],
    ),
];

const OPTIONS: &[Case] = &[
    option(
        "an output extension that is not known",
        "encode --model @model --input @in.txt --output @out.npz",
        &["out.npz", ".npy, .safetensors, .parquet, .jsonl or .json"],
    ),
    option(
        "an output directory that is not there",
        "encode --model @model --input @in.txt --output @no/out.npy",
        &["out.npy: cannot be written", "create it first"],
    ),
    option(
        "a directory for the output",
        "encode --model @model --input @in.txt --output @model",
        &["extension"],
    ),
    option(
        "an output below a file",
        "encode --model @model --input @in.txt --output @in.txt/out.npy",
        &["in.txt/out.npy: cannot be written"],
    ),
    option(
        "a quantized model in place of another",
        "quantize @model @model",
        &["model: it exists already", "new directory"],
    ),
    option(
        "a quantized model without a directory for it",
        "quantize @model @absent/out",
        &["absent: No such file"],
    ),
    option(
        "a script that does not exist",
        "prune @model @out --keep @in.txt --keep-scripts Elvish",
        &["\"Elvish\" is no script", "Cyrillic"],
    ),
    option("texts to keep that are not there", "prune @model @out --keep @absent.txt", &["absent.txt"]),
    option(
        "a pruned model in place of another",
        "prune @model @model --keep @in.txt",
        &["it exists already"],
    ),
    option("nothing to quantize", "quantize @in.txt @out", &["in.txt"]),
    option(
        "a check of a column that is not there",
        "quantize @model @out --check @in.txt --column nope",
        &["nope"],
    ),
    usage(
        "a type of weights that is not known",
        "quantize @model @out --dtype int4",
        &["int4", "f32, bf16, int8"],
    ),
    usage(
        "a type of weights that is not known, to encode",
        "encode --model @model --dtype fp16 --input @in.txt --output @out.npy",
        &["fp16", "f32, bf16, int8"],
    ),
    option(
        "token embeddings in a matrix",
        "encode --model @model --input @in.txt --output-value token_embeddings --output @out.npy",
        &["out.npy", "token embeddings", "use .safetensors"],
    ),
    option(
        "token embeddings in bytes",
        "encode --model @model --input @in.txt --output-value token_embeddings --precision int8",
        &["--precision int8", "leave --precision out"],
    ),
    option(
        "a prompt that the model does not have",
        "encode --model @model --input @in.txt --prompt-name qeury --output @out.npy",
        &["no prompt \"qeury\"", "\"document\", \"query\""],
    ),
    option(
        "a text that is too long and must not be",
        "encode --model @model --input @in.txt --truncation error --max-seq-length 4 --output @out.npy",
        &["in.txt: line 2", "tokens more than the 4", "shorten it"],
    ),
    option(
        "int8 of one text",
        "encode --model @model --precision int8 --output @out.npy text",
        &["--precision int8", "--calibration"],
    ),
    option(
        "calibration of what has no ranges",
        "encode --model @model --input @in.txt --calibration @c.npy --output @out.npy",
        &["--calibration", "use --precision int8 or uint8"],
    ),
    option("a column of arguments", "encode --model @model --column t text", &["--column t", "--input"]),
    option(
        "one text to compare",
        "similarity --model @model text",
        &["one text cannot be compared", "two or more"],
    ),
    usage(
        "a precision that is not known",
        "encode --model @model --input @in.txt --precision int4 --output @out.npy",
        &["int4", "--precision", "float32, int8, uint8, binary, ubinary"],
    ),
    usage(
        "no dimensions",
        "encode --model @model --input @in.txt --truncate-dim 0 --output @out.npy",
        &["--truncate-dim", "0"],
    ),
    usage(
        "a dimension that is no number",
        "encode --model @model --input @in.txt --truncate-dim many --output @out.npy",
        &["--truncate-dim", "many"],
    ),
    usage(
        "no threads",
        "encode --model @model --input @in.txt --threads 0 --output @out.npy",
        &["--threads", "1..=1024"],
    ),
    usage(
        "two prompts",
        "encode --model @model --input @in.txt --prompt a --prompt-name b --output @out.npy",
        &["--prompt", "cannot be used with"],
    ),
    usage(
        "texts and a file of texts",
        "encode --model @model --input @in.txt --output @out.npy text",
        &["--input", "cannot be used with"],
    ),
    usage("no model", "encode --input @in.txt --output @out.npy", &["--model"]),
    usage("no hits", "search --model @model --corpus @in.txt --top-k 0 q", &["--top-k", "0"]),
    usage(
        "a similarity that is not known",
        "similarity --model @model --similarity-fn sine a b",
        &["sine", "cosine, dot, euclidean, manhattan"],
    ),
    usage("a command that is not known", "embed --model @model", &["embed"]),
];

#[test]
fn each_case_is_a_clear_error_and_writes_nothing() {
    let all: Vec<&Case> = MODELS.iter().chain(INPUTS).chain(OPTIONS).collect();
    assert!(all.len() >= 45, "{} cases", all.len());
    let mut failures = Vec::new();
    for one in &all {
        let directory = tempfile::tempdir().unwrap();
        common::assemble(case("bert: plain"), &directory.path().join("model"));
        common::write_lines(&directory.path().join("in.txt"), ["a boat", "two boats on the quiet lake"]);
        (one.prepare)(directory.path());
        let before = everything(directory.path());
        let mut command = common::command();
        let here = format!("{}/", path(directory.path()));
        command.args(one.arguments.split(' ').map(|argument| argument.replace('@', &here)));
        let answer = finish(
            {
                command.current_dir(directory.path());
                command
            },
            b"",
        );
        let mut wrong = Vec::new();
        if answer.code != Some(one.code) {
            wrong.push(format!("exit code {:?}, not {}", answer.code, one.code));
        }
        wrong.extend(
            one.says
                .iter()
                .filter(|part| !answer.stderr.contains(**part))
                .map(|part| format!("it does not say {part:?}")),
        );
        if !answer.stderr.starts_with("error: ") && !answer.stderr.starts_with("notice: ") {
            wrong.push("it does not begin with \"error: \"".to_owned());
        }
        // Clap's own errors go on with a hint on usage; ours are one message.
        if one.code == 1 && answer.stderr.lines().filter(|line| !line.starts_with("notice: ")).count() > 3 {
            wrong.push("it has more than three lines".to_owned());
        }
        if answer.stderr.contains("panicked") {
            wrong.push("it panicked".to_owned());
        }
        if !answer.stdout.is_empty() {
            wrong.push(format!("standard output: {}", answer.stdout));
        }
        let after = everything(directory.path());
        if after != before {
            wrong.push(format!("files changed: {before:?} {after:?}"));
        }
        if std::env::var_os("SHOW_ERRORS").is_some() {
            eprintln!(
                "{}:\n    {}",
                one.name,
                answer.stderr.replace(&here, "").trim_end().replace('\n', "\n    ")
            );
        }
        if !wrong.is_empty() {
            failures.push(format!("{}: {}\n{}", one.name, wrong.join("; "), answer.stderr));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), all.len(), failures.join("\n"));
}

/// Every file below a directory and its length.
fn everything(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for name in common::listing(directory) {
        let path = directory.join(&name);
        if path.is_dir() {
            found.extend(
                everything(&path).into_iter().map(|(inner, length)| (format!("{name}/{inner}"), length)),
            );
        }
        found.push((name, std::fs::metadata(&path).unwrap().len()));
    }
    found
}

#[test]
fn static_models_have_their_own_errors() {
    let model = common::model("static: in the root");
    let model = path(model.path());
    let tokens = sentir(["encode", "--model", &model, "--output-value", "token_embeddings", "a boat"]);
    assert_eq!((tokens.code, tokens.stdout.as_str()), (Some(1), ""));
    assert!(
        tokens.stderr.contains("static model") && tokens.stderr.contains("encode sentences"),
        "{}",
        tokens.stderr
    );
    let limit = sentir(["encode", "--model", &model, "--max-seq-length", "10", "a boat"]);
    assert_eq!((limit.code, limit.stdout.as_str()), (Some(1), ""));
    assert!(
        limit.stderr.contains("max_seq_length") && limit.stderr.contains("static model"),
        "{}",
        limit.stderr
    );
}

#[test]
fn an_instruction_set_that_does_not_exist() {
    let model = common::model("bert: plain");
    let mut command = common::command();
    command.args(["encode", "--model", &path(model.path()), "a boat"]).env("SENTIR_ISA", "abacus");
    let answer = finish(command, b"");
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(1), ""));
    assert!(
        answer.stderr.contains("SENTIR_ISA")
            && answer.stderr.contains("abacus")
            && answer.stderr.contains("portable"),
        "{}",
        answer.stderr
    );
}

#[test]
fn a_text_of_ten_megabytes_is_cut_and_told() {
    let directory = tempfile::tempdir().unwrap();
    common::assemble(case("bert: plain"), &directory.path().join("model"));
    let (texts, output) = (directory.path().join("in.txt"), directory.path().join("out.npy"));
    std::fs::write(&texts, "the quick boat crossed the lake, ".repeat(10_000_000 / 33)).unwrap();
    let model = path(directory.path().join("model"));
    let answer = sentir(["encode", "--model", &model, "--input", &path(&texts), "--output", &path(&output)]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stderr.contains("1 of 1 texts were cut"), "{}", answer.stderr);
    let vectors = common::read_npy_f32(&output);
    assert!(vectors.len() == 1 && vectors[0].iter().all(|x| x.is_finite()));
}

/// A file system of 64 kB, if the system lets us have one; else a limit on the size of files, which ends in the same place.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let own = |name: &str| path(directory.path().join(name));
    common::assemble(case("bert: plain"), &directory.path().join("model"));
    common::write_lines(&directory.path().join("in.txt"), (0..3000).map(|n| n.to_string()));
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs", &path(&disk)])
        .output()
        .is_ok_and(|output| output.status.success());
    let before = if mounted { "" } else { "trap '' XFSZ; ulimit -f 64; " };
    for name in ["x.npy", "x.safetensors", "x.parquet", "x.jsonl"] {
        std::fs::write(disk.join(name), "old").unwrap();
        let mut shell = std::process::Command::new("sh");
        let encode = "exec \"$0\" encode --quiet --model \"$1\" --input \"$2\" --output \"$3\"";
        let output = path(disk.join(name));
        shell.args(["-c", &format!("{before}{encode}"), env!("CARGO_BIN_EXE_sentir")]);
        shell.args([&own("model"), &own("in.txt"), &output]);
        let answer = finish(shell, b"");
        let left = (std::fs::read(disk.join(name)).unwrap(), common::listing(&disk));
        std::fs::remove_file(disk.join(name)).unwrap();
        // Unmounted before anything can fail.
        if mounted && (name == "x.jsonl" || answer.code != Some(1)) {
            assert!(std::process::Command::new("umount").arg(&disk).status().unwrap().success());
        }
        if !mounted && answer.code == Some(0) {
            eprintln!(
                "SKIPPED: a_full_disk_leaves_the_old_file: neither mount nor ulimit -f limits what can be written here"
            );
            return;
        }
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(1), ""), "{name}: {}", answer.stderr);
        assert!(
            answer.stderr.contains(&output) && answer.stderr.contains("nothing was written"),
            "{}",
            answer.stderr
        );
        assert!(!answer.stderr.contains("panicked"), "{}", answer.stderr);
        assert_eq!(left, (b"old".to_vec(), vec![name.to_owned()]), "the old file, and no other");
    }
}
