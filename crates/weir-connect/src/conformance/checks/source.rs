//! The reading side: everything exactly once, from the beginning or from any resume point.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use serde_json::Value;
use weir_error::{Error, Kind, Result};

use super::{ensure, fails, passed, skipped};
use crate::conformance::compare::same_rows;
use crate::conformance::driver::{Attempt, Checkpoint, Crash, CrashPoint, Driver};
use crate::conformance::lab::{Lab, ReadSplit};
use crate::conformance::matrix::{large_cell, plain_batches, plain_schema, table_of, wide_rows};
use crate::conformance::memory::MemorySystem;
use crate::conformance::report::Outcome;
use crate::fidelity::Edge;
use crate::sink::Sink;
use crate::source::{CursorWindow, ReadRequest, Resume, ResumeVerdict, SplitProgress};
use crate::stream::WriteMode;

/// No more resume points than this are tried, spread evenly.
const POINTS: usize = 48;

macro_rules! only_sources {
    ($lab:expr) => {
        if !$lab.declared.source {
            return skipped("not a source");
        }
    };
}

fn rows_of(read: &[ReadSplit]) -> Vec<RecordBatch> {
    read.iter().flat_map(|split| split.batches.iter().map(|(records, _)| records.clone())).collect()
}

/// Seeds, reads everything, compares exactly.
async fn round_trip(lab: &Lab<'_>, name: &str, seeded: &[RecordBatch]) -> Result<usize> {
    let schema = seeded[0].schema();
    let options = lab.subject.seed(name, seeded).await?;
    let (source, info) = lab.source(name, &options).await?;
    let reader = lab.open(&source, &info, None).await?;
    ensure(reader.schema().fields().len() == info.schema.fields().len(), || "stream and reader have different schemas".into())?;
    let read = rows_of(&lab.read_all(reader.as_ref(), None).await?);
    same_rows(&lab.rows(&schema, seeded)?, &lab.rows(&schema, &read)?)?;
    Ok(read.iter().map(RecordBatch::num_rows).sum())
}

/// Each declared type family, alone.
pub async fn source_gives_the_type_matrix_exactly(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    ensure(!lab.declared.types.is_empty(), || "no type family is declared".into())?;
    let mut columns = 0;
    for &family in &lab.declared.types {
        let name = format!("types_{}", format!("{family:?}").to_lowercase());
        let batch = table_of(family.columns())?;
        columns += batch.num_columns() - 1;
        round_trip(lab, &name, std::slice::from_ref(&batch)).await.map_err(|error| fails(format!("{family:?}: {error:?}")))?;
        let options = lab.subject.seed(&name, std::slice::from_ref(&batch)).await?;
        let (_, info) = lab.source(&name, &options).await?;
        for field in info.schema.fields() {
            ensure(!Edge::of_source(field).loses(), || format!("{family:?}: column `{}` admits a loss", field.name()))?;
        }
    }
    passed(format!("{columns} columns of {} families", lab.declared.types.len()))
}

/// A stream without rows has a schema and no rows.
pub async fn source_reads_an_empty_stream(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    let rows = round_trip(lab, "empty", &[RecordBatch::new_empty(plain_schema())]).await?;
    passed(format!("{rows} rows"))
}

/// Very many columns.
pub async fn source_reads_a_wide_table(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    round_trip(lab, "wide", &[wide_rows(lab.declared.columns)?]).await?;
    passed(format!("{} columns", lab.declared.columns))
}

/// One large text.
pub async fn source_reads_a_large_cell(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    round_trip(lab, "large_cell", &[large_cell(lab.declared.cell_bytes)?]).await?;
    passed(format!("{} bytes", lab.declared.cell_bytes))
}

/// Two readers, one after the other, give the same rows: what `replayable` promises.
pub async fn source_reads_the_same_twice(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    let schema = plain_schema();
    let seeded = plain_batches(4, 50)?;
    let options = lab.subject.seed("twice", &seeded).await?;
    let (source, info) = lab.source("twice", &options).await?;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let reader = lab.open(&source, &info, None).await?;
        seen.push(lab.rows(&schema, &rows_of(&lab.read_all(reader.as_ref(), None).await?))?);
    }
    same_rows(&lab.rows(&schema, &seeded)?, &seen[0])?;
    same_rows(&seen[0], &seen[1])?;
    passed("200 rows, twice")
}

struct FirstAttempt {
    options: Value,
    state: Value,
    read: Vec<ReadSplit>,
}

/// A read whose resume points are then tried.
async fn first_attempt(lab: &Lab<'_>, name: &str) -> Result<FirstAttempt> {
    let options = lab.subject.seed(name, &plain_batches(8, 40)?).await?;
    let (source, info) = lab.source(name, &options).await?;
    let reader = lab.open(&source, &info, None).await?;
    ensure(matches!(reader.verdict(), ResumeVerdict::Fresh), || "a fresh read does not call itself fresh".into())?;
    let state = reader.state();
    let read = lab.read_all(reader.as_ref(), None).await?;
    Ok(FirstAttempt { options, state, read })
}

/// Resumes with that progress in a new source instance; what was durable plus what comes now must be the stream.
async fn resume_gives_the_rest(
    lab: &Lab<'_>,
    name: &str,
    first: &FirstAttempt,
    durable: Vec<RecordBatch>,
    progress: Vec<SplitProgress>,
) -> Result<bool> {
    let schema = plain_schema();
    // Through text and back, as the checkpoint store does it.
    let resume = Resume { reader_state: first.state.clone(), progress };
    let text = serde_json::to_string(&resume).map_err(|error| Error::internal("a resume does not serialise").because(error))?;
    let resume: Resume =
        serde_json::from_str(&text).map_err(|error| Error::internal("a resume does not parse").because(error))?;
    let (source, info) = lab.source(name, &first.options).await?;
    let reader = lab.open(&source, &info, Some(resume.clone())).await?;
    let continued = match reader.verdict() {
        ResumeVerdict::Continued => true,
        ResumeVerdict::StartOver { .. } => false,
        ResumeVerdict::Fresh => return Err(fails("a resumed read calls itself fresh")),
    };
    let mut rows = if continued { durable } else { Vec::new() };
    rows.extend(rows_of(&lab.read_all(reader.as_ref(), Some(&resume)).await?));
    same_rows(&lab.rows(&schema, &plain_batches(8, 40)?)?, &lab.rows(&schema, &rows)?)?;
    Ok(continued)
}

/// From each position inside each split: the rows before it plus the rows that come are exactly the stream.
pub async fn source_resumes_from_every_position(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    if !lab.declared.resumable {
        return skipped("the source gives no positions inside its splits");
    }
    let name = "positions";
    let first = first_attempt(lab, name).await?;
    let points: Vec<(usize, usize)> = first
        .read
        .iter()
        .enumerate()
        .flat_map(|(split, read)| {
            read.batches.iter().enumerate().filter(|(_, (_, position))| position.is_some()).map(move |(batch, _)| (split, batch))
        })
        .collect();
    ensure(points.len() > 1, || format!("320 rows in batches of about 1 KiB gave {} resume points", points.len()))?;
    let step = points.len().div_ceil(POINTS);
    let mut continued = 0;
    let mut tried = 0;
    for &(split, batch) in points.iter().step_by(step) {
        let read = &first.read[split];
        let durable: Vec<_> = read.batches[..=batch].iter().map(|(records, _)| records.clone()).collect();
        let rows = durable.iter().map(|records| records.num_rows() as u64).sum();
        let position = read.batches[batch].1.clone();
        let progress = vec![SplitProgress { split: read.split.clone(), position, done: false, rows }];
        let went_on = resume_gives_the_rest(lab, name, &first, durable, progress)
            .await
            .map_err(|error| fails(format!("after batch {batch} of split `{}`: {error:?}", read.split.id)))?;
        continued += usize::from(went_on);
        tried += 1;
    }
    ensure(continued > 0, || "every resume starts over although nothing changed".into())?;
    passed(format!("{tried} positions, {continued} continued"))
}

/// From subsets of finished splits.
pub async fn source_resumes_from_finished_splits(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    let name = "finished";
    let first = first_attempt(lab, name).await?;
    let splits = first.read.len();
    let ids: BTreeMap<_, _> = first.read.iter().map(|read| (read.split.id.as_str(), ())).collect();
    ensure(ids.len() == splits, || "two splits have the same id".into())?;
    let mut subsets = 0;
    let tested = splits.min(4);
    for subset in 0..(1usize << tested) {
        // The tested splits are spread over all of them.
        let chosen: Vec<_> =
            (0..tested).filter(|bit| subset & (1 << bit) != 0).map(|bit| &first.read[bit * splits / tested]).collect();
        let durable = chosen.iter().flat_map(|read| read.batches.iter().map(|(records, _)| records.clone())).collect();
        let progress = chosen
            .iter()
            .map(|read| SplitProgress {
                split: read.split.clone(),
                position: None,
                done: true,
                rows: read.batches.iter().map(|(records, _)| records.num_rows() as u64).sum(),
            })
            .collect();
        resume_gives_the_rest(lab, name, &first, durable, progress)
            .await
            .map_err(|error| fails(format!("with {} of {splits} splits finished: {error:?}", chosen.len())))?;
        subsets += 1;
    }
    passed(format!("{subsets} subsets of {splits} splits"))
}

/// Dropping a read in the middle frees everything: the next read is whole.
pub async fn source_can_be_cancelled_and_read_again(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    let schema = plain_schema();
    let seeded = plain_batches(8, 40)?;
    let options = lab.subject.seed("cancel", &seeded).await?;
    let (source, info) = lab.source("cancel", &options).await?;
    for _ in 0..5 {
        let reader = lab.open(&source, &info, None).await?;
        if let Some(split) = reader.splits().first() {
            let mut events = reader.read(split, None).await?;
            if let Some(event) = events.next().await {
                event?;
            }
        }
    }
    let reader = lab.open(&source, &info, None).await?;
    let read = rows_of(&lab.read_all(reader.as_ref(), None).await?);
    same_rows(&lab.rows(&schema, &seeded)?, &lab.rows(&schema, &read)?)?;
    passed("cancelled five times, then read whole")
}

/// With a lower bound every row at or above it comes, the boundary included.
pub async fn source_leaves_nothing_behind_the_cursor(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    if !lab.declared.incremental {
        return skipped("the source does not read incrementally");
    }
    let schema = plain_schema();
    let seeded = plain_batches(8, 40)?;
    let options = lab.subject.seed("cursor", &seeded).await?;
    let (source, info) = lab.source("cursor", &options).await?;
    let all = lab.rows(&schema, &seeded)?;
    let mut below = 0;
    for lower in [None, Some(0), Some(1), Some(160), Some(319), Some(320)] {
        let cursor = CursorWindow { column: "id".into(), lower: lower.map(|value: i64| value.to_string()) };
        let request = ReadRequest { stream: info.name.clone(), cursor: Some(cursor), parallelism: 2, ..ReadRequest::default() };
        let reader = source.open(request).await?;
        let read = lab.rows(&schema, &rows_of(&lab.read_all(reader.as_ref(), None).await?))?;
        let from = lower.unwrap_or(0);
        let wanted = lab.rows(&schema, &[crate::conformance::matrix::plain_rows(from, 320, 3)?])?;
        let unwanted: u64 = read.iter().filter(|(row, _)| !wanted.contains_key(*row)).map(|(_, times)| times).sum();
        below += unwanted;
        let mut found = read;
        found.retain(|row, _| wanted.contains_key(row) || !all.contains_key(row));
        same_rows(&wanted, &found).map_err(|error| fails(format!("cursor at {lower:?}: {error:?}")))?;
    }
    passed(if below == 0 {
        "exactly the rows at or above the bound".into()
    } else {
        format!("all of them, and {below} rows below the bound")
    })
}

/// The source under the scripted engine, crashed at every place, into the reference sink.
pub async fn source_survives_crashes(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    let schema = plain_schema();
    let seeded = plain_batches(8, 40)?;
    let options = lab.subject.seed("source_crash", &seeded).await?;
    let expected = lab.rows(&schema, &seeded)?;
    let mut crashes = 0;
    for point in [CrashPoint::BeforeFlush, CrashPoint::AfterFlush, CrashPoint::AfterCheckpoint, CrashPoint::BeforeCommit] {
        for nth in 1..=3 {
            let system = MemorySystem::new();
            let mut checkpoint = Checkpoint::default();
            let mut crash = Some(Crash { point, nth });
            loop {
                let (source, info) = lab.source("source_crash", &options).await?;
                let sink: Arc<dyn Sink> = system.sink("target");
                let target = lab.target("source_crash", "only", info.schema.clone(), WriteMode::Append);
                let request = ReadRequest { stream: info.name.clone(), ..ReadRequest::default() };
                match Driver::default().attempt(&source, request, &sink, target, &mut checkpoint, crash.take()).await? {
                    Attempt::Crashed => crashes += 1,
                    Attempt::Committed(_) => break,
                }
            }
            let found = lab.rows(&schema, &system.rows("target"))?;
            same_rows(&expected, &found).map_err(|error| fails(format!("crash {point:?} number {nth}: {error:?}")))?;
        }
    }
    ensure(crashes > 0, || "no crash happened".into())?;
    passed(format!("{crashes} crashes"))
}

/// A stream that does not exist is an error, not an empty read.
pub async fn source_names_a_missing_stream(lab: &Lab<'_>) -> Result<Outcome> {
    only_sources!(lab);
    let options = lab.subject.seed("present", &plain_batches(1, 3)?).await?;
    let (source, _) = lab.source("present", &options).await?;
    let request = ReadRequest { stream: "no_such_stream".into(), parallelism: 1, ..ReadRequest::default() };
    let error = match source.open(request).await {
        Err(error) => error,
        Ok(_) => return Err(fails("a stream that does not exist can be opened")),
    };
    ensure(error.kind() != Kind::Internal, || format!("it is told as a bug: {error:?}"))?;
    ensure(error.to_string().contains("no_such_stream"), || format!("the error does not name the stream: {error:?}"))?;
    passed("told by name")
}
