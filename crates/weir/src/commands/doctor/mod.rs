//! `weir doctor`: everything that a server needs, looked at without changing anything (an object that is written to the bucket of tenants' files
//! is deleted again). Exit code 0: nothing fails; 1: something does.
//!
//! * [`local`]: this machine: data folder, disk, seal key, clock, database file, address;
//! * [`remote`]: other systems: database server, bucket, Vault, Pulsar, Ignite, collector, issuer.

mod local;
mod remote;

use std::io::Write;

use serde::Serialize;
use weir_control::config::Settings;

use crate::cli::Doctor;
use crate::commands::Context;
use crate::commands::serve::setup;
use crate::outcome::{Failure, Outcome};
use crate::process::block_on_platform;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    Warn,
    Fail,
}

/// What was found out about one part.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub part: &'static str,
    pub state: State,
    /// Without secrets.
    pub said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    fn ok(part: &'static str, said: impl Into<String>) -> Self {
        Self { part, state: State::Ok, said: said.into(), hint: None }
    }
    fn warn(part: &'static str, said: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { part, state: State::Warn, said: said.into(), hint: Some(hint.into()) }
    }
    fn fail(part: &'static str, said: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { part, state: State::Fail, said: said.into(), hint: Some(hint.into()) }
    }
    /// An error of another part of the program.
    fn error(part: &'static str, error: &weir_error::Error) -> Self {
        Self { part, state: State::Fail, said: error.to_string(), hint: error.advice().map(Into::into) }
    }
}

pub fn execute(args: &Doctor, context: &Context) -> Outcome {
    let settings = setup::load(&setup::inputs(&args.settings), context)?;
    let findings = block_on_platform(async { Ok::<_, Failure>(look(&settings).await) })?;
    let fails = findings.iter().any(|finding| finding.state == State::Fail);
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings).map_err(std::io::Error::from)?)?;
        return Ok(u8::from(fails));
    }
    for finding in &findings {
        let state = match finding.state {
            State::Ok => context.out.green("ok  "),
            State::Warn => context.out.yellow("warn"),
            State::Fail => context.out.red("FAIL"),
        };
        writeln!(out, "{state}  {:<12}  {}", finding.part, finding.said.replace('\n', "; "))?;
        if let Some(hint) = &finding.hint {
            writeln!(out, "                    {hint}")?;
        }
    }
    Ok(u8::from(fails))
}

async fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![local::data_folder(settings), local::disk(settings), local::seal_key(settings), local::clock()];
    let (database, files, address, vault, pulsar, ignite, tracing, issuer) = futures::join!(
        remote::database(settings),
        remote::files(settings),
        remote::address(settings),
        remote::vault(settings),
        remote::pulsar(settings),
        remote::ignite(settings),
        remote::tracing(settings),
        remote::issuer(settings),
    );
    findings.push(database);
    findings.extend(files);
    findings.push(address);
    findings.extend([vault, pulsar, ignite, tracing, issuer].into_iter().flatten());
    findings
}
