//! What is written comes back: every format, every type, every value.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use proptest::prelude::*;
use weir_connect::Edge;
use weir_formats::{Compression, Format, ReadOptions, WriteOptions, check_writable, sink_type};

use crate::given::{both, read_all, run, written};

/// One nullable column of each type, with extremes.
fn columns(seed: u64, rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    macro_rules! ints {
        ($array:ident, $native:ty) => {{
            let extremes = [<$native>::MIN, <$native>::MAX, 0];
            let values: Vec<Option<$native>> = (0..rows)
                .map(|row| match next() % 5 {
                    0 => None,
                    1 => Some(extremes[row % 3]),
                    _ => Some(next() as $native),
                })
                .collect();
            Arc::new($array::from(values)) as ArrayRef
        }};
    }
    let mut list: Vec<(&'static str, ArrayRef)> = vec![
        ("int8", ints!(Int8Array, i8)),
        ("int16", ints!(Int16Array, i16)),
        ("int32", ints!(Int32Array, i32)),
        ("int64", ints!(Int64Array, i64)),
        ("uint8", ints!(UInt8Array, u8)),
        ("uint16", ints!(UInt16Array, u16)),
        ("uint32", ints!(UInt32Array, u32)),
        ("uint64", ints!(UInt64Array, u64)),
    ];
    let maybe = |value: u64| !value.is_multiple_of(5);
    list.push(("bool", Arc::new((0..rows).map(|_| maybe(next()).then(|| next() % 2 == 0)).collect::<BooleanArray>())));
    let floats = [0.1, -0.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::INFINITY, f64::NEG_INFINITY, 1.0 / 3.0];
    list.push((
        "float64",
        Arc::new(
            (0..rows)
                .map(|row| {
                    maybe(next())
                        .then(|| if row % 2 == 0 { floats[row / 2 % 8] } else { f64::from_bits(next() & 0x7fef_ffff_ffff_ffff) })
                })
                .collect::<Float64Array>(),
        ),
    ));
    list.push((
        "float32",
        Arc::new((0..rows).map(|_| maybe(next()).then(|| f32::from_bits(next() as u32 & 0x7f7f_ffff))).collect::<Float32Array>()),
    ));
    let texts = ["", "a,b", "\"q\"", "line\nend\r\n", "é😀", "NULL", " padded ", "#x", "\\", "\u{0}", "null", "1", "'"];
    list.push(("text", Arc::new((0..rows).map(|row| maybe(next()).then(|| texts[row % texts.len()])).collect::<StringArray>())));
    list.push((
        "large_text",
        Arc::new((0..rows).map(|_| maybe(next()).then(|| next().to_string())).collect::<LargeStringArray>()),
    ));
    list.push((
        "binary",
        Arc::new((0..rows).map(|row| maybe(next()).then(|| vec![row as u8; row % 5])).collect::<BinaryArray>()),
    ));
    let fixed = (0..rows).map(|_| maybe(next()).then(|| next().to_le_bytes()[..4].to_vec()));
    list.push(("fixed", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 4).unwrap())));
    let limit = 10i128.pow(30);
    let decimal = (0..rows).map(|_| maybe(next()).then(|| ((i128::from(next()) << 64) | i128::from(next())) % limit));
    list.push(("decimal", Arc::new(decimal.collect::<Decimal128Array>().with_precision_and_scale(38, 5).unwrap())));
    let wide = (0..rows).map(|_| maybe(next()).then(|| i256::from_parts(u128::from(next()) << 60, -1)));
    list.push(("decimal256", Arc::new(wide.collect::<Decimal256Array>().with_precision_and_scale(60, 7).unwrap())));
    let days = (0..rows).map(|_| maybe(next()).then(|| (next() % 3_600_000) as i32 - 719_162).map(|d| d.min(2_932_896)));
    list.push(("date", Arc::new(days.collect::<Date32Array>())));
    let millis = (0..rows).map(|_| maybe(next()).then(|| (next() % 86_400_000) as i32));
    list.push(("time_ms", Arc::new(millis.collect::<Time32MillisecondArray>())));
    let micros = (0..rows).map(|_| maybe(next()).then(|| (next() % 86_400_000_000) as i64));
    list.push(("time_us", Arc::new(micros.collect::<Time64MicrosecondArray>())));
    let at = |next: &mut dyn FnMut() -> u64| (next() % 250_000_000_000_000_000) as i64 - 62_000_000_000_000_000;
    let wall: Vec<Option<i64>> = (0..rows).map(|_| maybe(next()).then(|| at(&mut next))).collect();
    list.push(("wall", Arc::new(TimestampMicrosecondArray::from(wall.clone()))));
    list.push(("instant", Arc::new(TimestampMicrosecondArray::from(wall.clone()).with_timezone("UTC"))));
    let seconds: Vec<Option<i64>> = wall.iter().map(|w| w.map(|w| w / 1_000_000)).collect();
    list.push(("seconds", Arc::new(TimestampSecondArray::from(seconds))));
    let nanos: Vec<Option<i64>> = (0..rows).map(|_| maybe(next()).then(|| next() as i64)).collect();
    list.push(("nanos", Arc::new(TimestampNanosecondArray::from(nanos))));
    let lists = (0..rows)
        .map(|row| maybe(next()).then(|| (0..row % 4).map(|_| maybe(next()).then(|| next() as i64)).collect::<Vec<_>>()));
    list.push(("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))));
    let inner_a: ArrayRef = Arc::new((0..rows).map(|_| maybe(next()).then(|| next() as i64)).collect::<Int64Array>());
    let inner_b: ArrayRef =
        Arc::new((0..rows).map(|row| maybe(next()).then(|| texts[row % texts.len()])).collect::<StringArray>());
    let fields = Fields::from(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]);
    let nulls = arrow::buffer::NullBuffer::from((0..rows).map(|_| maybe(next())).collect::<Vec<_>>());
    list.push(("record", Arc::new(StructArray::new(fields, vec![inner_a, inner_b], Some(nulls)))));
    list
}

/// Writes and reads; the read declares the written types, as a stream's schema does.
fn back(format: Format, compression: Compression, batch: &RecordBatch) -> Vec<RecordBatch> {
    let mut write = WriteOptions::new(format);
    write.compression = compression;
    let bytes = written(
        &[batch.slice(0, batch.num_rows() / 2), batch.slice(batch.num_rows() / 2, batch.num_rows() - batch.num_rows() / 2)],
        &write,
    )
    .unwrap();
    let name = format!("f{}", format.extension(compression));
    both(&name, &bytes)
        .into_iter()
        .map(|input| {
            run(async {
                let mut options = ReadOptions::new(format);
                if format.is_text() {
                    options.declared = Some(batch.schema());
                }
                let (inferred, read) = read_all(&input, &options, u64::MAX).await.unwrap();
                assert_eq!(read.dead, vec![], "{format:?} {}", batch.schema());
                read.table(&inferred.schema)
            })
        })
        .collect()
}

fn compare(format: Format, name: &str, sent: &ArrayRef, came: &ArrayRef) {
    let came = match came.data_type() == sent.data_type() {
        true => came.clone(),
        // The plan says what widens; the values must be the same in the wider type.
        false => arrow::compute::cast(came, sent.data_type()).unwrap_or_else(|e| panic!("{format:?} {name}: {e}")),
    };
    assert_eq!(came.to_data(), sent.to_data(), "{format:?} {name}");
}

#[test]
fn every_type_comes_back_from_every_format_that_takes_it() {
    for (name, array) in columns(42, 200) {
        // A second column, so that a NULL is not a blank line.
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..200));
        let batch = RecordBatch::try_from_iter([("id", ids), (name, array.clone())]).unwrap();
        for format in [Format::Csv, Format::Tsv, Format::Json, Format::Ndjson, Format::Parquet, Format::Avro, Format::Orc] {
            let told = sink_type(format, batch.schema().field(1));
            if matches!(told.edge, Edge::Unsupported { .. }) {
                assert!(check_writable(format, &batch.schema()).is_err());
                continue;
            }
            for came in back(format, Compression::Auto, &batch) {
                compare(format, name, &array, came.column(1));
                compare(format, "id", batch.column(0), came.column(0));
                if told.edge == Edge::Exact && !format.is_text() {
                    let same = came.column(1).data_type() == array.data_type()
                        || matches!(
                            array.data_type(),
                            DataType::LargeUtf8 | DataType::Decimal256(..) | DataType::List(_) | DataType::Struct(_)
                        );
                    assert!(same, "{format:?} {name}: {} came as {}", array.data_type(), came.column(1).data_type());
                }
            }
        }
    }
}

#[test]
fn every_compression_of_every_format() {
    use Compression as C;
    let batch =
        RecordBatch::try_from_iter(columns(7, 100).into_iter().filter(|c| ["int64", "text", "float64"].contains(&c.0))).unwrap();
    for format in [Format::Csv, Format::Json, Format::Ndjson, Format::Parquet, Format::Avro, Format::Orc] {
        for compression in [C::None, C::Gzip, C::Zstd, C::Snappy, C::Lz4, C::Bzip2] {
            let mut write = WriteOptions::new(format);
            write.compression = compression;
            if write.resolved_compression().is_err() {
                continue;
            }
            for came in back(format, compression, &batch) {
                for at in 0..batch.num_columns() {
                    compare(format, batch.schema().field(at).name(), batch.column(at), came.column(at));
                }
            }
        }
    }
    let mut orc = WriteOptions::new(Format::Orc);
    orc.compression = C::Bzip2;
    assert_eq!(orc.resolved_compression().unwrap_err().code(), "WEIR-FMT-010");
}

#[test]
fn a_file_of_no_rows_keeps_its_columns() {
    let batch = RecordBatch::new_empty(Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
    ])));
    for format in [Format::Csv, Format::Parquet, Format::Avro, Format::Orc] {
        let bytes = written(std::slice::from_ref(&batch), &WriteOptions::new(format)).unwrap();
        for input in both("f", &bytes) {
            let (inferred, read) = run(read_all(&input, &ReadOptions::new(format), u64::MAX)).unwrap();
            assert_eq!(read.rows(), 0);
            let names: Vec<_> = inferred.schema.fields().iter().map(|f| f.name().clone()).collect();
            assert_eq!(names, ["a", "b"], "{format:?}");
        }
    }
}

#[test]
fn json_columns_are_part_of_the_document() {
    let json = Field::new("j", DataType::Utf8, true).with_metadata([("weir.logical_type".into(), "json".into())].into());
    let schema = Arc::new(Schema::new(vec![json]));
    let make = |text: &str| RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from(vec![text]))]).unwrap();
    let out = written(&[make("{\"a\": [1,\n 12345678901234567890.10]}")], &WriteOptions::new(Format::Ndjson)).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{\"j\":{\"a\": [1,  12345678901234567890.10]}}\n");
    let error = written(&[make("{oops")], &WriteOptions::new(Format::Ndjson)).unwrap_err();
    assert_eq!(error.code(), "WEIR-FMT-030");
}

#[test]
fn parquet_hands_out_row_groups_as_they_are_done() {
    let batch = RecordBatch::try_from_iter(columns(3, 4000).into_iter().filter(|c| ["int64", "text"].contains(&c.0))).unwrap();
    let mut write = WriteOptions::new(Format::Parquet);
    write.parquet.row_group_rows = 1000;
    let mut encoder = weir_formats::encoder(batch.schema(), &write).unwrap();
    encoder.write(&batch.slice(0, 2500)).unwrap();
    let ready: usize = encoder.drain().iter().map(|b| b.len()).sum();
    assert!(ready > 1000, "two row groups are ready: {ready}");
    assert!(encoder.buffered() > 0 && encoder.estimated_bytes() > ready as u64);
    let rest: usize = encoder.finish().unwrap().iter().map(|b| b.len()).sum();
    assert!(rest > 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_texts_and_numbers_survive(
        rows in proptest::collection::vec((proptest::option::of(".*"), proptest::option::of(any::<f64>()), any::<i64>()), 1..40),
    ) {
        let texts: StringArray = rows.iter().map(|r| r.0.clone()).collect();
        let floats: Float64Array = rows.iter().map(|r| r.1.map(|v| if v.is_nan() { f64::NAN } else { v })).collect();
        let ints: Int64Array = rows.iter().map(|r| Some(r.2)).collect();
        let batch = RecordBatch::try_from_iter([
            ("t", Arc::new(texts) as ArrayRef),
            ("f", Arc::new(floats) as ArrayRef),
            ("i", Arc::new(ints) as ArrayRef),
        ]).unwrap();
        for format in [Format::Csv, Format::Tsv, Format::Json, Format::Ndjson, Format::Parquet, Format::Avro, Format::Orc] {
            for came in back(format, Compression::Auto, &batch) {
                for at in 0..3 {
                    compare(format, batch.schema().field(at).name(), batch.column(at), came.column(at));
                }
            }
        }
    }
}
