//! `weir discover`: the streams that a pipeline's sources choose, or everything that a connection could give.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use weir_connect::{Edge, StreamInfo};
use weir_error::{Error, Kind};

use crate::cli::{self, Discover};
use crate::commands::Context;
use crate::outcome::Outcome;
use crate::process::block_on;
use crate::show::number;
use crate::show::table::Table;

pub fn execute(args: &Discover, context: &Context) -> Outcome {
    let (file, connection) = match &args.file {
        Some(file) => (file.clone(), Some(args.target.as_str())),
        None if Path::new(&args.target).is_file() || args.target == "-" => (args.target.clone().into(), None),
        None => {
            return Err(Error::new("WEIR-CLI-050", Kind::Spec, format!("there is no file `{}`", args.target))
                .hint("to discover a connection, name the pipeline file that declares it: weir discover CONNECTION --file FILE")
                .into());
        }
    };
    let opened = crate::planning::open(&cli::File { file, pipeline: args.pipeline.clone() }, args.json, context)?;
    block_on(async {
        let found: Vec<(String, StreamInfo)> = match connection {
            Some(name) => opened.discover(name).await?.into_iter().map(|stream| (name.to_string(), stream)).collect(),
            None => opened.sources().await?,
        };
        let mut out = std::io::stdout();
        if args.json {
            let list: Vec<Value> = found.iter().map(|(origin, stream)| body(origin, stream)).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?)?;
        } else {
            for (origin, stream) in &found {
                write!(out, "{}", text(origin, stream, context))?;
            }
            writeln!(std::io::stderr(), "({})", number::counted(found.len() as u64, "stream", "streams"))?;
        }
        Ok(0)
    })
}

fn text(origin: &str, stream: &StreamInfo, context: &Context) -> String {
    let mut facts = vec![format!("from {origin}")];
    if let Some(rows) = stream.estimated_rows {
        facts.push(format!("about {}", number::rows(rows)));
    }
    if let Some(bytes) = stream.estimated_bytes {
        facts.push(number::bytes(bytes));
    }
    if !stream.reading.is_empty() {
        facts.push(stream.reading.clone());
    }
    let mut text = format!("{}  {}\n", context.out.bold(&stream.name), context.out.dim(&facts.join(" · ")));
    // Text formats have no types of their own.
    let typed = stream.schema.fields().iter().any(|field| source_type(field).is_some());
    let header = if typed { ["column", "type", "arrow", ""] } else { ["column", "", "type", ""] };
    let mut table = Table::new(header).indent(2);
    for field in stream.schema.fields() {
        let mut notes = Vec::new();
        if stream.primary_key.contains(field.name()) {
            notes.push("key".to_string());
        }
        if !field.is_nullable() {
            notes.push("not null".into());
        }
        match Edge::of_source(field) {
            Edge::Exact => {}
            Edge::Widening { note } => notes.push(note),
            Edge::Lossy { reason } => notes.push(format!("LOSSY: {reason}")),
            Edge::Unsupported { reason } => notes.push(format!("UNSUPPORTED: {reason}")),
        }
        let own = source_type(field).unwrap_or_default();
        table.row([field.name().clone(), own, field.data_type().to_string(), notes.join(", ")]);
    }
    text.push_str(&table.render());
    text
}

fn source_type(field: &arrow::datatypes::Field) -> Option<String> {
    field.metadata().get(weir_connect::fidelity::SOURCE_TYPE).cloned()
}

/// A stream as JSON.
pub(super) fn body(origin: &str, stream: &StreamInfo) -> Value {
    let columns: Vec<Value> = stream
        .schema
        .fields()
        .iter()
        .map(|field| {
            json!({
                "name": field.name(), "source_type": source_type(field),
                "arrow": field.data_type().to_string(), "nullable": field.is_nullable(), "edge": Edge::of_source(field),
            })
        })
        .collect();
    json!({
        "from": origin, "name": stream.name, "primary_key": stream.primary_key, "estimated_rows": stream.estimated_rows,
        "estimated_bytes": stream.estimated_bytes, "reading": stream.reading, "columns": columns,
    })
}
