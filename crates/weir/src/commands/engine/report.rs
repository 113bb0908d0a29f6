//! The result of a run on another engine, in the words of any run.
//!
//! The rows are the engine's own counts; Weir has not seen one of them. What the engine read and did not write counts as filtered, and the report says that nobody
//! has checked it: `weir diff` does.

use weir_engine::{RunReport, RunStatus, StreamReport};
use weir_runners::client::{Ended, Look, Outcome};

use crate::show::number;
use crate::show::style::Style;

/// What a report is about.
pub struct Run<'a> {
    pub engine: &'static str,
    pub run_id: &'a str,
    pub pipeline: &'a str,
    pub guarantee: &'a str,
    pub duration_ms: u64,
    /// What the compiler noted.
    pub notes: &'a [String],
}

/// The report of an ended job.
pub fn report(run: &Run<'_>, ended: Ended) -> RunReport {
    let streams: Vec<StreamReport> = ended.last.as_ref().and_then(|look| stream(run.pipeline, look)).into_iter().collect();
    let mut warnings: Vec<String> = run.notes.iter().map(|note| format!("{}: {note}", run.engine)).collect();
    warnings.extend(ended.warnings);
    match streams.is_empty() {
        true => warnings.push(format!("{} gives no counts of rows", run.engine)),
        false => warnings.push(format!("{} counted the rows, and nobody has checked them", run.engine)),
    }
    let suspended = matches!(ended.outcome, Outcome::Suspended(_));
    let (status, error) = match ended.outcome {
        Outcome::Finished => (RunStatus::Succeeded, None),
        Outcome::Cancelled | Outcome::Suspended(_) => (RunStatus::Interrupted, None),
        Outcome::Failed(error) => (RunStatus::Failed, Some(error.to_json())),
    };
    RunReport {
        run_id: run.run_id.to_owned(),
        pipeline: run.pipeline.to_owned(),
        status,
        streams,
        duration_ms: run.duration_ms,
        guarantee: run.guarantee.to_owned(),
        checkpoint: ended.last.as_ref().and_then(|look| look.checkpoints),
        clean_stop: suspended,
        warnings,
        held: Vec::new(),
        error,
    }
}

/// The numbers as one stream: an engine does not say which row belongs to which.
fn stream(pipeline: &str, look: &Look) -> Option<StreamReport> {
    let (rows_read, rows_written) = (look.rows_read?, look.rows_written?);
    Some(StreamReport {
        name: pipeline.to_owned(),
        rows_read,
        rows_written,
        rows_filtered: rows_read.saturating_sub(rows_written),
        rows_derived: rows_written.saturating_sub(rows_read),
        bytes_written: look.bytes_written.unwrap_or(0),
        ..StreamReport::default()
    })
}

/// The last lines, for people. `again` is the command that goes on.
pub fn render(report: &RunReport, engine: &str, style: Style, again: &str) -> String {
    let took = number::time(std::time::Duration::from_millis(report.duration_ms));
    let rows = match report.streams.is_empty() {
        true => String::new(),
        false => format!("   {}", crate::report::summary::reconciliation(&report.streams)),
    };
    let mut out = match (report.status, &report.error) {
        (RunStatus::Succeeded, _) => format!("{} in {took} on {engine}   {}{rows}\n", style.green("done"), report.guarantee),
        (RunStatus::Interrupted, _) if report.clean_stop => {
            format!("{} after {took} on {engine}{rows}\n  go on from there with\n  {again}\n", style.yellow("stopped"))
        }
        (RunStatus::Interrupted, _) => {
            format!(
                "{} after {took} on {engine}. What the job wrote before is not taken back; begin again with\n  {again}\n",
                style.yellow("stopped")
            )
        }
        (_, Some(error)) => crate::show::error::render_body(&format!("failed after {took} on {engine}: error"), error, style),
        (_, None) => format!("{} after {took} on {engine}\n", style.red("failed")),
    };
    for warning in &report.warnings {
        out.push_str(&format!("  {} {warning}\n", style.yellow("note:")));
    }
    out
}

#[cfg(test)]
mod tests {
    use weir_error::{Error, Kind};
    use weir_runners::client::{Savepoint, State};

    use super::*;

    fn ended(outcome: Outcome, read: Option<u64>, written: Option<u64>) -> RunReport {
        let look = Look { rows_read: read, rows_written: written, ..Look::new(State::Finished, "FINISHED") };
        let run =
            Run { engine: "flink", run_id: "r", pipeline: "orders", guarantee: "at_least_once", duration_ms: 1, notes: &[] };
        report(&run, Ended { outcome, last: Some(look), warnings: vec!["w".into()], settled: true })
    }

    #[test]
    fn the_engines_counts_reconcile_and_are_marked_as_its_own() {
        let told = ended(Outcome::Finished, Some(10), Some(7));
        let stream = &told.streams[0];
        assert_eq!((stream.rows_read, stream.rows_written, stream.rows_filtered, stream.rows_derived), (10, 7, 3, 0));
        assert_eq!(ended(Outcome::Finished, Some(7), Some(10)).streams[0].rows_derived, 3);
        assert_eq!(told.warnings, ["w", "flink counted the rows, and nobody has checked them"]);
        let uncounted = ended(Outcome::Finished, None, Some(7));
        assert!(uncounted.streams.is_empty() && uncounted.warnings[1] == "flink gives no counts of rows");
    }

    #[test]
    fn exit_codes_are_those_of_any_run() {
        let code = |outcome: Outcome| ended(outcome, None, None).exit_code();
        assert_eq!(code(Outcome::Finished), 0);
        assert_eq!(code(Outcome::Cancelled), 130);
        assert_eq!(code(Outcome::Suspended(Savepoint("s".into()))), 0);
        assert_eq!(code(Outcome::Failed(Error::new("WEIR-X-001", Kind::Connect, "lost"))), 3);
        assert_eq!(code(Outcome::Failed(Error::new("WEIR-X-001", Kind::Data, "a row"))), 1);
    }
}
