//! `weir plan`: what a run would do, and what it promises.

use std::io::Write;

use weir_plan::describe;

use crate::cli::Plan;
use crate::commands::Context;
use crate::outcome::Outcome;
use crate::process::block_on;
use crate::show::style::width;

pub fn execute(args: &Plan, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    block_on(async {
        let (plan, refusals) = opened.look(None, args.json, context).await?;
        let mut out = std::io::stdout();
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&describe::json(&plan)).map_err(std::io::Error::from)?)?;
        } else {
            write!(out, "{}", describe::text(&plan, width()))?;
        }
        if refusals.is_empty() {
            return Ok(0);
        }
        opened.file.with(refusals).tell(false, context)?;
        Ok(2)
    })
}
