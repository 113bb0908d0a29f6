//! `weir dead`: records that could not be processed.

use std::io::Write;

use serde_json::json;
use weir_engine::replay::replay as replay_letters;
use weir_engine::store::inspect::DeadView;
use weir_engine::{RunOptions, RunStatus};
use weir_error::{Error, Kind};

use crate::cli::{DeadList, DeadReplay, DeadShow, Progress};
use crate::commands::Context;
use crate::commands::state::{existing, pipeline_name};
use crate::outcome::{Failure, Outcome};
use crate::process::{block_on, stop_on_signals};
use crate::show::number;
use crate::show::table::{Table, one_line, shorten};

pub fn list(args: &DeadList, _: &Context) -> Outcome {
    let name = args.pipeline.as_deref().map(pipeline_name).transpose()?;
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        let groups = store.dead_groups(name.as_deref()).await?;
        let mut out = std::io::stdout();
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&groups).map_err(std::io::Error::from)?)?;
        } else if groups.is_empty() {
            writeln!(std::io::stderr(), "no dead letters")?;
        } else {
            let mut table = Table::new(["stream", "count", "code", "for example"]).right(1);
            for group in &groups {
                let count = number::grouped(group.count.unsigned_abs());
                table.row([group.stream.as_str(), &count, &group.code, &group.reason]);
            }
            write!(out, "{}", table.render())?;
        }
        Ok(0)
    })
}

pub fn show(args: &DeadShow, context: &Context) -> Outcome {
    let number: Option<i64> = args.target.parse().ok();
    let name = match number {
        Some(_) => String::new(),
        None => pipeline_name(&args.target)?,
    };
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        let letters = match number {
            Some(id) => vec![store.dead_show(id).await?.ok_or_else(|| {
                Error::new("WEIR-CLI-032", Kind::NotFound, format!("there is no dead letter {id}"))
                    .hint("`weir dead list` counts them, `weir dead show PIPELINE` shows their numbers")
            })?],
            None => store.dead_list(&name, args.limit).await?,
        };
        let mut out = std::io::stdout();
        for letter in &letters {
            if args.json {
                let mut body = serde_json::to_value(letter).map_err(std::io::Error::from)?;
                body["payload"] = match std::str::from_utf8(&letter.payload) {
                    Ok(text) => json!(text),
                    Err(_) => json!(letter.payload),
                };
                writeln!(out, "{body}")?;
            } else {
                write!(out, "{}", letter_text(letter, number.is_some(), context))?;
            }
        }
        if letters.is_empty() {
            writeln!(std::io::stderr(), "no dead letters wait in {name}")?;
        }
        Ok(0)
    })
}

fn letter_text(letter: &DeadView, whole: bool, context: &Context) -> String {
    let head = format!("{} {}", letter.id, letter.reason);
    let mut text = format!(
        "{}\n  {} · {} · {} · {}\n",
        context.out.bold(&one_line(&head)),
        letter.stream,
        letter.place,
        letter.code,
        letter.at
    );
    if let Some(at) = &letter.replayed_at {
        text.push_str(&format!("  replayed {at}\n"));
    }
    let payload = String::from_utf8_lossy(&letter.payload);
    if whole {
        for line in payload.lines() {
            text.push_str(&format!("  | {}\n", one_line(line)));
        }
    } else {
        text.push_str(&format!(
            "  | {}\n",
            shorten(&one_line(payload.trim_end()), crate::show::style::width().saturating_sub(4))
        ));
    }
    text
}

/// At most this many letters go through in one replay.
const AT_ONCE: i64 = 100_000;

pub fn replay(args: &DeadReplay, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        let letters = store.dead_list(&opened.pipeline.name, AT_ONCE).await?;
        if letters.is_empty() {
            writeln!(std::io::stderr(), "no dead letters wait in {}", opened.pipeline.name)?;
            return Ok(0);
        }
        let plan = opened.plan(None, args.json, context).await?;
        let options = RunOptions::new(&args.state.state_dir);
        stop_on_signals(options.stop.clone(), context.err)?;
        let kind = crate::report::choose(if args.json { Progress::None } else { Progress::Auto });
        let mut reporter = crate::report::reporter(kind, context.err);
        let total = letters.len();
        let replayed = replay_letters(plan, letters, options, reporter.as_mut()).await?;
        if args.json {
            let still: Vec<_> = replayed.still_dead.iter().map(|(id, reason)| json!({"id": id, "reason": reason})).collect();
            let body = json!({
                "through": replayed.through,
                "still_dead": still,
                "replaced": replayed.replaced,
                "report": replayed.report
            });
            writeln!(std::io::stdout(), "{body}")?;
        } else {
            let mut err = std::io::stderr();
            if let Some(report) = replayed.report.as_ref().filter(|report| report.status != RunStatus::Succeeded) {
                write!(err, "{}", crate::report::summary::render(report, context.err, "the same command"))?;
            }
            writeln!(
                err,
                "{} of {} went through",
                number::grouped(replayed.through.len() as u64),
                number::counted(total as u64, "dead letter", "dead letters")
            )?;
            if !replayed.replaced.is_empty() {
                let count = number::counted(replayed.replaced.len() as u64, "dead letter is", "dead letters are");
                writeln!(err, "{count} of runs whose rows a later run has replaced, and were left alone")?;
            }
            for (id, reason) in replayed.still_dead.iter().take(20) {
                writeln!(err, "  {id} {}", one_line(reason))?;
            }
        }
        match &replayed.report {
            Some(report) if !matches!(report.status, RunStatus::Succeeded | RunStatus::DeadLettersExceeded) => {
                Err(Failure::Told(report.exit_code()))
            }
            _ if replayed.still_dead.is_empty() => Ok(0),
            _ => Ok(4),
        }
    })
}
