//! A progress bar per stream, redrawn in place, and one line for memory, checkpoints and dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use weir_engine::{Progress, Reporter, RunEvent};

use crate::show::number;
use crate::show::style::Style;
use crate::show::table::shorten;

/// Bars on stderr.
pub struct Bars {
    style: Style,
    multi: MultiProgress,
    streams: BTreeMap<String, Row>,
    footer: Option<ProgressBar>,
    checkpoint: Option<(u64, u64)>,
    memory: (u64, u64),
}

struct Row {
    bar: ProgressBar,
    last: Progress,
    done: bool,
}

impl Bars {
    pub fn new(style: Style) -> Self {
        Self {
            style,
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
            streams: BTreeMap::new(),
            footer: None,
            checkpoint: None,
            memory: (0, 0),
        }
    }

    fn say(&self, text: &str) {
        // A line above the bars; when the terminal is gone there is nobody to tell.
        let _ = self.multi.println(text);
    }

    fn line(&self) -> ProgressBar {
        // A style that is only the message: the line is made by `describe`, so that it can be tested.
        let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        ProgressBar::new_spinner().with_style(style)
    }

    fn draw_footer(&mut self) {
        let dead: u64 = self.streams.values().map(|row| row.last.rows_dead).sum();
        let footer = self.footer.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.multi.add(ProgressBar::new_spinner().with_style(style))
        });
        footer.set_message(footer_text(self.memory, self.checkpoint, dead));
    }

    fn widest(&self) -> usize {
        self.streams.keys().map(|name| name.chars().count()).max().unwrap_or(0).min(32)
    }

    fn redraw(&mut self) {
        let widest = self.widest();
        for (name, row) in &self.streams {
            row.bar.set_message(describe(name, widest, &row.last, row.done));
        }
        self.draw_footer();
    }
}

impl Reporter for Bars {
    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Started { run_id, pipeline, mode, attempt, note } => {
                self.say(&super::lines::started(self.style, run_id, pipeline, mode, *attempt, note));
            }
            RunEvent::StreamStarted { stream, estimated_rows, estimated_bytes } => {
                let bar = match &self.footer {
                    Some(footer) => self.multi.insert_before(footer, self.line()),
                    None => self.multi.add(self.line()),
                };
                let last = Progress {
                    stream: stream.clone(),
                    estimated_rows: *estimated_rows,
                    estimated_bytes: *estimated_bytes,
                    ..Progress::default()
                };
                self.streams.insert(stream.clone(), Row { bar, last, done: false });
                self.redraw();
            }
            RunEvent::Progress(progress) => {
                self.memory = (progress.memory_bytes, progress.memory_limit_bytes);
                if let Some(row) = self.streams.get_mut(&progress.stream) {
                    row.last = progress.clone();
                }
                self.redraw();
            }
            RunEvent::Checkpoint { epoch, at_ms, .. } => {
                self.checkpoint = Some((*epoch, *at_ms));
                self.draw_footer();
            }
            RunEvent::StreamFinished { stream, .. } => {
                if let Some(row) = self.streams.get_mut(stream) {
                    row.done = true;
                }
                self.redraw();
            }
            RunEvent::Retry { stream, message, attempt, delay_ms } => {
                self.say(&super::lines::retry(self.style, stream, message, *attempt, *delay_ms));
            }
            RunEvent::Warning { message } => self.say(&super::lines::warning(self.style, message)),
            RunEvent::Finished { .. } => {
                // Redrawn lines give way to lasting ones, so that what follows begins on a line of its own.
                let _ = self.multi.clear();
                let widest = self.widest();
                for (name, row) in &self.streams {
                    eprintln!("{}", describe(name, widest, &row.last, row.done));
                }
            }
        }
    }
}

const BAR: usize = 20;

/// One stream's line.
pub fn describe(name: &str, widest: usize, at: &Progress, done: bool) -> String {
    let name = shorten(name, 32);
    let rows = number::rows(at.rows_read);
    let bytes = number::bytes(at.bytes_read);
    let elapsed = at.elapsed_ms as f64 / 1000.0;
    let per_second = if elapsed > 0.0 { at.rows_read as f64 / elapsed } else { 0.0 };
    let fraction = if done { Some(1.0) } else { fraction(at) };
    let bar = match fraction {
        Some(fraction) => {
            let full = (fraction * BAR as f64).round() as usize;
            format!("{}{} {:>3.0} %", "█".repeat(full), "░".repeat(BAR - full), (fraction * 100.0).floor())
        }
        None => format!("{} {:>5}", "·".repeat(BAR), ""),
    };
    let end = match fraction {
        _ if done => "done".to_string(),
        Some(fraction) if fraction > 0.01 && elapsed > 0.5 => {
            format!("ETA {}", number::eta(Duration::from_secs_f64(elapsed * (1.0 - fraction) / fraction)))
        }
        _ => String::new(),
    };
    let line = format!("  {name:<widest$}  {bar}  {rows:>16}  {bytes:>8}  {:>14}  {end}", number::rate(per_second));
    line.trim_end().to_string()
}

/// How far, if anybody knows. Estimates are estimates: never 100 % before the end.
fn fraction(at: &Progress) -> Option<f64> {
    let part = match (at.estimated_rows, at.estimated_bytes) {
        (Some(all), _) if all > 0 => at.rows_read as f64 / all as f64,
        (_, Some(all)) if all > 0 => at.bytes_read as f64 / all as f64,
        _ => return None,
    };
    Some(part.clamp(0.0, 0.99))
}

fn footer_text(memory: (u64, u64), checkpoint: Option<(u64, u64)>, dead: u64) -> String {
    let mut parts = vec![format!("memory {} / {} MiB", number::mebibytes(memory.0), number::mebibytes(memory.1))];
    if let Some((epoch, at_ms)) = checkpoint {
        parts.push(format!("checkpoint {epoch} at {}", number::time(Duration::from_millis(at_ms))));
    }
    if dead > 0 {
        parts.push(format!("dead letters {}", number::grouped(dead)));
    }
    format!("  {}", parts.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rows: u64, estimated: Option<u64>, elapsed_ms: u64) -> Progress {
        Progress {
            stream: "orders".into(),
            rows_read: rows,
            bytes_read: rows * 100,
            estimated_rows: estimated,
            elapsed_ms,
            ..Progress::default()
        }
    }

    #[test]
    fn a_bar_says_rows_bytes_rate_and_time_left() {
        assert_eq!(
            describe("orders", 6, &at(750_000, Some(1_000_000), 3_000), false),
            "  orders  ███████████████░░░░░  75 %      750,000 rows   75.0 MB    250 k rows/s  ETA 1 s"
        );
    }

    #[test]
    fn an_estimate_that_was_too_low_never_shows_a_hundred_percent() {
        assert!(describe("orders", 6, &at(2_000, Some(1_000), 3_000), false).contains(" 99 %"));
        assert!(describe("orders", 6, &at(2_000, Some(1_000), 3_000), true).contains("100 %"));
    }

    #[test]
    fn without_an_estimate_there_is_no_invented_percentage() {
        let line = describe("orders", 6, &at(2_000, None, 3_000), false);
        assert!(!line.contains('%') && !line.contains("ETA"), "{line}");
    }
}
