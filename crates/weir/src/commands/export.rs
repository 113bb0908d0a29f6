//! `weir export`: what an orchestrator needs to run a pipeline of a server. The texts are made in `weir_runners::orchestrators`.

use std::io::Write;

use weir_runners::orchestrators::{Started, airflow, dolphinscheduler};
use weir_spec::Pipeline;

use crate::cli::Export;
use crate::commands::Context;
use crate::outcome::Outcome;

pub fn execute(args: &Export, context: &Context) -> Outcome {
    let file = match args {
        Export::Dolphinscheduler(args) => &args.file,
        Export::Airflow(args) => &args.file,
    };
    let opened = crate::planning::open(file, false, context)?;
    let text = match args {
        Export::Dolphinscheduler(args) => {
            let text = dolphinscheduler(&Started::new(&opened.pipeline, &args.job, args.timeout_minutes)?, &args.url)?;
            tell_schedule(&opened.pipeline, "it is not in the workflow: set it in DolphinScheduler", context)?;
            text
        }
        Export::Airflow(args) => {
            let text = airflow(&Started::new(&opened.pipeline, &args.job, args.timeout_minutes)?, &args.connection);
            tell_schedule(&opened.pipeline, "the DAG has it", context)?;
            text
        }
    };
    write!(std::io::stdout(), "{text}")?;
    Ok(0)
}

/// Two clocks would start the job twice.
fn tell_schedule(pipeline: &Pipeline, whose: &str, context: &Context) -> std::io::Result<()> {
    let Some(schedule) = &pipeline.schedule else { return Ok(()) };
    writeln!(
        std::io::stderr(),
        "{} schedule `{}`: {whose}; pause the job's own (POST /api/v1/jobs/ID/pause)",
        context.err.dim("note"),
        schedule.cron
    )
}
