//! ORC files written here, read back: nested values, runs, moments before the epochs, stripes, what is refused.

use std::sync::Arc;

use arrow::array::types::*;
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit, i256};
use proptest::prelude::*;
use weir_connect::Edge;
use weir_formats::{Compression, Format, ReadOptions, WriteOptions, infer_schema, plan_splits, sink_type};

use crate::given::{Local, both, read_all, read_split, run, written};

const COMPRESSIONS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Snappy, Compression::Lz4];

fn options(compression: Compression) -> WriteOptions {
    let mut options = WriteOptions::new(Format::Orc);
    options.compression = compression;
    options
}

/// What the file of these batches holds, in the types that reading finds.
fn came(batches: &[RecordBatch], options: &WriteOptions) -> RecordBatch {
    let bytes = written(batches, options).unwrap();
    let tables = both("f.orc", &bytes).map(|input| {
        let (inferred, read) = run(read_all(&input, &ReadOptions::new(Format::Orc), u64::MAX)).unwrap();
        read.table(&inferred.schema)
    });
    assert_eq!(tables[0], tables[1]);
    let [table, _] = tables;
    table
}

fn column(array: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter([("c", Arc::new(array) as ArrayRef)]).unwrap()
}

/// One column comes back with its values, through every compression.
fn comes_back(array: impl Array + 'static) -> DataType {
    let batch = column(array);
    for compression in COMPRESSIONS {
        let table = came(std::slice::from_ref(&batch), &options(compression));
        let back = arrow::compute::cast(table.column(0), batch.column(0).data_type()).unwrap();
        assert_eq!(back.as_ref(), batch.column(0).as_ref(), "{compression:?}");
    }
    came(&[batch], &options(Compression::Auto)).column(0).data_type().clone()
}

#[test]
fn integers_of_every_shape_come_back() {
    let shapes: [Vec<i64>; 9] = [
        vec![7; 2000],
        (0..2000).collect(),
        (0..2000).rev().map(|i| i * i).collect(),
        (0..2000).map(|i| if i % 700 < 9 { -1 } else { i % 3 }).collect(),
        vec![i64::MIN, i64::MAX, i64::MIN, 0, -1, 1, i64::MAX],
        vec![i64::MIN, i64::MAX],
        (0..1500).map(|i| 1 << (i % 63)).collect(),
        vec![5, 6, 6, 6, 7],
        (0..513).map(|i| i / 2).collect(),
    ];
    for shape in shapes {
        comes_back(Int64Array::from(shape.clone()));
        let small: Vec<Option<i8>> = shape.iter().map(|value| (value % 5 != 0).then_some(*value as i8)).collect();
        comes_back(Int8Array::from(small));
    }
}

#[test]
fn texts_that_repeat_and_texts_that_do_not() {
    let rows = 20_000u64;
    comes_back((0..rows).map(|row| (row % 7 != 0).then(|| format!("city {}", row % 40))).collect::<StringArray>());
    comes_back((0..rows).map(|row| Some(format!("{:x}", row.wrapping_mul(0x9E37_79B9_7F4A_7C15)))).collect::<StringArray>());
    // Repeats at first, then no more.
    comes_back((0..rows).map(|row| Some(if row < 3000 { "same".into() } else { row.to_string() })).collect::<StringArray>());
    comes_back((0..100).map(|_| None::<&str>).collect::<LargeStringArray>());
    comes_back((0..100).map(|row| [Some(""), None, Some("\u{10ffff}\0é")][row % 3]).collect::<StringArray>());
}

#[test]
fn nested_values_under_nulls_come_back() {
    let rows = 300usize;
    let there = |every: usize| NullBuffer::from((0..rows).map(|row| !row.is_multiple_of(every)).collect::<Vec<_>>());
    let numbers = Int64Array::from_iter((0..rows as i64).map(|value| (value % 4 != 0).then_some(value)));
    let texts = StringArray::from_iter((0..rows).map(|row| (row % 5 != 0).then(|| format!("t{}", row % 9))));
    // Values under a NULL parent are no values, whatever the array holds there.
    let inner = StructArray::new(
        Fields::from(vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)]),
        vec![Arc::new(numbers.clone()), Arc::new(texts)],
        Some(there(3)),
    );
    let outer = StructArray::new(
        Fields::from(vec![Field::new("inner", inner.data_type().clone(), true)]),
        vec![Arc::new(inner.clone())],
        Some(there(7)),
    );
    assert_eq!(logical(&came_column(&outer)), logical(&(Arc::new(outer) as ArrayRef)));

    // Lists of structs; NULL lists that hide items; a list that does not begin at its first item.
    let offsets = OffsetBuffer::from_lengths((0..100).map(|row| if row % 10 == 9 { 3 } else { row % 6 }));
    let items = inner.slice(0, offsets[100] as usize);
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let nulls = NullBuffer::from((0..100).map(|row| row % 10 != 9).collect::<Vec<_>>());
    let list = ListArray::new(item.clone(), offsets, Arc::new(items), Some(nulls));
    for list in [list.clone(), list.slice(11, 70)] {
        assert_eq!(logical(&came_column(&list)), logical(&(Arc::new(list) as ArrayRef)));
    }
    let of_lists = ListArray::new(
        Arc::new(Field::new("item", list.data_type().clone(), true)),
        OffsetBuffer::from_lengths([0, 40, 1, 59]),
        Arc::new(list),
        None,
    );
    assert_eq!(logical(&came_column(&of_lists)), logical(&(Arc::new(of_lists) as ArrayRef)));

    let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..50).map(|row| (row % 4 != 0).then(|| [Some(row), None, Some(-row)])),
        3,
    );
    assert_eq!(logical(&came_column(&fixed)), logical(&(Arc::new(fixed) as ArrayRef)));

    let mut maps = MapBuilder::new(None, StringBuilder::new(), TimestampMicrosecondBuilder::new());
    for row in 0..200i64 {
        for entry in 0..row % 4 {
            maps.keys().append_value(format!("k{entry}"));
            maps.values().append_option((row % 3 != 0).then_some(row * 1_000_003 - 77_000_000_000_000));
        }
        maps.append(row % 9 != 0).unwrap();
    }
    let maps = maps.finish();
    assert_eq!(logical(&came_column(&maps)), logical(&(Arc::new(maps) as ArrayRef)));
}

fn came_column(array: &(impl Array + Clone + 'static)) -> ArrayRef {
    let table = came(&[column(array.clone())], &options(Compression::Auto));
    table.column(0).clone()
}

/// Rows as texts: equal for equal values, whatever lies under a NULL.
fn logical(array: &ArrayRef) -> Vec<String> {
    let options = arrow::util::display::FormatOptions::default().with_null("∅");
    let formatter = arrow::util::display::ArrayFormatter::try_new(array.as_ref(), &options).unwrap();
    (0..array.len()).map(|row| formatter.value(row).to_string()).collect()
}

#[test]
fn a_timestamp_comes_back_in_its_unit_before_and_after_every_epoch() {
    let moments = [
        -62_135_596_800_000_000, // year 1
        -12_219_292_800_000_001, // the day before the Gregorian calendar
        -2_000_001,
        -1_999_999,
        -1_000_001,
        -1_000_000,
        -999_001, // the last that ORC has before 1970
        0,
        1,
        999_999,
        1_420_070_399_999_999, // before and at ORC's own epoch
        1_420_070_400_000_000,
        1_700_000_000_123_456,
        253_402_300_799_999_999, // the end of the year 9999
        8_210_266_876_799_000_000,
    ];
    let zoned = |unit| DataType::Timestamp(unit, Some("UTC".into()));
    let micros = TimestampMicrosecondArray::from_iter(moments.iter().map(|at| Some(*at)).chain([None]));
    assert_eq!(comes_back(micros.clone()), DataType::Timestamp(TimeUnit::Microsecond, None));
    assert_eq!(comes_back(micros.with_timezone("UTC")), zoned(TimeUnit::Microsecond));
    let seconds = TimestampSecondArray::from_iter_values(moments.iter().map(|at| at.div_euclid(1_000_000)));
    assert_eq!(comes_back(seconds), DataType::Timestamp(TimeUnit::Second, None));
    let millis = TimestampMillisecondArray::from_iter_values([-1_001, -1_000, 0, 999, 1_420_070_399_999, -62_135_596_799_999]);
    assert_eq!(comes_back(millis.with_timezone("UTC")), zoned(TimeUnit::Millisecond));
    let nanos = [i64::MIN, i64::MAX, -1_000_000_001, -1_000_000_000, -999_000_001, 1, 10, 100, 123_456_789, 999_999_999];
    assert_eq!(comes_back(TimestampNanosecondArray::from(nanos.to_vec())), DataType::Timestamp(TimeUnit::Nanosecond, None));
}

#[test]
fn a_moment_that_readers_would_take_for_another_is_an_error() {
    for value in [-999_000, -1] {
        let batch = column(TimestampMicrosecondArray::from(vec![value]));
        let error = written(&[batch], &options(Compression::Auto)).unwrap_err();
        assert_eq!(error.code(), "WEIR-FMT-031");
        assert!(error.to_string().contains("`c`"), "{error}");
    }
}

#[test]
fn decimals_keep_every_digit() {
    let widest = 10i128.pow(38) - 1;
    let values = [Some(widest), Some(-widest), None, Some(0), Some(1), Some(-1), Some(i128::from(i64::MAX) + 1)];
    for (precision, scale) in [(38, 0), (38, 38), (38, 10)] {
        let array = Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, scale).unwrap();
        assert_eq!(comes_back(array), DataType::Decimal128(precision, scale));
    }
    let small = Decimal128Array::from(vec![Some(-123), None, Some(999)]).with_precision_and_scale(3, 2).unwrap();
    assert_eq!(comes_back(small), DataType::Decimal128(3, 2));
    let hundreds = Decimal128Array::from(vec![Some(-12), None, Some(99)]).with_precision_and_scale(2, -2).unwrap();
    assert_eq!(comes_back(hundreds), DataType::Decimal128(4, 0));
    let wide = Decimal256Array::from_iter_values([i256::from_i128(widest), i256::MINUS_ONE]);
    assert_eq!(comes_back(wide.with_precision_and_scale(38, 2).unwrap()), DataType::Decimal128(38, 2));
}

#[test]
fn what_orc_has_no_word_for_comes_back_in_another_type() {
    let told = |array: &dyn Array| sink_type(Format::Orc, &Field::new("c", array.data_type().clone(), true));
    let times = Time64NanosecondArray::from(vec![Some(0), None, Some(86_399_999_999_999), Some(1)]);
    assert_eq!((told(&times).name.as_str(), comes_back(times.clone())), ("string", DataType::Utf8));
    let unsigned = UInt64Array::from(vec![Some(u64::MAX), None, Some(0)]);
    assert_eq!((told(&unsigned).name.as_str(), comes_back(unsigned.clone())), ("decimal(20,0)", DataType::Decimal128(20, 0)));
    let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b"), Some("a")].into_iter().collect();
    assert_eq!((told(&words).edge, comes_back(words.clone())), (Edge::Exact, DataType::Utf8));
    let nothing = NullArray::new(5);
    let schema = Arc::new(Schema::new(vec![Field::new("c", DataType::Null, true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(nothing)]).unwrap();
    let table = came(&[batch], &options(Compression::Auto));
    assert_eq!((table.num_rows(), table.column(0).null_count()), (5, 5));
}

#[test]
fn a_large_file_has_many_stripes_and_each_is_a_split() {
    let rows = 200_000i64;
    let noise = |row: i64| (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let batches: Vec<RecordBatch> = (0..10)
        .map(|part| {
            let range = part * rows / 10..(part + 1) * rows / 10;
            RecordBatch::try_from_iter([
                ("id", Arc::new(Int64Array::from_iter_values(range.clone())) as ArrayRef),
                ("noise", Arc::new(StringArray::from_iter_values(range.clone().map(|row| format!("{:016x}", noise(row))))) as _),
                // NULLs in some stripes only.
                ("rare", Arc::new(range.map(|row| (row > 90_000).then_some(row as f64)).collect::<Float64Array>()) as _),
            ])
            .unwrap()
        })
        .collect();
    let mut write = options(Compression::Zstd);
    write.orc.stripe_bytes = 400_000;
    let mut encoder = weir_formats::encoder(batches[0].schema(), &write).unwrap();
    let mut bytes = Vec::new();
    for batch in &batches {
        encoder.write(batch).unwrap();
        bytes.extend(encoder.drain().into_iter().flatten());
        assert!(encoder.buffered() < 800_000, "the open stripe alone is held: {}", encoder.buffered());
    }
    bytes.extend(encoder.finish().unwrap().into_iter().flatten());
    let input = Local::holding("f.orc", &bytes);
    run(async {
        let options = ReadOptions::new(Format::Orc);
        let inferred = infer_schema(&input, &options).await.unwrap();
        assert_eq!(inferred.rows_estimate, Some(rows as u64));
        let splits = plan_splits(&input, &options, &inferred, 1).await.unwrap();
        assert!(splits.len() >= 5, "{} stripes", splits.len());
        let mut from = 0;
        let whole = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        for split in &splits {
            let part = read_split(&input, split, &inferred.schema, &options, None).await.unwrap().table(&inferred.schema);
            assert_eq!(part.columns(), whole.slice(from, part.num_rows()).columns());
            from += part.num_rows();
        }
        assert_eq!(from as i64, rows);
    });
}

#[test]
fn a_file_of_no_rows_keeps_nested_types() {
    let fields = Fields::from(vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
    let schema = Schema::new(vec![
        Field::new("l", DataType::new_list(DataType::Struct(fields), true), true),
        Field::new("d", DataType::Decimal128(9, 3), true),
    ]);
    let batch = RecordBatch::new_empty(Arc::new(schema.clone()));
    for compression in COMPRESSIONS {
        let table = came(std::slice::from_ref(&batch), &options(compression));
        assert_eq!((table.schema().as_ref(), table.num_rows()), (&schema, 0));
    }
}

/// A row of the property test.
type Row = (Option<i64>, Option<i64>, Option<i128>, Option<String>, Option<Vec<Option<i32>>>, bool);

fn row() -> impl Strategy<Value = Row> {
    let runs = prop_oneof![3 => Just(5i64), 3 => 0..4i64, 1 => any::<i64>()];
    let moments = prop_oneof![
        -4_000_000_000..-1_000_000_000i64,
        0..2_000_000_000i64,
        any::<i32>().prop_map(|s| i64::from(s) * 1_000_000_000)
    ];
    (
        proptest::option::of(runs),
        proptest::option::of(moments),
        proptest::option::of(-(10i128.pow(38) - 1)..10i128.pow(38)),
        proptest::option::of("[a-c]{0,2}|.*"),
        proptest::option::of(proptest::collection::vec(proptest::option::of(any::<i32>()), 0..4)),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_rows_come_back_from_any_batches(
        rows in proptest::collection::vec(row(), 0..1200),
        cut in any::<proptest::sample::Index>(),
        compression in proptest::sample::select(&COMPRESSIONS[..]),
    ) {
        let list = rows.iter().map(|row| row.4.clone());
        let batch = RecordBatch::try_from_iter([
            ("i", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()) as ArrayRef),
            ("t", Arc::new(rows.iter().map(|row| row.1).collect::<TimestampNanosecondArray>()) as _),
            ("d", Arc::new(rows.iter().map(|row| row.2).collect::<Decimal128Array>().with_precision_and_scale(38, 9).unwrap()) as _),
            ("s", Arc::new(rows.iter().map(|row| row.3.clone()).collect::<StringArray>()) as _),
            ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(list)) as _),
            ("b", Arc::new(rows.iter().map(|row| Some(row.5)).collect::<BooleanArray>()) as _),
        ]).unwrap();
        let at = cut.index(rows.len() + 1);
        let table = came(&[batch.slice(0, at), batch.slice(at, rows.len() - at)], &options(compression));
        prop_assert_eq!(table.num_rows(), rows.len());
        for (back, sent) in table.columns().iter().zip(batch.columns()) {
            prop_assert_eq!(back.as_ref(), sent.as_ref());
        }
    }
}
