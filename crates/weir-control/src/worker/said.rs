//! What a child says, understood: counts, log lines, the report. Whatever is none of these is a log line.

use std::collections::BTreeMap;

use chrono::Utc;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_store::model::{EdgeCounts, NewLogLine, NodeCounts, StreamCounts};

use super::lines::{Line, MAX_LOG_BYTES, clean};
use super::scrub::Scrubber;

/// Nodes, and edges, of one stream that are kept.
const MOST_PARTS: usize = 200;
/// Splits of one stream whose lag is kept.
const MOST_SPLITS: usize = 64;

/// One line, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Where a stream stands.
    Counts(StreamCounts),
    /// A stream is committed: its name, rows and bytes at the target, and the line for the log.
    Finished(String, u64, u64, NewLogLine),
    /// The schemas of the streams, as planned: `[{stream, columns: [{name, type, nullable}]}]`.
    Schemas(Value),
    /// For the log.
    Log(NewLogLine),
    /// The engine's report, and the most memory that the process held.
    Report {
        /// As the engine has it.
        body: Value,
        /// 0: it did not say.
        memory_peak_bytes: u64,
    },
    /// The answer to another verb.
    Answer(Value),
    /// A question to the checkpoint store, as it was written.
    State {
        /// Its number.
        id: u64,
        /// What is asked.
        call: Value,
    },
}

/// Which pipe it came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// Events.
    Output,
    /// Panics, diagnostics.
    Errors,
}

/// Understands a line; `None` for an empty one.
pub fn understand(line: &Line, pipe: Pipe, scrubber: &Scrubber) -> Option<Said> {
    if line.bytes.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let parsed = match pipe {
        Pipe::Output if !line.cut => serde_json::from_slice::<Value>(&line.bytes).ok().filter(Value::is_object),
        _ => None,
    };
    let Some(mut event) = parsed else {
        let level = if pipe == Pipe::Errors { "warning" } else { "info" };
        // Cleared before it is shortened, or half a secret would be left.
        let text = scrubber.text(&String::from_utf8_lossy(&line.bytes), line.cut);
        return Some(Said::Log(log(level, clean(text.as_bytes(), line.cut), None)));
    };
    if event.get("event").and_then(Value::as_str) == Some("state") {
        // Not cleaned: what comes back must be what was given. It goes into the store and nowhere else.
        let id = event.get("id").and_then(Value::as_u64).unwrap_or(0);
        return Some(Said::State { id, call: event.get_mut("call").map(Value::take).unwrap_or_default() });
    }
    scrubber.value(&mut event);
    let text = |event: &Value, name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let number = |event: &Value, name: &str| event.get(name).and_then(Value::as_u64).unwrap_or(0);
    let kind = text(&event, "event");
    match kind.as_str() {
        "progress" => {
            return Some(Said::Counts(StreamCounts {
                name: tame(&text(&event, "stream")),
                rows_read: number(&event, "rows_read"),
                rows_written: number(&event, "rows_written"),
                rows_dead: number(&event, "rows_dead"),
                bytes_read: number(&event, "bytes_read"),
                lag_rows: event.get("lag_rows").and_then(Value::as_u64),
                lag_ms: event.get("lag_ms").and_then(Value::as_u64),
                lag_splits: part::<BTreeMap<String, u64>>(&mut event, "lag_splits").into_iter().take(MOST_SPLITS).collect(),
                event_time: part(&mut event, "event_time"),
                nodes: nodes(part(&mut event, "nodes")),
                edges: edges(part(&mut event, "edges")),
                ..StreamCounts::default()
            }));
        }
        "report" | "answer" => {
            let body = event.get_mut(&kind).map(Value::take).unwrap_or_default();
            let memory_peak_bytes = number(&event, "memory_peak_bytes");
            return Some(if kind == "report" { Said::Report { body, memory_peak_bytes } } else { Said::Answer(body) });
        }
        "schemas" => return Some(Said::Schemas(event.get_mut("streams").map(Value::take).unwrap_or_default())),
        _ => {}
    }
    let (level, message) = sentence(&kind, &event);
    // Every line of the log is bounded, its event too.
    let small = line.bytes.len() <= MAX_LOG_BYTES;
    let finished = (kind == "stream_finished")
        .then(|| (tame(&text(&event, "stream")), number(&event, "rows_written"), number(&event, "bytes_written")));
    let line = log(level, clean(message.as_bytes(), false), small.then_some(event));
    Some(match finished {
        Some((stream, rows, bytes)) => Said::Finished(stream, rows, bytes, line),
        None => Said::Log(line),
    })
}

/// A part of an event, or of a report, in the shape that it should have; else nothing.
pub(crate) fn part<T: DeserializeOwned + Default>(whole: &mut Value, name: &str) -> T {
    whole.get_mut(name).map(Value::take).and_then(|part| serde_json::from_value(part).ok()).unwrap_or_default()
}

/// Nodes as they are stored: not too many, with clean names.
pub(crate) fn nodes(mut nodes: Vec<NodeCounts>) -> Vec<NodeCounts> {
    nodes.truncate(MOST_PARTS);
    nodes.iter_mut().for_each(|node| node.node = tame(&node.node));
    nodes
}

/// The same of edges.
pub(crate) fn edges(mut edges: Vec<EdgeCounts>) -> Vec<EdgeCounts> {
    edges.truncate(MOST_PARTS);
    for edge in &mut edges {
        (edge.from, edge.to) = (tame(&edge.from), tame(&edge.to));
        edge.port = edge.port.as_deref().map(tame);
    }
    edges
}

/// A log line of now.
pub fn log(level: &str, message: String, event: Option<Value>) -> NewLogLine {
    NewLogLine { at: Utc::now(), level: level.into(), message, event }
}

/// A stream's name as it is stored: clean, and of a sane length.
fn tame(name: &str) -> String {
    clean(name.as_bytes(), false).chars().take(512).collect()
}

/// An event as a sentence, with its level.
fn sentence(kind: &str, event: &Value) -> (&'static str, String) {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or(0);
    match kind {
        "started" => {
            let attempt = if number("attempt") > 1 { format!(", attempt {}", number("attempt")) } else { String::new() };
            ("info", format!("{} begins: {}{attempt}, {}", text("pipeline"), text("mode"), text("note")))
        }
        "stream_started" => match event.get("estimated_rows").and_then(Value::as_u64) {
            Some(rows) => ("info", format!("{}: reading, about {rows} rows", text("stream"))),
            None => ("info", format!("{}: reading", text("stream"))),
        },
        "checkpoint" => {
            ("debug", format!("{}: checkpoint {}, {} rows are durable", text("stream"), number("epoch"), number("rows")))
        }
        "retry" => {
            let wait = number("delay_ms");
            ("warning", format!("{}: {}; try {} in {wait} ms", text("stream"), text("message"), number("attempt")))
        }
        "warning" => ("warning", text("message").to_string()),
        "stream_finished" => {
            let places = event.get("places").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let places = places.take(5).collect::<Vec<_>>().join(", ");
            ("info", format!("{}: {} rows committed to {places}", text("stream"), number("rows_written")))
        }
        "finished" => match text("status") {
            "succeeded" => ("info", "succeeded".into()),
            status => ("error", format!("ended: {}", status.replace('_', " "))),
        },
        "diagnostic" => {
            let place = match number("line") {
                0 => String::new(),
                line => format!(" (line {line}, column {})", number("column")),
            };
            let level = if text("severity") == "error" { "error" } else { "warning" };
            (level, format!("[{}] {}{place}", text("code"), text("message")))
        }
        _ => ("info", event.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, pipe: Pipe) -> Said {
        understand(&Line { bytes: text.into(), cut: false }, pipe, &Scrubber::new(&["hunter2-secret"])).unwrap()
    }

    fn logged(said: Said) -> NewLogLine {
        match said {
            Said::Log(line) | Said::Finished(.., line) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_become_counts_sentences_and_the_report() {
        let counts = said(
            r#"{"event":"progress","stream":"s","rows_read":5,"rows_written":4,"bytes_read":99,"rows_dead":1,"lag_rows":12}"#,
            Pipe::Output,
        );
        let expected = StreamCounts {
            name: "s".into(),
            rows_read: 5,
            rows_written: 4,
            rows_dead: 1,
            bytes_read: 99,
            lag_rows: Some(12),
            ..StreamCounts::default()
        };
        assert_eq!(counts, Said::Counts(expected));
        let told = said(
            r#"{"event":"progress","stream":"s","lag_splits":{"p0":3},"event_time":{"watermark_ms":5,"state_bytes":7,"rows_late":1},
                "nodes":[{"node":"a","rows_in":null,"bytes_in":null,"rows_out":3,"bytes_out":30,"rows_dead":1}],
                "edges":[{"from":"a","to":"b","rows":3,"bytes":null}]}"#,
            Pipe::Output,
        );
        let Said::Counts(told) = told else { panic!("{told:?}") };
        assert_eq!((told.lag_splits["p0"], told.event_time.unwrap().watermark_ms), (3, Some(5)));
        assert_eq!((told.nodes[0].rows_out, told.nodes[0].rows_dead, told.edges[0].rows), (Some(3), 1, Some(3)));
        let started = logged(said(
            r#"{"event":"started","run_id":"e","pipeline":"p","mode":"batch","attempt":2,"note":"going on with run e (attempt 2)"}"#,
            Pipe::Output,
        ));
        assert_eq!(started.message, "p begins: batch, attempt 2, going on with run e (attempt 2)");
        assert_eq!(started.event.unwrap()["run_id"], "e");
        let retry = logged(said(r#"{"event":"retry","stream":"s","message":"gone","attempt":2,"delay_ms":250}"#, Pipe::Output));
        assert_eq!((retry.level.as_str(), retry.message.as_str()), ("warning", "s: gone; try 2 in 250 ms"));
        let report = said(r#"{"event":"report","report":{"status":"succeeded"},"memory_peak_bytes":9}"#, Pipe::Output);
        let body = serde_json::json!({"status": "succeeded"});
        assert_eq!(report, Said::Report { body, memory_peak_bytes: 9 });
        let done = said(
            r#"{"event":"stream_finished","stream":"s","rows_written":7,"bytes_written":70,"places":["lake/s"]}"#,
            Pipe::Output,
        );
        assert!(matches!(&done, Said::Finished(name, 7, 70, _) if name == "s"));
        assert_eq!(logged(done).message, "s: 7 rows committed to lake/s");
    }

    #[test]
    fn what_is_no_event_is_a_log_line_and_nothing_else() {
        for text in ["plain words", "{\"event\":", "[1,2]", "7", "\"report\"", "{\"event\":\"report\""] {
            let line = logged(said(text, Pipe::Output));
            assert_eq!((line.message.as_str(), line.level.as_str(), &line.event), (text, "info", &None));
        }
        assert_eq!(logged(said(r#"{"event":"report","report":{"status":"succeeded"}}"#, Pipe::Errors)).level, "warning");
        let empty = Line { bytes: b" \r".to_vec(), cut: false };
        assert_eq!(understand(&empty, Pipe::Output, &Scrubber::new(&[])), None);
    }

    #[test]
    fn a_report_that_was_cut_is_no_report() {
        let line = Line { bytes: br#"{"event":"report","report":{"status":"succeeded"}}"#.to_vec(), cut: true };
        assert!(matches!(understand(&line, Pipe::Output, &Scrubber::new(&[])), Some(Said::Log(_))));
    }

    #[test]
    fn hostile_values_in_events_are_bounded_and_clean() {
        let long = format!(r#"{{"event":"warning","message":"{}\u001b[2J"}}"#, "x".repeat(100_000));
        let line = logged(said(&long, Pipe::Output));
        assert!(line.message.len() <= MAX_LOG_BYTES && !line.message.contains('\x1b') && line.event.is_none());
        let counts = said(r#"{"event":"progress","stream":"a\u001bb\nc","rows_read":-5,"rows_written":"many"}"#, Pipe::Output);
        assert!(matches!(counts, Said::Counts(c) if c.name == "ab c" && c.rows_read == 0 && c.rows_written == 0));
        let edge = r#"{"from":"a\u001b","to":"b","rows":1}"#;
        let many = format!(r#"{{"event":"progress","stream":"s","edges":[{}],"nodes":7}}"#, vec![edge; 5_000].join(","));
        let Said::Counts(counts) = said(&many, Pipe::Output) else { panic!("no counts") };
        assert_eq!((counts.edges.len(), counts.edges[0].from.as_str(), counts.nodes.len()), (MOST_PARTS, "a", 0));
    }

    #[test]
    fn secrets_do_not_get_through() {
        for (text, pipe) in [
            (r#"{"event":"warning","message":"login as u:hunter2-secret"}"#, Pipe::Output),
            (r#"{"event":"report","report":{"error":{"cause":"hunter2-secret"}}}"#, Pipe::Output),
            ("panicked with hunter2-secret", Pipe::Errors),
            ("hunter2-secret", Pipe::Output),
        ] {
            assert!(!format!("{:?}", said(text, pipe)).contains("hunter2"), "{text}");
        }
    }
}
