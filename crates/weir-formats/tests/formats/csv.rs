//! CSV as it really comes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use weir_formats::{ExtraColumns, Format, Header, Input, MemoryInput, Ragged, ReadOptions, infer_schema};

use crate::given::{Local, both, csv, look, read_all, read_with, run};

#[test]
fn types_nulls_and_quotes() {
    let text = b"id,zip,price,day,at,ok,note\n\
        1,01234,17954.55,2024-02-29,2024-01-01T10:00:00Z,true,\"a,\"\"b\"\"\n c\"\n\
        2,99999,,,,,\"\"\n\
        -3,00000,1e3,0001-01-01,1969-12-31 23:59:59.5+00:00,FALSE,\n";
    let (types, rows, dead) = look("a.csv", text, &csv()).unwrap();
    assert_eq!(types, "id:Int64 zip:Utf8 price:Float64 day:Date32 at:Timestamp(µs, \"UTC\") ok:Boolean note:Utf8");
    assert_eq!(
        rows,
        [
            "1|01234|17954.55|2024-02-29|2024-01-01T10:00:00Z|true|a,\"b\"\n c",
            "2|99999|∅|∅|∅|∅|",
            "-3|00000|1000.0|0001-01-01|1969-12-31T23:59:59.500Z|false|∅",
        ]
    );
    assert_eq!(dead, Vec::<String>::new());
}

#[test]
fn null_texts_are_null_only_when_declared_and_unquoted() {
    let text = b"a,b\n1,NA\nNA,\"NA\"\n";
    let (types, rows, _) = look("a.csv", text, &csv()).unwrap();
    assert_eq!((types.as_str(), rows), ("a:Utf8 b:Utf8", vec!["1|NA".to_owned(), "NA|NA".into()]));
    let mut options = csv();
    options.csv.null_values = vec!["NA".into()];
    let (types, rows, _) = look("a.csv", text, &options).unwrap();
    assert_eq!((types.as_str(), rows), ("a:Int64 b:Utf8", vec!["1|∅".to_owned(), "∅|NA".into()]));
}

#[test]
fn line_ends_and_byte_order_marks() {
    for text in [&b"a,b\r\n1,x\r\n2,y\r\n"[..], b"a,b\r1,x\r2,y", b"\xef\xbb\xbfa,b\n1,x\n2,y\n", b"a,b\n\n1,x\n\n2,y\n\n"] {
        let (types, rows, dead) = look("a.csv", text, &csv()).unwrap();
        assert_eq!((types.as_str(), rows, dead.len()), ("a:Int64 b:Utf8", vec!["1|x".to_owned(), "2|y".into()], 0));
    }
}

#[test]
fn encodings_are_decoded_and_wrong_ones_are_told() {
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("n,v\n1,é😀\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(look("a.csv", &utf16, &csv()).unwrap().1, ["1|é😀"]);
    let mut latin = csv();
    latin.csv.encoding = Some("latin1".into());
    assert_eq!(look("a.csv", b"n,v\n1,caf\xe9\n", &latin).unwrap().1, ["1|café"]);
    // Taken for UTF-8, only the records that are not are set aside.
    let (_, rows, dead) = look("a.csv", b"n,v\n1,a\n2,caf\xe9\n3,b\n", &csv()).unwrap();
    assert_eq!(rows, ["1|a", "3|b"]);
    assert_eq!(dead, ["WEIR-FMT-102 a.csv:3 not valid UTF-8; if the file is in another encoding, set `encoding`"]);
    let mut japanese = csv();
    japanese.csv.encoding = Some("shift_jis".into());
    let (_, rows, dead) = look("a.csv", b"n,v\n1,\x83\x65\n2,\x83\xff\n", &japanese).unwrap();
    assert_eq!((rows, dead.len()), (vec!["1|テ".to_owned()], 1));
}

#[test]
fn a_file_without_records_has_columns_but_no_rows() {
    let (types, rows, _) = look("a.csv", b"id,name\n", &csv()).unwrap();
    assert_eq!((types.as_str(), rows.len()), ("id:Utf8 name:Utf8", 0));
    let (types, rows, _) = look("a.csv", b"", &csv()).unwrap();
    assert_eq!((types.as_str(), rows.len()), ("", 0));
}

#[test]
fn records_that_do_not_fit_are_dead_letters_with_line_reason_and_bytes() {
    let mut text = String::from("id,name\n");
    for id in 0..100 {
        text.push_str(&format!("{id},\"n\n{id}\"\n"));
    }
    text.push_str("100\n101,a,b\n007,bond\nx,y\n102,\"z\"z\n103,ok\n104,\"open\n");
    for input in both("a.csv", text.as_bytes()) {
        let mut options = csv();
        options.csv.infer_rows = 50;
        run(async {
            // A sample that ends before the bad records, as in a large file.
            let head: Arc<dyn Input> = Arc::new(MemoryInput::new("a.csv", text.as_bytes()[..500].to_vec()));
            let inferred = infer_schema(&head, &options).await.unwrap();
            let read = read_with(&input, &options, &inferred, &inferred.schema, u64::MAX).await.unwrap();
            assert_eq!(read.rows(), 101);
            let dead: Vec<(&str, &str, &[u8])> =
                read.dead.iter().map(|d| (d.code.as_str(), d.place.as_str(), d.payload.as_slice())).collect();
            assert_eq!(
                dead,
                [
                    ("WEIR-FMT-101", "a.csv:202", &b"100"[..]),
                    ("WEIR-FMT-101", "a.csv:203", b"101,a,b"),
                    ("WEIR-FMT-103", "a.csv:204", b"007,bond"),
                    ("WEIR-FMT-103", "a.csv:205", b"x,y"),
                    ("WEIR-FMT-106", "a.csv:206", b"102,\"z\"z"),
                    ("WEIR-FMT-105", "a.csv:208", b"104,\"open\n"),
                ]
            );
            assert!(read.dead[3].reason.contains("`x` is no Int64"), "{}", read.dead[3].reason);
            assert_eq!(read.dead[0].media_type, "text/csv");
        });
    }
}

#[test]
fn ragged_records_can_be_padded_or_refused() {
    let text = b"a,b,c\n1,2,3\n4\n5,6\n7,8,9,10\n1,1,1\n";
    let mut options = csv();
    options.csv.ragged = Ragged::Pad;
    let (_, rows, dead) = look("a.csv", text, &options).unwrap();
    assert_eq!(rows, ["1|2|3", "4|∅|∅", "5|6|∅", "1|1|1"]);
    assert_eq!(dead.len(), 1);
    options.csv.ragged = Ragged::Error;
    let error = look("a.csv", text, &options).unwrap_err();
    assert_eq!((error.code(), error.place()), ("WEIR-FMT-101", Some("a.csv:3")));
}

#[test]
fn long_records_are_read_and_too_long_ones_set_aside() {
    let long = "x".repeat(10 << 20);
    let text = format!("id,note\n1,{long}\n2,\"{long}\n\"\n3,y\n");
    let (_, rows, dead) = look("a.csv", text.as_bytes(), &csv()).unwrap();
    assert_eq!((rows.len(), dead.len()), (3, 0));
    assert_eq!(rows[0].len(), (10 << 20) + 2);
    let mut options = csv();
    options.csv.max_record_bytes = 1 << 20;
    let (_, rows, dead) = look("a.csv", text.as_bytes(), &options).unwrap();
    assert_eq!(rows, ["3|y"]);
    assert!(dead[0].starts_with("WEIR-FMT-104 a.csv:2 a record of 10485763 bytes"), "{}", dead[0]);
    assert!(dead[1].starts_with("WEIR-FMT-104 a.csv:3 "), "{}", dead[1]);
}

#[test]
fn compressed_files_are_found_by_their_bytes_and_cut_off_ones_are_errors() {
    let text = b"id,name\n1,a\n2,b\n".to_vec();
    let gz = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    for name in ["a.csv.gz", "a.csv"] {
        assert_eq!(look(name, &gz, &csv()).unwrap().1, ["1|a", "2|b"]);
    }
    for cut in 0..gz.len() {
        let error = look("a.csv.gz", &gz[..cut], &csv()).unwrap_err();
        assert!(["WEIR-FMT-002", "WEIR-FMT-003"].contains(&error.code()), "{cut}: {error:?}");
    }
    assert_eq!(look("a.csv.gz", &text, &csv()).unwrap_err().code(), "WEIR-FMT-003");
}

#[test]
fn a_cut_behind_the_sample_is_found_while_reading() {
    // Larger than what inference looks at, so that the schema is fine and the read is not.
    let mut text = String::from("id,v\n");
    let mut state = 1u64;
    for id in 0..600_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push_str(&format!("{id},{}\n", state >> 20));
    }
    let packed = zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
    let input = Local::holding("a.csv.zst", &packed[..packed.len() - 5]);
    let error = run(read_all(&input, &csv(), u64::MAX)).unwrap_err();
    assert_eq!((error.code(), error.place()), ("WEIR-FMT-002", Some("a.csv.zst")));
}

#[test]
fn declared_types_win_and_take_what_people_write() {
    let mut options = csv();
    options.declared = Some(Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int32, true),
        Field::new("p", DataType::Decimal128(10, 2), false),
        Field::new("j", DataType::new_list(DataType::Int64, true), true),
    ])));
    let (types, rows, dead) =
        look("a.csv", b"n,p,j\n+007,1.5,\"[1,null]\"\n3000000000,1,\n5,,\n6,0.001,\n7,2,\"[\"\"x\"\"]\"\n", &options).unwrap();
    assert_eq!(types, "n:Int32 p:Decimal128(10, 2) j:List(Int64)");
    assert_eq!(rows, ["7|1.50|[1, ∅]"]);
    let codes: Vec<&str> = dead.iter().map(|d| &d[..12]).collect();
    assert_eq!(codes, ["WEIR-FMT-103", "WEIR-FMT-107", "WEIR-FMT-103", "WEIR-FMT-103"]);
    options.declared = Some(Arc::new(Schema::new(vec![Field::new("nope", DataType::Utf8, true)])));
    assert_eq!(look("a.csv", b"n,p\n1,2\n", &options).unwrap_err().code(), "WEIR-FMT-022");
}

#[test]
fn columns_are_matched_by_name() {
    let options = csv();
    let schema = Arc::new(Schema::new(vec![
        Field::new("b", DataType::Int64, true),
        Field::new("new", DataType::Utf8, true),
        Field::new("a", DataType::Int64, true),
    ]));
    let input = Local::holding("a.csv", b"a,b\n1,2\n");
    run(async {
        let inferred = infer_schema(&input, &options).await.unwrap();
        let read = read_with(&input, &options, &inferred, &schema, u64::MAX).await.unwrap();
        assert_eq!(crate::given::shown(&read.table(&schema)), ["2|∅|1"]);
        let narrow = Arc::new(schema.project(&[0]).unwrap());
        let error = read_with(&input, &options, &inferred, &narrow, u64::MAX).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-FMT-025");
        let ignoring = ReadOptions { extra_columns: ExtraColumns::Ignore, ..options.clone() };
        let read = read_with(&input, &ignoring, &inferred, &narrow, u64::MAX).await.unwrap();
        assert_eq!(crate::given::shown(&read.table(&narrow)), ["2"]);
        let required = Arc::new(Schema::new(vec![Field::new("c", DataType::Int64, false)]));
        let error = read_with(&input, &ignoring, &inferred, &required, u64::MAX).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-FMT-021");
    });
}

#[test]
fn comments_skipped_lines_and_tabs() {
    let mut options = ReadOptions::new(Format::Tsv);
    options.csv.comment = Some("#".into());
    options.csv.skip_lines = 1;
    options.csv.header = Header::Present;
    let (types, rows, dead) = look("a.tsv", b"made \"today\n#x\ta\tb\nid\tv\n1\ta,b\n#2\tc\n3\td\n", &options).unwrap();
    assert_eq!((types.as_str(), rows, dead.len()), ("id:Int64 v:Utf8", vec!["1|a,b".to_owned(), "3|d".into()], 0));
}

#[test]
fn one_column_keeps_its_blank_lines_as_null() {
    let (_, rows, _) = look("a.csv", b"v\na\n\nb\n", &csv()).unwrap();
    assert_eq!(rows, ["a", "∅", "b"]);
}
