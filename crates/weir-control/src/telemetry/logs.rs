//! Log lines of `weir serve` and `weir worker`: on stderr, for people or one JSON object a line.
//!
//! Fields that belong together have one name everywhere: `tenant`, `job`, `run`, `trace_id`, `request_id`. What a person typed is
//! escaped by the formatter; secrets are a type that does not print.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use weir_error::veil;

use crate::config::{LogFormat, Settings};

/// Writes log lines without the secrets that this process has opened. Libraries log too, and at `debug` they log addresses with logins.
pub struct Veiled<W>(pub W);

impl<W: Write> Write for Veiled<W> {
    /// A log line comes in one write.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(veil::veiled(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What no filter lets through: RabbitMQ's client logs whole messages that the broker has returned.
pub const NO_DATA: &str = "lapin::returned_messages=off";

/// Starts logging; a second call changes nothing. `LOG_LEVEL` is a level or a filter (`info,weir_store=debug`).
pub fn start(settings: &Settings) {
    let filter = EnvFilter::try_new(format!("{},{NO_DATA}", settings.log_level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(format!("info,{NO_DATA}")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Veiled(std::io::stderr()));
    // An error means that somebody else has started it already.
    let _ = match settings.log_format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
}
