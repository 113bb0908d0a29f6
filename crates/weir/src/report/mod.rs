//! Reporters of a run: a progress bar per stream, plain lines, JSON lines; and the summary at the end.
//!
//! Everything here goes to stderr. The run's result object (`--json`) is the command's own and goes to stdout.

pub mod bars;
pub mod lines;
pub mod summary;

use std::io::IsTerminal;

use weir_engine::Reporter;

use crate::cli::Progress;
use crate::show::style::Style;

/// What to use: bars on a terminal, JSON lines otherwise, or what `--progress` says.
pub fn choose(wanted: Progress) -> Progress {
    match wanted {
        Progress::Auto if std::io::stderr().is_terminal() => Progress::Bars,
        Progress::Auto => Progress::Json,
        other => other,
    }
}

/// The reporter for a (chosen) kind.
pub fn reporter(kind: Progress, style: Style) -> Box<dyn Reporter> {
    match kind {
        Progress::Bars | Progress::Auto => Box::new(bars::Bars::new(style)),
        Progress::Plain => Box::new(lines::Plain::new(style)),
        Progress::Json => Box::new(lines::Json::new()),
        Progress::None => Box::new(weir_engine::events::Silent),
    }
}
