//! `weir snapshot`: tables are read once more, while the log of all tables goes on where it is.

use std::io::Write;

use serde_json::json;
use weir_connect::SnapshotAgain;
use weir_engine::again::{self, Begun};
use weir_engine::journal::Journals;
use weir_error::{Error, Kind, Result};
use weir_spec::{Mode, Role};

use crate::cli::Snapshot;
use crate::commands::Context;
use crate::commands::state::existing;
use crate::outcome::Outcome;
use crate::planning::Opened;
use crate::process::block_on;

pub fn execute(args: &Snapshot, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    let pipeline = &opened.pipeline;
    if pipeline.mode != Mode::Cdc {
        return Err(Error::new("WEIR-CLI-074", Kind::Spec, format!("`{}` has no log", pipeline.name))
            .at(opened.file.name.clone())
            .because("only `mode: cdc` reads a snapshot and then a log")
            .hint("`weir state reset FILE --stream NAME` reads a stream of other modes from its beginning")
            .into());
    }
    let journals = Journals::new(&args.state.state_dir, opened.journal()?);
    let wanted: Vec<SnapshotAgain> =
        args.stream.iter().map(|stream| SnapshotAgain { stream: stream.clone(), only: args.only.clone() }).collect();
    block_on(async {
        existing(&args.state.state_dir).await?;
        let begun = ask(&opened, journals, wanted).await?;
        if args.json {
            let body = json!({"pipeline": pipeline.name, "snapshots": begun});
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
            return Ok(0);
        }
        let mut err = std::io::stderr();
        for part in &begun {
            writeln!(err, "source {}: {} once more", part.source, part.streams.join(", "))?;
        }
        let run = match begun.iter().any(|part| part.running) {
            true => "the run that is going on begins with it within seconds",
            false => "the next run reads it",
        };
        writeln!(
            err,
            "{}: {run}, while the log goes on; rows that a target has and the source has not stay (see weir verify)",
            pipeline.name
        )?;
        Ok(0)
    })
}

/// Asks for the snapshots, each of the source that has the stream. All is checked before anything is asked for.
pub async fn ask(opened: &Opened, journals: Journals, wanted: Vec<SnapshotAgain>) -> Result<Vec<Begun>> {
    let mut todo = Vec::new();
    let mut left = wanted;
    for node in opened.pipeline.of(Role::Source) {
        let source = opened.source(node).await?;
        let Some(log) = source.changes() else { continue };
        let names: Vec<String> = log.streams().await?.into_iter().map(|stream| stream.name).collect();
        let (own, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|wanted| names.contains(&wanted.stream));
        left = others;
        if !own.is_empty() {
            todo.push((node, source, own));
        }
    }
    if let Some(unknown) = left.first() {
        return Err(Error::new(
            "WEIR-CLI-075",
            Kind::NotFound,
            format!("no source of the pipeline has a stream `{}`", unknown.stream),
        )
        .hint("`weir discover FILE` lists them"));
    }
    let mut begun = Vec::new();
    for (node, source, own) in &todo {
        if let Some(log) = source.changes() {
            begun.push(again::snapshot(journals.clone(), &opened.pipeline, &node.name, log, own).await?);
        }
    }
    Ok(begun)
}
