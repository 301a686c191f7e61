//! The GGUF reader on whole files: real ones, split ones and hostile ones.

mod common;

use chord::error::Error;
use chord::gguf::{Array, File, Item, Value, Writer};
use chord::tensor::Dtype;
use common::heap;
use common::raw::{ARRAY, BOOL, STRING, U32, array, file, header, pair, tensor, text};
use std::path::{Path, PathBuf};

/// One value of every kind, nested arrays, two tensors.
fn rich() -> Vec<u8> {
    let scalars: [(u32, &[u8]); 11] = [
        (0, &[200]),
        (1, &[0xff]),
        (2, &[0x34, 0x12]),
        (3, &[0xfe, 0xff]),
        (4, &[1, 0, 0, 0x80]),
        (5, &[0xfd, 0xff, 0xff, 0xff]),
        (6, &[0, 0, 0x20, 0x40]),
        (BOOL, &[1]),
        (10, &[0xff; 8]),
        (11, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (12, &[0, 0, 0, 0, 0, 0, 0xe0, 0xbf]),
    ];
    let mut pairs: Vec<_> = scalars.iter().map(|(kind, value)| pair(&format!("kind.{kind}"), *kind, value)).collect();
    let strings = array(STRING, 3, &[text(b"one"), text(b""), text(b"\xff")].concat());
    let flags = array(BOOL, 2, &[0, 1]);
    pairs.push(pair("text", STRING, &text("grüße".as_bytes())));
    pairs.push(pair("broken", STRING, &text(b"a\xffb")));
    pairs.push(pair("strings", ARRAY, &strings));
    pairs.push(pair("nested", ARRAY, &array(ARRAY, 3, &[strings, flags, array(U32, 0, &[])].concat())));
    pairs.push(pair("long", ARRAY, &array(2, 10, &[7, 0].repeat(10))));
    // The second tensor stands first in the data.
    let tensors = [tensor("b", &[8, 2], 0, 96), tensor("a", &[32, 1, 1, 3], 8, 0)];
    let mut bytes = file(&pairs, &tensors, 160);
    // 102 bytes of Q8_0 reach beyond offset 96: move the other one behind them.
    let at = bytes.windows(8).rposition(|window| window == 96_u64.to_le_bytes()).unwrap();
    bytes[at..at + 8].copy_from_slice(&128_u64.to_le_bytes());
    bytes.resize(bytes.len() + 32, 7);
    bytes
}

fn open(bytes: &[u8]) -> Result<File, Error> {
    File::from_bytes(bytes.to_vec())
}

fn error(bytes: &[u8]) -> Error {
    open(bytes).err().expect("the file is refused")
}

#[test]
fn every_kind_is_read() {
    let bytes = rich();
    let file = open(&bytes).unwrap();
    let metadata = file.metadata();
    let shown = |key: &str| metadata.get(key).unwrap().to_string();
    let kinds = [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12].map(|kind| shown(&format!("kind.{kind}")));
    let expected = ["200", "-1", "4660", "-2", "2147483649", "-3", "2.5", "true", "18446744073709551615", "-2", "-0.5"];
    assert_eq!(kinds, expected);
    assert_eq!(shown("text"), "grüße");
    assert_eq!(shown("broken"), "a\u{fffd}b");
    assert_eq!(shown("strings"), "[\"one\", \"\", \"\u{fffd}\"]");
    assert_eq!(shown("nested"), "[[\"one\", \"\", \"\u{fffd}\"], [false, true], []]");
    assert_eq!(shown("long"), "[7, 7, 7, 7, 7, 7, 7, 7, ... 10 in all]");
    assert_eq!(metadata.entry(0).unwrap().0, "kind.0");
    assert!(metadata.entry(metadata.len()).is_none() && metadata.get("kind").is_none());

    // Integers convert where they fit, and nothing else does.
    assert_eq!(metadata.u32("kind.0").unwrap(), Some(200));
    assert_eq!(metadata.u32("kind.99").unwrap(), None);
    assert_eq!(metadata.u64("kind.10").unwrap(), Some(u64::MAX));
    for (key, wrong) in [("kind.1", "i8 -1"), ("kind.10", "u64"), ("kind.6", "f32 2.5"), ("strings", "array of 3 string")] {
        let message = metadata.u32(key).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(wrong), "{message}");
    }
    assert_eq!(metadata.f32("kind.12").unwrap(), Some(-0.5));
    assert_eq!(metadata.u32s("long").unwrap(), Some(vec![7; 10]));
    assert!(metadata.u32s("strings").is_err() && metadata.strings("long").is_err() && metadata.bool("kind.0").is_err());
    assert!(metadata.str("broken").unwrap_err().to_string().contains("byte 1"));
    let strings = metadata.strings("strings").unwrap().unwrap();
    assert!(strings.iter().eq([&b"one"[..], b"", b"\xff"]) && strings.get(3).is_none());
    let Some(Value::Array(Array::Arrays(nested))) = metadata.get("nested") else { panic!("nested arrays") };
    let lengths: Vec<_> = nested.iter().map(|array| array.unwrap().len()).collect();
    assert_eq!(lengths, [3, 2, 0]);

    let [b, a] = file.tensors() else { panic!("two tensors") };
    assert_eq!((a.dtype, &a.dims[..], a.len), (Dtype::Q8_0, &[32, 1, 1, 3][..], 102));
    assert_eq!((b.dtype, &b.dims[..], b.len, b.offset), (Dtype::F32, &[8, 2][..], 64, a.offset + 128));
    assert_eq!(file.data(a)[..3], [0, 1, 2]);
    assert_eq!(file.data(file.tensor("b").unwrap())[0], 128);
    // SAFETY: `bytes` outlives the file and is not changed.
    let borrowed = unsafe { File::from_raw(bytes.as_ptr(), bytes.len()) }.unwrap();
    assert_eq!(borrowed.data(&borrowed.tensors()[0]).as_ptr(), bytes[b.offset..].as_ptr());
}

#[test]
fn conformance_files_open() {
    for folder in ["models", "quant", "tokenizers"] {
        let Some(folder) = common::conformance(folder) else { return };
        for path in common::files(&folder, "gguf") {
            let file = File::open(&path).unwrap();
            assert!(file.metadata().str("general.architecture").unwrap().is_some(), "{}", path.display());
            for tensor in file.tensors() {
                assert_eq!(file.data(file.tensor(&tensor.name).unwrap()).len(), tensor.len);
            }
        }
    }
}

/// Cut at any byte, a file is refused, at an offset that it has.
#[test]
fn cut_files_are_refused() {
    let bytes = rich();
    for len in 0..bytes.len() {
        let error = error(&bytes[..len]);
        assert!(matches!(error.root(), Error::Malformed { .. }), "cut at {len}: {error}");
        assert!(error.offset().unwrap() <= len as u64, "cut at {len}: {error}");
        let message = error.to_string();
        let causes = ["empty", "ends", "do not fit", "not inside"];
        assert!(causes.iter().any(|cause| message.contains(cause)), "cut at {len}: {message}");
    }
}

#[derive(Debug, PartialEq)]
enum Kind {
    Malformed,
    Unsupported,
    InvalidModel,
}

/// Each of these is refused for its own reason, and the message says which.
#[test]
fn hostile_files_are_refused() {
    use Kind::{InvalidModel, Malformed, Unsupported};
    let nested = |depth: usize| (0..depth).fold(array(U32, 0, &[]), |inner, _| array(ARRAY, 1, &inner));
    let one = |entry: Vec<u8>| file(&[], &[entry], 256);
    let key = |kind: u32, value: &[u8]| file(&[pair("some.key", kind, value)], &[], 0);
    let aligned = |value: u32| file(&[pair("general.alignment", U32, &value.to_le_bytes())], &[], 0);
    let long = "n".repeat(65);
    let cases: Vec<(Vec<u8>, Kind, &[&str])> = vec![
        (vec![], Malformed, &["empty"]),
        (b"{\"model\": \"text\"}".to_vec(), Malformed, &["not a GGUF file", "{\\\"mo"]),
        (b"GGML".repeat(8), Malformed, &["not a GGUF file", "GGML"]),
        (header(1, 0, 0), Unsupported, &["version 1 "]),
        (header(99, 0, 0), Unsupported, &["version 99 "]),
        (header(0, 0, 0), Unsupported, &["version 0 "]),
        (header(3_u32.swap_bytes(), 0, 0), Unsupported, &["big-endian"]),
        (b"FUGG\x00\x00\x00\x03".to_vec(), Unsupported, &["big-endian"]),
        (header(3, u64::MAX, 0), Malformed, &["18446744073709551615 tensors", "at byte 8"]),
        (header(3, 0, u64::MAX), Malformed, &["18446744073709551615 metadata keys", "at byte 16"]),
        (header(3, 1 << 60, 1 << 60), Malformed, &["tensors", "at byte 8"]),
        (key(13, &[]), Malformed, &["some.key", "unknown value type 13"]),
        (key(BOOL, &[2]), Malformed, &["some.key", "bool", "2"]),
        (key(ARRAY, &array(BOOL, 3, &[0, 1, 9])), Malformed, &["some.key", "bool", "9"]),
        (key(ARRAY, &array(99, 1, &[0])), Malformed, &["some.key", "unknown value type 99"]),
        (key(ARRAY, &array(U32, u64::MAX / 2, &[0; 8])), Malformed, &["some.key", "array elements", "do not fit"]),
        (key(ARRAY, &array(STRING, 1 << 61, &[0; 8])), Malformed, &["some.key", "array elements", "do not fit"]),
        (key(STRING, &u64::MAX.to_le_bytes()), Malformed, &["some.key", "18446744073709551615 bytes"]),
        (key(ARRAY, &nested(8)), Unsupported, &["some.key", "nested"]),
        (file(&[pair("", U32, &[0; 4])], &[], 0), Malformed, &["metadata key of 0 bytes"]),
        (file(&[pair(&"k".repeat(65_536), U32, &[0; 4])], &[], 0), Malformed, &["metadata key of 65536 bytes"]),
        (file(&[pair("a\nb", U32, &[0; 4])], &[], 0), Malformed, &["a\\nb", "control"]),
        (file(&[pair("twin", U32, &[0; 4]), pair("twin", BOOL, &[0])], &[], 0), Malformed, &["twin", "twice"]),
        (aligned(0), InvalidModel, &["general.alignment", "0 is not a power of two"]),
        (aligned(48), InvalidModel, &["general.alignment", "48"]),
        (key(U32, &[0; 4])[..30].to_vec(), Malformed, &["do not fit"]),
        (one(tensor("t", &[], 0, 0)), Malformed, &["\"t\"", "0 dimensions"]),
        (one(tensor("t", &[1; 5], 0, 0)), Malformed, &["\"t\"", "5 dimensions"]),
        (one(tensor("t", &[4, 0], 0, 0)), Malformed, &["\"t\"", "[4, 0]", "dimension of 0"]),
        (one(tensor("t", &[1 << 32, 1 << 32], 0, 0)), Malformed, &["\"t\"", "larger"]),
        (one(tensor("t", &[1 << 62, 1], 0, 0)), Malformed, &["\"t\"", "larger"]),
        (one(tensor("t", &[33], 8, 0)), Malformed, &["\"t\"", "Q8_0 blocks of 32"]),
        (one(tensor("t", &[32], 4, 0)), Unsupported, &["\"t\"", "unknown element type 4"]),
        (one(tensor("t", &[32], 12_345, 0)), Unsupported, &["\"t\"", "unknown element type 12345"]),
        (one(tensor("t", &[65], 0, 0)), Malformed, &["\"t\"", "260 bytes at offset 0 are not inside the 256 bytes"]),
        (one(tensor("t", &[1], 0, 256)), Malformed, &["\"t\"", "offset 256"]),
        (one(tensor("t", &[1], 0, u64::MAX - 31)), Malformed, &["\"t\"", "offset 18446744073709551584"]),
        (one(tensor("t", &[1], 0, 4)), Malformed, &["\"t\"", "offset 4 is not a multiple of the alignment 32"]),
        (one(tensor("", &[1], 0, 0)), Malformed, &["tensor name of 0 bytes"]),
        (one(tensor(&long, &[1], 0, 0)), Malformed, &["tensor name of 65 bytes"]),
        (file(&[], &[tensor("x", &[9], 0, 0), tensor("y", &[8], 0, 32)], 64), Malformed, &["\"x\" and \"y\" overlap"]),
        (file(&[], &[tensor("x", &[8], 0, 0), tensor("x", &[8], 0, 32)], 64), Malformed, &["\"x\"", "twice"]),
        (file(&[pair("split.count", 2, &[2, 0])], &[], 0), Unsupported, &["shard 1 of a model of 2"]),
    ];
    for (bytes, kind, needles) in cases {
        let error = error(&bytes);
        let found = match error.root() {
            Error::Malformed { .. } => Malformed,
            Error::Unsupported(_) => Unsupported,
            Error::InvalidModel(_) => InvalidModel,
            other => panic!("{other:?} for {needles:?}"),
        };
        let message = error.to_string();
        assert_eq!(found, kind, "{message}");
        assert!(needles.iter().all(|needle| message.contains(needle)), "{message:?} does not say {needles:?}");
        assert!(!message.contains('\n') && message.len() < 400, "{message:?}");
        if kind == Malformed {
            assert!(error.offset().unwrap() <= bytes.len() as u64, "{message}");
        }
    }
}

/// Reads everything that an opened file offers.
fn read_all(file: &File) -> usize {
    let metadata = file.metadata();
    let mut sum = 0;
    for i in 0..metadata.len() {
        let (key, value) = metadata.entry(i).unwrap();
        sum += value.to_string().len();
        // Whether they convert does not matter here.
        sum += [metadata.str(key).is_ok(), metadata.u32(key).is_ok(), metadata.f32s(key).is_ok(), metadata.i32s(key).is_ok()]
            .iter()
            .filter(|&&ok| ok)
            .count();
        sum += metadata.strings(key).ok().flatten().map_or(0, |strings| strings.iter().map(<[u8]>::len).sum());
    }
    sum + file
        .tensors()
        .iter()
        .map(|tensor| file.data(tensor).iter().map(|&byte| usize::from(byte)).sum::<usize>())
        .sum::<usize>()
}

/// Flipped, copied, cut and inserted bytes: an error or a file that can be read to the end, never a panic.
#[test]
fn mutated_files_do_no_harm() {
    let original = rich();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let mut opened = 0;
    const ROUNDS: usize = 20_000;
    for _ in 0..ROUNDS {
        let mut bytes = original.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(5) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] ^= 1 << random(8),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at, random(256) as u8),
                _ => {
                    let extreme = [u64::MAX, 0, 1 << 32, 1 << 63, bytes.len() as u64][random(5)].to_le_bytes();
                    bytes.iter_mut().skip(at).zip(extreme).for_each(|(byte, new)| *byte = new);
                }
            }
        }
        match open(&bytes) {
            Ok(file) => opened += usize::from(read_all(&file) > 0),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    // The mutations must reach both outcomes to mean anything.
    assert!((ROUNDS / 50..ROUNDS).contains(&opened), "{opened} of {ROUNDS} opened");
}

/// The promise on hostile files: opening n bytes never holds more than 4 n + 64 MiB.
#[test]
fn opening_allocates_in_proportion() {
    const SIZE: usize = 24 << 20;
    let name = |i: usize| format!("{i:x}");
    let cases = [
        ("empty strings", file(&[pair("k", ARRAY, &array(STRING, SIZE as u64 / 8, &vec![0; SIZE]))], &[], 0)),
        (
            "empty arrays",
            file(&[pair("k", ARRAY, &array(ARRAY, SIZE as u64 / 12, &array(U32, 0, &[]).repeat(SIZE / 12)))], &[], 0),
        ),
        ("a text of junk", file(&[pair("k", STRING, &text(&vec![0xff; SIZE]))], &[], 0)),
        ("many keys", file(&(0..65_536).map(|i| pair(&name(i), 0, &[0])).collect::<Vec<_>>(), &[], 0)),
        (
            "many tensors",
            file(&[], &(0..131_072).map(|i| tensor(&name(i), &[1], 0, 32 * i as u64)).collect::<Vec<_>>(), 32 << 17),
        ),
        ("long keys", file(&(0..400).map(|i| pair(&format!("{i:060000}"), 0, &[0])).collect::<Vec<_>>(), &[], 0)),
    ];
    for (what, bytes) in cases {
        let peak = heap::peak(|| {
            // SAFETY: `bytes` outlives the file and is not changed.
            let file = unsafe { File::from_raw(bytes.as_ptr(), bytes.len()) };
            assert!(file.is_ok(), "{what}: {}", file.err().unwrap());
        });
        assert!(peak <= 4 * bytes.len() + (64 << 20), "{what}: {peak} bytes for {}", bytes.len());
        // None of these comes near: what is in the file stays there.
        assert!(peak <= bytes.len() + (32 << 20), "{what}: {peak} bytes for {}", bytes.len());
    }
    for bytes in [header(3, 1 << 40, 0), header(3, 0, 1 << 40), header(3, u64::MAX, u64::MAX)] {
        assert!(heap::peak(|| drop(error(&bytes))) < 1 << 16);
    }
}

// Files on disk.

/// A folder of its own for a test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Shard `number` (from 0) of `count`: one tensor, named and filled by its number.
fn write_shard(path: &Path, number: u32, count: u32, total: u32) {
    let mut writer = Writer::new();
    if number == 0 {
        writer.pair("general.architecture", Item::Str("llama")).unwrap();
    }
    writer.pair("split.no", Item::U32(number)).unwrap();
    writer.pair("split.count", Item::U32(count)).unwrap();
    writer.pair("split.tensors.count", Item::U32(total)).unwrap();
    writer.tensor(&format!("t{number}"), Dtype::F32, &[4]).unwrap();
    let out = std::fs::File::create(path).unwrap();
    writer.write(out, |_, out| out.write_all(&[number as u8; 16])).unwrap();
}

#[test]
fn split_models_open_by_any_shard() {
    let folder = folder("split");
    let path = |number: u32| folder.join(format!("model-{:05}-of-00003.gguf", number + 1));
    (0..3).for_each(|number| write_shard(&path(number), number, 3, 3));
    for open in [File::open, File::open_copied] {
        for number in 0..3 {
            let file = open(&path(number)).unwrap();
            assert_eq!(file.metadata().str("general.architecture").unwrap(), Some("llama"));
            for (i, tensor) in file.tensors().iter().enumerate() {
                assert_eq!(tensor.name, format!("t{i}"));
                assert_eq!(file.data(tensor), [i as u8; 16]);
            }
            assert_eq!(file.tensors().len(), 3);
        }
    }

    let says = |path: &Path, needles: &[&str]| {
        let message = File::open(path).err().expect("the set is refused").to_string();
        assert!(needles.iter().all(|needle| message.contains(needle)), "{message:?} does not say {needles:?}");
    };
    let renamed = folder.join("renamed.gguf");
    std::fs::copy(path(1), &renamed).unwrap();
    says(&renamed, &["shard 2 of 3", "-00002-of-00003.gguf"]);
    write_shard(&path(2), 1, 3, 3);
    says(&path(0), &["model-00003-of-00003.gguf", "shard 3 of 3"]);
    write_shard(&path(2), 2, 3, 4);
    write_shard(&path(0), 0, 3, 4);
    says(&path(0), &["split.tensors.count says 4", "3 tensors"]);
    std::fs::remove_file(path(2)).unwrap();
    says(&path(0), &["shard 3 of 3", "model-00003-of-00003.gguf"]);
    write_shard(&path(0), 3, 3, 3);
    says(&path(0), &["shard 4 of 3"]);
}

#[test]
fn paths_that_are_no_files_are_refused() {
    let folder = folder("paths");
    let missing = folder.join("missing.gguf");
    assert!(matches!(File::open(&missing).err().unwrap().root(), Error::Io { .. }));
    assert!(File::open(&folder).err().unwrap().to_string().contains("not a regular file"));
    // A pipe without a writer would block whoever opens it.
    assert!(File::open(Path::new("/dev/zero")).is_err());
    let empty = folder.join("empty.gguf");
    std::fs::write(&empty, []).unwrap();
    assert!(File::open(&empty).err().unwrap().to_string().contains("empty"));
    // SAFETY: no byte is promised and none is read.
    assert!(unsafe { File::from_raw(std::ptr::null(), 0) }.is_err());
}
