//! Files of every format, and what their errors say.

use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

fn read(paths: &[PathBuf], columns: Option<&[&str]>) -> Result<Dataset> {
    let columns: Option<Vec<String>> =
        columns.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    Dataset::read("train", paths, columns.as_deref())
}

/// Two rows of two texts and a label a row, and a list of two numbers.
fn expected() -> Dataset {
    let column = |name: &str, texts: [&str; 2]| TextColumn {
        name: name.into(),
        texts: texts.iter().map(|&text| text.to_owned()).collect(),
    };
    let columns = vec![column("query", ["раз, \"два\"", ""]), column("answer", ["three\tfour", "5"])];
    let labels = Labels::new("score", 1, vec![0.25, -3.0]).unwrap();
    Dataset::new("train", columns, Some(labels)).unwrap()
}

fn parquet_file() -> Vec<u8> {
    let schema = "message m { required binary query (UTF8); optional binary answer (UTF8); required double score; \
                  optional group scores (LIST) { repeated group list { required float element; } } required int64 id; \
                  required group both { required int64 a; required int64 b; } }";
    let mut bytes = Vec::new();
    let properties = Arc::new(WriterProperties::builder().build());
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    let dataset = expected();
    // A row group for each row.
    for row in 0..2 {
        let mut group = writer.next_row_group().unwrap();
        for (at, column) in dataset.columns.iter().enumerate() {
            let mut next = group.next_column().unwrap().unwrap();
            let text = ByteArray::from(column.texts[row].as_bytes().to_vec());
            next.typed::<ByteArrayType>().write_batch(&[text], Some(&[at as i16]), None).unwrap();
            next.close().unwrap();
        }
        let mut next = group.next_column().unwrap().unwrap();
        next.typed::<DoubleType>().write_batch(&[[0.25, -3.0][row]], None, None).unwrap();
        next.close().unwrap();
        let mut next = group.next_column().unwrap().unwrap();
        let values = [[1.0, 2.0], [3.0, 4.5]][row];
        next.typed::<FloatType>().write_batch(&values, Some(&[2, 2]), Some(&[0, 1])).unwrap();
        next.close().unwrap();
        for _ in 0..3 {
            let mut next = group.next_column().unwrap().unwrap();
            next.typed::<Int64Type>().write_batch(&[7 + row as i64], None, None).unwrap();
            next.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn every_format_gives_the_same_rows() {
    let folder = Folder::new();
    let lines = [
        r#"{"query": "раз, \"два\"", "answer": "three\tfour", "score": 0.25}"#,
        r#"{"score": -3, "answer": "5", "query": ""}"#,
    ];
    let files = [
        folder.write("a.jsonl", lines.join("\n") + "\n\n"),
        folder.write("lines.json", lines.join("\n")),
        folder.write("list.json", format!("[{},\n{}]", lines[0], lines[1])),
        folder.write("a.csv", "query,answer,score\r\n\"раз, \"\"два\"\"\",three\tfour,0.25\r\n,5,-3\r\n"),
    ];
    for file in files {
        assert_eq!(read(std::slice::from_ref(&file), None).unwrap(), expected(), "{}", file.display());
    }
    let parquet = folder.write("a.parquet", parquet_file());
    let found = read(std::slice::from_ref(&parquet), Some(&["query", "answer", "score"])).unwrap();
    assert_eq!(found, expected());
    assert_eq!(found.sha256(), expected().sha256());
    let tsv = folder.write("a.tsv", "query\tscore\n\"a\" b\t1e-1\n");
    let found = read(&[tsv], None).unwrap();
    assert_eq!((found.columns[0].texts[0].as_str(), found.labels.unwrap().values()), ("\"a\" b", &[0.1][..]));

    // Chosen columns, in the order of choice; lists as labels, in each format that can hold them.
    let found = read(&[parquet], Some(&["answer", "scores"])).unwrap();
    assert_eq!(found.columns[0].name, "answer");
    let labels = found.labels.unwrap();
    assert_eq!((labels.name(), labels.width(), labels.values()), ("scores", 2, &[1.0, 2.0, 3.0, 4.5][..]));
    assert_eq!(labels.rows(&[1, 0]).unwrap(), Rows::new(vec![3.0, 4.5, 1.0, 2.0], 2).unwrap());
    assert!(labels.rows(&[2]).is_err());
    let csv = folder.write("list.csv", "label,text\n\"[1, 2.0]\",a\n\"[3, 4.5]\",b\n");
    let jsonl = folder.write(
        "list.jsonl",
        "{\"label\": [1, 2], \"text\": \"a\"}\n{\"label\": [3, 4.5], \"text\": \"b\"}\n",
    );
    for file in [csv, jsonl] {
        let found = read(&[file], Some(&["text", "label"])).unwrap();
        assert_eq!(found.labels.unwrap().values(), labels.values());
    }
}

#[test]
fn files_are_joined_whatever_the_order_of_their_columns() {
    let folder = Folder::new();
    let a = folder.write("a.csv", "query,answer,score\nq,a,1\n");
    let b = folder.write("b.jsonl", "{\"answer\": \"b\", \"score\": 2, \"query\": \"r\"}\n");
    let found = read(&[a.clone(), b], None).unwrap();
    assert_eq!(found.columns[0].texts, ["q", "r"]);
    assert_eq!(found.columns[1].texts, ["a", "b"]);
    assert_eq!(found.labels.unwrap().values(), [1.0, 2.0]);
    for (contents, expected) in [
        ("query,answer\nq,a\n", "no column \"score\"; the columns are \"query\", \"answer\""),
        ("query,answer,score,id\nq,a,1,2\n", "a column \"id\" that"),
        ("query,answer,score\nq,a,\"[1,2]\"\n", "labels of another length"),
    ] {
        let other = folder.write("c.csv", contents);
        let message = read(&[a.clone(), other], None).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("c.csv"), "{message}");
    }
}

#[test]
fn errors_name_the_file_the_row_and_the_remedy() {
    let folder = Folder::new();
    let deep = "{\"a\":".repeat(100_000);
    let cases: [(&str, &str, Option<&[&str]>, &str); 29] = [
        ("a.jsonl", "", None, "a.jsonl: the file has no rows"),
        ("a.jsonl", "\n\n", None, "the file has no rows"),
        ("a.json", "[]", None, "the file has no rows"),
        ("a.csv", "a,b\n", None, "the file has no rows"),
        ("a.txt", "a", None, "rename the file to .jsonl"),
        ("a", "a", None, "rename the file to .jsonl"),
        ("a.jsonl", "{\"a\": \"b\"}\n{\"a\": \"b\"", None, "a.jsonl, row 2: not a JSON object"),
        ("a.jsonl", "\"text\"", None, "row 1: not a JSON object"),
        ("a.jsonl", &deep, None, "row 1: not a JSON object"),
        ("a.json", "[{\"a\": 1},", None, "invalid JSON"),
        (
            "a.jsonl",
            "{\"a\": \"b\"}\n\n{\"b\": \"b\"}",
            Some(&["a"]),
            "row 3: no column \"a\"; the columns are \"b\"",
        ),
        (
            "a.jsonl",
            "{\"a\": \"b\"}\n{\"a\": \"b\", \"c\": 1}",
            None,
            "row 2: a column \"c\" that the first row",
        ),
        ("a.jsonl", "{\"a\": \"b\", \"a\": \"c\"}", None, "two columns are named \"a\""),
        ("a.jsonl", "{\"a\": 1}", None, "row 1: column \"a\": a number where a text must be"),
        ("a.jsonl", "{\"a\": null}", None, "column \"a\": null where a text must be"),
        (
            "a.jsonl",
            "{\"a\": \"x\", \"label\": \"y\"}",
            None,
            "column \"label\": a text where a label must be",
        ),
        ("a.jsonl", "{\"a\": \"x\", \"label\": [1, \"y\"]}", None, "a list where a label must be"),
        ("a.jsonl", "{\"a\": \"x\", \"label\": []}", None, "0 numbers where 1 must be"),
        (
            "a.jsonl",
            "{\"a\": \"x\", \"label\": [1]}\n{\"a\": \"x\", \"label\": [1, 2]}",
            None,
            "row 2: column \"label\": 2 numbers",
        ),
        ("a.jsonl", "{\"a\": \"x\", \"label\": 1e39}", None, "the label 1"),
        ("a.csv", "a,label\nx,nan\n", None, "row 1: column \"label\": the label NaN"),
        ("a.csv", "a,label\nx,1\ny,\n", None, "row 2: column \"label\": a text where a label must be"),
        ("a.csv", "a,label,score\nx,1,2\n", None, "two columns are labels"),
        ("a.csv", "label\n1\n", None, "no column of texts"),
        ("a.csv", "a,b\nx,y\nz\n", None, "row 2: 1 fields where the header has 2"),
        ("a.csv", "a,b\nx,y\nz,\"w\nv,u\n", None, "row 2: a quoted field never ends"),
        ("a.csv", "a,a\nx,y\n", None, "two columns are named \"a\""),
        ("a.csv", "a,b\nx,y\n", Some(&["c"]), "no column \"c\"; the columns are \"a\", \"b\""),
        ("a.csv", "a,b\nx,y\n", Some(&[]), "no columns are chosen"),
    ];
    for (name, contents, columns, expected) in cases {
        let path = folder.write(name, contents);
        let message = read(&[path], columns).unwrap_err().to_string();
        let start: String = contents.chars().take(40).collect();
        assert!(message.contains(expected), "{start:?}: {message}");
    }
    let path = folder.write("latin.csv", b"a\nb\xff\n");
    assert!(read(&[path], None).unwrap_err().to_string().contains("row 2: not valid UTF-8"));
    let missing = folder.0.path().join("missing.csv");
    assert!(read(&[missing], None).unwrap_err().to_string().contains("missing.csv: "));
    assert!(read(&[], None).unwrap_err().to_string().contains("no file"));
}

#[test]
fn parquet_columns_that_are_neither_are_named() {
    let folder = Folder::new();
    let path = folder.write("a.parquet", parquet_file());
    for (columns, expected) in [
        (&["id"][..], "column \"id\": INT64 where texts must be"),
        (&["query", "both"][..], "two columns are named \"both\""),
        (
            &["other"][..],
            "no column \"other\"; the columns are \"query\", \"answer\", \"score\", \"scores\", \"id\"",
        ),
        (&["query", "score", "scores"][..], "two columns are labels"),
    ] {
        let message = read(std::slice::from_ref(&path), Some(columns)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_cut_or_damaged_parquet_file_is_an_error() {
    // The hook would print each panic that is caught.
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !super::parquet::reading() {
            previous(panic);
        }
    }));
    let folder = Folder::new();
    let bytes = parquet_file();
    for length in (0..bytes.len()).step_by(7) {
        let path = folder.write("cut.parquet", &bytes[..length]);
        assert!(read(&[path], Some(&["query", "score"])).is_err(), "cut at {length}");
    }
    // A bit in every other byte flipped: an answer or an error, never a panic.
    for position in (0..bytes.len()).step_by(2) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position / 2 % 8);
        let path = folder.write("damaged.parquet", damaged);
        let _ = read(&[path], Some(&["query", "answer", "scores"]));
    }
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let column = |name: &str, rows: usize| TextColumn { name: name.into(), texts: vec![String::new(); rows] };
    let error = |columns, labels| Dataset::new("d", columns, labels).unwrap_err().to_string();
    assert!(error(vec![], None).contains("no column of texts"));
    assert!(
        error(vec![column("a", 2), column("b", 3)], None).contains("3 rows in column \"b\" and 2 in \"a\"")
    );
    assert!(error(vec![column("a", 2), column("a", 2)], None).contains("two columns are named \"a\""));
    let labels = Labels::new("label", 1, vec![1.0]).unwrap();
    assert!(error(vec![column("a", 2)], Some(labels)).contains("1 rows in column \"label\""));
    assert!(Labels::new("label", 2, vec![1.0]).is_err());
    assert!(Labels::new("label", 0, vec![]).is_err());
    assert!(Labels::new("label", 1, vec![f64::INFINITY]).is_err());
}
