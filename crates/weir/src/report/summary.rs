//! The last lines of a run.

use std::time::Duration;

use weir_engine::{RunReport, RunStatus, StreamReport};

use crate::show::number;
use crate::show::style::Style;
use crate::show::table::Table;

/// What happened, whether the rows reconcile, where they are, and what to do next. `again` is the command that resumes.
pub fn render(report: &RunReport, style: Style, again: &str) -> String {
    let took = number::time(Duration::from_millis(report.duration_ms));
    let mut out = String::new();
    match report.status {
        RunStatus::Succeeded | RunStatus::DeadLettersExceeded => {
            let head = match report.status {
                RunStatus::Succeeded => style.green("done"),
                _ => style.red("too many dead letters"),
            };
            out.push_str(&format!("{head} in {took}   {}   {}\n", report.guarantee, reconciliation(&report.streams)));
            out.push_str(&places(&report.streams));
            out.push_str(&rules(&report.streams));
        }
        RunStatus::Interrupted => {
            if report.clean_stop {
                out.push_str(&format!("{}   {}\n", report.guarantee, reconciliation(&report.streams)));
                out.push_str(&places(&report.streams));
            }
            out.push_str(&format!("{} after {took}. ", style.yellow("stopped")));
            match report.checkpoint {
                Some(number) => out.push_str(&format!("Checkpoint {number} is kept; go on from there with\n  {again}\n")),
                None => out.push_str(&format!("Nothing was written; begin again with\n  {again}\n")),
            }
        }
        RunStatus::Failed => {
            match &report.error {
                Some(error) => {
                    out.push_str(&crate::show::error::render_body(&format!("failed after {took}: error"), error, style))
                }
                None => out.push_str(&format!("{} after {took}\n", style.red("failed"))),
            }
            match report.checkpoint {
                // The run did not even begin: somebody else holds the pipeline, or the state cannot be opened.
                _ if report.run_id.is_empty() => {}
                Some(number) => out.push_str(&format!(
                    "  nothing half-written is visible; checkpoint {number} is kept and the same command goes on from there\n"
                )),
                None => out.push_str("  nothing half-written is visible; the same command begins again\n"),
            }
        }
    }
    let dead: u64 = report.streams.iter().map(|stream| stream.rows_dead).sum();
    if dead > 0 {
        let text = number::counted(dead, "dead letter", "dead letters");
        out.push_str(&format!("  {}   weir dead show {}\n", style.yellow(&text), report.pipeline));
    }
    let late: u64 = report.streams.iter().map(|stream| stream.rows_late).sum();
    if late > 0 {
        let text = number::counted(late, "row came late", "rows came late");
        out.push_str(&format!("  {} (event_time.max_lateness_ms, allowed_lateness_ms)\n", style.yellow(&text)));
    }
    out
}

/// `read 10 = written 7 + filtered 2 + dead 1`, over all streams.
pub fn reconciliation(streams: &[StreamReport]) -> String {
    let sum = |count: fn(&StreamReport) -> u64| number::grouped(streams.iter().map(count).sum());
    let derived: u64 = streams.iter().map(|stream| stream.rows_derived).sum();
    let made = if derived > 0 { format!(" + derived {}", number::grouped(derived)) } else { String::new() };
    format!(
        "read {}{made} = written {} + filtered {} + dead {}",
        sum(|s| s.rows_read),
        sum(|s| s.rows_written),
        sum(|s| s.rows_filtered),
        sum(|s| s.rows_dead)
    )
}

fn places(streams: &[StreamReport]) -> String {
    let mut table = Table::new(["", "", "", ""]).right(1).right(2).right(3).indent(2);
    for stream in streams {
        let objects = if stream.objects > 0 { number::counted(stream.objects, "object", "objects") } else { String::new() };
        let place = if stream.places.is_empty() { stream.name.clone() } else { stream.places.join(", ") };
        table.row([place, number::rows(stream.rows_written), number::bytes(stream.bytes_written), objects]);
    }
    table.render()
}

/// The rules that some row breaks, and how many.
fn rules(streams: &[StreamReport]) -> String {
    let mut table = Table::new(["", "", "", ""]).right(2).indent(2);
    for count in streams.iter().flat_map(|stream| &stream.rules).filter(|count| count.failed > 0) {
        let of = format!("{} of {}", number::grouped(count.failed), number::grouped(count.checked));
        table.row([count.node.clone(), count.rule.clone(), of, count.action.clone()]);
    }
    if streams.iter().any(|stream| stream.rules.iter().any(|count| count.failed > 0)) { table.render() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: RunStatus) -> RunReport {
        RunReport {
            run_id: "r".into(),
            pipeline: "orders_to_lake".into(),
            status,
            streams: vec![StreamReport {
                name: "orders".into(),
                rows_read: 1_010,
                rows_written: 1_000,
                rows_filtered: 8,
                rows_dead: 2,
                bytes_written: 231_000_000,
                places: vec!["lake/orders".into()],
                objects: 19,
                ..StreamReport::default()
            }],
            duration_ms: 5_100,
            guarantee: "exactly_once".into(),
            checkpoint: Some(13),
            clean_stop: false,
            warnings: vec![],
            held: vec![],
            error: None,
        }
    }

    #[test]
    fn a_finished_run_shows_that_its_rows_reconcile() {
        assert_eq!(
            render(&report(RunStatus::Succeeded), Style::new(false), "weir run x.yaml"),
            "done in 5.1 s   exactly_once   read 1,010 = written 1,000 + filtered 8 + dead 2\n\
             \x20 lake/orders  1,000 rows  231 MB  19 objects\n\
             \x20 2 dead letters   weir dead show orders_to_lake\n"
        );
    }

    #[test]
    fn an_interrupted_run_says_how_to_go_on() {
        let text = render(&report(RunStatus::Interrupted), Style::new(false), "weir run x.yaml");
        assert!(
            text.starts_with("stopped after 5.1 s. Checkpoint 13 is kept; go on from there with\n  weir run x.yaml\n"),
            "{text}"
        );
    }

    #[test]
    fn a_failed_run_says_what_was_kept() {
        let mut failed = report(RunStatus::Failed);
        failed.error = Some(weir_error::Error::new("WEIR-IO-028", weir_error::Kind::Io, "the disk is full").to_json());
        let text = render(&failed, Style::new(false), "weir run x.yaml");
        assert!(text.starts_with("failed after 5.1 s: error[WEIR-IO-028]: the disk is full\n"), "{text}");
        assert!(text.contains("checkpoint 13 is kept"), "{text}");
    }
}
