//! Line by line: plain sentences, or one JSON object per event.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use weir_engine::{Reporter, RunEvent};

use crate::show::number;
use crate::show::style::Style;

/// Sentences on stderr: begin, streams, retries, warnings; no progress.
pub struct Plain {
    style: Style,
}

impl Plain {
    pub fn new(style: Style) -> Self {
        Self { style }
    }
}

impl Reporter for Plain {
    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Started { run_id, pipeline, mode, attempt, note } => {
                eprintln!("{}", started(self.style, run_id, pipeline, mode, *attempt, note));
            }
            RunEvent::Retry { stream, message, attempt, delay_ms } => {
                eprintln!("{}", retry(self.style, stream, message, *attempt, *delay_ms));
            }
            RunEvent::Warning { message } => eprintln!("{}", warning(self.style, message)),
            RunEvent::StreamStarted { .. }
            | RunEvent::Progress(_)
            | RunEvent::Checkpoint { .. }
            | RunEvent::StreamFinished { .. }
            | RunEvent::Finished { .. } => {}
        }
    }
}

pub fn started(style: Style, run_id: &str, pipeline: &str, mode: &str, attempt: u32, note: &str) -> String {
    let mut line = format!("{}  {}  {mode}", style.bold(pipeline), style.dim(&format!("run {run_id}")));
    if attempt > 1 {
        line.push_str(&format!(", attempt {attempt}"));
    }
    if !note.is_empty() {
        line.push_str(&format!(", {note}"));
    }
    line
}

pub fn retry(style: Style, stream: &str, message: &str, attempt: u32, delay_ms: u64) -> String {
    let delay = number::time(Duration::from_millis(delay_ms));
    format!("{} {stream}: {message}; try {attempt} in {delay}", style.yellow("retry"))
}

pub fn warning(style: Style, message: &str) -> String {
    format!("{} {message}", style.yellow("warning:"))
}

/// One JSON object per event on stderr; progress at most once a second per stream.
pub struct Json {
    shown: BTreeMap<String, u64>,
}

impl Json {
    pub fn new() -> Self {
        Self { shown: BTreeMap::new() }
    }

    fn wanted(&mut self, event: &RunEvent) -> bool {
        let RunEvent::Progress(progress) = event else { return true };
        let due = self.shown.get(&progress.stream).is_none_or(|&last| progress.elapsed_ms >= last + 1_000);
        if due {
            self.shown.insert(progress.stream.clone(), progress.elapsed_ms);
        }
        due
    }
}

impl Reporter for Json {
    fn event(&mut self, event: &RunEvent) {
        if self.wanted(event)
            && let Ok(line) = serde_json::to_string(event)
        {
            // One write per line, so that lines of other writers do not end up inside it.
            let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::Progress;

    #[test]
    fn progress_is_told_once_a_second_and_everything_else_always() {
        let mut json = Json::new();
        let progress = |elapsed_ms| RunEvent::Progress(Progress { stream: "s".into(), elapsed_ms, ..Progress::default() });
        assert!(json.wanted(&progress(0)));
        assert!(!json.wanted(&progress(900)));
        assert!(json.wanted(&progress(1_000)));
        assert!(json.wanted(&RunEvent::Warning { message: "w".into() }));
        assert!(json.wanted(&RunEvent::Warning { message: "w".into() }));
    }
}
