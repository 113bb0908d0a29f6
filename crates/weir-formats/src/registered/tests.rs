//! What schemas mean, what becomes of records when schemas change, and what is refused.

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimeUnit};
use proptest::prelude::*;

use super::*;

fn text(kind: SchemaKind, text: &str) -> SchemaText {
    SchemaText { kind, text: text.to_owned(), references: Vec::new() }
}

fn definition(kind: SchemaKind, schema: &str) -> Definition {
    Definition::new(&text(kind, schema), None).unwrap()
}

/// One record through a writer's and a reader's schema.
fn through(kind: SchemaKind, writer: &str, reader: &str, records: &[&[u8]]) -> (RecordBatch, Vec<String>) {
    let (writer, reader) = (definition(kind, writer), definition(kind, reader));
    let way = Resolution::new(&writer, &reader).unwrap();
    let columns = reader.columns().unwrap();
    let mut rows = RegisteredRows::new(&reader, &columns, &JsonOptions::default()).unwrap();
    let mut refused = Vec::new();
    for record in records {
        if let Err(refusal) = rows.push(&way, record) {
            refused.push(refusal.reason);
        }
    }
    let count = rows.rows();
    let batch = RecordBatch::try_new(columns, rows.finish().unwrap()).unwrap();
    assert_eq!(batch.num_rows(), count);
    (batch, refused)
}

const ALL: &str = r#"{"type": "record", "name": "a.All", "fields": [
    {"name": "n", "type": "null"}, {"name": "b", "type": "boolean"}, {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}},
    {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "u", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "m", "type": {"type": "map", "values": ["null", "int"]}},
    {"name": "o", "type": ["null", "string", "long"]},
    {"name": "t", "type": {"type": "long", "logicalType": "local-timestamp-nanos"}},
    {"name": "i", "type": {"type": "fixed", "name": "I", "size": 12, "logicalType": "duration"}},
    {"name": "r", "type": ["null", {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}], "default": null}]}"#;

/// The record by hand: (true, Y, -1.00, a UUID, {a: 7, b: null}, long 5, 3 ns, 1 month 2 days 3 ms, {x: -1}).
fn all() -> Vec<u8> {
    let uuid = b"00000000-0000-0000-0000-00000000000a";
    let mut record = vec![1, 2, 2, 0x9c];
    record.push(72);
    record.extend_from_slice(uuid);
    record.extend_from_slice(&[4, 2, b'a', 2, 14, 2, b'b', 0, 0]);
    record.extend_from_slice(&[4, 10, 6]);
    record.extend_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    record.extend_from_slice(&[2, 1]);
    record
}

#[test]
fn every_type_of_avro_has_its_column() {
    let record = all();
    let mut cut = record.clone();
    cut.pop();
    let mut long = record.clone();
    long.push(0);
    let (batch, refused) = through(SchemaKind::Avro, ALL, ALL, &[&record, &cut, &long, b""]);
    assert_eq!((batch.num_rows(), refused.len()), (1, 3), "{refused:?}");
    let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
    let cells: Vec<&str> = shown.lines().nth(3).unwrap().split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let expected = [
        "true",
        "Y",
        "-1.00",
        "00000000-0000-0000-0000-00000000000a",
        "{a: 7, b: }",
        "{string: , long: 5}",
        "1970-01-01T00:00:00.000000003",
        "1 mons 2 days 0.003000000 secs",
        "{x: -1}",
    ];
    assert_eq!(cells, expected, "{shown}");
}

/// Written by fastavro 1.13.
const OTHERS: &str = r#"{"type": "record", "name": "a.All", "fields": [
    {"name": "b", "type": "boolean"},
    {"name": "i", "type": "int"},
    {"name": "l", "type": "long"},
    {"name": "f", "type": "float"},
    {"name": "g", "type": "double"},
    {"name": "s", "type": "string"},
    {"name": "y", "type": "bytes"},
    {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}},
    {"name": "x", "type": {"type": "fixed", "name": "F", "size": 3}},
    {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2}},
    {"name": "c", "type": {"type": "fixed", "name": "D", "size": 6, "logicalType": "decimal", "precision": 12, "scale": 3}},
    {"name": "u", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "t", "type": {"type": "int", "logicalType": "date"}},
    {"name": "tm", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "tu", "type": {"type": "long", "logicalType": "time-micros"}},
    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "tl", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
    {"name": "a", "type": {"type": "array", "items": ["null", "int"]}},
    {"name": "m", "type": {"type": "map", "values": "string"}},
    {"name": "n", "type": ["null", "string"]},
    {"name": "o", "type": ["null", "string", "long"]},
    {"name": "r", "type": {"type": "record", "name": "R", "fields": [{"name": "p", "type": "F"}]}}]}"#;
const OTHERS_RECORD: &str = "01ffffffff0ffeffffffffffffffff010000003f59f3f8c21f6ea5810c7a77c3b66c660400ff0261626322fc5f36df8a3f24\
    0c475343a06931c0f52efffffffffb2e4831323334353637382d313233342d353637382d313233342d353637383132333435\
    36373801feefb252020182d8e2cbbe630602020002010002026b02760000040a78797a";

#[test]
fn a_record_of_another_implementation_is_read_exactly() {
    let digits = OTHERS_RECORD.as_bytes().chunks(2);
    let record: Vec<u8> = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let (batch, refused) = through(SchemaKind::Avro, OTHERS, OTHERS, &[&record]);
    assert_eq!(refused, Vec::<String>::new());
    let shown = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, 0).unwrap();
    let cells: Vec<String> = batch.columns().iter().map(shown).collect();
    let expected = [
        "true",
        "-2147483648",
        "9223372036854775807",
        "0.5",
        "-1e-300",
        "zwölf",
        "00ff",
        "Y",
        "616263",
        "-12345678901234567890123456789012345678.90",
        "-1.234",
        "12345678-1234-5678-1234-567812345678",
        "1969-12-31",
        "23:59:59.999",
        "00:00:00.000001",
        "1969-12-31T23:59:59.999999Z",
        "2024-02-29T12:00:00.001",
        "[1, , -1]",
        "{k: v}",
        "",
        "{string: , long: 5}",
        "{p: 78797a}",
    ];
    assert_eq!(cells, expected);
    // Cut off anywhere it is refused, and never something else.
    for end in 0..record.len() {
        assert_eq!(through(SchemaKind::Avro, OTHERS, OTHERS, &[&record[..end]]).1.len(), 1, "{end}");
    }
}

#[test]
fn a_schema_that_grew_is_read_into_the_old_columns_and_says_what_it_has_more() {
    let old = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}"#;
    let new = r#"{"type": "record", "name": "R", "fields": [{"name": "more", "type": "string"}, {"name": "id", "type": "int"},
        {"name": "in", "type": {"type": "record", "name": "S", "fields": [{"name": "x", "type": "int"}]}}]}"#;
    let (batch, refused) = through(SchemaKind::Avro, new, old, &[&[2, b'a', 14, 0]]);
    assert_eq!((batch.column(0).as_primitive::<Int64Type>().value(0), refused.len()), (7, 0));
    let way = Resolution::new(&definition(SchemaKind::Avro, new), &definition(SchemaKind::Avro, old)).unwrap();
    assert_eq!(way.extra(), ["in", "more"]);
    // The other way there is no value for `more`, and a default would be one.
    let error = Resolution::new(&definition(SchemaKind::Avro, old), &definition(SchemaKind::Avro, new)).unwrap_err();
    assert_eq!(error.code(), "WEIR-FMT-053");
    let filled = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "double"}, {"name": "word", "aliases": ["w"], "type": "string", "default": "none"}]}"#;
    let (batch, refused) = through(SchemaKind::Avro, old, filled, &[&[14], &[0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]]);
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "none");
    // 2^53 + 1 is no double: refused, not rounded.
    assert_eq!((batch.num_rows(), refused.len()), (1, 1), "{refused:?}");
}

#[test]
fn schemas_without_columns_are_refused_with_a_reason() {
    for (kind, schema, code) in [
        (
            SchemaKind::Avro,
            r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}"#,
            "WEIR-FMT-050",
        ),
        (SchemaKind::Avro, r#"{"type": "rec"}"#, "WEIR-FMT-050"),
        (SchemaKind::Avro, "{", "WEIR-FMT-050"),
        (SchemaKind::Json, r#"{"type": "string"}"#, "WEIR-FMT-051"),
        (SchemaKind::Protobuf, "syntax = \"proto3\"; message", "WEIR-FMT-052"),
        (SchemaKind::Protobuf, "syntax = \"proto3\"; import \"gone.proto\"; message A {}", "WEIR-FMT-052"),
    ] {
        assert_eq!(Definition::new(&text(kind, schema), None).unwrap_err().code(), code, "{schema}");
    }
    let circle = definition(SchemaKind::Protobuf, "syntax = \"proto3\"; message A { A a = 1; }");
    assert_eq!(circle.columns().unwrap_err().code(), "WEIR-FMT-052");
}

#[test]
fn a_hostile_record_costs_no_more_than_its_bytes() {
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}"#;
    // 2^62 nulls.
    let many = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0];
    let (batch, refused) = through(SchemaKind::Avro, schema, schema, &[&many]);
    assert_eq!((batch.num_rows(), refused.len()), (0, 1));
}

#[test]
fn references_are_found_by_their_names() {
    let avro = SchemaText {
        kind: SchemaKind::Avro,
        text: r#"{"type": "record", "name": "x.Order", "fields": [{"name": "at", "type": "x.Place"}]}"#.into(),
        references: vec![(
            "x.Place".into(),
            r#"{"type": "record", "name": "x.Place", "fields": [{"name": "zip", "type": "string"}]}"#.into(),
        )],
    };
    let proto = SchemaText {
        kind: SchemaKind::Protobuf,
        text: "syntax = \"proto3\"; import \"place.proto\"; message Order { x.Place at = 1; }".into(),
        references: vec![("place.proto".into(), "syntax = \"proto3\"; package x; message Place { string zip = 1; }".into())],
    };
    let json = SchemaText {
        kind: SchemaKind::Json,
        text: r#"{"type": "object", "properties": {"at": {"$ref": "place.json"}}}"#.into(),
        references: vec![("place.json".into(), r#"{"type": "object", "properties": {"zip": {"type": "string"}}}"#.into())],
    };
    for schema in [avro, proto, json] {
        let columns = Definition::new(&schema, None).unwrap().columns().unwrap();
        let DataType::Struct(inside) = columns.field(0).data_type() else { panic!("{columns:?}") };
        assert_eq!((columns.field(0).name().as_str(), inside[0].name().as_str()), ("at", "zip"));
    }
}

#[test]
fn protobuf_fields_are_matched_by_number_and_told_apart_from_absent_ones() {
    let schema = r#"syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
        import "google/protobuf/struct.proto";
        enum Color { RED = 0; BLUE = 3; }
        message Other {} message Row { int32 a = 1; optional int32 b = 2; repeated sint32 c = 3; map<string, int64> d = 4; Color e = 5;
            google.protobuf.Timestamp f = 6; google.protobuf.Int64Value g = 7; oneof h { string i = 8; bytes j = 9; } google.protobuf.Value k = 10; }"#;
    let record = [
        2, 2, // The path [1].
        0x08, 1, 0x1a, 2, 1, 4, 0x22, 5, 0x0a, 1, b'x', 0x10, 5, 0x28, 3, 0x32, 2, 0x08, 1, 0x3a, 0, 0x42, 1, b's', 0x52, 2,
        0x20, 1,
    ];
    let row = Definition::new(&text(SchemaKind::Protobuf, schema), Some("Row")).unwrap();
    let way = Resolution::new(&definition(SchemaKind::Protobuf, schema), &row).unwrap();
    let columns = row.columns().unwrap();
    let mut rows = RegisteredRows::new(&row, &columns, &JsonOptions::default()).unwrap();
    rows.push(&way, &record).unwrap();
    rows.push(&way, &[2, 2, 0x28, 9]).unwrap();
    assert!(rows.push(&way, &[0]).unwrap_err().reason.contains("another message"));
    assert!(rows.push(&way, &[2, 2, 0x08]).is_err());
    let batch = RecordBatch::try_new(columns, rows.finish().unwrap()).unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
    let cells = |line: usize| -> Vec<String> {
        let line = shown.lines().nth(line).unwrap().trim_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    assert_eq!(cells(3), ["1", "", "[-1, 2]", "{x: 5}", "BLUE", "1970-01-01T00:00:01Z", "0", "s", "", "true"], "{shown}");
    assert_eq!(cells(4), ["0", "", "[]", "{}", "9", "", "", "", "", ""], "{shown}");
}

#[test]
fn a_property_that_json_does_not_bind_to_one_type_is_json_text() {
    let schema = r##"{"type": "object", "required": ["id"], "definitions": {"p": {"type": "number"}}, "properties": {
        "id": {"type": "integer"}, "name": {"type": ["null", "string"]}, "price": {"$ref": "#/definitions/p"}, "any": {},
        "two": {"oneOf": [{"type": "string"}, {"type": "integer"}]}, "tags": {"type": "array", "items": {"type": "string"}}}}"##;
    let record = br#"{"id": 1, "name": null, "price": 1.5, "any": {"x": [1]}, "two": 7, "tags": ["a"]}"#;
    let (batch, refused) = through(SchemaKind::Json, schema, schema, &[record, br#"{"id": "x"}"#, br#"{"name": "no id"}"#]);
    assert_eq!((batch.num_rows(), refused.len()), (1, 2), "{refused:?}");
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!((text("any"), text("two")), (r#"{"x": [1]}"#.to_owned(), "7".to_owned()));
    assert!(!batch.schema().field_with_name("id").unwrap().is_nullable());
}

fn rows(values: &[(i64, Option<String>, f64, Option<i32>)]) -> RecordBatch {
    let column = |name: &str, array: ArrayRef, null: bool| (Field::new(name, array.data_type().clone(), null), array);
    let numbers: Vec<i64> = values.iter().map(|value| value.0).collect();
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = [
        column("id", Arc::new(Int64Array::from(numbers.clone())), false),
        column("text", Arc::new(values.iter().map(|value| value.1.clone()).collect::<StringArray>()), true),
        column("ratio", Arc::new(Float64Array::from_iter_values(values.iter().map(|value| value.2))), false),
        column("small", Arc::new(values.iter().map(|value| value.3).collect::<Int32Array>()), true),
        column("flag", Arc::new(values.iter().map(|value| value.3.map(|small| small > 0)).collect::<BooleanArray>()), true),
        column("half", Arc::new(Float32Array::from_iter_values(values.iter().map(|value| value.2 as f32))), false),
        column(
            "bytes",
            Arc::new(values.iter().map(|value| value.1.as_ref().map(String::as_bytes)).collect::<BinaryArray>()),
            true,
        ),
        column(
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(numbers.iter().map(|n| n % 1_000_000_000_000_000).collect::<Vec<_>>())
                    .with_timezone("UTC"),
            ),
            false,
        ),
    ]
    .into_iter()
    .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// Written by a schema of our own, and read by it.
fn back(kind: SchemaKind, batch: &RecordBatch) -> RecordBatch {
    let encoder = RegisteredEncoder::own(kind, &batch.schema(), "shop.Row", None).unwrap();
    let payloads = encoder.encode(batch, b"").unwrap();
    let records: Vec<&[u8]> = payloads.ranges.iter().map(|range| &payloads.bytes[range.clone()]).collect();
    let (read, refused) = through(kind, encoder.text(), encoder.text(), &records);
    assert_eq!(refused, Vec::<String>::new());
    read
}

proptest! {
    #[test]
    fn rows_come_back_as_they_went(values in prop::collection::vec((any::<i64>(), any::<Option<String>>(), -1e300f64..1e300, any::<Option<i32>>()), 1..20)) {
        let batch = rows(&values);
        for kind in [SchemaKind::Avro, SchemaKind::Protobuf] {
            let read = back(kind, &batch);
            for (at, column) in batch.columns().iter().enumerate() {
                let same = arrow::compute::cast(read.column(at), column.data_type()).unwrap();
                prop_assert_eq!(same.as_ref(), column.as_ref(), "{:?} {}", kind, batch.schema().field(at).name());
            }
        }
        let json = back(SchemaKind::Json, &batch);
        for at in 0..4 {
            // JSON has one kind of whole number.
            let same = arrow::compute::cast(json.column(at), batch.column(at).data_type()).unwrap();
            prop_assert_eq!(same.as_ref(), batch.column(at).as_ref());
        }
    }
}

#[test]
fn logical_types_and_nested_ones_come_back_from_avro() {
    let days = Date32Array::from(vec![Some(-1), None, Some(20_000)]);
    let prices = Decimal128Array::from(vec![Some(-12_345), Some(0), None]).with_precision_and_scale(12, 3).unwrap();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("day", Arc::new(days) as ArrayRef, true),
        ("price", Arc::new(prices), true),
        ("list", Arc::new(lists), true),
    ])
    .unwrap();
    let read = back(SchemaKind::Avro, &batch);
    for at in 0..3 {
        assert_eq!(read.column(at).as_ref(), batch.column(at).as_ref());
    }
}

#[test]
fn a_column_that_is_added_keeps_the_numbers_and_may_be_missing_in_older_records() {
    let of = |names: &[&str]| -> SchemaRef {
        Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>()))
    };
    let first = RegisteredEncoder::own(SchemaKind::Protobuf, &of(&["b", "c"]), "Row", None).unwrap();
    let before = text(SchemaKind::Protobuf, first.text());
    let second = RegisteredEncoder::own(SchemaKind::Protobuf, &of(&["a", "b", "c"]), "Row", Some(&before)).unwrap();
    for line in ["optional int64 a = 3;", "optional int64 b = 1;", "optional int64 c = 2;"] {
        assert!(second.text().contains(line), "{}", second.text());
    }
    let old = RegisteredEncoder::own(SchemaKind::Avro, &of(&["b"]), "Row", None).unwrap();
    let new = RegisteredEncoder::own(SchemaKind::Avro, &of(&["a", "b"]), "Row", None).unwrap();
    let way = Resolution::new(&definition(SchemaKind::Avro, old.text()), &definition(SchemaKind::Avro, new.text())).unwrap();
    assert!(way.extra().is_empty());
}

#[test]
fn a_registered_schema_is_used_only_if_it_is_that_of_the_columns() {
    let columns: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
    ]));
    let avro = |fields: &str| text(SchemaKind::Avro, &format!(r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#));
    let at = r#"{"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]}"#;
    RegisteredEncoder::given(&avro(&format!(r#"{at}, {{"name": "id", "type": "long"}}"#)), &columns, None).unwrap();
    for fields in [
        r#"{"name": "id", "type": "long"}"#.to_owned(),
        format!(r#"{at}, {{"name": "id", "type": "string"}}"#),
        format!(r#"{at}, {{"name": "id", "type": "long"}}, {{"name": "x", "type": "int"}}"#),
    ] {
        let error = RegisteredEncoder::given(&avro(&fields), &columns, None).unwrap_err();
        assert_eq!(error.code(), "WEIR-FMT-055", "{fields}");
    }
    let proto = |fields: &str| {
        text(
            SchemaKind::Protobuf,
            &format!("syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; message R {{ {fields} }}"),
        )
    };
    RegisteredEncoder::given(&proto("google.protobuf.Timestamp at = 9; sint64 id = 4;"), &columns, None).unwrap();
    let error = RegisteredEncoder::given(&proto("string at = 9; sint64 id = 4;"), &columns, None).unwrap_err();
    assert_eq!(error.code(), "WEIR-FMT-055");
}

#[test]
fn a_compiled_protobuf_schema_names_its_message_and_a_look_takes_nothing() {
    // `syntax = "proto3"; package x; message A { int64 id = 1; }`, as protoc compiles it.
    let set = b"\x0a\x25\x0a\x07a.proto\x12\x01x\x22\x0f\x0a\x01A\x12\x0a\x0a\x02id\x18\x01\x20\x01\x28\x03\x62\x06proto3";
    let reader = Definition::of_descriptors(set, "x.A").unwrap();
    assert_eq!(Definition::of_descriptors(set, "x.B").unwrap_err().code(), "WEIR-FMT-052");
    assert_eq!(Definition::of_descriptors(b"\xff", "x.A").unwrap_err().code(), "WEIR-FMT-052");
    let way = Resolution::new(&reader, &reader).unwrap();
    let mut rows = RegisteredRows::new(&reader, &reader.columns().unwrap(), &JsonOptions::default()).unwrap();
    rows.check(&way, &[8, 7]).unwrap();
    assert_eq!(rows.rows(), 0);
    rows.push(&way, &[8, 7]).unwrap();
    // With the path in front that records of a registry have it is no message.
    for bad in [&[0, 8, 7][..], &[8]] {
        assert_eq!(rows.check(&way, bad).unwrap_err().code, "WEIR-FMT-056");
        assert_eq!(rows.push(&way, bad).unwrap_err().code, "WEIR-FMT-056");
    }
    assert_eq!(rows.finish().unwrap()[0].as_primitive::<Int64Type>().values(), &[7]);
}
