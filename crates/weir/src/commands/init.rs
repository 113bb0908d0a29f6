//! `weir init`: a commented starter pipeline that runs as it is.

use std::io::Write;
use std::path::Path;

use weir_error::{Error, Kind};

use crate::cli::Init;
use crate::commands::Context;
use crate::outcome::Outcome;

const PIPELINE: &str = include_str!("init/pipeline.yaml");
const SAMPLE: &str = include_str!("init/sample.csv");

pub fn execute(args: &Init, context: &Context) -> Outcome {
    let name = &args.name;
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= 63;
    if !good {
        return Err(Error::new("WEIR-CLI-010", Kind::Spec, format!("`{name}` cannot be a pipeline's name"))
            .because("a name is lower_snake: it begins with a letter and holds a-z, 0-9 and _, at most 63 of them")
            .into());
    }
    let pipeline = format!("{name}.yaml");
    let sample = format!("{name}_sample.csv");
    for path in [&pipeline, &sample] {
        if !args.force && Path::new(path).exists() {
            return Err(Error::new("WEIR-CLI-011", Kind::Spec, "the file exists already")
                .at(path.clone())
                .hint("give another name, or --force to replace it")
                .into());
        }
    }
    std::fs::write(&sample, SAMPLE).map_err(|error| Error::from(error).at(sample.clone()))?;
    std::fs::write(&pipeline, PIPELINE.replace("NAME", name)).map_err(|error| Error::from(error).at(pipeline.clone()))?;
    let mut err = std::io::stderr();
    writeln!(err, "wrote {pipeline} and {sample}. Next:")?;
    for (command, why) in [
        (format!("weir check {pipeline}"), "finds every mistake"),
        (format!("weir preview {pipeline}"), "shows a few rows"),
        (format!("weir run {pipeline}"), "moves the data to ./lake"),
        (format!("weir query 'SELECT * FROM {name}'"), "asks it"),
    ] {
        writeln!(err, "  {command:<width$}  {}", context.err.dim(why), width = 27 + name.len())?;
    }
    Ok(0)
}
