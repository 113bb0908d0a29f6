//! What a row becomes, and messages that nobody takes.

use weir_connect::{Kind, Retry};

use super::*;

async fn write(sink: &dyn StreamSink, batch: RecordBatch) -> Result<u64> {
    let mut writer = sink.writer(0).await?;
    writer.write(batch).await?;
    let flushed = writer.flush(&barrier()).await?;
    Ok(sink.commit(&[flushed.token]).await?.rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_a_persistent_message_with_the_id_that_its_column_says() {
    let lab = Lab::new();
    lab.queue("t", FieldTable::default()).await;
    let options = json!({"message_id_column": "id", "headers": {"from": "weir"}, "max_buffer_bytes": 1000});
    let sink = lab.sink(options, "t", &plain_schema()).await.unwrap();
    assert_eq!(write(sink.as_ref(), rows(0..100)).await.unwrap(), 100);
    let messages = lab.messages("t").await;
    assert_eq!(messages.len(), 100);
    for (at, message) in messages.iter().enumerate() {
        let body: Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(body, json!({"id": at, "name": format!("row {at}")}));
        let properties = &message.properties;
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), at.to_string());
        assert_eq!(
            (*properties.delivery_mode(), properties.content_type().as_ref().unwrap().as_str()),
            (Some(2), "application/json")
        );
        let headers = properties.headers().as_ref().unwrap();
        assert_eq!(headers.inner().get("from"), Some(&AMQPValue::LongString("weir".into())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_no_queue_takes_is_an_error_unless_that_is_wanted() {
    let lab = Lab::new();
    let missing = lab.sink(json!({}), "nobody", &plain_schema()).await.err().unwrap();
    assert_eq!((missing.code(), missing.kind()), ("WEIR-RABBITMQ-005", Kind::NotFound), "{missing}");
    let missing = lab.sink(json!({"exchange": "none"}), "t", &plain_schema()).await.err().unwrap();
    assert_eq!(missing.code(), "WEIR-RABBITMQ-005");
    // Routing keys that are only known row by row: `row 0` has a queue, `row 1` has none.
    lab.queue("row 0", FieldTable::default()).await;
    let by_column = json!({"routing_key_column": "name"});
    let sink = lab.sink(by_column.clone(), "t", &plain_schema()).await.unwrap();
    assert_eq!(write(sink.as_ref(), rows(0..1)).await.unwrap(), 1);
    let error = write(sink.as_ref(), rows(0..2)).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-RABBITMQ-032", Retry::Never), "{error}");
    assert!(error.to_string().contains("`row 1`"), "{error}");
    let lossy = lab.sink(with(by_column, json!({"mandatory": false})), "t", &plain_schema()).await.unwrap();
    assert_eq!(write(lossy.as_ref(), rows(0..2)).await.unwrap(), 2);
    assert_eq!(lab.messages("row 0").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_full_refuses_and_nothing_is_said_to_be_durable() {
    let lab = Lab::new();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(5));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    lab.queue("t", arguments).await;
    let sink = lab.sink(json!({}), "t", &plain_schema()).await.unwrap();
    let error = write(sink.as_ref(), rows(0..100)).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-RABBITMQ-033", Retry::Transient), "{error}");
}
