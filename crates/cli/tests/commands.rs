//! Every command in every format, on the golden models: what comes out is read back by other code than the binary's
//! and compared with what sentence-transformers gave.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use common::{
    assert_close, case, cases, finish, matrix, model, path, read_npy, read_npy_f32, sentir, sentir_reading,
    texts,
};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

const PLAIN: &str = "bert: plain";

#[test]
fn every_input_format_gives_the_same_vectors() {
    let directory = tempfile::tempdir().unwrap();
    let own = |name: &str| directory.path().join(name);
    let model = model(PLAIN);
    let texts = texts(case(PLAIN));
    let quoted = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
    common::write_lines(&own("a.txt"), &texts);
    std::fs::write(own("crlf.txt"), format!("\u{feff}{}", texts.join("\r\n"))).unwrap();
    common::write_lines(&own("a.jsonl"), texts.iter().map(|text| json!({ "id": 1, "t": text }).to_string()));
    common::write_lines(&own("strings.ndjson"), texts.iter().map(|text| json!(text).to_string()));
    let rows = texts.iter().map(|text| format!("1,{}", quoted(text)));
    common::write_lines(&own("a.csv"), std::iter::once("id,t".to_owned()).chain(rows));
    let rows = texts.iter().map(|text| format!("{text}\t1"));
    common::write_lines(&own("a.tsv"), std::iter::once("t\tid".to_owned()).chain(rows));
    write_parquet(&own("a.parquet"), &texts);

    let expected = matrix(&case(PLAIN)["expected"]);
    let output = own("out.npy");
    for (file, column) in [
        ("a.txt", None),
        ("crlf.txt", None),
        ("a.jsonl", Some("t")),
        ("strings.ndjson", None),
        ("a.csv", Some("t")),
        ("a.tsv", Some("t")),
        ("a.parquet", Some("t")),
    ] {
        let mut arguments = vec!["encode".to_owned(), "--model".to_owned(), path(model.path())];
        arguments.extend(["--input".to_owned(), path(own(file)), "--output".to_owned(), path(&output)]);
        arguments
            .extend(column.into_iter().flat_map(|column: &str| ["--column".to_owned(), column.to_owned()]));
        assert_eq!(sentir(&arguments).ok(), "", "{file}: nothing on standard output");
        assert_close(&read_npy_f32(&output), &expected, file);
        std::fs::remove_file(&output).unwrap();
    }
    // Standard input, as lines and in a named format; and arguments.
    let base = ["encode", "--model", &path(model.path()), "--output", &path(&output)].map(str::to_owned);
    let bytes = |file: &str| std::fs::read(own(file)).unwrap();
    sentir_reading(&base, &bytes("a.txt")).ok();
    assert_close(&read_npy_f32(&output), &expected, "standard input");
    let named = ["--input", "-", "--input-format", "csv", "--column", "t"].map(str::to_owned);
    sentir_reading(base.iter().chain(&named), &bytes("a.csv")).ok();
    assert_close(&read_npy_f32(&output), &expected, "standard input, csv");
    let named = ["--input", "-", "--input-format", "parquet", "--column", "t"].map(str::to_owned);
    sentir_reading(base.iter().chain(&named), &bytes("a.parquet")).ok();
    assert_close(&read_npy_f32(&output), &expected, "standard input, parquet");
    sentir(base.iter().chain(&["--".to_owned()]).chain(&texts)).ok();
    assert_close(&read_npy_f32(&output), &expected, "arguments");
}

/// Two columns, `id` and `t`, as a dictionary and compressed.
fn write_parquet(path: &Path, texts: &[String]) {
    let schema = parse_message_type("message m { required int64 id; optional binary t (STRING); }").unwrap();
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&vec![1; texts.len()], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
    column.typed::<ByteArrayType>().write_batch(&values, Some(&vec![1; texts.len()]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn every_output_format_holds_the_vectors() {
    let directory = tempfile::tempdir().unwrap();
    let own = |name: &str| directory.path().join(name);
    let model = model(PLAIN);
    let texts = texts(case(PLAIN));
    common::write_lines(&own("a.txt"), &texts);
    let expected = matrix(&case(PLAIN)["expected"]);
    let encode = |output: &str| {
        std::fs::write(own(output), "an older file").unwrap();
        let arguments =
            ["encode", "--model", &path(model.path()), "-i", &path(own("a.txt")), "-o", &path(own(output))];
        assert_eq!(sentir(arguments).ok(), "");
    };

    encode("x.npy");
    assert_close(&read_npy_f32(&own("x.npy")), &expected, ".npy");

    encode("x.safetensors");
    let bytes = std::fs::read(own("x.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.names(), ["embeddings"]);
    assert_close(&floats(&tensors, "embeddings"), &expected, ".safetensors");

    encode("x.parquet");
    let reader = SerializedFileReader::new(std::fs::File::open(own("x.parquet")).unwrap()).unwrap();
    let mut found = Vec::new();
    for (index, row) in reader.get_row_iter(None).unwrap().enumerate() {
        let row = row.unwrap();
        let columns: Vec<(&String, &Field)> = row.get_column_iter().collect();
        assert_eq!(columns[0], (&"index".to_owned(), &Field::Long(index as i64)));
        assert_eq!(columns[1], (&"text".to_owned(), &Field::Str(texts[index].clone())));
        let (name, Field::ListInternal(list)) = columns[2] else { panic!("{:?}", columns[2]) };
        assert_eq!(name, "embedding");
        found.push(
            list.elements()
                .iter()
                .map(|x| if let Field::Float(x) = x { *x } else { panic!("{x:?}") })
                .collect(),
        );
    }
    assert_close(&found, &expected, ".parquet");

    encode("x.jsonl");
    let lines = std::fs::read_to_string(own("x.jsonl")).unwrap();
    check_json(lines.lines().map(|line| serde_json::from_str(line).unwrap()), &texts, &expected, ".jsonl");
    encode("x.json");
    let array: Vec<Value> = serde_json::from_slice(&std::fs::read(own("x.json")).unwrap()).unwrap();
    check_json(array.into_iter(), &texts, &expected, ".json");

    let names = ["a.txt", "x.json", "x.jsonl", "x.npy", "x.parquet", "x.safetensors"];
    assert_eq!(common::listing(directory.path()), names, "no other files stay");

    // Without a file: JSON lines, or a table.
    let shown = sentir(["encode", "--model", &path(model.path()), "-i", &path(own("a.txt")), "--json"]).ok();
    assert_eq!(shown, lines);
    let shown = sentir(["encode", "--model", &path(model.path()), "-i", &path(own("a.txt"))]).ok();
    assert_eq!(shown.lines().count(), 1 + texts.len());
    let first = format!("{:.4}", expected[0][0]);
    assert!(
        shown.lines().nth(1).unwrap().contains(&first) && shown.contains("32") && shown.contains(&texts[0]),
        "{shown}"
    );
}

fn check_json(lines: impl Iterator<Item = Value>, texts: &[String], expected: &[Vec<f32>], what: &str) {
    let mut found = Vec::new();
    for (index, line) in lines.enumerate() {
        assert_eq!(line["index"], index);
        assert_eq!(line["text"], texts[index].as_str());
        found
            .push(line["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect());
    }
    assert_close(&found, expected, what);
}

fn floats(tensors: &safetensors::SafeTensors<'_>, name: &str) -> Vec<Vec<f32>> {
    let tensor = tensors.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
    let values: Vec<f32> =
        tensor.data().chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    values.chunks(tensor.shape()[1]).map(<[f32]>::to_vec).collect()
}

#[test]
fn options_of_encode_are_those_of_sentence_transformers() {
    let mut run = 0;
    for case in cases() {
        let options = case["encode"].as_object().unwrap();
        // Prompt and prompt name together are refused here (the command line has no use for a warning).
        if options.is_empty() || options.contains_key("prompt") && options.contains_key("prompt_name") {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let (model, output) = (directory.path().join("model"), directory.path().join("x.safetensors"));
        common::assemble(case, &model);
        let mut arguments =
            ["encode", "--model", &path(&model), "--output", &path(&output)].map(str::to_owned).to_vec();
        let (mut tokens, mut known) = (false, true);
        for (name, value) in options {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match name.as_str() {
                "prompt" | "prompt_name" | "truncate_dim" | "task" => {
                    arguments.push(format!("--{}={text}", name.replace('_', "-")));
                }
                "normalize_embeddings" => arguments.push("--normalize".to_owned()),
                "output" => {
                    tokens = true;
                    arguments.push("--output-value=token_embeddings".to_owned());
                }
                // The size of a batch is of no importance here.
                "batch_size" => {}
                _ => known = false,
            }
        }
        assert!(known, "{case}");
        arguments.push("--".to_owned());
        sentir(arguments.iter().chain(&texts(case))).ok();
        let name = case["name"].as_str().unwrap();
        let bytes = std::fs::read(&output).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let found = floats(&tensors, "embeddings");
        if tokens {
            let offsets = tensors.tensor("offsets").unwrap();
            assert_eq!(
                (offsets.dtype(), offsets.shape()),
                (safetensors::Dtype::I64, &[texts(case).len() + 1][..])
            );
            let offsets: Vec<usize> = offsets
                .data()
                .chunks(8)
                .map(|x| u64::from_le_bytes(x.try_into().unwrap()) as usize)
                .collect();
            for (range, expected) in offsets.windows(2).zip(case["expected"].as_array().unwrap()) {
                assert_close(&found[range[0]..range[1]], &matrix(expected), name);
            }
        } else {
            assert_close(&found, &matrix(&case["expected"]), name);
        }
        run += 1;
    }
    assert!(run > 20, "the golden cases with options are there: {run}");
}

#[test]
fn token_embeddings_in_json_and_parquet() {
    let case = case("bert: token vectors");
    let directory = tempfile::tempdir().unwrap();
    let model = model("bert: token vectors");
    let texts = texts(case);
    let encode = |more: &[&str]| {
        let base = ["encode", "--model", &path(model.path()), "--output-value", "token_embeddings"]
            .map(str::to_owned);
        let more = more.iter().map(|&argument| argument.to_owned());
        sentir(base.into_iter().chain(more).chain(["--".to_owned()]).chain(texts.clone())).ok()
    };
    let expected: Vec<Vec<Vec<f32>>> = case["expected"].as_array().unwrap().iter().map(matrix).collect();
    for (line, expected) in encode(&["--json"]).lines().zip(&expected) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_close(&matrix(&line["token_embeddings"]), expected, "JSON");
        assert!(line.get("embedding").is_none());
    }
    let table = encode(&[]);
    assert_eq!(
        table.lines().count(),
        1 + texts.len() + expected.iter().map(Vec::len).sum::<usize>(),
        "{table}"
    );
    let output = directory.path().join("x.parquet");
    encode(&["--output", &path(&output)]);
    let reader = SerializedFileReader::new(std::fs::File::open(&output).unwrap()).unwrap();
    let places =
        expected.iter().enumerate().flat_map(|(text, rows)| (0..rows.len()).map(move |token| (text, token)));
    let mut rows = reader.get_row_iter(None).unwrap();
    for (text, token) in places {
        let row = rows.next().unwrap().unwrap();
        let columns: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        assert_eq!(columns[..2], [&Field::Long(text as i64), &Field::Long(token as i64)]);
        let Field::ListInternal(list) = columns[2] else { panic!() };
        let found = list
            .elements()
            .iter()
            .map(|x| if let Field::Float(x) = x { *x } else { panic!("{x:?}") })
            .collect();
        assert_close(&[found], &[expected[text][token].clone()], "parquet");
    }
    assert!(rows.next().is_none());
}

#[test]
fn precisions_are_those_of_quantize_embeddings() {
    let directory = tempfile::tempdir().unwrap();
    let own = |name: &str| path(directory.path().join(name));
    let model = model(PLAIN);
    let texts = texts(case(PLAIN));
    let encode = |precision: &str, output: &str, more: &[&str]| {
        let base = [
            "encode",
            "--quiet",
            "--model",
            &path(model.path()),
            "--precision",
            precision,
            "--output",
            &own(output),
        ];
        sentir(base.iter().chain(more).chain(&["--"]).copied().chain(texts.iter().map(String::as_str))).ok()
    };
    encode("float32", "f.npy", &[]);
    let vectors = read_npy_f32(Path::new(&own("f.npy")));
    let dim = vectors[0].len();
    // The formulas of quantize_embeddings, number by number.
    let mut scalar = Vec::new();
    for vector in &vectors {
        for (column, x) in vector.iter().enumerate() {
            let values = || vectors.iter().map(|vector| vector[column]);
            let (low, high) =
                (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max));
            let step = if high == low { 1.0 } else { (high - low) / 255.0 };
            scalar.push(((x - low) / step).floor().clamp(0.0, 255.0) as u8);
        }
    }
    let bits: Vec<u8> = vectors
        .iter()
        .flat_map(|vector| vector.chunks(8))
        .map(|eight| (0..8).map(|i| u8::from(eight.get(i).is_some_and(|x| *x > 0.0)) << (7 - i)).sum())
        .collect();
    let less_128 = |bytes: &[u8]| bytes.iter().map(|byte| byte.wrapping_sub(128)).collect::<Vec<u8>>();
    for (precision, descr, width, expected) in [
        ("uint8", "|u1", dim, scalar.clone()),
        ("int8", "|i1", dim, less_128(&scalar)),
        ("ubinary", "|u1", dim / 8, bits.clone()),
        ("binary", "|i1", dim / 8, less_128(&bits)),
    ] {
        encode(precision, "q.npy", &[]);
        let found = read_npy(Path::new(&own("q.npy")));
        assert_eq!(found, (descr.to_owned(), texts.len(), width, expected.clone()), "{precision}");
        encode(precision, "q.safetensors", &[]);
        let bytes = std::fs::read(own("q.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor("embeddings").unwrap();
        let kind = if descr == "|u1" { safetensors::Dtype::U8 } else { safetensors::Dtype::I8 };
        assert_eq!(
            (tensor.dtype(), tensor.shape(), tensor.data()),
            (kind, &[texts.len(), width][..], &expected[..])
        );
        encode(precision, "q.parquet", &[]);
        let reader = SerializedFileReader::new(std::fs::File::open(own("q.parquet")).unwrap()).unwrap();
        let mut found = Vec::new();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let Some((_, Field::ListInternal(list))) = row.get_column_iter().nth(2) else { panic!() };
            found.extend(list.elements().iter().map(|x| match x {
                Field::Byte(x) => x.cast_unsigned(),
                Field::UByte(x) => *x,
                other => panic!("{other:?}"),
            }));
        }
        assert_eq!(found, expected, "{precision} in parquet");
    }
    // The same vectors as calibration give the same bytes; a single text needs them.
    encode("uint8", "q.npy", &["--calibration", &own("f.npy")]);
    assert_eq!(read_npy(Path::new(&own("q.npy"))).3, scalar);
    let model = path(model.path());
    let one = [
        "encode",
        "--model",
        &model,
        "--precision",
        "uint8",
        "--json",
        "--calibration",
        &own("f.npy"),
        &texts[1],
    ];
    let line: Value = serde_json::from_str(&sentir(one).ok()).unwrap();
    assert_eq!(line["embedding"], json!(scalar[dim..2 * dim]));
    // Ranges of five texts are worth a word.
    let few = sentir(["encode", "--model", &model, "--precision", "int8", "--json", "a", "b c", "d"]);
    assert!(few.stderr.contains("notice: the ranges of int8 come from 3 texts only"), "{few:?}");
}

#[test]
fn truncation_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let report = path(directory.path().join("report.jsonl"));
    let model = model(PLAIN);
    let model = path(model.path());
    let long = "the boat ".repeat(300);
    let base = ["encode", "--model", &model, "--json", "--truncation-report", &report, "short", &long];
    let answer = sentir(base);
    assert_eq!(answer.code, Some(0));
    assert!(
        answer.stderr.contains("notice: 1 of 2 texts were cut") && answer.stderr.contains("limit of 48"),
        "{}",
        answer.stderr
    );
    let lines: Vec<Value> = std::fs::read_to_string(&report)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((&lines[0]["index"], &lines[0]["tokens_cut"]), (&json!(0), &json!(0)));
    assert!(lines[1]["tokens_cut"].as_u64().unwrap() > 500, "{lines:?}");
    assert_eq!(lines[1]["max_seq_length"], 48);

    let quiet = sentir(base.iter().chain(&["--quiet"]));
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    assert_eq!(quiet.stdout, answer.stdout);
    // A smaller limit cuts more, and other vectors come out.
    let smaller =
        sentir(["encode", "--model", &model, "--json", "--max-seq-length", "3", "a boat on the lake"]);
    assert!(smaller.stderr.contains("limit of 3"), "{}", smaller.stderr);
    let chunks = sentir(base.iter().chain(&["--truncation", "chunk-mean"]));
    assert!(chunks.stderr.contains("read in chunks"), "{}", chunks.stderr);
    assert_ne!(chunks.ok(), quiet.stdout);
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let model = model(PLAIN);
    let texts: Vec<String> = (0..200).map(|n| format!("{n} {}", "boats on lakes ".repeat(n % 17))).collect();
    let run = |more: &[&str]| {
        let base = ["encode", "--quiet", "--json", "--model", &path(model.path())].map(str::to_owned);
        sentir(base.into_iter().chain(more.iter().map(|&x| x.to_owned())).chain(texts.clone())).ok()
    };
    let one = run(&["--threads", "1"]);
    assert_eq!(run(&["--threads", "2"]), one);
    assert_eq!(run(&["--threads", "2", "--batch-tokens", "64"]), one);
}

#[test]
fn similarity_compares() {
    let case =
        cases().iter().find(|case| case.get("expected_similarity").is_some_and(|x| x.is_array())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let model = path(directory.path().join("model"));
    common::assemble(case, Path::new(&model));
    let texts = texts(case);
    let function = case["expected_similarity_fn"].as_str().unwrap();
    if case["encode"].as_object().unwrap().is_empty() {
        let base =
            ["similarity", "--model", &model, "--json", "--similarity-fn", function, "--"].map(str::to_owned);
        let found: Value = serde_json::from_str(&sentir(base.iter().chain(&texts)).ok()).unwrap();
        assert_eq!(found["similarity_fn"], function);
        assert_close(&matrix(&found["similarities"]), &matrix(&case["expected_similarity"]), "similarities");
    }
    let two = sentir(["similarity", "--model", &model, "a boat", "a boat", "--similarity-fn", "cosine"]).ok();
    assert_eq!(two, "1.0000\n");
    let zero =
        sentir(["similarity", "--model", &model, "a boat", "a boat", "--similarity-fn", "euclidean"]).ok();
    assert_eq!(zero.trim_start_matches('-'), "0.0000\n");
    let file = directory.path().join("a.csv");
    common::write_lines(&file, ["t", "one boat", "two boats", "rain"]);
    let table = sentir(["similarity", "--model", &model, "--input", &path(&file)]).ok();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("1.0000") && table.contains("two boats"), "{table}");
}

#[test]
fn search_ranks_as_the_cosines_of_the_golden_vectors() {
    let case = case("bert: encode_query");
    let corpus_case = common::case("bert: encode_document, document");
    let directory = tempfile::tempdir().unwrap();
    let own = |name: &str| path(directory.path().join(name));
    let model = model("bert: encode_query");
    let model = path(model.path());
    // The corpus of the same model, encoded by sentir as documents; its vectors are compared elsewhere in this file.
    let corpus = texts(corpus_case);
    let answers = corpus
        .iter()
        .enumerate()
        .map(|(i, text)| json!({ "q": text, "answer": format!("answer {i}\nsecond line") }));
    common::write_lines(Path::new(&own("kb.jsonl")), answers.map(|line| line.to_string()));
    common::write_lines(
        Path::new(&own("cases.jsonl")),
        texts(case).iter().map(|text| json!({ "text": text }).to_string()),
    );
    let encode = [
        "encode",
        "--quiet",
        "--model",
        &model,
        "--task",
        "document",
        "-i",
        &own("kb.jsonl"),
        "--column",
        "q",
    ];
    sentir(encode.iter().chain(&["-o", own("kb.npy").as_str()])).ok();
    let documents = read_npy_f32(Path::new(&own("kb.npy")));

    let base = ["search", "--quiet", "--model", &model, "--corpus", &own("kb.jsonl"), "--column", "q"]
        .map(str::to_owned);
    let run = |more: &[&str], input: &str| {
        let more = more.iter().map(|&argument| argument.to_owned());
        sentir_reading(base.iter().cloned().chain(more), input.as_bytes()).ok()
    };
    let queries = own("cases.jsonl");
    let all = run(&["--queries", &queries, "--query-column", "text", "--top-k", "3", "--json"], "");
    let questions = matrix(&case["expected"]);
    assert_eq!(all.lines().count(), questions.len());
    for (index, (line, question)) in all.lines().zip(&questions).enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["query"], index);
        let mut expected: Vec<(f64, usize)> =
            documents.iter().enumerate().map(|(row, document)| (cosine(question, document), row)).collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let hits = line["hits"].as_array().unwrap();
        assert_eq!(hits.len(), 3);
        for (hit, (score, _)) in hits.iter().zip(&expected) {
            // Equal texts have equal scores, and then either may come first.
            assert!((hit["score"].as_f64().unwrap() - score).abs() < 1e-5, "{line} {expected:?}");
            let own = cosine(question, &documents[hit["index"].as_u64().unwrap() as usize]);
            assert!((own - score).abs() < 1e-5, "{line} {expected:?}");
            assert_eq!(hit.as_object().unwrap().len(), 2, "index and score, nothing else");
        }
    }
    // One question, on the command line and from standard input: the same object.
    let first = texts(case)[0].clone();
    let one = run(&["--top-k", "3", "--json", &first], "");
    assert_eq!(Some(one.trim_end()), all.lines().next());
    let typed = run(&["--top-k", "3", "--json"], &format!("{first}\r\nanother"));
    assert_eq!(typed.lines().next(), all.lines().next());
    assert_eq!(typed.lines().count(), 2);
    // More columns; more hits than there are texts; for people.
    let shown: Value =
        serde_json::from_str(&run(&["--show", "answer", "--json", "-k", "99", "--", &first], "")).unwrap();
    let hits = shown["hits"].as_array().unwrap();
    assert_eq!(hits.len(), corpus.len());
    assert_eq!(hits[0]["show"]["answer"], format!("answer {}\nsecond line", hits[0]["index"]));
    let table = run(&["--show", "answer", "--top-k", "1", "--", &first], "");
    assert!(table.contains("answer: answer ") && table.contains("\n                 second line"), "{table}");
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn inspect_says_what_will_be_used() {
    let model = model("bert: lasttoken, dense-dense-layer-norm-normalize, 2.7.0");
    let model = path(model.path());
    let found: Value = serde_json::from_str(&sentir(["inspect", &model, "--json"]).ok()).unwrap();
    let kinds: Vec<&str> =
        found["modules"].as_array().unwrap().iter().map(|x| x["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Transformer", "Pooling", "Dense", "LayerNorm", "Dense", "Normalize"]);
    assert_eq!((&found["embedding_dimension"], &found["max_seq_length"]), (&json!(12), &json!(48)));
    assert_eq!(found["similarity_fn_name"], "cosine");
    assert_eq!(found["modules"][2]["weights"]["dtypes"], json!({ "F32": 32 * 20 + 20 }));
    let people = sentir(["inspect", &model]).ok();
    for part in
        ["dimensions    12", "48 of a text", "lasttoken", "2 Dense", "5 Normalize", "660 F32", "query = \"\""]
    {
        assert!(people.contains(part), "{part}: {people}");
    }
    let table = common::model("static: in the root");
    let people = sentir(["inspect", &path(table.path())]).ok();
    assert!(people.contains("0 StaticEmbedding") && people.contains("all of a text"), "{people}");
}

#[test]
fn download_prints_the_directory() {
    let model = model(PLAIN);
    let model = path(model.path());
    assert_eq!(sentir(["download", &model]).ok(), format!("{model}\n"));
    let found: Value = serde_json::from_str(&sentir(["download", &model, "--json"]).ok()).unwrap();
    assert_eq!(found, json!({ "path": model, "source": "local", "id": null, "commit": null }));
}

#[test]
fn a_quantized_directory_is_a_model_like_any_other() {
    let (model, directory) = (model(PLAIN), tempfile::tempdir().unwrap());
    let (model, texts) = (path(model.path()), texts(case(PLAIN)));
    let own = |name: &str| path(directory.path().join(name));
    common::write_lines(Path::new(&own("in.txt")), &texts);
    for dtype in ["int8", "bf16"] {
        let out = own(dtype);
        let arguments = ["quantize", &model, &out, "--dtype", dtype, "--report", "--json", "--check"];
        let answer = sentir(arguments.iter().map(|&part| part.to_owned()).chain([own("in.txt")])).ok();
        let outcome: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&outcome["path"], &outcome["dtype"]), (&json!(out), &json!(dtype)));
        assert_eq!(outcome["matrices"].as_array().unwrap().len(), 8);
        assert_eq!(outcome["check"]["texts"], texts.len());
        assert!(outcome["check"]["mean_cosine"].as_f64().unwrap() > 0.999, "{outcome}");
        let encode = |model: &str, more: &[&str]| {
            let mut arguments = vec!["encode", "--model", model, "--json", "one text"];
            arguments.extend(more);
            sentir(arguments).ok()
        };
        assert_eq!(encode(&out, &[]), encode(&model, &["--dtype", dtype]));
        assert_ne!(encode(&out, &[]), encode(&model, &[]));
        let table = sentir(["quantize", &model, &own("again"), "--dtype", dtype, "--report"]).ok();
        assert!(table.contains("relative error") && table.contains("intermediate.dense"), "{table}");
        std::fs::remove_dir_all(own("again")).unwrap();
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let model = model(PLAIN);
    let texts: Vec<String> = (0..3000).map(|n| format!("{n}")).collect();
    let mut command = common::command();
    command.args(["encode", "--json", "--quiet", "--model", &path(model.path())]).args(&texts);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn help_and_version() {
    assert_eq!(sentir(["--version"]).ok(), format!("sentir {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["encode", "similarity", "search", "inspect", "quantize", "prune", "download"] {
        let help = sentir([command, "--help"]).ok();
        assert!(
            help.contains("Example")
                && help.contains("--threads")
                && help.contains(&format!("sentir {command}")),
            "{help}"
        );
        assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
    }
}

/// The examples of the help texts, run in the root of the workspace as they stand there.
#[test]
fn the_examples_of_help_work() {
    let needed =
        ["models/all-MiniLM-L6-v2/model.safetensors", "examples/faq.jsonl", "examples/questions.jsonl"];
    if let Some(missing) = needed.iter().find(|file| !common::root().join(file).exists()) {
        eprintln!(
            "SKIPPED: the_examples_of_help_work: {missing} is not there (scripts/fetch-minilm.sh fetches the model)"
        );
        return;
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_sentir")).parent().unwrap();
    let mut run = 0;
    let commands = [
        "encode",
        "similarity",
        "search",
        "inspect",
        "quantize",
        "mine",
        "dedup",
        "cluster",
        "classify",
        "evaluate",
    ];
    for command in commands {
        let help = sentir([command, "--help"]).ok().replace("\\\n", " ");
        let examples = help.split_once("Example").unwrap().1;
        let mut scratch = tempfile::tempdir().unwrap();
        for line in examples.lines().filter(|line| line.starts_with("  ") && line.contains("sentir ")) {
            // Files that the reader has and we do not.
            if ["texts.txt", "train.csv", "stsb.csv", "queries.jsonl", "faq-index"]
                .iter()
                .any(|file| line.contains(file))
            {
                continue;
            }
            // What is learned in one example is used in the next; others begin with nothing.
            if command != "classify" {
                scratch = tempfile::tempdir().unwrap();
            }
            let mut line = line.to_owned();
            for written in [
                "vectors.npy",
                "heat.html",
                "map.html",
                "triplets.jsonl",
                "minilm-",
                "faq-classes",
                "report.html",
            ] {
                line = line.replace(written, &path(scratch.path().join(written)));
            }
            let mut shell = std::process::Command::new("sh");
            let paths = format!("{}:{}", path(binary), std::env::var("PATH").unwrap_or_default());
            shell.args(["-c", &line]).current_dir(common::root()).env("PATH", paths);
            let answer = finish(shell, b"how can I put a clip online\n");
            assert_eq!(answer.code, Some(0), "{line}\n{}", answer.stderr);
            let wrote = std::fs::read_dir(scratch.path()).unwrap().next().is_some();
            // Where nothing is found, it is said.
            assert!(!answer.stdout.is_empty() || wrote || !answer.stderr.is_empty(), "{line}");
            run += 1;
        }
    }
    assert!(run >= 15, "{run} examples");
}
