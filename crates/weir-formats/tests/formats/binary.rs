//! Broken Parquet, Avro and ORC files: an error, never a panic, never fewer rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use weir_formats::{Format, ReadOptions, WriteOptions, infer_schema};

use crate::given::{both, read_all, read_with, run, written};

fn batch() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..500).map(|i| format!("name {}", i % 50))));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

fn file(format: Format) -> Vec<u8> {
    let mut options = WriteOptions::new(format);
    options.parquet.row_group_rows = 200;
    options.avro.block_rows = 100;
    written(&[batch()], &options).unwrap()
}

#[test]
fn a_file_that_is_cut_off_is_an_error() {
    for format in [Format::Parquet, Format::Avro, Format::Orc] {
        let whole = file(format);
        let blocks = if format == Format::Avro { avro_block_ends(&whole) } else { Vec::new() };
        for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            if blocks.contains(&cut) {
                continue;
            }
            for input in both("f", &whole[..cut]) {
                let result = run(read_all(&input, &ReadOptions::new(format), u64::MAX));
                let error = result.map(|r| r.1.rows()).expect_err(&format!("{format:?} cut at {cut} of {}", whole.len()));
                assert!(["WEIR-FMT-004", "WEIR-FMT-006"].contains(&error.code()), "{error:?}");
                assert_eq!(error.place(), Some("f"));
            }
        }
    }
}

/// Places between two blocks, where an Avro file is allowed to end.
fn avro_block_ends(bytes: &[u8]) -> Vec<usize> {
    let sync = &bytes[bytes.len() - 16..];
    (16..=bytes.len()).filter(|end| &bytes[end - 16..*end] == sync).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_changed_byte_never_panics_and_never_loses_rows_silently(
        format in prop_oneof![Just(Format::Parquet), Just(Format::Avro), Just(Format::Orc)],
        place in any::<proptest::sample::Index>(),
        change in 1u8..,
        local: bool,
    ) {
        let mut bytes = file(format);
        let at = place.index(bytes.len());
        bytes[at] ^= change;
        let [on_disk, remote] = both("f", &bytes);
        let input = if local { on_disk } else { remote };
        if let Ok((_, read)) = run(read_all(&input, &ReadOptions::new(format), u64::MAX)) {
            // Values are not covered by checksums everywhere, the number of rows is.
            prop_assert!(read.rows() == 500, "{} rows of {:?}", read.rows(), format);
        }
    }
}

/// Every byte of the footer, some changes each: the row counts are there, and nowhere else may a row go missing silently.
#[test]
fn no_changed_byte_of_a_parquet_footer_loses_a_row_group() {
    let whole = file(Format::Parquet);
    let length = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    run(async {
        for at in whole.len() - 8 - length..whole.len() {
            for change in [1, 2, 8, 0x69, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                let input: Arc<dyn weir_formats::Input> = Arc::new(weir_formats::MemoryInput::new("f", bytes));
                if let Ok((_, read)) = read_all(&input, &ReadOptions::new(Format::Parquet), u64::MAX).await {
                    assert_eq!(read.rows(), 500, "byte {at} changed by {change:#x}");
                }
            }
        }
    });
}

/// A type that contains itself must not be followed.
#[test]
fn no_changed_byte_of_an_orc_file_loses_a_row_or_ends_the_process() {
    let whole = file(Format::Orc);
    run(async {
        for at in 0..whole.len() {
            for change in [1, 2, 3, 8, 0x69, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                let input: Arc<dyn weir_formats::Input> = Arc::new(weir_formats::MemoryInput::new("f", bytes));
                if let Ok((_, read)) = read_all(&input, &ReadOptions::new(Format::Orc), u64::MAX).await {
                    assert_eq!(read.rows(), 500, "byte {at} changed by {change:#x}");
                }
            }
        }
    });
}

#[test]
fn another_format_is_told_as_such() {
    for format in [Format::Parquet, Format::Avro, Format::Orc] {
        for bytes in [&b""[..], b"id,name\n1,a\n", &[0u8; 100]] {
            for input in both("f", bytes) {
                let error = run(infer_schema(&input, &ReadOptions::new(format))).unwrap_err();
                assert!(["WEIR-FMT-004", "WEIR-FMT-006"].contains(&error.code()), "{format:?} {error:?}");
            }
        }
    }
}

#[test]
fn types_widen_into_the_streams_and_never_narrow_silently() {
    let bytes = file(Format::Parquet);
    for input in both("f", &bytes) {
        run(async {
            let options = ReadOptions::new(Format::Parquet);
            let inferred = infer_schema(&input, &options).await.unwrap();
            let schema = |id: DataType| {
                Arc::new(Schema::new(vec![
                    Field::new("name", DataType::Utf8, true),
                    Field::new("id", id, true),
                    Field::new("other", DataType::Date32, true),
                ]))
            };
            for (wanted, fine) in [
                (DataType::Float64, true),
                (DataType::Decimal128(20, 2), true),
                (DataType::Int16, true),
                (DataType::Int8, false),
                (DataType::Utf8, true),
                (DataType::Date32, false),
            ] {
                let wanted = schema(wanted);
                let read = read_with(&input, &options, &inferred, &wanted, u64::MAX).await;
                match fine {
                    true => assert_eq!(read.unwrap().rows(), 500),
                    false => assert!(["WEIR-FMT-103", "WEIR-FMT-029"].contains(&read.unwrap_err().code())),
                }
            }
        });
    }
}
