//! The writing side: every row exactly once (as far as the commit kind promises), visible when promised, whatever crashes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use weir_error::{Kind, Result};

use super::{ensure, fails, passed, skipped};
use crate::conformance::compare::{RowSet, at_least_rows, same_rows};
use crate::conformance::driver::{Attempt, Checkpoint, Crash, CrashPoint};
use crate::conformance::lab::{Job, Lab};
use crate::conformance::matrix::{TypeFamily, broken, large_cell, plain_batches, plain_rows, plain_schema, table_of, wide_rows};
use crate::conformance::report::Outcome;
use crate::sink::{Barrier, CommitKind, CommitReport};
use crate::stream::{SchemaChangePolicy, WriteMode};

/// Crashes are tried at the first so many passes of a place.
const PASSES: usize = 4;

macro_rules! only_mode {
    ($lab:expr, $mode:expr) => {
        if !$lab.declared.sink {
            return skipped("not a sink");
        }
        if !$lab.declared.modes.contains(&$mode) {
            return skipped(format!("write mode `{}` is not declared", $mode.as_str()));
        }
    };
}

/// The mode that the general checks write with: append if there is one.
fn main_mode(lab: &Lab<'_>) -> Option<WriteMode> {
    let modes = &lab.declared.modes;
    modes.iter().copied().find(|mode| *mode == WriteMode::Append).or_else(|| modes.first().copied())
}

macro_rules! main_mode {
    ($lab:expr) => {
        match main_mode($lab) {
            Some(mode) if $lab.declared.sink => mode,
            _ => return skipped("not a sink"),
        }
    };
}

fn counts(report: &CommitReport, rows: u64) -> Result<()> {
    ensure(report.rows == rows, || format!("the commit report says {} rows, {rows} were written", report.rows))?;
    ensure(!report.place.is_empty(), || "the commit report names no place".into())
}

/// What the commit kind promises about rows that may have been delivered twice.
fn after_redelivery(kind: CommitKind, expected: &RowSet, found: &RowSet) -> Result<()> {
    match kind {
        CommitKind::Append => at_least_rows(expected, found),
        CommitKind::Staged | CommitKind::CoCommitted | CommitKind::Idempotent => same_rows(expected, found),
    }
}

/// Writes, commits, reads back, compares exactly.
async fn round_trip(lab: &Lab<'_>, name: &str, batches: &[RecordBatch]) -> Result<CommitReport> {
    let mode = main_mode(lab).ok_or_else(|| fails("no write mode"))?;
    let schema = batches[0].schema();
    let job = Job::append(name, "only", schema.clone(), batches).mode(mode);
    let report = lab.run(&job).await?;
    counts(&report, batches.iter().map(|batch| batch.num_rows() as u64).sum())?;
    same_rows(&lab.rows(&schema, batches)?, &lab.target_rows(name, &schema).await?)?;
    Ok(report)
}

/// Every column whose edge does not admit a loss comes back exactly; no declared family admits one.
pub async fn sink_holds_the_type_matrix_exactly(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let sink = lab.sink("types", mode).await?;
    let mut columns = 0;
    let mut refused = 0;
    for &family in TypeFamily::PLAIN {
        let mut kept = Vec::new();
        for (field, values) in family.columns() {
            let sink_type = sink.sink_type(&field);
            if sink_type.edge.loses() {
                refused += 1;
                ensure(!lab.declared.types.contains(&family), || {
                    format!(
                        "{family:?} is declared, but `{}` as {} loses: {:?}",
                        field.data_type(),
                        sink_type.name,
                        sink_type.edge
                    )
                })?;
            } else {
                ensure(!sink_type.name.is_empty(), || format!("`{}` has a sink type without a name", field.data_type()))?;
                kept.push((field, values));
            }
        }
        if kept.is_empty() {
            continue;
        }
        columns += kept.len();
        let name = format!("types_{}", format!("{family:?}").to_lowercase());
        round_trip(lab, &name, &[table_of(kept)?]).await.map_err(|error| fails(format!("{family:?}: {error:?}")))?;
    }
    ensure(columns > 0, || "the sink admits a loss for every type".into())?;
    passed(format!("{columns} columns exact, {refused} not offered"))
}

/// NaN, infinities, NUL in text: exact, or a loud error; declared ones are exact.
pub async fn sink_never_bends_special_values(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let sink = lab.sink("special", mode).await?;
    let mut seen = Vec::new();
    for &family in TypeFamily::SPECIAL {
        for (field, values) in family.columns() {
            if sink.sink_type(&field).edge.loses() {
                continue;
            }
            let name = format!("special_{}", field.name());
            let batch = table_of(vec![(field.clone(), values)])?;
            let schema = batch.schema();
            let job = Job::append(&name, "only", schema.clone(), std::slice::from_ref(&batch)).mode(mode);
            match lab.run(&job).await {
                Ok(_) => {
                    same_rows(&lab.rows(&schema, &[batch])?, &lab.target_rows(&name, &schema).await?)
                        .map_err(|error| fails(format!("`{}`: {error:?}", field.name())))?;
                    seen.push(format!("{} exact", field.name()));
                }
                Err(error) if error.kind() == Kind::Internal => return Err(error),
                Err(error) if lab.declared.types.contains(&family) => {
                    return Err(fails(format!("{family:?} is declared, but refused: {error:?}")));
                }
                Err(_) => seen.push(format!("{} refused", field.name())),
            }
        }
    }
    passed(seen.join(", "))
}

/// A run without rows succeeds, reports none and leaves a target that can be read.
pub async fn sink_takes_an_empty_stream(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    for (name, batches) in [("nothing", vec![]), ("empty_batch", vec![RecordBatch::new_empty(plain_schema())])] {
        let job = Job::append(name, "only", plain_schema(), &batches).mode(mode);
        counts(&lab.run(&job).await?, 0)?;
        let found = lab.target_rows(name, &plain_schema()).await?;
        ensure(found.is_empty(), || format!("an empty run left {} rows", found.len()))?;
    }
    passed("no batches; one batch without rows")
}

/// Very many columns.
pub async fn sink_takes_a_wide_table(lab: &Lab<'_>) -> Result<Outcome> {
    main_mode!(lab);
    round_trip(lab, "wide", &[wide_rows(lab.declared.columns)?]).await?;
    passed(format!("{} columns", lab.declared.columns))
}

/// One large text.
pub async fn sink_takes_a_large_cell(lab: &Lab<'_>) -> Result<Outcome> {
    main_mode!(lab);
    round_trip(lab, "large_cell", &[large_cell(lab.declared.cell_bytes)?]).await?;
    passed(format!("{} bytes", lab.declared.cell_bytes))
}

/// A second run adds to the first, also when it brings equal rows.
pub async fn sink_appends_over_runs(lab: &Lab<'_>) -> Result<Outcome> {
    only_mode!(lab, WriteMode::Append);
    let batches = plain_batches(5, 20)?;
    let mut expected = RowSet::new();
    for run in ["first", "second", "third"] {
        counts(&lab.run(&Job::append("append", run, plain_schema(), &batches)).await?, 100)?;
        for (row, times) in lab.rows(&plain_schema(), &batches)? {
            *expected.entry(row).or_insert(0) += times;
        }
        let found = lab.target_rows("append", &plain_schema()).await?;
        same_rows(&expected, &found).map_err(|error| fails(format!("after the {run} run: {error:?}")))?;
    }
    passed("three runs of the same 100 rows")
}

/// Staged sinks: what is durable but not committed is not seen.
pub async fn sink_shows_nothing_before_commit(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let kind = lab.commit_kind("before_commit", mode).await?;
    if kind != CommitKind::Staged {
        return skipped(format!("commit kind {kind:?} promises nothing here"));
    }
    let old = plain_batches(1, 10)?;
    lab.run(&Job::append("before_commit", "old", plain_schema(), &old).mode(mode)).await?;
    let new = [plain_rows(100, 160, 3)?, plain_rows(160, 220, 3)?];
    let job = Job::append("before_commit", "new", plain_schema(), &new).mode(mode);
    let mut checkpoint = Checkpoint::default();
    for crash in [Crash { point: CrashPoint::BeforeFlush, nth: 1 }, Crash { point: CrashPoint::BeforeCommit, nth: 1 }] {
        crashed(lab.attempt(&job, &mut checkpoint, Some(crash)).await?)?;
        let found = lab.target_rows("before_commit", &plain_schema()).await?;
        same_rows(&lab.rows(&plain_schema(), &old)?, &found)
            .map_err(|error| fails(format!("at {:?} readers see something else than the old rows: {error:?}", crash.point)))?;
    }
    counts(&committed(lab.attempt(&job, &mut checkpoint, None).await?)?, 120)?;
    passed("120 durable rows stayed invisible until commit")
}

fn crashed(attempt: Attempt) -> Result<()> {
    ensure(attempt == Attempt::Crashed, || "the run ended before the crash that was asked for".into())
}

fn committed(attempt: Attempt) -> Result<CommitReport> {
    match attempt {
        Attempt::Committed(report) => Ok(report),
        Attempt::Crashed => Err(fails("the driver crashed without being asked to")),
    }
}

/// Crashes at the first, second, … pass of a place; resumes; compares.
async fn crash_at(lab: &Lab<'_>, point: CrashPoint) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let batches = plain_batches(10, 20)?;
    let schema = plain_schema();
    let expected = lab.rows(&schema, &batches)?;
    let mut crashes = 0;
    for nth in 1..=PASSES {
        let name = format!("crash_{}_{nth}", snake(point));
        let kind = lab.commit_kind(&name, mode).await?;
        let job = Job::append(&name, "only", schema.clone(), &batches).mode(mode);
        let mut checkpoint = Checkpoint::default();
        let first = lab.attempt(&job, &mut checkpoint, Some(Crash { point, nth })).await?;
        if first == Attempt::Crashed {
            crashes += 1;
            let report = committed(lab.attempt(&job, &mut checkpoint, None).await?)?;
            // At least once, the sink may count a repeated row; otherwise its count is the truth of the target.
            if matches!(kind, CommitKind::Staged | CommitKind::CoCommitted) {
                counts(&report, 200)?;
            }
        }
        let found = lab.target_rows(&name, &schema).await?;
        after_redelivery(kind, &expected, &found).map_err(|error| fails(format!("{point:?}, pass {nth}: {error:?}")))?;
        if first != Attempt::Crashed {
            break;
        }
    }
    ensure(crashes > 0, || "no crash happened".into())?;
    passed(format!("{crashes} crashes"))
}

fn snake(point: CrashPoint) -> &'static str {
    match point {
        CrashPoint::BeforeFlush => "before_flush",
        CrashPoint::AfterFlush => "after_flush",
        CrashPoint::AfterCheckpoint => "after_checkpoint",
        CrashPoint::BeforeCommit => "before_commit",
        CrashPoint::AfterCommit => "after_commit",
    }
}

/// Accepted rows that were never flushed come again.
pub async fn sink_survives_a_crash_before_flush(lab: &Lab<'_>) -> Result<Outcome> {
    crash_at(lab, CrashPoint::BeforeFlush).await
}

/// Durable rows that no checkpoint names come again: the sink and the checkpoint disagree by one epoch.
pub async fn sink_survives_a_crash_after_flush(lab: &Lab<'_>) -> Result<Outcome> {
    crash_at(lab, CrashPoint::AfterFlush).await
}

/// Durable rows that the checkpoint names do not come again.
pub async fn sink_survives_a_crash_after_checkpoint(lab: &Lab<'_>) -> Result<Outcome> {
    crash_at(lab, CrashPoint::AfterCheckpoint).await
}

/// Nothing is left to read; the commit is.
pub async fn sink_survives_a_crash_before_commit(lab: &Lab<'_>) -> Result<Outcome> {
    crash_at(lab, CrashPoint::BeforeCommit).await
}

/// The commit happened and nobody heard of it: it is not repeated.
pub async fn sink_survives_a_crash_after_commit(lab: &Lab<'_>) -> Result<Outcome> {
    crash_at(lab, CrashPoint::AfterCommit).await
}

/// Each attempt gets a little further and dies in another place.
pub async fn sink_survives_a_crash_in_every_attempt(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let batches = plain_batches(12, 20)?;
    let schema = plain_schema();
    let name = "crash_every";
    let kind = lab.commit_kind(name, mode).await?;
    let job = Job::append(name, "only", schema.clone(), &batches).mode(mode);
    let mut checkpoint = Checkpoint::default();
    let script = [
        (CrashPoint::AfterFlush, 2),
        (CrashPoint::BeforeFlush, 2),
        (CrashPoint::AfterCheckpoint, 1),
        (CrashPoint::AfterFlush, 1),
        (CrashPoint::BeforeCommit, 1),
        (CrashPoint::AfterCommit, 1),
    ];
    let mut crashes = 0;
    for (point, nth) in script {
        if lab.attempt(&job, &mut checkpoint, Some(Crash { point, nth })).await? == Attempt::Crashed {
            crashes += 1;
        }
    }
    committed(lab.attempt(&job, &mut checkpoint, None).await?)?;
    after_redelivery(kind, &lab.rows(&schema, &batches)?, &lab.target_rows(name, &schema).await?)?;
    ensure(crashes >= 4, || format!("only {crashes} crashes happened"))?;
    passed(format!("{crashes} crashes in one run"))
}

/// Writes batches through one lane and flushes after each; returns the receipts.
async fn stage(
    stream_sink: &dyn crate::sink::StreamSink,
    lane: usize,
    first_epoch: u64,
    batches: &[RecordBatch],
) -> Result<Vec<crate::sink::CommitToken>> {
    let mut writer = stream_sink.writer(lane).await?;
    let mut tokens = Vec::new();
    for (epoch, batch) in (first_epoch..).zip(batches) {
        writer.write(batch.clone()).await?;
        let flushed = writer.flush(&Barrier { epoch, lane, progress: Vec::new() }).await?;
        ensure(flushed.rows == batch.num_rows() as u64, || {
            format!("a flush of {} rows reports {} rows", batch.num_rows(), flushed.rows)
        })?;
        tokens.push(flushed.token);
    }
    let empty = writer.flush(&Barrier { epoch: first_epoch + batches.len() as u64, lane, progress: Vec::new() }).await?;
    ensure(empty.rows == 0, || format!("an empty flush reports {} rows", empty.rows))?;
    Ok(tokens)
}

/// `commit` twice on one sink, then once more in a new instance: the same report and the same rows.
pub async fn sink_commit_is_idempotent(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let name = "commit_twice";
    let kind = lab.commit_kind(name, mode).await?;
    let batches = plain_batches(3, 20)?;
    let schema = plain_schema();
    let mut reports = Vec::new();
    let mut tokens = Vec::new();
    for instance in 0..2 {
        let sink = lab.sink(name, mode).await?;
        let stream_sink = sink.prepare(lab.target(name, "only", schema.clone(), mode)).await?;
        let recovery = stream_sink.recover().await?;
        if instance == 0 {
            ensure(recovery.committed.is_none(), || "a fresh run says that it is committed".into())?;
            if recovery.progress.is_none() {
                stream_sink.discard(&[]).await?;
            }
            tokens = stage(stream_sink.as_ref(), 0, 1, &batches).await?;
            reports.push(stream_sink.commit(&tokens).await?);
        }
        reports.push(stream_sink.commit(&tokens).await?);
    }
    for report in &reports {
        counts(report, 60)?;
    }
    let found = lab.target_rows(name, &schema).await?;
    let expected = lab.rows(&schema, &batches)?;
    same_rows(&expected, &found)
        .map_err(|error| fails(format!("{kind:?} after three commits of the same receipts: {error:?}")))?;
    passed("three commits, two instances, one result")
}

/// `discard` keeps what is named and forgets the rest; with nothing named the run starts over.
pub async fn sink_discards_what_is_not_kept(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let schema = plain_schema();
    let kind = lab.commit_kind("discard", mode).await?;
    if kind != CommitKind::Staged && kind != CommitKind::CoCommitted {
        return skipped(format!("commit kind {kind:?} cannot take rows back"));
    }
    let batches = plain_batches(6, 10)?;
    for keep in if kind == CommitKind::Staged { vec![0, 2, 6] } else { vec![0] } {
        let name = format!("discard_{keep}");
        let sink = lab.sink(&name, mode).await?;
        let target = lab.target(&name, "only", schema.clone(), mode);
        let stream_sink = sink.prepare(target.clone()).await?;
        let tokens = stage(stream_sink.as_ref(), 0, 1, &batches).await?;
        drop(stream_sink);
        let sink = lab.sink(&name, mode).await?;
        let stream_sink = sink.prepare(target).await?;
        stream_sink.recover().await?;
        match stream_sink.discard(&tokens[..keep]).await {
            // A log: what is durable is there for good. The engine then refuses to start over.
            Err(error) if kind == CommitKind::CoCommitted && error.kind() == Kind::Unsupported => {
                return skipped(format!("durable rows cannot be taken back: {}", error.what()));
            }
            other => other?,
        }
        stream_sink.discard(&tokens[..keep]).await?;
        let more = [plain_rows(1000, 1010, 3)?];
        let mut all = tokens[..keep].to_vec();
        all.extend(stage(stream_sink.as_ref(), 1, 100, &more).await?);
        counts(&stream_sink.commit(&all).await?, keep as u64 * 10 + 10)?;
        let wanted: Vec<_> = batches[..keep].iter().chain(&more).cloned().collect();
        same_rows(&lab.rows(&schema, &wanted)?, &lab.target_rows(&name, &schema).await?)
            .map_err(|error| fails(format!("keeping {keep} of 6: {error:?}")))?;
    }
    passed("what is not named is gone")
}

/// Until the commit readers see the old rows, also when the run dies; afterwards only the new ones.
pub async fn sink_overwrite_keeps_old_data_until_commit(lab: &Lab<'_>) -> Result<Outcome> {
    only_mode!(lab, WriteMode::Overwrite);
    let name = "overwrite";
    let schema = plain_schema();
    let old = plain_batches(3, 20)?;
    let new = [plain_rows(30, 90, 5)?, plain_rows(500, 520, 5)?];
    let (old_rows, new_rows) = (lab.rows(&schema, &old)?, lab.rows(&schema, &new)?);
    lab.run(&Job::append(name, "old", schema.clone(), &old).mode(WriteMode::Overwrite)).await?;
    same_rows(&old_rows, &lab.target_rows(name, &schema).await?)?;
    let job = Job::append(name, "new", schema.clone(), &new).mode(WriteMode::Overwrite);
    let mut checkpoint = Checkpoint::default();
    for point in [CrashPoint::BeforeFlush, CrashPoint::AfterFlush, CrashPoint::BeforeCommit] {
        crashed(lab.attempt(&job, &mut checkpoint, Some(Crash { point, nth: 1 })).await?)?;
        same_rows(&old_rows, &lab.target_rows(name, &schema).await?)
            .map_err(|error| fails(format!("at {point:?} the old rows are not there as they were: {error:?}")))?;
    }
    committed(lab.attempt(&job, &mut checkpoint, None).await?)?;
    same_rows(&new_rows, &lab.target_rows(name, &schema).await?)?;
    // A run that is given up must not leak into the next one.
    let given_up = Job::append(name, "given_up", schema.clone(), &old).mode(WriteMode::Overwrite);
    let crash = Some(Crash { point: CrashPoint::BeforeCommit, nth: 1 });
    crashed(lab.attempt(&given_up, &mut Checkpoint::default(), crash).await?)?;
    lab.run(&Job::append(name, "again", schema.clone(), &new).mode(WriteMode::Overwrite)).await?;
    same_rows(&new_rows, &lab.target_rows(name, &schema).await?)
        .map_err(|error| fails(format!("after a run that was given up: {error:?}")))?;
    passed("old rows until commit, new rows after")
}

/// Overwriting with an empty stream leaves an empty target.
pub async fn sink_overwrite_with_nothing_empties(lab: &Lab<'_>) -> Result<Outcome> {
    only_mode!(lab, WriteMode::Overwrite);
    let name = "overwrite_empty";
    let schema = plain_schema();
    lab.run(&Job::append(name, "old", schema.clone(), &plain_batches(2, 10)?).mode(WriteMode::Overwrite)).await?;
    counts(&lab.run(&Job::append(name, "new", schema.clone(), &[]).mode(WriteMode::Overwrite)).await?, 0)?;
    let left = lab.target_rows(name, &schema).await?;
    ensure(left.is_empty(), || format!("{} old rows are still there", left.len()))?;
    passed("empty")
}

/// Rows with ids that exist are replaced, others added; within a lane the last of equal keys wins.
pub async fn sink_upsert_replaces_by_key(lab: &Lab<'_>) -> Result<Outcome> {
    only_mode!(lab, WriteMode::Upsert);
    let name = "upsert";
    let schema = plain_schema();
    let job = |run, batches| Job::append(name, run, plain_schema(), batches).mode(WriteMode::Upsert).one_lane();
    let old = plain_batches(3, 20)?;
    counts(&lab.run(&job("old", &old)).await?, 60)?;
    // 40..80 replaces and adds; 70..75 comes again in a later batch, and 71 twice inside one batch.
    let twice = arrow::compute::concat_batches(&schema, &[plain_rows(71, 72, 8)?, plain_rows(71, 72, 9)?]).map_err(broken)?;
    let new = [plain_rows(40, 80, 5)?, plain_rows(70, 75, 6)?, twice];
    counts(&lab.run(&job("new", &new)).await?, 47)?;
    let wanted = [
        plain_rows(0, 40, 3)?,
        plain_rows(40, 70, 5)?,
        plain_rows(70, 71, 6)?,
        plain_rows(71, 72, 9)?,
        plain_rows(72, 75, 6)?,
        plain_rows(75, 80, 5)?,
    ];
    same_rows(&lab.rows(&schema, &wanted)?, &lab.target_rows(name, &schema).await?)?;
    passed("replaced, added, last one wins")
}

/// The same rows again, in a crashed and resumed run and in a further run, change nothing.
pub async fn sink_upsert_is_idempotent(lab: &Lab<'_>) -> Result<Outcome> {
    only_mode!(lab, WriteMode::Upsert);
    let name = "upsert_again";
    let schema = plain_schema();
    let batches = plain_batches(6, 20)?;
    let expected = lab.rows(&schema, &batches)?;
    for (run, point) in
        [("first", CrashPoint::AfterFlush), ("second", CrashPoint::AfterCommit), ("third", CrashPoint::BeforeFlush)]
    {
        let job = Job::append(name, run, schema.clone(), &batches).mode(WriteMode::Upsert);
        let mut checkpoint = Checkpoint::default();
        crashed(lab.attempt(&job, &mut checkpoint, Some(Crash { point, nth: 1 })).await?)?;
        committed(lab.attempt(&job, &mut checkpoint, None).await?)?;
        same_rows(&expected, &lab.target_rows(name, &schema).await?).map_err(|error| fails(format!("{run} run: {error:?}")))?;
    }
    passed("three crashed runs of the same rows, one result")
}

/// The plain rows with a further column.
fn with_extra(from: i64, to: i64) -> Result<RecordBatch> {
    let plain = plain_rows(from, to, 3)?;
    let mut fields = plain.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("extra", DataType::Utf8, true)));
    let mut columns = plain.columns().to_vec();
    let extra: ArrayRef = Arc::new(StringArray::from_iter((from..to).map(|id| (id % 2 == 0).then(|| format!("e{id}")))));
    columns.push(extra);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)
}

/// A batch widened to `wide`'s schema, absent columns NULL.
fn filled(batch: &RecordBatch, wide: &arrow::datatypes::SchemaRef) -> Result<RecordBatch> {
    let columns = wide
        .fields()
        .iter()
        .map(|field| {
            let absent = || arrow::array::new_null_array(field.data_type(), batch.num_rows());
            batch.column_by_name(field.name()).cloned().unwrap_or_else(absent)
        })
        .collect();
    RecordBatch::try_new(wide.clone(), columns).map_err(broken)
}

/// Under `evolve` a new column appears, old rows have NULL in it, and a run without it goes on.
pub async fn sink_adds_a_column_under_evolve(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    if !lab.declared.schema_change {
        return skipped("the sink does not follow schema changes");
    }
    let name = "evolve";
    let old = plain_batches(2, 10)?;
    lab.run(&Job::append(name, "old", plain_schema(), &old).mode(mode)).await?;
    let new = [with_extra(100, 120)?];
    let wide = new[0].schema();
    let actions = lab.sink(name, mode).await?.preview(&lab.target(name, "new", wide.clone(), mode)).await?;
    ensure(actions.iter().any(|action| action.contains("extra")), || {
        format!("the preview does not mention the new column `extra`: {actions:?}")
    })?;
    lab.run(&Job::append(name, "new", wide.clone(), &new).mode(mode)).await?;
    let late = [plain_rows(200, 210, 3)?];
    lab.run(&Job::append(name, "late", plain_schema(), &late).mode(mode)).await?;
    // What an overwrite leaves is the last run.
    let earlier = if mode == WriteMode::Overwrite { Vec::new() } else { [&old[..], &new[..]].concat() };
    let wanted = earlier.iter().chain(&late).map(|batch| filled(batch, &wide)).collect::<Result<Vec<_>>>()?;
    let read = lab.subject.read_back(name).await?;
    let read = read.iter().map(|batch| filled(batch, &wide)).collect::<Result<Vec<_>>>()?;
    same_rows(&lab.rows(&wide, &wanted)?, &lab.rows(&wide, &read)?)?;
    passed("added; old rows NULL; a run without it goes on")
}

/// Under `freeze` the same change is refused before a row is written.
pub async fn sink_refuses_a_column_under_freeze(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    if !lab.declared.schema_change {
        return skipped("the sink does not follow schema changes");
    }
    let name = "freeze";
    let old = plain_batches(2, 10)?;
    let frozen = SchemaChangePolicy::Freeze;
    lab.run(&Job::append(name, "old", plain_schema(), &old).mode(mode).policy(frozen)).await?;
    let new = [with_extra(100, 120)?];
    match lab.run(&Job::append(name, "new", new[0].schema(), &new).mode(mode).policy(frozen)).await {
        Ok(_) => return Err(fails("a new column is accepted under `freeze`")),
        Err(error) => {
            ensure(error.kind() == Kind::Schema, || format!("the refusal is told as {:?}: {error:?}", error.kind()))?;
            ensure(error.to_string().contains("extra"), || format!("the refusal does not name the column: {error:?}"))?;
        }
    }
    same_rows(&lab.rows(&plain_schema(), &old)?, &lab.target_rows(name, &plain_schema()).await?)?;
    lab.run(&Job::append(name, "same", plain_schema(), &[plain_rows(20, 30, 3)?]).mode(mode).policy(frozen)).await?;
    passed("refused by name; the same schema still goes")
}

/// However much is written without a flush, one writer stays under the declared bound.
pub async fn sink_bounds_its_memory(lab: &Lab<'_>) -> Result<Outcome> {
    let mode = main_mode!(lab);
    let Some(bound) = lab.declared.max_buffered_bytes else { return skipped("no bound is declared") };
    let name = "bounded";
    let sink = lab.sink(name, mode).await?;
    let stream_sink = sink.prepare(lab.target(name, "only", plain_schema(), mode)).await?;
    let mut writer = stream_sink.writer(0).await?;
    let mut written = 0;
    let mut most = 0;
    let mut next = 0;
    // Not compressible to nothing, and several times the bound.
    while written < bound * 4 {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(next..next + 2000));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((next..next + 2000).map(scrambled)));
        let batch = RecordBatch::try_new(plain_schema(), vec![ids.clone(), names, ids]).map_err(broken)?;
        next += 2000;
        let size = batch.get_array_memory_size();
        written += size;
        writer.write(batch).await?;
        let held = writer.buffered_bytes();
        most = most.max(held);
        ensure(held <= bound + size, || format!("a writer holds {held} bytes, more than {bound}, after {written} were written"))?;
    }
    let flushed = writer.flush(&Barrier { epoch: 1, lane: 0, progress: Vec::new() }).await?;
    ensure(flushed.rows == next as u64, || format!("{next} rows were written, {} became durable", flushed.rows))?;
    ensure(writer.buffered_bytes() <= bound, || format!("{} bytes are held after a flush", writer.buffered_bytes()))?;
    passed(format!("at most {most} of {bound} bytes while {written} were written"))
}

fn scrambled(id: i64) -> String {
    let mut word = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..4)
        .map(|_| {
            word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            format!("{word:016x}")
        })
        .collect()
}
