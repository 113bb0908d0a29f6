//! `weir savepoint`: where a stream is, and what it keeps, copied into a folder. A run that goes on is asked for it.

use std::io::Write;

use weir_engine::{going_on, savepoint};

use crate::cli::Savepoint;
use crate::commands::Context;
use crate::commands::state::{existing, pipeline_name};
use crate::outcome::Outcome;
use crate::process::block_on;
use crate::show::number;

pub fn execute(args: &Savepoint, _: &Context) -> Outcome {
    let name = pipeline_name(&args.pipeline)?;
    let made_at = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
    let to = match &args.output {
        Some(folder) => folder.clone(),
        None => args.state.state_dir.join("savepoints").join(format!("{name}-{made_at}")),
    };
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        let manifest = match going_on(store.folder(), &name) {
            true => savepoint::ask(&store, &name, &to).await?,
            false => savepoint::write(&store, &name, &to).await?,
        };
        if args.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&manifest).map_err(std::io::Error::from)?)?;
            return Ok(0);
        }
        let bytes: u64 = manifest.flows.iter().filter_map(|flow| flow.state.as_ref()).map(|state| state.bytes).sum();
        let streams = number::counted(manifest.flows.len() as u64, "stream", "streams");
        writeln!(std::io::stderr(), "savepoint of {name}: {streams}, {} of state", number::bytes(bytes))?;
        writeln!(std::io::stdout(), "{}", to.display())?;
        Ok(0)
    })
}
