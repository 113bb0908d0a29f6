//! Dead letters once more: the kept record, into the columns as they are now.

use serde_json::{Value, json};
use weir_connect::{DeadLetter, Event, Source};

use super::server::{Api, Reply};
use super::{Read, connection, read_all, source};

async fn again(source: &dyn Source, letter: &DeadLetter) -> Result<Vec<String>, String> {
    let mut read = Read::default();
    for event in source.redecode(&letter.stream, letter).await.unwrap() {
        match event {
            Event::Batch(batch) => read.batches.push((batch.records, batch.position)),
            Event::Dead(dead) => return Err(dead.reason),
            other => panic!("{other:?}"),
        }
    }
    Ok(read.lines())
}

fn options(columns: Value, more: Value) -> Value {
    let mut options = json!({"path": "x", "records": "data", "columns": columns, "sample_pages": 0});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

#[tokio::test]
async fn a_letter_is_decoded_with_the_columns_and_options_as_they_are_now() {
    let records = json!([
        {"id": 1, "price": "1.50"},
        {"id": 2, "price": "n/a"},
        {"id": 3, "price": "3.00", "extra": {"deep": [1]}},
        {"id": "four", "price": "4.00"}
    ]);
    let api = Api::start(move |_| Reply::json(json!({"data": records}))).await;
    let here = || connection(&api.base, json!({}));
    let strict = json!({"id": "int64", "price": "decimal(9,2)"});
    let read = read_all(here(), options(strict.clone(), json!({"unknown_keys": "dead_letter"}))).await.unwrap();
    assert_eq!((read.ids(), read.dead.len()), (vec![1], 3));

    let unchanged = source(here(), options(strict.clone(), json!({"unknown_keys": "dead_letter"}))).await.unwrap();
    for letter in &read.dead {
        assert_eq!(again(unchanged.as_ref(), letter).await, Err(letter.reason.clone()), "nothing was mended");
    }
    let text = source(here(), options(json!({"id": "int64", "price": "text"}), json!({"unknown_keys": "ignore"}))).await.unwrap();
    let rows: Vec<_> = [again(text.as_ref(), &read.dead[0]).await, again(text.as_ref(), &read.dead[1]).await].into();
    assert_eq!(rows, [Ok(vec![r#"{"id":2,"price":"n/a"}"#.to_owned()]), Ok(vec![r#"{"id":3,"price":"3.00"}"#.to_owned()])]);
    assert!(again(text.as_ref(), &read.dead[2]).await.unwrap_err().contains("four"));
    let flat = json!({"id": "int64", "price": "decimal(9,2)", "extra_deep": "json"});
    let flat = source(here(), options(flat, json!({"flatten": true}))).await.unwrap();
    assert_eq!(again(flat.as_ref(), &read.dead[1]).await, Ok(vec![r#"{"id":3,"price":3.00,"extra_deep":"[1]"}"#.to_owned()]));
}

#[tokio::test]
async fn a_record_of_which_only_the_beginning_was_kept_stays() {
    let long = "z".repeat(2 << 20);
    let api = Api::start(move |_| Reply::json(json!({"data": [{"id": 1}, {"id": long}]}))).await;
    let read = read_all(connection(&api.base, json!({})), options(json!({"id": "int64"}), json!({}))).await.unwrap();
    assert_eq!((read.ids(), read.dead.len()), (vec![1], 1));
    let mended = source(connection(&api.base, json!({})), options(json!({"id": "text"}), json!({}))).await.unwrap();
    assert!(again(mended.as_ref(), &read.dead[0]).await.unwrap_err().contains("only the beginning"));
}
