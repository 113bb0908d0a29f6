//! A small source that fails on request, asked through a session.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use weir_connect::{
    DeadLetter, Error, Event, EventStream, Kind, Position, ReadRequest, Result, Source, SourceCapabilities, Split, StreamInfo,
    StreamReader,
};

use crate::{QuerySession, TableName};

/// Two splits: three rows and a broken record, then two rows and perhaps an error.
#[derive(Clone, Copy)]
struct Small {
    fails: bool,
    /// What it says of its ids, which are never NULL then.
    says: Option<&'static str>,
}

/// Each row is of the minute of its id.
fn rows(ids: &[i64], names: &[&str]) -> RecordBatch {
    let at = TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| id * 60_000_000));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("name", Arc::new(StringArray::from(names.to_vec()))),
        ("at", Arc::new(at)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

impl Small {
    fn schema(self) -> SchemaRef {
        let mut schema = Schema::clone(&rows(&[], &[]).schema());
        if let Some(says) = self.says {
            let id = schema.field(0).clone().with_nullable(false).with_metadata([("said".to_owned(), says.to_owned())].into());
            schema = Schema::new([vec![Arc::new(id)], schema.fields()[1..].to_vec()].concat());
        }
        Arc::new(schema)
    }

    fn rows(self, ids: &[i64], names: &[&str]) -> RecordBatch {
        RecordBatch::try_new(self.schema(), rows(ids, names).columns().to_vec()).unwrap()
    }
}

fn info(small: Small) -> StreamInfo {
    StreamInfo {
        name: "public.small".into(),
        schema: small.schema(),
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
        Ok(vec![info(*self)])
    }
    async fn open(&self, _: ReadRequest) -> Result<Box<dyn StreamReader>> {
        Ok(Box::new(*self))
    }
}

#[async_trait]
impl StreamReader for Small {
    fn schema(&self) -> SchemaRef {
        Small::schema(*self)
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
            vec![batch(self.rows(&[1, 2, 3], &["a", "b", "c"])), Ok(Event::Dead(dead))]
        } else {
            vec![batch(self.rows(&[4, 5], &["d", "e"]))]
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
        let small = Small { fails, says: None };
        session.register(&name, Arc::new(small), info(small)).unwrap();
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
async fn what_sources_say_of_a_column_beside_its_type_does_not_part_them() {
    let session = QuerySession::new(64 << 20, 2).unwrap();
    for (name, says) in [("a", Some("this")), ("b", Some("that")), ("c", None)] {
        let small = Small { fails: false, says };
        session.register(&TableName::bare(name), Arc::new(small), info(small)).unwrap();
    }
    let side =
        |name: &str| format!("SELECT CASE WHEN id IS NULL THEN NULL ELSE CAST(id AS VARCHAR) END AS id, id AS n FROM {name}");
    let all = ["a", "b", "c"].map(side).join(" UNION ALL ");
    let sql = format!("SELECT id, count(*) AS times, sum(n) AS n FROM ({all}) GROUP BY id ORDER BY id LIMIT 1");
    let text = ask(&session, &sql);
    assert!(text.await.unwrap().contains("| 1  | 3     | 3 |"));
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
        "insert into small values (4, 'x', null)",
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

#[tokio::test]
async fn windows_are_those_of_the_sql_transform() {
    let session = session(false);
    for (table, expected) in [
        (
            "TABLE(TUMBLE(TABLE small, DESCRIPTOR(at), INTERVAL '2' MINUTES))",
            ["00:00:00,1,1", "00:02:00,2,5", "00:04:00,2,9"].as_slice(),
        ),
        ("tumble(table crm.public.small, descriptor(at), interval '4' minutes) AS t", &["00:00:00,3,6", "00:04:00,2,9"]),
        (
            "HOP(TABLE small, DESCRIPTOR(at), INTERVAL '2' MINUTES, INTERVAL '4' MINUTES)",
            &["23:58:00,1,1", "00:00:00,3,6", "00:02:00,4,14", "00:04:00,2,9"],
        ),
        ("CUMULATE(TABLE small, DESCRIPTOR(at), INTERVAL '3' MINUTES, INTERVAL '6' MINUTES)", &["00:00:00,7,18"]),
        (
            "SESSION((SELECT * FROM small WHERE id <> 3), DESCRIPTOR(at), INTERVAL '90' SECONDS)",
            &["00:01:00,2,3", "00:04:00,2,9"],
        ),
        (
            "SESSION(TABLE public2.small PARTITION BY (name), DESCRIPTOR(at), INTERVAL '1' DAY) WHERE id < 3",
            &["00:01:00,1,1", "00:02:00,1,2"],
        ),
    ] {
        let text =
            "CAST(CAST(window_start AS TIME) AS VARCHAR) || ',' || CAST(count(*) AS VARCHAR) || ',' || CAST(sum(id) AS VARCHAR)";
        let sql = format!("SELECT {text} AS line FROM {table} GROUP BY window_start ORDER BY window_start");
        let text = ask(&session, &sql).await.unwrap_or_else(|error| panic!("{table}: {error}"));
        let rows = text.lines().skip(3).filter_map(|line| line.strip_prefix("| "));
        let lines: Vec<&str> = rows.map(|line| line.trim_end_matches(['|', ' '])).collect();
        assert_eq!(lines, expected, "{table}\n{text}");
    }
}

#[tokio::test]
async fn the_tables_of_windows_are_named_and_common_table_expressions_are_not() {
    let session = session(false);
    let sql = "WITH early AS (SELECT * FROM other) \
               SELECT 1 FROM TABLE(TUMBLE(TABLE early, DESCRIPTOR(at), INTERVAL '1' DAY)), \
               SESSION(TABLE crm.public.small PARTITION BY name, DESCRIPTOR(at), INTERVAL '1' DAY) s, hop";
    let mut named: Vec<String> = session.tables_of(sql).unwrap().iter().map(ToString::to_string).collect();
    named.sort();
    assert_eq!(named, ["crm.public.small", "hop", "other"]);
    let sql = "EXPLAIN SELECT * FROM TUMBLE(TABLE small, DESCRIPTOR(at), INTERVAL '1' DAY)";
    assert_eq!(session.tables_of(sql).unwrap().len(), 1);
    let explained = ask(&session, sql).await.unwrap();
    assert!(explained.contains("TableScan: small"), "{explained}");
}

#[tokio::test]
async fn mistakes_in_windows_say_where() {
    let session = session(false);
    for (sql, told) in [
        ("SELECT * FROM TUMBLE(small, DESCRIPTOR(at), INTERVAL '1' DAY)", "write `TABLE small`"),
        ("SELECT * FROM TUMBLE(TABLE small, DESCRIPTOR(name), INTERVAL '1' DAY)", "no timestamp"),
        ("SELECT * FROM TUMBLE(TABLE small, DESCRIPTOR(at), INTERVAL '1' MONTH)", "no fixed length"),
        ("SELECT * FROM TUMBLE(TABLE nowhere, DESCRIPTOR(at), INTERVAL '1' DAY)", "nowhere"),
    ] {
        let error = ask(&session, sql).await.unwrap_err().to_string();
        assert!(error.contains(told), "{sql}: {error}");
    }
}
