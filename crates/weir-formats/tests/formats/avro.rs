//! Damaged and hostile Avro files: every one ends with an error, or with all of its rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_formats::{Compression, Format, Input, MemoryInput, ReadOptions, WriteOptions};

use crate::given::{Read, read_all, run, written};

const SYNC: [u8; 16] = *b"0123456789abcdef";

fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [long(bytes.len() as i64), bytes.to_vec()].concat()
}

fn block(count: i64, records: &[u8]) -> Vec<u8> {
    [long(count), sized(records), SYNC.to_vec()].concat()
}

/// A file with one block.
fn file(schema: &str, codec: &str, count: i64, records: &[u8]) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    out.extend(long(2));
    for text in ["avro.schema", schema, "avro.codec", codec] {
        out.extend(sized(text.as_bytes()));
    }
    out.extend(long(0));
    out.extend(SYNC);
    out.extend(block(count, records));
    out
}

fn record(fields: Value) -> String {
    json!({"type": "record", "name": "row", "fields": fields}).to_string()
}

fn read(bytes: Vec<u8>) -> weir_error::Result<Read> {
    let input: Arc<dyn Input> = Arc::new(MemoryInput::new("f", bytes));
    run(read_all(&input, &ReadOptions::new(Format::Avro), u64::MAX)).map(|read| read.1)
}

/// The cause of the error that this file must end with.
fn refused(bytes: Vec<u8>) -> String {
    let error = read(bytes).expect_err("the file was read");
    assert_eq!((error.code(), error.place()), ("WEIR-FMT-004", Some("f")), "{error:?}");
    error.why().unwrap_or_default().to_owned()
}

fn rows_of(compression: Compression) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..500).map(|i| format!("name {}", i % 50))));
    let mut options = WriteOptions::new(Format::Avro);
    options.compression = compression;
    options.avro.block_rows = 100;
    written(&[RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()], &options).unwrap()
}

/// The header and the first block: the counts and lengths of the others are written in the same way.
#[test]
fn no_changed_byte_of_an_avro_file_loses_a_row_or_hangs_the_decoder() {
    for (compression, changes) in [
        (Compression::None, &[1, 2, 3, 4, 8, 0x10, 0x69, 0x80, 0xff][..]),
        (Compression::Gzip, &[1, 0x80]),
        (Compression::Snappy, &[1, 0x80]),
        (Compression::Zstd, &[1, 0x80]),
    ] {
        let whole = rows_of(compression);
        let sync = &whole[whole.len() - 16..];
        let ends: Vec<usize> = (16..=whole.len()).filter(|end| &whole[end - 16..*end] == sync).collect();
        assert_eq!(ends.len(), 6, "a header and five blocks");
        run(async {
            let mut read = 0;
            for at in 0..ends[1] {
                for change in changes {
                    let mut bytes = whole.clone();
                    bytes[at] ^= change;
                    let input: Arc<dyn Input> = Arc::new(MemoryInput::new("f", bytes));
                    if let Ok((_, found)) = read_all(&input, &ReadOptions::new(Format::Avro), u64::MAX).await {
                        assert_eq!(found.rows(), 500, "{compression:?}: byte {at} changed by {change:#x}");
                        read += 1;
                    }
                }
            }
            // Names and values have no checksum, so some changes must go through: else nothing was read at all.
            assert!(read > 0, "{compression:?}");
        });
    }
}

#[test]
fn a_block_must_hold_exactly_the_records_that_it_announces() {
    let schema = record(json!([{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]));
    let one = [long(7), sized(b"seven")].concat();
    let three = one.repeat(3);
    assert_eq!(read(file(&schema, "null", 3, &three)).unwrap().rows(), 3);
    let left = refused(file(&schema, "null", 2, &three));
    assert!(left.contains("the block at byte ") && left.ends_with("7 bytes are left over behind its 2 records"), "{left}");
    let short = refused(file(&schema, "null", 4, &three));
    assert!(short.contains("record 4 of 4: it goes on behind the end of the block"), "{short}");
    assert!(refused(file(&schema, "null", 1 << 40, &three)).contains("do not fit into its 21 bytes"));
    assert!(refused(file(&schema, "null", 0, &three)).contains("21 bytes are left over"));
    assert!(refused(file(&schema, "null", 3, &three[..20])).contains("record 3 of 3"));
    // A block of no records and no bytes is allowed.
    let mut bytes = file(&schema, "null", 3, &three);
    bytes.extend(block(0, b""));
    bytes.extend(block(3, &three));
    assert_eq!(read(bytes).unwrap().rows(), 6);
}

#[test]
fn a_value_that_the_schema_does_not_allow_is_an_error() {
    let cases: [(Value, Vec<u8>, &str); 10] = [
        (json!("boolean"), vec![2], "a boolean that is neither true nor false"),
        (json!("int"), long(1 << 40), "an int of more than 32 bits"),
        (json!("long"), vec![0xff; 11], "a number of more than 64 bits"),
        (json!("string"), long(-1), "a text or bytes of a negative length"),
        (json!("bytes"), long(i64::MAX), "it goes on behind the end of the block"),
        (json!(["null", "int"]), long(2), "a union branch that the schema does not have"),
        (json!(["null", "int"]), long(-1), "a union branch that the schema does not have"),
        (json!({"type": "enum", "name": "e", "symbols": ["a", "b"]}), long(2), "an enum symbol that the schema does not have"),
        (json!({"type": "array", "items": "int"}), long(1 << 40), "more items than fit into the block"),
        (
            json!({"type": "array", "items": "int"}),
            [long(-1), long(2), long(1), long(0)].concat(),
            "a group of items that has another length than it says",
        ),
    ];
    for (field, value, why) in cases {
        let schema = record(json!([{"name": "v", "type": field}]));
        let found = refused(file(&schema, "null", 1, &value));
        assert!(found.contains(why), "{found}, not {why}");
    }
}

#[test]
fn a_group_of_items_may_carry_its_length() {
    let schema = record(json!([{"name": "v", "type": {"type": "array", "items": "int"}}]));
    let value = [long(-2), long(2), long(1), long(2), long(1), long(3), long(0)].concat();
    assert_eq!(read(file(&schema, "null", 1, &value)).unwrap().rows(), 1);
}

#[test]
fn values_without_bytes_cannot_be_announced_without_end() {
    let nulls = record(json!([{"name": "v", "type": "null"}]));
    assert!(refused(file(&nulls, "null", 1 << 50, b"")).contains("a record has no bytes at all"));
    let empty = json!({"type": "record", "name": "empty", "fields": [{"name": "n", "type": "null"}]});
    for item in [json!("null"), empty] {
        let schema = record(json!([{"name": "v", "type": {"type": "array", "items": item}}]));
        for count in [1 << 40, i64::MAX] {
            let many = [long(count), long(0)].concat();
            assert!(refused(file(&schema, "null", 1, &many)).contains("too many items that have no bytes"));
        }
    }
    // A few pass the walk. The decoder has no arrays of them, and says so.
    let schema = record(json!([{"name": "v", "type": {"type": "array", "items": "null"}}]));
    assert!(refused(file(&schema, "null", 1, &[long(1000), long(0)].concat())).contains("cannot contain nulls"));
}

#[test]
fn a_schema_cannot_name_its_way_to_more_types_than_fit_into_memory() {
    let pair = |name: &str, of: &str| json!({"type": "record", "name": name, "fields": [{"name": "a", "type": of}, {"name": "b", "type": of}]});
    let mut fields = vec![json!({"name": "f0", "type": pair("t0", "int")})];
    fields.extend((1..60).map(|i| json!({"name": format!("f{i}"), "type": pair(&format!("t{i}"), &format!("t{}", i - 1))})));
    assert!(refused(file(&record(json!(fields)), "null", 0, b"")).contains("types"));

    let one = |i: usize, of: &str| json!({"name": format!("f{i}"), "type": {"type": "record", "name": format!("t{i}"), "fields": [{"name": "a", "type": of}]}});
    let mut fields = vec![one(0, "int")];
    fields.extend((1..5000).map(|i| one(i, &format!("t{}", i - 1))));
    assert!(refused(file(&record(json!(fields)), "null", 0, b"")).contains("inside each other"));

    let itself = record(json!([{"name": "next", "type": ["null", "row"]}]));
    assert!(refused(file(&itself, "null", 0, b"")).contains("types that contain themselves"));
}

#[test]
fn names_are_found_in_their_namespaces() {
    let fixed = |name: &str, space: &str, size: u8| json!({"type": "fixed", "name": name, "namespace": space, "size": size});
    let schema = json!({"type": "record", "name": "row", "namespace": "n", "fields": [
        {"name": "a", "type": fixed("f", "m", 3)},
        {"name": "b", "type": fixed("f", "n", 5)},
        {"name": "c", "type": "f"},
        {"name": "d", "type": "m.f"},
    ]});
    assert_eq!(read(file(&schema.to_string(), "null", 2, &[0; 32])).unwrap().rows(), 2);
    assert!(refused(file(&schema.to_string(), "null", 2, &[0; 33])).contains("1 bytes are left over"));
    // By the rules, `f` inside of `m.inner` is `m.f`, and the decoder takes `n.f`.
    let schema = json!({"type": "record", "name": "row", "namespace": "n", "fields": [
        {"name": "a", "type": fixed("f", "m", 3)},
        {"name": "b", "type": fixed("f", "n", 5)},
        {"name": "c", "type": {"type": "record", "name": "m.inner", "fields": [{"name": "f", "type": "f"}]}},
    ]});
    assert!(refused(file(&schema.to_string(), "null", 1, &[0; 11])).contains("does not find the type `f`"));
}

#[test]
fn a_compressed_block_is_checked_too() {
    let schema = record(json!([{"name": "id", "type": "long"}]));
    let records = long(7).repeat(3);
    let mut snappy = snap::raw::Encoder::new().compress_vec(&records).unwrap();
    let mut sum = flate2::Crc::new();
    sum.update(&records);
    snappy.extend(sum.sum().to_be_bytes());
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &records).unwrap();
    let deflate = encoder.finish().unwrap();
    let zstd = zstd::stream::encode_all(&records[..], 1).unwrap();
    for (codec, packed) in [("snappy", &snappy), ("deflate", &deflate), ("zstandard", &zstd)] {
        assert_eq!(read(file(&schema, codec, 3, packed)).unwrap().rows(), 3, "{codec}");
        assert!(refused(file(&schema, codec, 2, packed)).contains("1 bytes are left over"), "{codec}");
        for cut in 0..packed.len() {
            assert!(refused(file(&schema, codec, 3, &packed[..cut])).contains("the block at byte"), "{codec} cut at {cut}");
        }
    }
    *snappy.last_mut().unwrap() ^= 1;
    assert!(refused(file(&schema, "snappy", 3, &snappy)).contains("checksum"));
    // A part of a checksum behind the end of the stream, as some writers leave it.
    assert_eq!(read(file(&schema, "deflate", 3, &[&deflate[..], &[1, 2, 3]].concat())).unwrap().rows(), 3);
    assert!(refused(file(&schema, "lzma\u{7}", 3, &records)).contains(r#"the codec "lzma\u{7}""#));
}

/// A type and the bytes of one of its values.
fn value(depth: u32) -> BoxedStrategy<(Value, Vec<u8>)> {
    let int = any::<i32>().prop_map(|v| long(v.into()));
    let text = ".{0,9}".prop_map(|v| sized(v.as_bytes()));
    let leaf = prop_oneof![
        any::<bool>().prop_map(|v| (json!("boolean"), vec![u8::from(v)])),
        int.clone().prop_map(|v| (json!("int"), v)),
        int.prop_map(|v| (json!({"type": "int", "logicalType": "date"}), v)),
        any::<i64>().prop_map(|v| (json!("long"), long(v))),
        any::<i64>().prop_map(|v| (json!({"type": "long", "logicalType": "timestamp-micros"}), long(v))),
        any::<f32>().prop_map(|v| (json!("float"), v.to_le_bytes().to_vec())),
        any::<f64>().prop_map(|v| (json!("double"), v.to_le_bytes().to_vec())),
        text.clone().prop_map(|v| (json!("string"), v)),
        text.prop_map(|v| (json!("bytes"), v)),
        any::<i16>().prop_map(|v| (
            json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
            sized(&v.to_be_bytes())
        )),
        any::<[u8; 5]>().prop_map(|v| (json!({"type": "fixed", "name": "NAME", "size": 5}), v.to_vec())),
        any::<[u8; 12]>()
            .prop_map(|_| (json!({"type": "fixed", "name": "NAME", "size": 12, "logicalType": "duration"}), vec![0; 12])),
        (0i64..3).prop_map(|v| (json!({"type": "enum", "name": "NAME", "symbols": ["a", "b", "c"]}), long(v))),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        let some = |(schema, bytes): (Value, Vec<u8>), null: bool, first: bool| {
            let tag = long(i64::from(null != first));
            let bytes = if null { tag } else { [tag, bytes].concat() };
            (if first { json!(["null", schema]) } else { json!([schema, "null"]) }, bytes)
        };
        prop_oneof![
            (inner.clone().prop_filter("a union in a union", |v| !v.0.is_array()), any::<bool>(), any::<bool>())
                .prop_map(move |(v, null, first)| some(v, null, first)),
            (inner.clone(), 0i64..4, any::<bool>()).prop_map(|((schema, bytes), count, told)| {
                let items = bytes.repeat(count as usize);
                let head = if told { [long(-count), long(items.len() as i64)].concat() } else { long(count) };
                let bytes = if count == 0 { long(0) } else { [head, items, long(0)].concat() };
                (json!({"type": "array", "items": schema}), bytes)
            }),
            inner.clone().prop_map(|(schema, bytes)| {
                (json!({"type": "map", "values": schema}), [long(1), sized(b"key"), bytes, long(0)].concat())
            }),
            proptest::collection::vec(inner, 1..4).prop_map(|fields| {
                let bytes = fields.iter().flat_map(|field| field.1.clone()).collect();
                let fields: Vec<_> =
                    fields.into_iter().enumerate().map(|(i, f)| json!({"name": format!("c{i}"), "type": f.0})).collect();
                (json!({"type": "record", "name": "NAME", "fields": fields}), bytes)
            }),
        ]
    })
    .boxed()
}

/// Gives every named type a name of its own.
fn numbered(schema: &str) -> String {
    let mut parts = schema.split("NAME");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.enumerate().fold(first, |text, (i, part)| format!("{text}t{i}{part}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What the walk takes for a record is what the decoder takes for one, whatever the schema.
    #[test]
    fn records_of_any_schema_are_read_and_one_byte_more_or_less_is_refused(
        fields in proptest::collection::vec(value(3), 1..5),
        count in 1i64..6,
        more: u8,
    ) {
        let records = fields.iter().flat_map(|field| field.1.clone()).collect::<Vec<u8>>().repeat(count as usize);
        let fields: Vec<_> =
            fields.into_iter().enumerate().map(|(i, f)| json!({"name": format!("c{i}"), "type": f.0})).collect();
        let schema = numbered(&record(json!(fields)));
        let found = read(file(&schema, "null", count, &records));
        prop_assert_eq!(found.as_ref().map(Read::rows).map_err(ToString::to_string), Ok(count as usize), "{}", schema);
        refused(file(&schema, "null", count, &records[..records.len() - 1]));
        refused(file(&schema, "null", count, &[&records[..], &[more]].concat()));
    }
}
