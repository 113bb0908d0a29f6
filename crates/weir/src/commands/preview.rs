//! `weir preview`: a few rows after the transforms. Nothing is written anywhere; columns that look personal are masked.

use std::collections::BTreeSet;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use weir_connect::{Event, ReadRequest};
use weir_error::{Error, Kind, Result};
use weir_plan::keyed::KeyedProgram;
use weir_plan::{Flow, Program, RelationalProgram, RowProgram};
use weir_query::{QuerySession, TableName};

use crate::cli::Preview;
use crate::commands::Context;
use crate::outcome::Outcome;
use crate::process::block_on;
use crate::show::{number, rows};

/// What one output of a flow would be given.
pub(super) struct Sample {
    pub(super) title: String,
    pub(super) schema: SchemaRef,
    rows: Vec<RecordBatch>,
    pub(super) filtered: u64,
    pub(super) dead: Vec<String>,
}

impl Sample {
    /// The first rows, as one batch.
    pub(super) fn batch(&self, limit: usize) -> Result<RecordBatch> {
        let batch = concat_batches(&self.schema, &self.rows).map_err(|error| cannot(error.into()))?;
        Ok(batch.slice(0, batch.num_rows().min(limit)))
    }
}

pub fn execute(args: &Preview, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    block_on(async {
        let plan = opened.plan(None, args.json, context).await?;
        let mut masked = BTreeSet::new();
        for flow in &plan.flows {
            for sample in sample(flow, args.limit, opened.lanes(None)).await? {
                print(&sample, args, context, &mut masked)?;
            }
        }
        if !masked.is_empty() {
            let names = masked.into_iter().collect::<Vec<_>>().join(", ");
            writeln!(std::io::stderr(), "masked because the name looks personal: {names} (--show prints the values)")?;
        }
        Ok(0)
    })
}

fn print(
    sample: &Sample,
    args: &Preview,
    context: &Context,
    masked: &mut BTreeSet<String>,
) -> Result<(), crate::outcome::Failure> {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let batch = sample.batch(args.limit)?;
    let batch = if args.show {
        batch
    } else {
        let (batch, names) = rows::mask(&batch)?;
        masked.extend(names);
        batch
    };
    if args.json {
        rows::json_lines(&mut out, &batch)?;
        return Ok(());
    }
    writeln!(err, "{}", context.err.bold(&sample.title))?;
    write!(out, "{}", rows::table(&batch.schema(), std::slice::from_ref(&batch))?)?;
    let mut notes = vec![number::rows(batch.num_rows() as u64)];
    if sample.filtered > 0 {
        notes.push(format!("{} filtered out on the way", number::grouped(sample.filtered)));
    }
    if !sample.dead.is_empty() {
        let count = number::counted(sample.dead.len() as u64, "dead letter", "dead letters");
        notes.push(format!("{count}, the first: {}", sample.dead[0]));
    }
    writeln!(err, "({})", notes.join("; "))?;
    Ok(())
}

pub(super) async fn sample(flow: &Flow, limit: usize, lanes: usize) -> Result<Vec<Sample>> {
    match &flow.program {
        Program::RowLocal(program) => row_local(flow, program.as_ref(), limit).await,
        Program::Relational(program) => relational(flow, program.as_ref(), limit, lanes).await,
        Program::Keyed(program) => Err(endless(flow, program.as_ref())),
    }
}

/// What comes out depends on what has come before, and on a time that a few rows do not move.
fn endless(flow: &Flow, program: &dyn KeyedProgram) -> Error {
    Error::new("WEIR-CLI-076", Kind::Unsupported, format!("a few rows of `{}` would not show what comes out", flow.name))
        .because(program.reason())
        .hint("the same pipeline with `mode: batch` shows what all rows that are there amount to")
}

fn empty(flow: &Flow) -> Vec<Sample> {
    let title = |index: usize| {
        let output = &flow.outputs[index];
        format!("{} → {}", flow.name, output.sink.place(&output.stream))
    };
    (0..flow.outputs.len())
        .map(|index| Sample {
            title: title(index),
            schema: flow.outputs[index].schema.clone(),
            rows: Vec::new(),
            filtered: 0,
            dead: Vec::new(),
        })
        .collect()
}

async fn row_local(flow: &Flow, program: &dyn RowProgram, limit: usize) -> Result<Vec<Sample>> {
    let mut samples = empty(flow);
    let Some(input) = flow.inputs.first() else { return Ok(samples) };
    let request = ReadRequest { stream: input.stream.name.clone(), parallelism: 1, ..ReadRequest::default() };
    let reader = input.source.open(request).await?;
    let enough = |samples: &[Sample]| samples.iter().all(|s| s.rows.iter().map(RecordBatch::num_rows).sum::<usize>() >= limit);
    'splits: for split in reader.splits() {
        let mut events = reader.read(&split, None).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => {
                    for (sample, output) in samples.iter_mut().zip(program.apply(&batch.records)?) {
                        sample.filtered += output.filtered;
                        sample.dead.extend(output.dead.into_iter().map(|dead| format!("{} ({})", dead.reason, dead.place)));
                        sample.rows.push(output.batch);
                    }
                }
                Event::Dead(dead) => samples.iter_mut().for_each(|s| s.dead.push(format!("{} ({})", dead.reason, dead.place))),
                Event::SchemaChange(_) | Event::Watermark(_) | Event::Idle => {}
            }
            if enough(&samples) {
                break 'splits;
            }
        }
    }
    Ok(samples)
}

/// Budget of a preview that must see rows together.
const MEMORY_BYTES: usize = 256 << 20;

async fn relational(flow: &Flow, program: &dyn RelationalProgram, limit: usize, lanes: usize) -> Result<Vec<Sample>> {
    let session = QuerySession::new(MEMORY_BYTES, lanes)?;
    for (index, input) in flow.inputs.iter().enumerate() {
        let (source, stream) = weir_plan::prepared(input, index, program);
        session.register(&TableName::bare(&input.table), source, stream)?;
    }
    let frames = program.frames(session.context()).await?;
    let mut samples = empty(flow);
    for (sample, frame) in samples.iter_mut().zip(frames) {
        let frame = frame.limit(0, Some(limit)).map_err(cannot)?;
        let mut stream = frame.execute_stream().await.map_err(weir_query::explain)?;
        sample.schema = stream.schema();
        while let Some(batch) = stream.next().await {
            sample.rows.push(batch.map_err(weir_query::explain)?);
        }
    }
    Ok(samples)
}

fn cannot(error: datafusion::error::DataFusionError) -> Error {
    Error::new("WEIR-CLI-040", Kind::Internal, "the preview cannot be put together").caused_by(error)
}
