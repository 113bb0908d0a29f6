//! A small source that fails on request, asked through a session.

use std::sync::Arc;

use arrow::array::record_batch;
use arrow::datatypes as arrow_schema;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use weir_connect::{
    DeadLetter, Error, Event, EventStream, Kind, Position, ReadRequest, Result, Source, SourceCapabilities, Split, StreamInfo,
    StreamReader,
};

use crate::{QuerySession, TableName};

/// Two splits: three rows and a broken record, then two rows and perhaps an error.
struct Small {
    fails: bool,
}

fn info() -> StreamInfo {
    let batch = record_batch!(("id", Int64, [1]), ("name", Utf8, ["a"])).unwrap();
    StreamInfo {
        name: "public.small".into(),
        schema: batch.schema(),
        primary_key: vec![],
        estimated_rows: None,
        estimated_bytes: None,
        reading: String::new(),
    }
}

#[async_trait]
impl Source for Small {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: String::new() }
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![info()])
    }
    async fn open(&self, _: ReadRequest) -> Result<Box<dyn StreamReader>> {
        Ok(Box::new(Small { fails: self.fails }))
    }
}

#[async_trait]
impl StreamReader for Small {
    fn schema(&self) -> SchemaRef {
        info().schema
    }
    fn splits(&self) -> Vec<Split> {
        ["0", "1"]
            .map(|id| Split { id: id.into(), descriptor: Default::default(), estimated_rows: None, estimated_bytes: None })
            .into()
    }
    async fn read(&self, split: &Split, _: Option<Position>) -> Result<EventStream> {
        let batch = |records| Ok(Event::Batch(weir_connect::Batch { records, position: None, source_bytes: 0 }));
        let dead = DeadLetter {
            stream: "public.small".into(),
            code: "X".into(),
            reason: String::new(),
            place: String::new(),
            payload: vec![],
            media_type: String::new(),
        };
        let mut events = if split.id == "0" {
            let rows = record_batch!(("id", Int64, [1, 2, 3]), ("name", Utf8, ["a", "b", "c"])).unwrap();
            vec![batch(rows), Ok(Event::Dead(dead))]
        } else {
            vec![batch(record_batch!(("id", Int64, [4, 5]), ("name", Utf8, ["d", "e"])).unwrap())]
        };
        if self.fails && split.id == "1" {
            events.push(Err(Error::new("WEIR-X-001", Kind::Connect, "the server went away")));
        }
        Ok(futures::stream::iter(events).boxed())
    }
}

fn session(fails: bool) -> QuerySession {
    let session = QuerySession::new(64 << 20, 2).unwrap();
    for name in [TableName::new("small"), TableName::new("public2.small"), TableName::of_stream("crm", "public.small")] {
        session.register(&name, Arc::new(Small { fails }), info()).unwrap();
    }
    session
}

async fn ask(session: &QuerySession, sql: &str) -> Result<String> {
    let mut answer = session.sql(sql).await?;
    let mut batches = Vec::new();
    while let Some(batch) = answer.next().await? {
        batches.push(batch);
    }
    Ok(arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string())
}

#[tokio::test]
async fn every_split_is_read_once_and_broken_records_are_counted() {
    let session = session(false);
    let text = ask(&session, "select count(*) as n, sum(id) as s, max(name) as m from small").await.unwrap();
    assert!(text.contains("| 5 | 15 | e |"), "{text}");
    assert_eq!(session.broken_records(), 1);
}

#[tokio::test]
async fn projection_and_limit_hold() {
    let text = ask(&session(false), "select name from small order by id limit 2").await.unwrap();
    assert!(text.contains("| a ") && text.contains("| b ") && !text.contains("| c ") && !text.contains("id"), "{text}");
}

#[tokio::test]
async fn tables_are_found_under_one_two_and_three_names() {
    let session = session(false);
    assert_eq!(session.tables(), ["crm.public.small", "public2.small", "small"]);
    for name in session.tables() {
        assert!(ask(&session, &format!("select sum(id) as s from {name}")).await.unwrap().contains("| 15 |"), "{name}");
    }
    let named = session.tables_of("with a as (select 1) select * from a, crm.public.small, other").unwrap();
    assert_eq!(named.iter().map(ToString::to_string).collect::<Vec<_>>(), ["other", "crm.public.small"]);
}

#[tokio::test]
async fn an_error_of_the_source_comes_out_as_itself() {
    let error = ask(&session(true), "select sum(id) from small").await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("WEIR-X-001", 3), "{error}");
}

#[tokio::test]
async fn writing_is_refused() {
    let session = session(false);
    for sql in [
        "drop table small",
        "insert into small values (4, 'x')",
        "copy small to '/tmp/x.parquet'",
        "set datafusion.execution.batch_size = 1",
        "create external table x stored as parquet location '/etc'",
    ] {
        let error = ask(&session, sql).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("WEIR-QUERY-007", 2), "{sql}: {error}");
    }
}

#[tokio::test]
async fn mistakes_are_told_with_what_there_is() {
    let session = session(false);
    assert_eq!(ask(&session, "selec 1").await.unwrap_err().code(), "WEIR-QUERY-003");
    let missing = ask(&session, "select nope from small").await.unwrap_err();
    assert!(missing.to_string().contains("nope"), "{missing}");
    let missing = ask(&session, "select 1 from orders").await.unwrap_err();
    assert_eq!(missing.advice(), Some("tables here: crm.public.small, public2.small, small"));
}
