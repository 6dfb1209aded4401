//! The readers of weights: the same numbers from every format that was recorded, and an error, never a panic, for files that lie.

mod common;

use std::path::Path;

use proptest::prelude::*;
use sentir_model::weights::{Dtype, Weights};

fn variant(name: &str) -> Weights {
    Weights::open_file(&common::golden().join("models/variants").join(name)).unwrap()
}

/// A safetensors file with this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(std::iter::repeat_n(0u8, data));
    bytes
}

fn open(name: &str, bytes: Vec<u8>) -> Result<Weights, String> {
    Weights::from_bytes(Path::new(name), bytes).map_err(|error| error.to_string())
}

#[test]
fn every_format_holds_the_same_numbers() {
    let plain = Weights::open_file(&common::golden().join("models/bert-cased/model.safetensors")).unwrap();
    let mut compared = 0;
    let names = [
        "zip.bin",
        "legacy.bin",
        "views.bin",
        "views-legacy.bin",
        "f16.safetensors",
        "bf16.safetensors",
        "mixed.safetensors",
    ];
    for name in names {
        let other = variant(name);
        for view in plain.tensors() {
            let Ok(found) = other.get(&view.name) else { continue };
            found.expect_shape(&view.shape).unwrap();
            // Half of the distance between two numbers of the type, for the largest numbers of the file.
            let tolerance = match found.dtype {
                Dtype::F16 => 1e-3,
                Dtype::Bf16 => 8e-3,
                _ => 0.0,
            };
            for (a, b) in found.to_f32().unwrap().iter().zip(view.to_f32().unwrap()) {
                assert!(
                    (a - b).abs() <= tolerance * b.abs().max(1.0),
                    "{name}, {}: {a}, should be {b}",
                    view.name
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 50_000, "only {compared} numbers were compared");
}

#[test]
fn a_tensor_that_is_missing_or_has_another_shape_is_named() {
    let weights = variant("zip.bin");
    let missing = weights.get("model.embeddings.word_embeddings.weight").unwrap_err().to_string();
    assert!(
        missing.contains("zip.bin: tensor \"model.embeddings.word_embeddings.weight\": it is missing"),
        "{missing}"
    );
    assert!(missing.contains("closest are embeddings.word_embeddings.weight"), "{missing}");
    let view = weights.get("embeddings.LayerNorm.weight").unwrap();
    let shape = view.expect_shape(&[3, 4]).unwrap_err().to_string();
    assert!(shape.contains("[16]") && shape.contains("[3, 4]"), "{shape}");
    assert_eq!(view.dtype, Dtype::F32);
}

#[test]
fn numbers_that_are_not_finite_are_found() {
    for (dtype, bytes, width) in [
        ("F32", f32::NAN.to_le_bytes().to_vec(), 4),
        ("F16", vec![0x00, 0x7c], 2),
        ("BF16", vec![0xc0, 0x7f], 2),
        ("F64", f64::INFINITY.to_le_bytes().to_vec(), 8),
    ] {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[3],"data_offsets":[0,{}]}}}}"#, 3 * width);
        let mut file = file(&header, 3 * width);
        let start = file.len() - width;
        file[start..].copy_from_slice(&bytes);
        let message =
            open("m.safetensors", file).unwrap().get("w").unwrap().to_f32().unwrap_err().to_string();
        assert!(message.contains("m.safetensors: tensor \"w\": number 2 is"), "{dtype}: {message}");
    }
}

#[test]
fn headers_that_lie() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = |first: &str, second: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{first}}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{second}}}}}"#
        )
    };
    let long = |length: u64| [length.to_le_bytes().as_slice(), b"{}"].concat();
    let mut not_text = file("{}  ", 0);
    not_text[9] = 0xff;
    for (what, bytes, part) in [
        ("no bytes at all", Vec::new(), "only 0 bytes"),
        ("fewer than the length", vec![1, 2, 3], "only 3 bytes"),
        ("a header longer than the file", long(1000), "longer than the file"),
        ("a header of 200 MB", long(200_000_000), "longer than 100 MB"),
        ("a header of 2^64 - 1 bytes", long(u64::MAX), "longer than 100 MB"),
        ("a header that is no text", not_text, "not UTF-8"),
        ("a header that is no JSON", file("{\"a\": nonsense}", 0), "not what it should be"),
        ("a header that is a list", file("[]", 0), "not what it should be"),
        ("an unknown type", file(&entry("F33", "[2]", "[0,8]"), 8), "not what it should be"),
        (
            "a type that is not supported",
            file(&entry("F8_E4M3", "[2]", "[0,2]"), 2),
            "tensor \"a\": its type F8_E4M3 is not supported",
        ),
        ("fewer bytes than the shape", file(&entry("F32", "[3]", "[0,8]"), 8), "another number of bytes"),
        ("more bytes than the shape", file(&entry("F32", "[1]", "[0,8]"), 8), "another number of bytes"),
        (
            "a shape that overflows",
            file(&entry("F32", "[4611686018427387904,4]", "[0,8]"), 8),
            "larger than any file",
        ),
        ("a negative size", file(&entry("F32", "[-2]", "[0,8]"), 8), "not what it should be"),
        ("offsets beyond the file", file(&entry("F32", "[4]", "[0,16]"), 8), "do not fill the file"),
        ("offsets the wrong way round", file(&entry("F32", "[2]", "[8,0]"), 8), "tensor \"a\""),
        ("tensors that overlap", file(&two("[0,8]", "[4,12]"), 12), "overlap"),
        ("a gap between tensors", file(&two("[0,8]", "[16,24]"), 24), "gap"),
        ("a tail that nobody owns", file(&entry("F32", "[2]", "[0,8]"), 9), "do not fill the file"),
    ] {
        let message = open("m.safetensors", bytes).err().unwrap_or_else(|| panic!("{what}: accepted"));
        assert!(message.starts_with("m.safetensors: ") && message.contains(part), "{what}: {message}");
    }
}

/// A pickle of protocol 2.
fn pickle(program: &[u8]) -> Vec<u8> {
    [b"\x80\x02", program, b"."].concat()
}

#[test]
fn pickles_that_would_run_something() {
    let deep = [vec![b'('; 200_000], vec![b't'; 200_000]].concat();
    let nested = [b")".to_vec(), b"\x85".repeat(200_000)].concat();
    let bomb = [b"]q\x00".to_vec(), b"(h\x00h\x00e".repeat(50_000)].concat();
    for (what, bytes, part) in [
        (
            "os.system by GLOBAL",
            pickle(b"cos\nsystem\n(X\x02\x00\x00\x00lstR"),
            "\"os.system\", which sentir does not run",
        ),
        ("os.system by STACK_GLOBAL", pickle(b"\x8c\x02os\x8c\x06system\x93)R"), "\"os.system\""),
        ("eval by INST", pickle(b"(X\x01\x00\x00\x001ibuiltins\neval\n"), "makes an object of a class"),
        ("eval by REDUCE", pickle(b"cbuiltins\neval\n(X\x01\x00\x00\x001tR"), "\"builtins.eval\""),
        ("a class by NEWOBJ", pickle(b"ccollections\nOrderedDict\n)\x81"), "makes an object of a class"),
        (
            "an allowed function of the wrong thing",
            pickle(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
            "a tensor without storage",
        ),
        ("a storage type called", pickle(b"ctorch\nFloatStorage\n)R"), "makes a storage"),
        ("state for a list", pickle(b"](b"), "the stack is empty"),
        ("state for a text", pickle(b"X\x01\x00\x00\x00a}b"), "sets the state"),
        ("an extension", pickle(b"\x82\x01"), "extensions"),
        (
            "a persistent id that is no storage",
            pickle(b"X\x01\x00\x00\x00aQ"),
            "something else than a storage",
        ),
        ("an unknown instruction", pickle(b"\xff"), "0xff"),
        ("a text of 4 GB", pickle(b"X\xff\xff\xff\xffabc"), "ends in the middle"),
        ("a text of 2^64 bytes", pickle(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc"), "ends in the middle"),
        ("a number of 4 GB", pickle(b"\x8b\xff\xff\xff\xff"), "ends in the middle"),
        ("groups in groups", pickle(&deep), "neither a zip archive nor a pickle of tensors"),
        ("tuples in tuples", pickle(&nested), "neither a zip archive nor a pickle of tensors"),
        ("a list of itself, many times", pickle(&bomb), "neither a zip archive nor a pickle of tensors"),
        ("a pickle of something else", pickle(b"}"), "neither a zip archive nor a pickle of tensors"),
        ("no end", b"\x80\x02}".to_vec(), "ends in the middle"),
        ("a reference to nothing", pickle(b"h\x07"), "nothing is remembered under 7"),
        ("no pickle", b"hello".to_vec(), "neither a zip archive nor a pickle"),
        ("nothing", Vec::new(), "neither a zip archive nor a pickle"),
    ] {
        let message = open("pytorch_model.bin", bytes).err().unwrap_or_else(|| panic!("{what}: accepted"));
        assert!(message.starts_with("pytorch_model.bin: ") && message.contains(part), "{what}: {message}");
    }
}

/// An archive of PyTorch with this pickle and one storage of 24 bytes, stored as it is.
fn archive(program: &[u8]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    let entries = [("m/data.pkl", program), ("m/data/0", [0u8; 24].as_slice())];
    for (name, data) in entries {
        let sizes = [
            &[0u8; 4][..],
            &(data.len() as u32).to_le_bytes(),
            &(data.len() as u32).to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        let start = bytes.len() as u32;
        directory.extend(
            [
                b"PK\x01\x02\x14\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00",
                &sizes[..],
                &[0; 10],
                &start.to_le_bytes(),
                name.as_bytes(),
            ]
            .concat(),
        );
        bytes.extend(
            [b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00", &sizes[..], name.as_bytes(), data]
                .concat(),
        );
    }
    let (start, length) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(directory);
    bytes.extend(
        [
            b"PK\x05\x06\x00\x00\x00\x00\x02\x00\x02\x00",
            &length.to_le_bytes()[..],
            &start.to_le_bytes(),
            &[0, 0],
        ]
        .concat(),
    );
    bytes
}

/// `{"w": tensor}` over storage 0 of 6 numbers, with this offset, shape and strides.
fn tensor(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage =
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ";
    let head = b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n";
    pickle(&[head, &storage[..], offset, shape, strides, b"\x89ccollections\nOrderedDict\n)RtRs"].concat())
}

#[test]
fn tensors_that_lie_about_their_storage() {
    let good = open("m.bin", archive(&tensor(b"K\x00", b"K\x02K\x03\x86", b"K\x03K\x01\x86"))).unwrap();
    assert_eq!(good.get("w").unwrap().shape, [2, 3]);
    assert_eq!(good.get("w").unwrap().to_f32().unwrap(), [0.0; 6]);
    let transposed = open("m.bin", archive(&tensor(b"K\x00", b"K\x03K\x02\x86", b"K\x01K\x03\x86"))).unwrap();
    assert_eq!(transposed.get("w").unwrap().to_f32().unwrap().len(), 6);
    for (what, offset, shape, strides, part) in [
        (
            "an offset beyond",
            &b"K\x01"[..],
            &b"K\x02K\x03\x86"[..],
            &b"K\x03K\x01\x86"[..],
            "larger than its storage",
        ),
        ("a negative offset", b"J\xff\xff\xff\xff", b"K\x01\x85", b"K\x01\x85", "negative offset"),
        ("a shape beyond", b"K\x00", b"K\x07\x85", b"K\x01\x85", "larger than its storage"),
        ("strides beyond", b"K\x00", b"K\x02\x85", b"K\x06\x85", "larger than its storage"),
        (
            "one number a billion times",
            b"K\x00",
            b"J\x00\x00\x00\x40\x85",
            b"K\x00\x85",
            "larger than its storage",
        ),
        (
            "sizes that overflow",
            b"K\x00",
            b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87",
            b"K\x00K\x00K\x00\x87",
            "larger than its storage",
        ),
        ("a negative size", b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85", "a size of -1"),
        ("shape and strides of different length", b"K\x00", b"K\x01\x85", b")", "differ in length"),
    ] {
        let message = open("m.bin", archive(&tensor(offset, shape, strides)))
            .err()
            .unwrap_or_else(|| panic!("{what}: accepted"));
        assert!(message.starts_with("m.bin: ") && message.contains(part), "{what}: {message}");
    }
}

#[test]
fn files_cut_at_every_byte() {
    let small = archive(&tensor(b"K\x00", b"K\x02K\x03\x86", b"K\x03K\x01\x86"));
    let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let legacy = std::fs::read(common::golden().join("models/variants/legacy.bin")).unwrap();
    for (name, whole, last) in [
        ("m.bin", &small, small.len()),
        ("m.safetensors", &file(header, 8), 8 + header.len() + 8),
        ("m.bin", &legacy, 12_000),
    ] {
        for length in 0..last {
            assert!(open(name, whole[..length].to_vec()).is_err(), "{name} of {length} bytes is accepted");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), which in 0usize..4) {
        let (name, bytes) = match which {
            0 => ("m.bin", archive(&tensor(b"K\x00", b"K\x02K\x03\x86", b"K\x01K\x02\x86"))),
            1 => ("m.safetensors", file(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}}"#, 12)),
            2 => ("m.bin", std::fs::read(common::golden().join("models/variants/legacy.bin")).unwrap()),
            _ => ("m.bin", std::fs::read(common::golden().join("models/variants/views.bin")).unwrap()),
        };
        let mut damaged = bytes;
        let reach = if which >= 2 { damaged.len().min(9000) } else { damaged.len() };
        for (index, value) in changes {
            let at = index.index(reach);
            damaged[at] = value;
        }
        if let Ok(weights) = open(name, damaged) {
            for view in weights.tensors() {
                let _ = view.to_f32();
            }
        }
    }
}

#[test]
fn shards_stay_in_their_directory_and_hold_what_the_index_says() {
    let variants = common::golden().join("models/variants");
    let shard = "model-00001-of-00002.safetensors";
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(variants.join(shard), directory.path().join(shard)).unwrap();
    for (index, part) in [
        (
            r#"{"weight_map": {"a": "../elsewhere.safetensors"}}"#,
            "\"../elsewhere.safetensors\" leaves the directory",
        ),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "leaves the directory"),
        (r#"{"weight_map": {"a": "missing.safetensors"}}"#, "missing.safetensors: No such file"),
        (
            r#"{"weight_map": {"a": "model-00001-of-00002.safetensors"}}"#,
            "tensor \"a\": model-00001-of-00002.safetensors, where it should be, does not have it",
        ),
        (r#"{"weight_map": 3}"#, "line 1"),
        ("{", "line 1"),
    ] {
        std::fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
        let message =
            Weights::open(directory.path()).err().unwrap_or_else(|| panic!("{index}: accepted")).to_string();
        assert!(message.contains(part), "{index}: {message}");
    }
    let empty = tempfile::tempdir().unwrap();
    let message = Weights::open(empty.path()).unwrap_err().to_string();
    assert!(message.contains("there are no weights; looked for model.safetensors"), "{message}");
}
