//! What each engine can express: connectors, transforms and modes, for the page of reference and for `weir engines`.
//!
//! The tables say what is worth trying; what a pipeline really can have is what its compilation says. A test holds the two together: a
//! connector
//! or transform that is not in a table must be refused.

use std::fmt::Write;

use serde::Serialize;
use weir_connect::Registry;
use weir_spec::Diagnostic;
use weir_spec::model::{Delivery, Mode};

use crate::artefact::{File, Role};
use crate::compile::{Job, compile};
use crate::registry::{ENGINES, Target};

/// How far an engine goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Can {
    /// All of it, by these means.
    Yes(&'static str),
    /// Some of it: what, or by what means.
    Partly(&'static str),
}

/// What an engine can do, by the names of pipeline files.
pub struct Abilities {
    /// The engine.
    pub engine: &'static str,
    /// Modes of pipelines.
    pub modes: &'static [Mode],
    /// Connectors that it reads from.
    pub sources: &'static [(&'static str, Can)],
    /// Connectors that it writes to.
    pub sinks: &'static [(&'static str, Can)],
    /// Transforms.
    pub transforms: &'static [(&'static str, Can)],
}

/// Whether and how an engine can run a pipeline.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// The target.
    pub target: Target,
    /// Whether it compiles.
    pub runs: bool,
    /// The promise, if it does.
    pub delivery: Option<Delivery>,
    /// Why that promise.
    pub reasons: Vec<String>,
    /// Why not, if it does not.
    pub refusals: Vec<Diagnostic>,
    /// What whoever runs it should know.
    pub notes: Vec<String>,
    /// What must run beside the job: it feeds a topic that the job reads in place of a source that the engine has not.
    pub bridges: Vec<Bridge>,
}

/// A companion of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// Its file in the artefact.
    pub file: String,
    /// What runs it: `weir run`, or `Kafka Connect`.
    pub by: &'static str,
}

/// Compiles a pipeline for every target and says what came of it, in the order of the registry.
pub fn verdicts(job: &Job<'_>) -> Vec<Verdict> {
    let judge = |target: Target| match compile(job, target) {
        Ok(made) => Verdict {
            target,
            runs: true,
            delivery: Some(made.delivery),
            reasons: made.reasons,
            refusals: Vec::new(),
            notes: made.notes,
            bridges: bridges(&made.files),
        },
        Err(refusals) => {
            Verdict { target, runs: false, delivery: None, reasons: Vec::new(), refusals, notes: Vec::new(), bridges: Vec::new() }
        }
    };
    Target::all().map(judge).collect()
}

/// The companions among the files of an artefact.
pub fn bridges(files: &[File]) -> Vec<Bridge> {
    let companions = files.iter().filter(|file| file.role == Role::Companion);
    let by = |file: &File| if file.name.ends_with(".yaml") { "weir run" } else { "Kafka Connect" };
    companions.map(|file| Bridge { file: file.name.clone(), by: by(file) }).collect()
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Batch => "batch",
        Mode::Incremental => "incremental",
        Mode::Cdc => "cdc",
        Mode::Streaming => "streaming",
    }
}

/// The page of reference: connector and transform by engine.
pub fn page(registry: &Registry, transforms: &[String]) -> String {
    let mut page = String::from(
        "# Engines\n\nMade from the compilers' tables by `WEIR_UPDATE_REFERENCE=1 cargo test -p weir reference`. For one pipeline: `weir engines FILE`.\n\
         What is not listed for an engine is a diagnostic when a pipeline is compiled for it. Our own engine has every connector and transform of this build.\n",
    );
    let abilities: Vec<Abilities> = ENGINES.iter().map(|engine| (engine.abilities)()).collect();
    let heads: Vec<&str> = abilities.iter().map(|engine| engine.engine).collect();
    let line = "| --- ".repeat(heads.len() + 1);
    let _ = writeln!(page, "\n## Modes\n\n| mode | {} |\n{line}|", heads.join(" | "));
    for mode in [Mode::Batch, Mode::Incremental, Mode::Cdc, Mode::Streaming] {
        let cells: Vec<&str> = abilities.iter().map(|engine| if engine.modes.contains(&mode) { "yes" } else { "–" }).collect();
        let _ = writeln!(page, "| {} | {} |", mode_word(mode), cells.join(" | "));
    }
    let cell = |table: &[(&str, Can)], name: &str| match table.iter().find(|(known, _)| *known == name) {
        None => "–".to_string(),
        Some((_, Can::Yes(how))) => format!("yes: {how}"),
        Some((_, Can::Partly(how))) => (*how).to_string(),
    };
    type Column = fn(&Abilities) -> &'static [(&'static str, Can)];
    let sources: Column = |engine| engine.sources;
    let sinks: Column = |engine| engine.sinks;
    let connectors: Vec<_> = registry.iter().map(|connector| connector.descriptor().clone()).collect();
    for (title, column, reads) in [("Sources", sources, true), ("Sinks", sinks, false)] {
        let _ = writeln!(page, "\n## {title}\n\n| connector | {} |\n{line}|", heads.join(" | "));
        for connector in connectors.iter().filter(|known| if reads { known.source.is_some() } else { known.sink.is_some() }) {
            let cells: Vec<String> = abilities.iter().map(|engine| cell(column(engine), connector.name)).collect();
            let _ = writeln!(page, "| {} | {} |", connector.name, cells.join(" | "));
        }
    }
    let _ = writeln!(page, "\n## Transforms\n\n| transform | {} |\n{line}|", heads.join(" | "));
    for name in transforms {
        let cells: Vec<String> = abilities.iter().map(|engine| cell(engine.transforms, name)).collect();
        let _ = writeln!(page, "| {name} | {} |", cells.join(" | "));
    }
    page
}
