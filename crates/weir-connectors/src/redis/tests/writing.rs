//! What a row becomes, and what comes of rows that come twice.

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray};

use super::*;

fn rows(ids: &[i64]) -> RecordBatch {
    let names: Vec<String> = ids.iter().map(|id| format!("row {id}")).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids.to_vec())), Arc::new(StringArray::from(names))];
    RecordBatch::try_new(Arc::new(plain_schema()), columns).unwrap()
}

async fn write(sink: &dyn StreamSink, batch: RecordBatch) -> Result<u64> {
    let mut writer = sink.writer(0).await?;
    writer.write(batch).await?;
    let flushed = writer.flush(&barrier()).await?;
    Ok(sink.commit(&[flushed.token]).await?.rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_is_a_field_and_a_null_is_none() {
    let lab = Lab::new("flat");
    let key = lab.key("t");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
        ("price", Arc::new(Decimal128Array::from(vec![1230, -1]).with_precision_and_scale(30, 2).unwrap())),
        ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
        ("day", Arc::new(Date32Array::from(vec![0, 1]))),
        ("text", Arc::new(StringArray::from(vec!["a\"b\nü", "null"]))),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b""]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let sink = lab.sink(json!({}), &key, batch.schema().as_ref()).await.unwrap();
    assert_eq!(write(sink.as_ref(), batch).await.unwrap(), 2);
    let fields: Vec<_> = lab.entries(&key).into_iter().map(|(_, fields)| fields).collect();
    let expect = |pairs: &[(&str, &[u8])]| pairs.iter().map(|(n, v)| ((*n).to_owned(), v.to_vec())).collect::<Vec<_>>();
    let first: [(&str, &[u8]); 6] = [
        ("n", b"9223372036854775807"),
        ("price", b"12.30"),
        ("ok", b"true"),
        ("day", b"1970-01-01"),
        ("text", "a\"b\nü".as_bytes()),
        ("raw", b"\xff\x00"),
    ];
    let second: [(&str, &[u8]); 5] =
        [("price", b"-0.01"), ("ok", b"false"), ("day", b"1970-01-02"), ("text", b"null"), ("raw", b"")];
    assert_eq!(fields, [expect(&first), expect(&second)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_with_ids_of_their_own_are_there_once() {
    let lab = Lab::new("ids");
    let key = lab.key("t");
    let sink = lab.sink(json!({"id_column": "id", "max_buffer_bytes": 1}), &key, &plain_schema()).await.unwrap();
    assert_eq!(write(sink.as_ref(), rows(&[1, 2, 3])).await.unwrap(), 3);
    // A crash before the checkpoint: they come again, together with others.
    assert_eq!(write(sink.as_ref(), rows(&[2, 3, 4])).await.unwrap(), 3);
    let ids: Vec<String> = lab.entries(&key).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["1-0", "2-0", "3-0", "4-0"]);
    // Another row under an id that is there is no repetition.
    let other = RecordBatch::try_new(
        Arc::new(plain_schema()),
        vec![Arc::new(Int64Array::from(vec![4])), Arc::new(StringArray::from(vec!["other"]))],
    );
    assert_eq!(write(sink.as_ref(), other.unwrap()).await.unwrap_err().code(), "WEIR-REDIS-033");
    assert_eq!(write(sink.as_ref(), rows(&[9])).await.unwrap(), 1);
    assert_eq!(write(sink.as_ref(), rows(&[7])).await.unwrap_err().code(), "WEIR-REDIS-032");
    assert_eq!(write(sink.as_ref(), rows(&[0])).await.unwrap_err().code(), "WEIR-REDIS-025");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_as_many_entries_as_it_is_told_to() {
    let lab = Lab::new("maxlen");
    let key = lab.key("t");
    let sink = lab.sink(json!({"max_length": 5, "approximate": false}), &key, &plain_schema()).await.unwrap();
    write(sink.as_ref(), rows(&(0..50).collect::<Vec<_>>())).await.unwrap();
    let ids: Vec<Vec<u8>> = lab.entries(&key).into_iter().map(|(_, fields)| fields[0].1.clone()).collect();
    assert_eq!(ids, [b"45", b"46", b"47", b"48", b"49"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_an_entry_is_said_before_or_when_it_comes() {
    let lab = Lab::new("bad");
    let text = lab.key("text");
    redis::cmd("SET").arg(&text).arg("x").query::<()>(&mut lab.plain()).unwrap();
    assert_eq!(lab.sink(json!({}), &text, &plain_schema()).await.err().unwrap().code(), "WEIR-REDIS-005");
    let key = lab.key("t");
    assert_eq!(lab.sink(json!({"id_column": "no"}), &key, &plain_schema()).await.err().unwrap().code(), "WEIR-REDIS-024");
    let nothing = Schema::new(vec![Field::new("name", DataType::Utf8, true)]);
    let empty = RecordBatch::try_new(Arc::new(nothing.clone()), vec![Arc::new(StringArray::from(vec![None::<&str>]))]).unwrap();
    let sink = lab.sink(json!({}), &key, &nothing).await.unwrap();
    assert_eq!(write(sink.as_ref(), empty).await.unwrap_err().code(), "WEIR-REDIS-026");
}
