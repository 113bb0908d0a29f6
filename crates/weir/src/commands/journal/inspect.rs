//! `weir journal inspect`: changes as they stand in the journal.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use weir_connect::{ChangeBatch, TransactionMark};
use weir_engine::codec::Record;
use weir_engine::look;
use weir_error::{Error, Kind, Result};

use crate::cli::JournalInspect;
use crate::commands::Context;
use crate::commands::state::existing;
use crate::outcome::{Failure, Outcome};
use crate::process::block_on;
use crate::show::{number, rows};

/// What stands for a value that the log does not have: it did not change, or nobody needs it.
const ABSENT: &str = "(absent)";

/// A time of a log, for people and machines.
pub(super) fn time(us: i64) -> String {
    DateTime::from_timestamp_micros(us).map_or_else(|| us.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

pub(super) fn execute(args: &JournalInspect, context: &Context) -> Outcome {
    let (pipeline, journals) = super::opened(&args.file, &args.state, args.json, context)?;
    block_on(async {
        let folder = &args.state.state_dir;
        existing(folder).await?;
        let nodes = look::sources(journals.clone(), &pipeline).await?;
        if nodes.is_empty() {
            return Err(super::none_yet(&pipeline, folder));
        }
        let mut page = Page { args, masked: BTreeSet::new(), left: args.limit, group: Vec::new() };
        let mut more = None;
        for node in &nodes {
            if nodes.len() > 1 && !args.json {
                writeln!(std::io::stderr(), "{}", context.err.bold(node))?;
            }
            let from = match args.from {
                Some(from) => from,
                None => look::first(journals.clone(), &pipeline, node).await?,
            };
            let mut records = look::records(journals.clone(), &pipeline, node, from).await?;
            while let Some((seq, record)) = records.read().await? {
                if page.left == 0 {
                    more = Some(seq);
                    break;
                }
                page.record(seq, record, context)?;
            }
            page.flush(context)?;
        }
        let mut err = std::io::stderr();
        if !args.json {
            let shown = number::counted((args.limit - page.left) as u64, "change", "changes");
            match more {
                Some(seq) => writeln!(err, "({shown}; there is more, up to boundary {seq} and beyond: --limit or --from)")?,
                None => writeln!(err, "({shown})")?,
            }
        }
        if !page.masked.is_empty() {
            let names = page.masked.into_iter().collect::<Vec<_>>().join(", ");
            writeln!(err, "masked because the name looks personal: {names} (--show prints the values)")?;
        }
        Ok(0)
    })
}

/// What is being printed.
struct Page<'a> {
    args: &'a JournalInspect,
    masked: BTreeSet<String>,
    left: usize,
    /// Batches of one stream in one shape, which become one table.
    group: Vec<(u64, ChangeBatch)>,
}

impl Page<'_> {
    fn record(&mut self, seq: u64, record: Record, context: &Context) -> Result<(), Failure> {
        let (stream, what, about) = match record {
            Record::Changes(batch) => return self.changes(seq, batch, context),
            Record::Truncate(stream, mark) => {
                let told = json!({"position": &*mark.position, "committed_at": time(mark.committed_at_us)});
                (stream.to_string(), "truncate", told)
            }
            Record::Schema(change) => {
                let column = |field: &Arc<Field>| json!({"name": field.name(), "type": field.data_type().to_string()});
                let columns: Vec<Value> = change.schema.fields().iter().map(column).collect();
                (change.stream.to_string(), "schema", json!({"columns": columns, "key": change.key, "renamed": change.renamed}))
            }
            // Its reason and bytes may show what is masked here: `weir dead show` has them.
            Record::Dead(letter) => (letter.stream, "dead", json!({"code": letter.code, "place": letter.place})),
            Record::Boundary(_) => return Ok(()),
        };
        if self.args.stream.as_ref().is_some_and(|wanted| *wanted != stream) {
            return Ok(());
        }
        self.flush(context)?;
        self.left -= 1;
        let mut out = std::io::stdout();
        if self.args.json {
            let mut line = json!({"seq": seq, "stream": stream, "event": what});
            if let (Some(line), Some(about)) = (line.as_object_mut(), about.as_object()) {
                line.extend(about.clone());
            }
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{seq}  {stream}  {what}  {about}")?;
        }
        Ok(())
    }

    fn changes(&mut self, seq: u64, batch: ChangeBatch, context: &Context) -> Result<(), Failure> {
        if self.args.stream.as_ref().is_some_and(|wanted| **wanted != *batch.stream) {
            return Ok(());
        }
        let other = |(_, first): &(u64, ChangeBatch)| first.stream != batch.stream || first.rows.schema() != batch.rows.schema();
        if self.group.first().is_some_and(other) {
            self.flush(context)?;
        }
        let rows = batch.ops.len().min(self.left);
        self.left -= rows;
        let cut = ChangeBatch { rows: batch.rows.slice(0, rows), ops: batch.ops[..rows].to_vec(), ..batch };
        if self.args.json {
            return self.lines(seq, cut);
        }
        self.group.push((seq, cut));
        Ok(())
    }

    fn mask(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.args.show {
            return Ok(batch.clone());
        }
        let (batch, names) = rows::mask(batch)?;
        self.masked.extend(names);
        Ok(batch)
    }

    fn lines(&mut self, seq: u64, batch: ChangeBatch) -> Result<(), Failure> {
        let rows = self.mask(&batch.rows)?;
        let mut out = std::io::stdout();
        for row in 0..batch.ops.len() {
            let (here, absent): (Vec<usize>, Vec<usize>) =
                (0..rows.num_columns()).partition(|&column| !lacks(&batch, column, row));
            let names: Vec<String> = absent.iter().map(|&column| rows.schema().field(column).name().clone()).collect();
            let mut line = json!({"seq": seq, "stream": &*batch.stream, "op": batch.ops[row].as_str()});
            if let Some(mark) = mark(&batch, row) {
                line["position"] = json!(&*mark.position);
                line["committed_at"] = json!(time(mark.committed_at_us));
            }
            line["absent"] = json!(names);
            // The row as Arrow writes it, which keeps every digit.
            let mut text = Vec::new();
            rows::json_lines(&mut text, &rows.slice(row, 1).project(&here).map_err(cannot)?)?;
            let head = line.to_string();
            let body = String::from_utf8_lossy(&text);
            writeln!(out, "{},\"row\":{}}}", head.trim_end_matches('}'), body.trim_end())?;
        }
        Ok(())
    }

    /// Prints what was gathered.
    fn flush(&mut self, context: &Context) -> Result<(), Failure> {
        let group = std::mem::take(&mut self.group);
        let Some((_, first)) = group.first() else { return Ok(()) };
        writeln!(std::io::stderr(), "{}", context.err.bold(&first.stream))?;
        let mut tables = Vec::new();
        for (seq, batch) in &group {
            let rows = self.mask(&batch.rows)?;
            tables.push(texts(*seq, batch, &rows)?);
        }
        let schema = tables[0].schema();
        write!(std::io::stdout(), "{}", rows::table(&schema, &tables)?)?;
        Ok(())
    }
}

fn lacks(batch: &ChangeBatch, column: usize, row: usize) -> bool {
    matches!(batch.absent.get(column), Some(Some(bits)) if bits.value(row))
}

fn mark(batch: &ChangeBatch, row: usize) -> Option<&TransactionMark> {
    batch.transactions.iter().find(|mark| row < mark.end)
}

/// A batch as texts, with what stands about each change before it.
fn texts(seq: u64, batch: &ChangeBatch, rows: &RecordBatch) -> Result<RecordBatch> {
    let count = batch.ops.len();
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let mut fields = vec![text("boundary"), text("op"), text("position"), text("committed")];
    let marks = || (0..count).map(|row| mark(batch, row));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new((0..count).map(|_| Some(seq.to_string())).collect::<StringArray>()),
        Arc::new(batch.ops.iter().map(|op| Some(op.as_str())).collect::<StringArray>()),
        Arc::new(marks().map(|mark| mark.map(|mark| mark.position.to_string())).collect::<StringArray>()),
        Arc::new(marks().map(|mark| mark.map(|mark| time(mark.committed_at_us))).collect::<StringArray>()),
    ];
    let options = FormatOptions::default().with_display_error(true);
    for (at, (field, column)) in rows.schema().fields().iter().zip(rows.columns()).enumerate() {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(cannot)?;
        let nulls = column.logical_nulls();
        let cell = |row: usize| match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            _ if lacks(batch, at, row) => Some(ABSENT.to_owned()),
            true => None,
            false => Some(formatter.value(row).to_string()),
        };
        fields.push(text(field.name()));
        columns.push(Arc::new((0..count).map(cell).collect::<StringArray>()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(cannot)
}

fn cannot(error: arrow::error::ArrowError) -> Error {
    Error::new("WEIR-CLI-072", Kind::Data, "these changes cannot be printed").caused_by(error)
}
