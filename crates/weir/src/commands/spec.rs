//! `weir spec`: the schema for editors, and the native form of any accepted file.

use std::io::Write;

use crate::cli::{Convert, Spec};
use crate::commands::Context;
use crate::outcome::Outcome;
use crate::pipeline_file::PipelineFile;

pub fn execute(args: &Spec, context: &Context) -> Outcome {
    match args {
        Spec::Schema => schema(),
        Spec::Convert(args) => convert(args, context),
    }
}

fn schema() -> Outcome {
    let registry = weir_connectors::registry::registry();
    let schema = weir_spec::schema(&weir_plan::vocabulary(&registry));
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&schema).map_err(std::io::Error::from)?)?;
    Ok(0)
}

fn convert(args: &Convert, context: &Context) -> Outcome {
    let registry = weir_connectors::registry::registry();
    let file = PipelineFile::open(&args.file.file, &registry)?.checked(false, context)?;
    let chosen = match &args.file.pipeline {
        Some(name) => vec![file.choose(Some(name))?],
        None => file.pipelines.iter().collect(),
    };
    let documents: Vec<String> = chosen.into_iter().map(weir_spec::to_native_yaml).collect();
    write!(std::io::stdout(), "{}", documents.join("---\n"))?;
    Ok(0)
}
