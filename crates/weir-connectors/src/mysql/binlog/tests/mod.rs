//! Against real servers of both families. `SELECT` and the servers' own functions are the oracle.

mod charsets;
mod damage;
mod gtids;
mod matrix;
mod streams;

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use weir_connect::{OnLoss, Result};
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::super::catalog::{self, Shape};
use super::super::client::Client;
use super::super::config::{Address, ConnectionOptions, parse};
use super::super::quote::TableName;
use super::super::types::{SourceColumn, source_column};
use super::super::values::{DeadRow, Decoder};
use super::*;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};

const BOTH: [Flavor; 2] = [Flavor::MySql, Flavor::MariaDb];

fn database_of(flavor: Flavor) -> MysqlDatabase {
    MysqlServer::shared(flavor).unwrap().create_database().unwrap()
}

fn address(url: &str) -> Address {
    parse::<ConnectionOptions>(&json!({ "url": url }), "connection").unwrap().address(Path::new(".")).unwrap()
}

async fn client(url: &str) -> Client {
    Client::connect(&address(url)).await.unwrap()
}

/// Where the log ends now.
fn end_of_log(database: &MysqlDatabase) -> StartAt {
    let row = database.rows("SHOW MASTER STATUS").unwrap().remove(0);
    StartAt::File { file: row[0].clone().unwrap(), position: row[1].as_deref().unwrap().parse().unwrap() }
}

fn server_id() -> u32 {
    rand::random_range(1000..u32::MAX)
}

async fn stream(url: &str, start: StartAt) -> BinlogStream {
    BinlogStream::open(client(url).await, start, server_id(), Duration::from_secs(5)).await.unwrap()
}

/// Does something, marks the end of it in the log, and gives all events up to there, with those of others.
async fn everything(database: &MysqlDatabase, start: StartAt) -> Vec<Event> {
    database.execute("CREATE TABLE IF NOT EXISTS the_end (i INT); INSERT INTO the_end VALUES (1)").unwrap();
    let mut stream = stream(database.url(), start).await;
    let mut events = Vec::new();
    loop {
        let event = stream.next().await.unwrap();
        let end =
            matches!(&event.body, Body::Rows(rows) if rows.table.schema == database.name() && rows.table.table == "the_end");
        events.push(event);
        if end {
            return events;
        }
    }
}

/// The rows events of one table.
fn of_table<'e>(events: &'e [Event], database: &MysqlDatabase, table: &str) -> Vec<&'e RowsEvent> {
    let ours = |event: &'e Event| match &event.body {
        Body::Rows(rows) if rows.table.schema == database.name() && rows.table.table == table => Some(rows),
        _ => None,
    };
    events.iter().filter_map(ours).collect()
}

fn columns_of(shape: &Shape, on_loss: &OnLoss) -> Vec<SourceColumn> {
    shape
        .columns
        .iter()
        .map(|column| source_column(&column.name, &column.of, &column.type_name, column.not_null, false, on_loss).unwrap())
        .collect()
}

fn schema_of(columns: &[SourceColumn]) -> arrow::datatypes::SchemaRef {
    Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<Field>>()).into()
}

type Read = (Option<RecordBatch>, Vec<DeadRow>);

/// A table's columns, and its rows as the batch reader gives them.
async fn selected(database: &MysqlDatabase, table: &str, on_loss: &OnLoss) -> Result<(Shape, Vec<SourceColumn>, Read)> {
    let mut client = client(database.url()).await;
    let name = TableName::new(database.name(), table);
    let shape = catalog::shape(&mut client, &name).await?;
    let columns = columns_of(&shape, on_loss);
    let list: Vec<&str> = columns.iter().map(|column| column.select.as_str()).collect();
    let kinds = client.portal(&format!("SELECT {} FROM `{table}` ORDER BY id", list.join(", ")), &[]).await?;
    let mut decoder = Decoder::new(schema_of(&columns), &columns, kinds);
    client
        .fetch(|row| {
            decoder.feed(row, table)?;
            Ok(false)
        })
        .await?;
    let read = (decoder.take_batch()?.map(|(batch, _)| batch), decoder.take_dead());
    Ok((shape, columns, read))
}

/// The images after (of inserts and updates) in these events.
fn logged(rows: &[&RowsEvent], shape: &Shape, columns: &[SourceColumn]) -> Result<Read> {
    let wanted: Vec<Wanted<'_>> =
        shape.columns.iter().zip(columns).enumerate().map(|(index, (column, to))| Wanted { index, column, to }).collect();
    let mut decoder: Option<Decoder> = None;
    for event in rows {
        let mut translator = Translator::new(&event.table, &wanted, "test")?;
        let decoder = decoder.get_or_insert_with(|| Decoder::new(schema_of(columns), columns, translator.kinds()));
        for row in event.rows() {
            let row = row?;
            if let Some(after) = &row.after {
                decoder.feed(translator.row(after, row.before.as_ref())?, "test")?;
            }
        }
    }
    let mut decoder = decoder.expect("no rows in the log");
    Ok((decoder.take_batch()?.map(|(batch, _)| batch), decoder.take_dead()))
}

/// What differs between the two ways of reading, in words; `None` if nothing does.
fn difference(from_select: &Read, from_log: &Read) -> Option<String> {
    let dead = |read: &Read| -> Vec<_> {
        read.1
            .iter()
            .map(|dead| (dead.column, dead.reason.to_string(), String::from_utf8_lossy(&dead.payload).into_owned()))
            .collect()
    };
    if dead(from_select) != dead(from_log) {
        return Some(format!("dead rows {:?} and {:?}", dead(from_select), dead(from_log)));
    }
    match (&from_select.0, &from_log.0) {
        // By bits, so that -0 and NaN count.
        (Some(a), Some(b))
            if a.columns().iter().zip(b.columns()).all(|(a, b)| a.to_data() == b.to_data() && bits(a) == bits(b)) =>
        {
            None
        }
        (None, None) => None,
        (a, b) => Some(format!("{a:?}\n and \n{b:?}")),
    }
}

fn bits(array: &arrow::array::ArrayRef) -> Vec<Vec<u8>> {
    array.to_data().buffers().iter().map(|buffer| buffer.as_slice().to_vec()).collect()
}
