//! JSON as it really comes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use weir_formats::{Decimals, ExtraColumns, Format, Input, MemoryInput, ReadOptions, infer_schema};

use crate::given::{Local, look, read_all, read_with, run};

fn ndjson() -> ReadOptions {
    ReadOptions::new(Format::Ndjson)
}

fn json() -> ReadOptions {
    ReadOptions::new(Format::Json)
}

#[test]
fn the_union_of_the_keys_is_the_schema() {
    let text = br#"{"a":1,"b":"x","n":{"x":1.5,"y":[1,2]}}
{"b":null,"a":-2,"c":true,"n":{"x":2,"z":"q"}}
"#;
    let (types, rows, dead) = look("a.ndjson", text, &ndjson()).unwrap();
    assert_eq!(types, "a:Int64 b:Utf8 n:Struct(\"x\": Float64, \"y\": List(Int64), \"z\": Utf8) c:Boolean");
    assert_eq!(rows, ["1|x|{x: 1.5, y: [1, 2], z: ∅}|∅", "-2|∅|{x: 2.0, y: ∅, z: q}|true"]);
    assert!(dead.is_empty());
}

#[test]
fn mixed_types_stay_json_text_and_big_numbers_stay_whole() {
    let text = br#"{"m":1,"big":12345678901234567890123,"f":0.12345678901234567890,"huge":1e999}
{"m":"one","big":1,"f":1,"huge":1}
{"m":{"k":[1,"2"]},"big":-5,"f":2.5,"huge":2}
"#;
    let (types, rows, dead) = look("a.ndjson", text, &ndjson()).unwrap();
    assert_eq!(types, "m:Utf8 big:Decimal128(38, 0) f:Decimal128(38, 20) huge:Utf8");
    assert_eq!(
        rows,
        [
            "1|12345678901234567890123|0.12345678901234567890|1e999",
            "\"one\"|1|1.00000000000000000000|1",
            "{\"k\":[1,\"2\"]}|-5|2.50000000000000000000|2",
        ]
    );
    assert!(dead.is_empty());
    let mut exact = ndjson();
    exact.json.decimals = Decimals::Exact;
    assert_eq!(look("a.ndjson", b"{\"p\":1.50}\n{\"p\":2}\n", &exact).unwrap().0, "p:Decimal128(38, 2)");
}

#[test]
fn documents_may_be_an_array_one_object_or_several() {
    for text in [
        "[{\"a\":1},{\"a\":2}]",
        " [ {\"a\":1}\n ,\n {\"a\":2} ] \n",
        "{\"a\":1}{\"a\":2}",
        "{\"a\":1}\n{\"a\":2}\n",
        "\u{feff}[{\"a\":1},{\"a\":2}]",
    ] {
        assert_eq!(look("a.json", text.as_bytes(), &json()).unwrap().1, ["1", "2"], "{text}");
    }
    assert_eq!(look("a.json", b"{\"a\":\n1}", &json()).unwrap().1, ["1"]);
    assert_eq!(look("a.json", b"[]", &json()).unwrap().1.len(), 0);
    assert_eq!(look("a.json", b"", &json()).unwrap().1.len(), 0);
}

#[test]
fn documents_that_are_cut_off_or_broken_are_errors() {
    let whole = b"[{\"a\":1},{\"a\":\"x]\"}]";
    for cut in 1..whole.len() {
        let error = look("a.json", &whole[..cut], &json()).unwrap_err();
        assert!(["WEIR-FMT-002", "WEIR-FMT-028"].contains(&error.code()), "{cut} {error:?}");
    }
    for (text, code) in [
        ("[{\"a\":1} {\"a\":2}]", "WEIR-FMT-004"),
        ("[{\"a\":1}] x", "WEIR-FMT-004"),
        ("hello", "WEIR-FMT-028"),
        ("[1,2]", "WEIR-FMT-028"),
    ] {
        assert_eq!(look("a.json", text.as_bytes(), &json()).unwrap_err().code(), code, "{text}");
    }
}

#[test]
fn records_that_do_not_fit_are_dead_letters() {
    let mut text = String::new();
    for at in 0..100 {
        text.push_str(&format!("{{\"a\":{at},\"s\":\"x\"}}\n"));
    }
    text.push_str("{\"a\":1.5,\"s\":\"x\"}\n{\"a\":1,\"s\":2}\n{\"a\":1,\"new\":2}\n{oops\n7\n\n{\"a\":\"1\"}\n");
    text.push_str(&format!("{{\"a\":{}1{}}}\n", "[".repeat(300), "]".repeat(300)));
    text.push_str("{\"a\":1,\"a\":2}\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"{\"s\":\"\xff\"}\n");
    for input in crate::given::both("a.ndjson", &bytes) {
        run(async {
            let head: Arc<dyn Input> = Arc::new(MemoryInput::new("a", bytes[..400].to_vec()));
            let inferred = infer_schema(&head, &ndjson()).await.unwrap();
            let read = read_with(&input, &ndjson(), &inferred, &inferred.schema, u64::MAX).await.unwrap();
            let dead: Vec<String> = read.dead.iter().map(|d| format!("{} {}", d.code, d.place)).collect();
            assert_eq!(
                dead,
                [
                    "WEIR-FMT-103 a.ndjson:101",
                    "WEIR-FMT-103 a.ndjson:102",
                    "WEIR-FMT-113 a.ndjson:103",
                    "WEIR-FMT-111 a.ndjson:104",
                    "WEIR-FMT-112 a.ndjson:105",
                    "WEIR-FMT-103 a.ndjson:107",
                    "WEIR-FMT-114 a.ndjson:108",
                    "WEIR-FMT-115 a.ndjson:109",
                    "WEIR-FMT-102 a.ndjson:110",
                ]
            );
            assert!(read.dead[2].reason.contains("`new`"));
            assert_eq!(read.rows(), 100);
            let ignoring = ReadOptions { extra_columns: ExtraColumns::Ignore, ..ndjson() };
            let read = read_with(&input, &ignoring, &inferred, &inferred.schema, u64::MAX).await.unwrap();
            assert_eq!(read.rows(), 101);
        });
    }
}

#[test]
fn a_record_over_the_limit_is_set_aside_and_a_long_one_is_read() {
    let long = "x".repeat(10 << 20);
    let text = format!("{{\"s\":\"{long}\"}}\n{{\"s\":\"y\"}}\n");
    for (name, options) in [("a.ndjson", ndjson()), ("a.json", json())] {
        assert_eq!(look(name, text.as_bytes(), &options).unwrap().1.len(), 2);
        let mut small = options.clone();
        small.json.max_record_bytes = 1 << 20;
        let (_, rows, dead) = look(name, text.as_bytes(), &small).unwrap();
        assert_eq!((rows, dead.len()), (vec!["y".to_owned()], 1), "{name}");
        assert!(dead[0].starts_with("WEIR-FMT-104"), "{}", dead[0]);
    }
}

#[test]
fn declared_columns_may_come_later_and_parse_texts() {
    let mut options = ndjson();
    options.declared = Some(Arc::new(Schema::new(vec![
        Field::new("at", weir_formats::declared_type("timestamptz").unwrap(), true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("late", DataType::Int64, true),
    ])));
    let text = b"{\"at\":\"2024-01-01T00:00:00+01:00\",\"price\":1.50}\n{\"at\":null,\"price\":\"2.5\",\"late\":3}\n";
    let (types, rows, dead) = look("a.ndjson", text, &options).unwrap();
    assert_eq!(types, "at:Timestamp(µs, \"UTC\") price:Decimal128(10, 2) late:Int64");
    assert_eq!(rows, ["2023-12-31T23:00:00Z|1.50|∅", "∅|2.50|3"]);
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
fn a_compressed_document_that_is_cut_off_is_an_error() {
    let packed = zstd::stream::encode_all(&b"{\"a\":1}\n".repeat(100)[..], 1).unwrap();
    let input = Local::holding("a.ndjson.zst", &packed[..packed.len() - 3]);
    assert_eq!(run(read_all(&input, &ndjson(), u64::MAX)).unwrap_err().code(), "WEIR-FMT-002");
}
