//! Lines on standard output, one JSON object each. A parent that does not listen any more is noticed by [`super::life`], not here.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};
use weir_control::worker::lines::MAX_LINE_BYTES;
use weir_control::worker::meter::own_peak_bytes;
use weir_control::worker::scrub;
use weir_engine::{Reporter, RunEvent};
use weir_error::{Error, veil};
use weir_spec::Diagnostic;

/// One line, in one write. No secret that this process has opened leaves it.
fn line(value: &impl Serialize) {
    let Ok(mut value) = serde_json::to_value(value) else { return };
    scrub::cover(&mut value, &veil::veiled);
    if let Ok(mut line) = serde_json::to_vec(&value) {
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

/// A question to the checkpoint store. Not cleaned of secrets: what comes back must be what was given. `false`: the line is too long, or
/// nobody listens.
pub fn state(id: u64, call: &impl Serialize) -> bool {
    let Ok(mut line) = serde_json::to_vec(&json!({"event": "state", "id": id, "call": call})) else { return false };
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    line.len() <= MAX_LINE_BYTES && out.write_all(&line).and_then(|()| out.flush()).is_ok()
}

/// The last line of a run.
pub fn report(report: &impl Serialize) {
    line(&json!({"event": "report", "report": report, "memory_peak_bytes": own_peak_bytes()}));
}

/// The last line of an errand.
pub fn answer(ok: &Value) {
    line(&json!({"event": "answer", "answer": {"ok": ok}}));
}

/// The last line of an errand that failed.
pub fn answer_error(error: &Error) {
    line(&json!({"event": "answer", "answer": {"error": error.to_json()}}));
}

/// A problem of the pipeline file.
pub fn diagnostic(diagnostic: &Diagnostic) {
    let mut body = serde_json::to_value(diagnostic).unwrap_or_default();
    if let Some(map) = body.as_object_mut() {
        map.insert("event".into(), "diagnostic".into());
    }
    line(&body);
}

/// The schemas as planned: `[{stream, columns: [{name, type, nullable}]}]`.
pub fn schemas(streams: &Value) {
    line(&json!({"event": "schemas", "streams": streams}));
}

/// Events of the engine.
pub struct Lines;

impl Reporter for Lines {
    fn event(&mut self, event: &RunEvent) {
        line(event);
    }
}
