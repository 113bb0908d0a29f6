//! Rows of a table as its stream has them, by their keys: for rows that are changed on the way, which no server can compare.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use serde_json::Value;
use weir_connect::verify::{Gathered, Key, VerifyRows, VerifySource};
use weir_connect::{Error, Result};

use super::super::catalog::TypeContext;
use super::super::client::{Client, Payload};
use super::super::copy_decode::Decoder;
use super::super::quote::ident;
use super::super::types::Travel;
use super::keys::Keys;
use super::{Table, VERSION, point};

/// Some columns of the rows for which a condition holds, a text of each, and why a row has no place in Arrow (it is left out).
pub(super) async fn select(
    table: &Table,
    client: &mut Client,
    names: &[&str],
    text: &str,
    (condition, parameters): (&str, &[String]),
) -> Result<(RecordBatch, Vec<String>, Option<String>)> {
    let types = TypeContext::load(client, table.raw.iter().map(|column| column.type_oid)).await?;
    let raw = names.iter().filter_map(|name| table.raw.iter().find(|column| column.name == *name));
    let columns = types.source_columns(raw, &table.on_loss);
    let selected: Vec<String> =
        columns.iter().map(|column| column.select.expression(&format!("t.{}", ident(&column.name)))).collect();
    let (from, visible) = table.visible();
    let sql = format!("SELECT {}, {text} {from} WHERE {visible} AND {condition}", selected.join(", "));
    let mut fields: Vec<Field> = columns.iter().map(|column| column.field.clone()).collect();
    fields.push(Field::new("weir text", DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields));
    let travels: Vec<Travel> = columns.into_iter().map(|column| column.travel).chain([Travel::Text]).collect();
    let mut decoder = Decoder::new(schema.clone(), &travels);
    let parameters: Vec<Option<&str>> = parameters.iter().map(|text| Some(text.as_str())).collect();
    client.portal(&sql, &parameters).await?;
    let more = |decoder: &mut Decoder, payload: Payload<'_>| match payload {
        Payload::Copy(bytes) => decoder.feed(bytes),
        Payload::Row(row) => decoder.feed_row(row),
    };
    while client.fetch(|payload| more(&mut decoder, payload).map(|()| false)).await? {}
    let dead = decoder.take_dead().into_iter().next().map(|dead| {
        let column = schema.fields().get(dead.column).map(|field| field.name().clone()).unwrap_or_default();
        format!("column `{column}`: {}", dead.reason)
    });
    let batch = decoder.take_batch()?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
    let last = batch.num_columns() - 1;
    let texts = batch.column(last).as_string::<i32>();
    let texts = (0..texts.len()).map(|row| texts.value(row).to_string()).collect();
    let kept: Vec<usize> = (0..last).collect();
    let batch = batch.project(&kept).map_err(|error| Error::internal("columns cannot be chosen").caused_by(error))?;
    Ok((batch, texts, dead))
}

impl Table {
    async fn gather(&self, client: &mut Client, names: &[String], wanted: &[Key]) -> Result<Gathered> {
        let cast = |name: &String| {
            let column = self.columns.iter().find(|column| column.name == *name);
            column.map(|column| (column.name.as_str(), column.cast.as_str()))
        };
        let columns: Option<Vec<_>> = names.iter().map(cast).collect();
        let columns = columns.ok_or_else(|| Error::internal("a column of the key is not there").at(self.name.display()))?;
        let keys = Keys::new(columns, "");
        let mut known = wanted.to_vec();
        if !self.valid(client, &keys, wanted).await? {
            // What is no value of the type is in no row.
            known.clear();
            for key in wanted {
                if self.valid(client, &keys, std::slice::from_ref(key)).await? {
                    known.push(key.clone());
                }
            }
        }
        let (condition, parameters) =
            if known.is_empty() { ("false".to_string(), Vec::new()) } else { keys.condition(&known, true) };
        let all: Vec<&str> = self.raw.iter().map(|column| column.name.as_str()).collect();
        let text = if self.versioned { VERSION } else { "''" };
        let (rows, versions, _) = select(self, client, &all, text, (&condition, &parameters)).await?;
        Ok(Gathered { rows, versions: self.versioned.then_some(versions), point: point(client).await? })
    }
}

#[async_trait]
impl VerifyRows for Table {
    fn seeks(&self) -> bool {
        true
    }

    fn versioned(&self) -> bool {
        self.versioned
    }

    async fn of_keys(&self, names: &[String], keys: &[Key]) -> Result<Gathered> {
        let mut client = self.client().await?;
        client.about(&self.name.display());
        let gathered = self.gather(&mut client, names, keys).await;
        self.give_back(client).await;
        gathered
    }

    fn reached(&self, position: &Value, point: &Value) -> bool {
        VerifySource::reached(self, position, point)
    }

    async fn nudge(&self) {
        VerifySource::nudge(self).await;
    }
}
