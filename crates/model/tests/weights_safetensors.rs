//! Headers of safetensors files that lie, and the reader against the crate `safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use safetensors::SafeTensors;
use sentir_model::Error;
use sentir_model::weights::Weights;

fn file(header: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let header = header.as_ref();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend((0..data).map(|i| i as u8));
    file
}

fn open(bytes: Vec<u8>) -> Result<Weights, Error> {
    Weights::from_bytes(Path::new("folder/model.safetensors"), bytes)
}

fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

#[test]
fn a_lie_about_a_tensor_names_the_tensor() {
    let largest = u64::MAX.to_string();
    for (what, entries, data, name, part) in [
        (
            "overlap",
            vec![entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 4, 12)],
            12,
            "b",
            "inside of \"a\"",
        ),
        (
            "the same bytes",
            vec![entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 0, 8)],
            8,
            "b",
            "inside of \"a\"",
        ),
        (
            "a gap",
            vec![entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[1]", 12, 16)],
            16,
            "b",
            "4 bytes before",
        ),
        ("a gap at the start", vec![entry("a", "F32", "[1]", 4, 8)], 8, "a", "4 bytes before"),
        (
            "backwards",
            vec![entry("a", "F32", "[1]", 0, 4), entry("b", "F32", "[1]", 4, 0)],
            8,
            "b",
            "before it begins",
        ),
        (
            "too few bytes",
            vec![entry("a", "F32", "[3]", 0, 8)],
            8,
            "a",
            "its bytes are 8, but F32 in the shape [3] needs 12",
        ),
        ("too many bytes", vec![entry("a", "F16", "[3]", 0, 8)], 8, "a", "needs 6"),
        ("bytes without numbers", vec![entry("a", "F32", "[0, 5]", 0, 8)], 8, "a", "needs 0"),
        ("a scalar", vec![entry("a", "F64", "[]", 0, 4)], 4, "a", "needs 8"),
        ("overflow", vec![entry("a", "F32", &format!("[{largest}]"), 0, 8)], 8, "a", "more than any file"),
        (
            "overflow to 8",
            vec![entry("a", "F32", "[4611686018427387906]", 0, 8)],
            8,
            "a",
            "more than any file",
        ),
        (
            "overflow of the shape",
            vec![entry("a", "U8", "[4294967296, 4294967296, 8]", 0, 8)],
            8,
            "a",
            "more than any file",
        ),
        (
            "far away",
            vec![entry("a", "U8", "[18446744073709551615]", 0, u64::MAX)],
            8,
            "a",
            "cut off after 8",
        ),
        (
            "cut off",
            vec![entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 8, 16)],
            15,
            "b",
            "cut off after 15",
        ),
        ("unknown type", vec![entry("a", "F8_E4M3", "[8]", 0, 8)], 8, "a", "F8_E4M3 is not supported"),
        ("small letters", vec![entry("a", "f32", "[2]", 0, 8)], 8, "a", "f32 is not supported"),
        (
            "a name for terminals",
            vec![entry("a\\u001b[2J", "F32", "[3]", 0, 8)],
            8,
            "a\\u{1b}[2J",
            "needs 12",
        ),
    ] {
        match open(file(format!("{{{}}}", entries.join(",")), data)) {
            Err(Error::Tensor { path, tensor, message }) => {
                assert_eq!(path, Path::new("folder/model.safetensors"), "{what}");
                assert_eq!(tensor, name, "{what}: {message}");
                assert!(message.contains(part), "{what}: {message}");
            }
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what} was accepted"),
        }
    }
}

#[test]
fn a_file_that_is_not_one_names_the_file() {
    let a = || entry("a", "F32", "[1]", 0, 4);
    let with_length = |length: u64| {
        let mut bytes = file(format!("{{{}}}", a()), 4);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (what, bytes, part) in [
        ("nothing", vec![], "only 0 bytes"),
        ("seven bytes", vec![0; 7], "only 7 bytes"),
        ("no header", vec![0; 8], "in the header, EOF"),
        ("a header beyond the end", with_length(500), "a header of 500 bytes, but ends"),
        ("100 MB", with_length(100_000_000), "a header of 100000000 bytes, but ends"),
        ("more than 100 MB", with_length(100_000_001), "more than 100000000"),
        ("more than anything", with_length(u64::MAX), "more than 100000000"),
        ("not JSON", file("nonsense", 0), "in the header, expected"),
        ("an array", file("[]", 0), "expected an object with an entry for each tensor"),
        ("not UTF-8", file(b"{\"\xff\": 1}", 0), "in the header"),
        ("deep", file(deep, 0), "in the header"),
        ("two objects", file("{}{}", 0), "trailing characters"),
        ("one name twice", file(format!("{{{},{}}}", a(), a()), 4), "two tensors have the name \"a\""),
        ("no type", file(r#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4), "missing field `dtype`"),
        ("no shape", file(r#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, 4), "missing field `shape`"),
        ("no offsets", file(r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4), "missing field `data_offsets`"),
        ("a negative size", file(format!("{{{}}}", entry("a", "F32", "[-1]", 0, 4)), 4), "in the header"),
        (
            "a size with a fraction",
            file(format!("{{{}}}", entry("a", "F32", "[1.0]", 0, 4)), 4),
            "in the header",
        ),
        (
            "a size above 64 bits",
            file(format!("{{{}}}", entry("a", "F32", "[18446744073709551616]", 0, 4)), 4),
            "in the header",
        ),
        (
            "three offsets",
            file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, 4),
            "in the header",
        ),
        ("metadata of numbers", file(r#"{"__metadata__":{"format":1}}"#, 0), "in the header"),
        ("more data", file(format!("{{{}}}", a()), 5), "1 bytes follow after the last tensor"),
        ("data without tensors", file("{}", 3), "3 bytes follow"),
    ] {
        match open(bytes) {
            Err(Error::Invalid { path, message }) => {
                assert_eq!(path, Path::new("folder/model.safetensors"), "{what}");
                assert!(message.contains(part), "{what}: {message}");
                assert!(message.ends_with("get the file again"), "{what}: {message}");
                assert!(message.len() < 400, "{what}");
            }
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what} was accepted"),
        }
    }
}

#[test]
fn what_is_unusual_but_right_is_read() {
    assert_eq!(open(file("{}", 0)).unwrap().tensors().count(), 0);
    assert_eq!(open(file("  {\"__metadata__\": {\"format\": \"pt\"}}   ", 0)).unwrap().tensors().count(), 0);
    // In any order, with tensors of no numbers in between, and nothing aligned.
    let entries = [
        entry("z", "U8", "[1]", 0, 1),
        entry("empty", "F32", "[0, 18446744073709551615]", 1, 1),
        entry("y", "F32", "[]", 1, 5),
        entry("x", "I16", "[1, 2, 1]", 5, 9),
    ];
    let reversed: Vec<String> = entries.iter().rev().cloned().collect();
    for entries in [entries.to_vec(), reversed] {
        let weights = open(file(format!("{{{}}}", entries.join(",")), 9)).unwrap();
        assert_eq!(weights.get("z").unwrap().to_i64().unwrap(), [0]);
        assert_eq!(weights.get("y").unwrap().to_f32().unwrap(), [f32::from_le_bytes([1, 2, 3, 4])]);
        assert_eq!(weights.get("x").unwrap().to_i64().unwrap(), [0x0605, 0x0807]);
        assert_eq!(weights.get("empty").unwrap().elements(), 0);
        assert_eq!(weights.get("empty").unwrap().to_f32().unwrap(), Vec::<f32>::new());
    }
}

fn tensor() -> impl Strategy<Value = (String, Vec<u64>, u64, u64, bool)> {
    let dtype = prop::sample::select(vec!["F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "X9"]);
    let shape = prop::collection::vec(prop_oneof![4 => 0..4u64, 1 => Just(1 << 62)], 0..4);
    (dtype.prop_map(str::to_owned), shape, 0..40u64, 0..40u64, prop::bool::weighted(0.9))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    /// The crate of the format's authors takes the same files and finds the same bytes.
    #[test]
    fn the_same_files_as_the_crate(tensors in prop::collection::vec(tensor(), 0..4), more in prop_oneof![3 => Just(0), 1 => 0..3usize]) {
        let (mut entries, mut at) = (Vec::new(), 0);
        for (i, (dtype, shape, start, end, right)) in tensors.iter().enumerate() {
            // Most of them right, else none would be accepted.
            let size = match dtype.as_str() { "F64" | "I64" => 8, "F32" => 4, "F16" | "BF16" => 2, _ => 1 };
            let length = shape.iter().fold(size, |product: u64, &n| product.wrapping_mul(n)).min(1 << 20);
            let (start, end) = if *right { (at, at + length) } else { (*start, *end) };
            at = end;
            entries.push(entry(&format!("t{i}"), dtype, &format!("{shape:?}"), start, end));
        }
        let bytes = file(format!("{{{}}}", entries.join(",")), at as usize + more);
        match (open(bytes.clone()), SafeTensors::deserialize(&bytes)) {
            (Ok(ours), Ok(theirs)) => {
                let found: BTreeMap<_, _> = ours.tensors().map(|view| (view.name.clone(), (view.shape.clone(), view.shared_bytes().as_ref().to_vec()))).collect();
                let expected: BTreeMap<_, _> = theirs.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec()))).collect();
                prop_assert_eq!(found, expected);
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "ours {:?}, theirs {:?}", ours.err(), theirs.err()),
        }
    }
}
