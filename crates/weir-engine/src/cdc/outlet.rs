//! From a stream's changes to those that one target gets: through the flow's program, and with the columns about changes.
//!
//! The sink stays equal to the filtered source:
//!
//! * a delete passes always, with what the program leaves of its columns unchanged (its key, at least);
//! * an update whose new row the filter takes out becomes a delete of its key: the row may have passed before. A create, or a row of the
//!   snapshot, that does not pass is left out;
//! * a value that the log leaves out (absent) stays absent in a column that passes unchanged, and in one that is computed from absent
//!   values only: neither has changed. A filter that needs it, or an expression over it and values that are there, cannot be computed:
//!   that is an error, never a computation with NULL;
//! * a row that the program cannot compute is a dead letter, and the target keeps what it has.
//!
//! Rows read = written + filtered + dead; an update that became a delete counts as filtered.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, interleave, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use serde_json::{Value, json};
use weir_connect::{ChangeBatch, DeadLetter, DeleteMode, Op, SchemaChange, StreamInfo, TransactionMark};
use weir_error::{Error, Kind, Result};
use weir_plan::changes::with_metadata;
use weir_plan::gates::count;
use weir_plan::{ColumnWay, Flow, FlowOutput, Gate, MetadataColumn, OutputWay, Passed, Replan, RowOutput, RowProgram, RuleCount};

use super::codec;
use super::shape::Shape;

/// Makes outlets of one target for the shapes that its stream has.
pub(super) struct Maker {
    replan: Option<Arc<dyn Replan>>,
    stream: StreamInfo,
    /// Place among the flow's outputs.
    output: usize,
    metadata: Vec<MetadataColumn>,
    /// The key that the pipeline gives, if it is not the stream's.
    key: Option<Vec<String>>,
    deletes: DeleteMode,
    gates: Arc<[Gate]>,
}

/// The way of one stream, in one shape, into one target.
pub(super) struct Outlet {
    way: Option<Way>,
    metadata: Vec<MetadataColumn>,
    /// Of the target.
    pub schema: SchemaRef,
    /// Of the target.
    pub key: Vec<String>,
    /// The schema of what is sent: every column may be NULL.
    sent: SchemaRef,
    deletes: DeleteMode,
    /// Of the flow.
    gates: Arc<[Gate]>,
    /// Place among the flow's outputs: what leads to several is counted on the way to the first.
    output: usize,
}

/// What the program does for this target.
struct Way {
    /// `None`: the transforms do not fit this shape any more. Nothing passes; what the target has is known all the same.
    program: Option<Arc<dyn RowProgram>>,
    output: usize,
    made_of: OutputWay,
    /// What it was planned for.
    input: SchemaRef,
    /// Places of the key columns in the output.
    key: Vec<usize>,
}

/// What became of a batch.
pub(super) struct Sent {
    /// For the target; `None`: nothing is left.
    pub batch: Option<ChangeBatch>,
    pub written: u64,
    pub filtered: u64,
    pub dead: Vec<DeadLetter>,
    /// What the rules of the way counted.
    pub rules: Vec<RuleCount>,
    /// What passed the gates that are counted on this way. A delete passes all of them, and adds no bytes where a program leaves some of it.
    pub passed: Vec<Passed>,
}

impl Maker {
    pub(super) fn new(flow: &Flow, index: usize, output: &FlowOutput) -> Self {
        let stream = flow.inputs[0].stream.clone();
        let key = (output.key != stream.primary_key).then(|| output.key.clone());
        Self {
            replan: flow.replan.clone(),
            stream,
            output: index,
            metadata: output.metadata.clone(),
            key,
            deletes: output.deletes,
            gates: flow.gates.as_slice().into(),
        }
    }

    /// The shape that the plan was made for.
    pub(super) fn told(&self, output: &FlowOutput) -> Shape {
        let schema = match &self.replan {
            Some(_) => self.stream.schema.clone(),
            // Without what is added here.
            None => {
                let own = output.schema.fields().len().saturating_sub(self.metadata.len());
                let fields: Vec<Arc<Field>> = output.schema.fields().iter().take(own).cloned().collect();
                Arc::new(Schema::new_with_metadata(fields, output.schema.metadata().clone()))
            }
        };
        Shape { schema, key: self.stream.primary_key.clone() }
    }

    /// The way for this shape.
    pub(super) fn outlet(&self, shape: &Shape) -> Result<Outlet> {
        let Some(replan) = &self.replan else {
            let schema = with_metadata(&shape.schema, &self.metadata)?;
            let key = self.key.clone().unwrap_or_else(|| shape.key.clone());
            return Ok(Outlet {
                way: None,
                metadata: self.metadata.clone(),
                sent: nullable(&schema),
                schema,
                key,
                deletes: self.deletes,
                gates: self.gates.clone(),
                output: self.output,
            });
        };
        let stream = StreamInfo { schema: shape.schema.clone(), primary_key: shape.key.clone(), ..self.stream.clone() };
        let planned = replan.replan(&stream)?;
        let made_of = planned
            .program
            .ways(shape.schema.fields().len())
            .and_then(|mut ways| (self.output < ways.len()).then(|| ways.swap_remove(self.output)));
        let (Some(made_of), Some((schema, key))) = (made_of, planned.outputs.into_iter().nth(self.output)) else {
            return Err(Error::internal("a program of changes does not say what it is made of"));
        };
        let places = key.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<usize>, _>>().map_err(broken)?;
        if places.iter().any(|&place| made_of.columns.get(place).is_none_or(|column| column.same.is_none())) {
            return Err(Error::internal("a key does not pass unchanged"));
        }
        let program = Some(planned.program);
        Ok(self.through(Way { program, output: self.output, made_of, input: shape.schema.clone(), key: places }, schema, key))
    }

    fn through(&self, way: Way, schema: SchemaRef, key: Vec<String>) -> Outlet {
        let (metadata, sent) = (self.metadata.clone(), nullable(&schema));
        let (deletes, gates, output) = (self.deletes, self.gates.clone(), self.output);
        Outlet { way: Some(way), metadata, sent, schema, key, deletes, gates, output }
    }

    /// The same; if the transforms were changed and do not fit the shape, what the target had got in it (see [`Outlet::saved`]). Then
    /// changes of this shape are an error, and the next shape is told to the target as what became of this one.
    pub(super) fn outlet_or_saved(&self, shape: &Shape, saved: &Value) -> Result<Outlet> {
        let error = match self.outlet(shape) {
            Err(error) if error.kind() == Kind::Schema && self.replan.is_some() && saved.is_object() => error,
            done => return done,
        };
        let Ok(schema) = codec::schema_of_text(saved["schema"].as_str().unwrap_or_default()) else { return Err(error) };
        let same = saved["same"].as_array().into_iter().flatten().map(|at| at.as_u64().and_then(|at| usize::try_from(at).ok()));
        let columns = same.map(|same| ColumnWay { same, from: BTreeSet::new() }).collect();
        let made_of = OutputWay { columns, filters: BTreeSet::new(), filtered: false };
        let key = saved["key"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let way = Way { program: None, output: self.output, made_of, input: shape.schema.clone(), key: Vec::new() };
        Ok(self.through(way, schema, key))
    }
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn broken(error: ArrowError) -> Error {
    Error::internal("changes do not fit through their program").caused_by(error)
}

impl Outlet {
    /// For a checkpoint: what the target has got through transforms. NULL: it has what the stream has.
    pub(super) fn saved(&self) -> Result<Value> {
        let Some(way) = &self.way else { return Ok(Value::Null) };
        let same: Vec<Option<usize>> = way.made_of.columns.iter().map(|column| column.same).collect();
        Ok(json!({"schema": codec::schema_text(&self.schema)?, "key": self.key, "same": same}))
    }

    /// What the target is told of a change of the stream's shape; `None`: it sees nothing of it.
    pub(super) fn becomes(&self, next: &Outlet, change: &SchemaChange) -> Option<SchemaChange> {
        let (Some(old), Some(new)) = (&self.way, &next.way) else {
            return Some(SchemaChange { schema: next.schema.clone(), key: next.key.clone(), ..change.clone() });
        };
        if self.schema == next.schema && self.key == next.key {
            return None;
        }
        let name = |outlet: &Outlet, way: &Way, column: &str| {
            let source = way.input.index_of(column).ok()?;
            let at = way.made_of.columns.iter().position(|made| made.same == Some(source))?;
            Some(outlet.schema.field(at).name().clone())
        };
        let renamed = change.renamed.iter().filter_map(|(was, is)| {
            let (was, is) = (name(self, old, was)?, name(next, new, is)?);
            (was != is).then_some((was, is))
        });
        Some(SchemaChange {
            stream: change.stream.clone(),
            schema: next.schema.clone(),
            key: next.key.clone(),
            renamed: renamed.collect(),
            statement: change.statement.clone(),
        })
    }

    /// What the target gets of a batch.
    pub(super) fn send(&self, batch: &ChangeBatch) -> Result<Sent> {
        let mut sent = match &self.way {
            Some(way) => self.through(way, batch)?,
            None => {
                let written = batch.ops.len() as u64;
                let mut passed = vec![Passed::default(); self.gates.len()];
                count(&mut passed, &(0..self.gates.len()).collect::<Vec<_>>(), &batch.rows);
                Sent { written, filtered: 0, dead: Vec::new(), rules: Vec::new(), batch: Some(batch.clone()), passed }
            }
        };
        for (passed, gate) in sent.passed.iter_mut().zip(self.gates.iter()) {
            if gate.leads_to != self.output {
                *passed = Passed::default();
            }
        }
        match sent.batch {
            Some(batch) if !self.metadata.is_empty() => Ok(Sent { batch: Some(self.with_columns(batch)?), ..sent }),
            batch => Ok(Sent { batch, ..sent }),
        }
    }

    /// Adds the columns about changes.
    fn with_columns(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let marks = || {
            let rows = batch.ops.len();
            let mut marks = batch.transactions.iter().peekable();
            (0..rows).filter_map(move |row| {
                while marks.peek().is_some_and(|mark| mark.end <= row) {
                    marks.next();
                }
                marks.peek().copied()
            })
        };
        let mut columns = batch.rows.columns().to_vec();
        let mut absent = batch.absent.clone();
        for column in &self.metadata {
            let values: ArrayRef = match column {
                MetadataColumn::Op => Arc::new(batch.ops.iter().map(|op| Some(op.as_str())).collect::<StringArray>()),
                MetadataColumn::Position => Arc::new(marks().map(|mark| Some(&*mark.position)).collect::<StringArray>()),
                MetadataColumn::SourceTs => {
                    let times = marks().map(|mark| Some(mark.committed_at_us)).collect::<TimestampMicrosecondArray>();
                    Arc::new(times.with_timezone("UTC"))
                }
            };
            columns.push(values);
            absent.push(None);
        }
        let rows = RecordBatch::try_new(self.sent.clone(), columns).map_err(broken)?;
        Ok(ChangeBatch { rows, absent, before: None, ..batch })
    }

    fn through(&self, way: &Way, batch: &ChangeBatch) -> Result<Sent> {
        way.fits(batch)?;
        let rows = batch.ops.len();
        let keeps = BooleanArray::from_iter(batch.ops.iter().map(|op| Some(*op != Op::Delete)));
        let origins: Vec<usize> = keeps.values().set_indices().collect();
        way.filter_is_known(batch, &origins)?;
        let input =
            if origins.len() == rows { batch.rows.clone() } else { filter_record_batch(&batch.rows, &keeps).map_err(broken)? };
        // The program was planned for columns that may be NULL; metadata of fields is as it was.
        let input = RecordBatch::try_new(nullable(&way.input), input.columns().to_vec()).map_err(broken)?;
        let sparse = batch.absent.iter().any(Option::is_some);
        let mut passed = vec![Passed::default(); self.gates.len()];
        let done = way.apply(&input, sparse, &mut passed)?;
        let left = survivors(&done, origins.len());
        let removed = way.removed(&done, &left, &origins, &batch.ops, &input)?;
        let absent = way.absent(batch, &left.iter().map(|&at| origins[at]).collect::<Vec<_>>())?;
        if way.made_of.filtered
            && self.deletes != DeleteMode::Hard
            && let Some(column) = absent.iter().position(|bits| bits.as_ref().is_some_and(|bits| bits.count_set_bits() > 0))
        {
            // The row may come back with a value that changed while it was out.
            return Err(way.unknown(batch, "the filter lets a row pass, and", self.schema.field(column).name()));
        }

        // In the order of the input: rows of the program, deletes, and updates that became deletes.
        let mut lines: Vec<Line> = left.iter().enumerate().map(|(at, &row)| (origins[row], Place::Program(at))).collect();
        lines.extend((0..rows).filter(|&row| !keeps.value(row)).map(|row| (row, Place::Delete(row))));
        let deletes = rows - origins.len();
        passed.iter_mut().for_each(|passed| passed.rows += deletes as u64);
        let (written, filtered, dead, rules) = (lines.len() as u64, done.filtered, done.dead, done.rules);
        lines.extend(removed.iter().map(|&row| (row, Place::Removed(row))));
        lines.sort_by_key(|(row, _)| *row);
        debug_assert_eq!(written as usize, left.len() + deletes);
        if lines.is_empty() {
            return Ok(Sent { batch: None, written, filtered, dead, rules, passed });
        }
        let batch = self.assemble(way, batch, &done.batch, &absent, &lines)?;
        Ok(Sent { batch: Some(batch), written, filtered, dead, rules, passed })
    }

    /// The changes of these lines.
    fn assemble(
        &self,
        way: &Way,
        batch: &ChangeBatch,
        computed: &RecordBatch,
        computed_absent: &[Option<BooleanBuffer>],
        lines: &[Line],
    ) -> Result<ChangeBatch> {
        // The second table: one row per line that is a delete.
        let gone: Vec<(usize, bool)> = lines
            .iter()
            .filter_map(|(_, from)| match from {
                Place::Program(_) => None,
                Place::Delete(row) => Some((*row, true)),
                Place::Removed(row) => Some((*row, false)),
            })
            .collect();
        let mut places = Vec::with_capacity(lines.len());
        let mut at = 0;
        for (_, from) in lines {
            places.push(match from {
                Place::Program(row) => (0, *row),
                _ => {
                    at += 1;
                    (1, at - 1)
                }
            });
        }
        let mut columns = Vec::with_capacity(computed.num_columns());
        let mut absent = Vec::with_capacity(self.schema.fields().len());
        for (column, made) in way.made_of.columns.iter().enumerate() {
            let is_key = way.key.contains(&column);
            // Of a row that does not pass nothing but its key goes on.
            let source = |row: usize, whole: bool| made.same.filter(|_| is_key || whole).map(|from| (from, row));
            let known = |row: usize, whole: bool| {
                source(row, whole)
                    .filter(|(from, row)| !batch.absent.get(*from).is_some_and(|bits| is_set(bits.as_ref(), *row)))
                    .is_some()
            };
            let taken: UInt32Array =
                gone.iter().map(|&(row, whole)| known(row, whole).then(|| u32::try_from(row).unwrap_or(u32::MAX))).collect();
            let values = match made.same {
                Some(from) => take(batch.rows.column(from), &taken, None).map_err(broken)?,
                None => new_null_array(computed.column(column).data_type(), gone.len()),
            };
            let bits: Vec<bool> = lines
                .iter()
                .map(|(_, from)| match from {
                    Place::Program(row) => is_set(computed_absent[column].as_ref(), *row),
                    Place::Delete(row) => !known(*row, true),
                    Place::Removed(row) => !known(*row, false),
                })
                .collect();
            columns.push(if gone.is_empty() {
                computed.column(column).clone()
            } else {
                interleave(&[computed.column(column).as_ref(), values.as_ref()], &places).map_err(broken)?
            });
            absent.push(bits.contains(&true).then(|| BooleanBuffer::from(bits)));
        }
        let own: Vec<usize> = (0..columns.len()).collect();
        let schema =
            if self.metadata.is_empty() { self.sent.clone() } else { Arc::new(self.sent.project(&own).map_err(broken)?) };
        let rows = RecordBatch::try_new(schema, columns).map_err(broken)?;
        let ops = lines.iter().map(|(row, from)| match from {
            Place::Removed(_) => Op::Delete,
            _ => batch.ops[*row],
        });
        Ok(ChangeBatch {
            stream: batch.stream.clone(),
            ops: ops.collect(),
            rows,
            absent,
            before: None,
            transactions: marks(&batch.transactions, lines),
            source_bytes: batch.source_bytes,
        })
    }
}

/// A row of what is sent: its place in the batch that came, and where its values are.
type Line = (usize, Place);

#[derive(Clone, Copy)]
enum Place {
    /// A row of the program's output.
    Program(usize),
    /// A delete of the source.
    Delete(usize),
    /// An update that does not pass any more.
    Removed(usize),
}

fn is_set(bits: Option<&BooleanBuffer>, row: usize) -> bool {
    bits.is_some_and(|bits| bits.value(row))
}

/// The transactions of the lines.
fn marks(transactions: &[TransactionMark], lines: &[Line]) -> Vec<TransactionMark> {
    let mut kept: Vec<TransactionMark> = Vec::new();
    let mut before = 0;
    for mark in transactions {
        let end = lines.partition_point(|(row, _)| *row < mark.end);
        if end > before {
            kept.push(TransactionMark { end, ..mark.clone() });
            before = end;
        }
    }
    kept
}

/// Which rows of the input are in the output, in order.
fn survivors(done: &RowOutput, rows: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..rows).collect();
    for kept in &done.kept {
        left = kept.values().set_indices().filter_map(|at| left.get(at).copied()).collect();
    }
    left
}

impl Way {
    /// Changes in another shape must not go through.
    fn fits(&self, batch: &ChangeBatch) -> Result<()> {
        let schema = batch.rows.schema();
        let same = schema.fields().len() == self.input.fields().len()
            && schema
                .fields()
                .iter()
                .zip(self.input.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if same && self.program.is_some() {
            return Ok(());
        }
        Err(Error::new("WEIR-CHANGE-003", Kind::Schema, "changes of an older shape wait, and the transforms do not fit it")
            .at(format!("stream `{}`", batch.stream))
            .hint("run once with the transforms as they were, or begin with a new snapshot: `weir state reset`"))
    }

    /// `sparse`: the log may have left values out.
    fn apply(&self, input: &RecordBatch, sparse: bool, passed: &mut [Passed]) -> Result<RowOutput> {
        let program =
            self.program.as_ref().ok_or_else(|| Error::internal("changes go through transforms that do not fit them"))?;
        let mut outputs = program.apply_counting(input, passed)?;
        if self.output >= outputs.len() {
            return Err(Error::internal("a program gave fewer outputs than the flow has"));
        }
        let mut done = outputs.swap_remove(self.output);
        // What the log left out reads as NULL in a letter, so it must not be sent again as a row.
        for letter in done.dead.iter_mut().filter(|_| sparse) {
            letter.media_type = "text/plain".into();
        }
        Ok(done)
    }

    /// An error if the filter needs a value that the log has left out.
    fn filter_is_known(&self, batch: &ChangeBatch, rows: &[usize]) -> Result<()> {
        for &column in &self.made_of.filters {
            let Some(Some(bits)) = batch.absent.get(column) else { continue };
            if rows.iter().any(|&row| bits.value(row)) {
                return Err(self.unknown(batch, "a filter", self.input.field(column).name()));
            }
        }
        Ok(())
    }

    /// Per output column the rows whose value has not changed and is not known. `rows`: the places in the batch of the output's rows.
    fn absent(&self, batch: &ChangeBatch, rows: &[usize]) -> Result<Vec<Option<BooleanBuffer>>> {
        let lacks = |column: usize, row: usize| batch.absent.get(column).is_some_and(|bits| is_set(bits.as_ref(), row));
        let mut all = Vec::with_capacity(self.made_of.columns.len());
        for made in &self.made_of.columns {
            if made.from.iter().all(|&column| batch.absent.get(column).is_none_or(Option::is_none)) {
                all.push(None);
                continue;
            }
            let mut bits = Vec::with_capacity(rows.len());
            for &row in rows {
                let missing = made.from.iter().filter(|&&column| lacks(column, row)).count();
                if missing > 0 && missing < made.from.len() {
                    let column = made.from.iter().find(|&&column| lacks(column, row)).copied().unwrap_or_default();
                    return Err(self.unknown(batch, "an expression", self.input.field(column).name()));
                }
                bits.push(missing > 0);
            }
            all.push(bits.contains(&true).then(|| BooleanBuffer::from(bits)));
        }
        Ok(all)
    }

    fn unknown(&self, batch: &ChangeBatch, who: &str, column: &str) -> Error {
        Error::new(
            "WEIR-CHANGE-004",
            Kind::Data,
            format!("{who} needs `{column}`, and the log does not have its value in an update that did not change it"),
        )
        .at(format!("stream `{}`", batch.stream))
        .because("large values that an update does not touch are not in the log")
        .hint(format!(
            "ALTER TABLE {} REPLICA IDENTITY FULL, then begin with a new snapshot (`weir state reset`); or leave `{column}` to pass unchanged",
            batch.stream
        ))
    }

    /// The updates that the filter took out.
    fn removed(
        &self,
        done: &RowOutput,
        left: &[usize],
        origins: &[usize],
        ops: &[Op],
        input: &RecordBatch,
    ) -> Result<Vec<usize>> {
        if done.filtered == 0 {
            return Ok(Vec::new());
        }
        let mut left = left.iter().copied().peekable();
        let missing = (0..origins.len()).filter(|row| {
            let here = left.peek() == Some(row);
            if here {
                left.next();
            }
            !here
        });
        let mut removed = Vec::new();
        for row in missing {
            if ops[origins[row]] != Op::Update {
                continue;
            }
            // Taken out, or set aside? Where both happened each row is asked.
            if done.dead.is_empty() || self.apply(&input.slice(row, 1), false, &mut [])?.filtered > 0 {
                removed.push(origins[row]);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
