//! `weir verify`: whether the sinks have what the sources have. Keys are printed, other values never.

use std::io::Write;

use tokio_util::sync::CancellationToken;
use weir_engine::verify::{Difference, StreamVerdict, VerifyOptions, verify};

use crate::cli::Verify;
use crate::commands::Context;
use crate::outcome::Outcome;
use crate::process::{block_on, stop_on_signals};
use crate::show::number;
use crate::show::table::Table;

pub fn execute(args: &Verify, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    block_on(async {
        let plan = opened.plan(None, args.json, context).await?;
        let options = VerifyOptions {
            state: Some(args.state.state_dir.clone()),
            list: args.list,
            repair: args.repair,
            rounds: args.rounds,
            wait: args.wait,
            as_is: args.as_is,
            parallelism: args.parallelism,
            stop: CancellationToken::new(),
        };
        stop_on_signals(options.stop.clone(), context.err)?;
        let report = verify(&plan, &options).await?;
        let mut out = std::io::stdout();
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?)?;
        } else {
            for stream in &report.streams {
                write!(out, "{}", text(stream, context))?;
            }
            for left in &report.not_compared {
                writeln!(out, "{}: not compared\n  {}", context.out.bold(&left.name), left.why)?;
            }
        }
        Ok(u8::from(!report.equal))
    })
}

fn text(stream: &StreamVerdict, context: &Context) -> String {
    let says = match (stream.equal, stream.differing_keys) {
        (true, _) => "equal",
        (false, 0) => "not settled",
        (false, _) => "not equal",
    };
    let mut text = format!("{}: {says}\n", context.out.bold(&stream.name));
    let mut line = |words: String| {
        text.push_str("  ");
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("source  {}  {}", number::rows(stream.rows_source), stream.source));
    line(format!("sink    {}  {}", number::rows(stream.rows_sink), stream.sink));
    line(format!(
        "{}, {} looked at row by row",
        number::counted(stream.chunks, "chunk", "chunks"),
        number::grouped(stream.chunks_suspected)
    ));
    for (count, one, many) in [
        (stream.repaired, "key was repaired", "keys were repaired"),
        (stream.differing_keys, "key differs", "keys differ"),
        (stream.in_motion, "key is in motion: neither equal nor different", "keys are in motion: neither equal nor different"),
        (stream.kept, "key is only in the sink, which keeps it", "keys are only in the sink, which keeps them"),
    ] {
        if count > 0 {
            line(number::counted(count, one, many));
        }
    }
    for left in &stream.left_out {
        line(format!("not compared: {} ({})", left.column, left.why));
    }
    for note in &stream.notes {
        line(format!("note: {note}"));
    }
    if !stream.differing.is_empty() {
        let mut table = Table::new(["key", "how", "columns"]).indent(4);
        for difference in &stream.differing {
            table.row([key(difference), difference.kind.as_str().to_string(), difference.columns.join(", ")]);
        }
        text.push_str(&table.render());
    }
    let listed = stream.differing.len() as u64;
    if stream.differing_keys > listed {
        text.push_str(&format!("    and {} more (--list)\n", number::grouped(stream.differing_keys - listed)));
    }
    text
}

fn key(difference: &Difference) -> String {
    let part = |(name, value): (&String, &Option<String>)| format!("{name}={}", value.as_deref().unwrap_or("NULL"));
    difference.key.iter().map(part).collect::<Vec<_>>().join(" ")
}
