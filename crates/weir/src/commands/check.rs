//! `weir check`: every mistake in a file, without connecting anywhere.

use std::io::Write;

use weir_error::{Error, Kind};

use crate::cli::Check;
use crate::commands::{Context, engine};
use crate::outcome::Outcome;
use crate::pipeline_file::PipelineFile;
use crate::planning::engines_registry;
use crate::show::number;

pub fn execute(args: &Check, context: &Context) -> Outcome {
    let registry = weir_connectors::registry::registry();
    let mut file = PipelineFile::open(&args.file.file, &registry)?;
    if let Some(wanted) = &args.file.pipeline {
        file.choose(Some(wanted))?;
        file.pipelines.retain(|pipeline| &pipeline.name == wanted);
    }
    // Other engines know more connectors, and their words with them.
    let foreign = file.pipelines.iter().any(|pipeline| pipeline.foreign_engine().is_some());
    let registry = if foreign { engines_registry() } else { registry };
    if foreign {
        let again = PipelineFile::parse(file.text.clone(), file.name.clone(), file.base_dir.clone(), &registry);
        file.pipelines =
            again.pipelines.into_iter().filter(|one| file.pipelines.iter().any(|kept| kept.name == one.name)).collect();
        file.diagnostics = again.diagnostics;
    }
    let native = weir_connectors::registry::registry();
    let mut more = Vec::new();
    for pipeline in &file.pipelines {
        let own = pipeline.foreign_engine().is_none();
        more.extend(crate::planning::check(if own { &native } else { &registry }, &file, pipeline));
        more.extend(file.with(engine::early::problems(pipeline, &registry)).diagnostics);
    }
    file.diagnostics.extend(more);
    if file.pipelines.is_empty() && !file.has_errors() {
        return Err(Error::new("WEIR-CLI-001", Kind::Spec, "the file holds no pipeline").at(file.name).into());
    }
    file.tell(args.json, context)?;
    if file.has_errors() {
        return Ok(2);
    }
    if !args.json {
        let names: Vec<&str> = file.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        let count = number::counted(names.len() as u64, "pipeline", "pipelines");
        writeln!(std::io::stderr(), "{} {}: {count} ({})", context.err.green("ok"), file.name, names.join(", "))?;
    }
    Ok(0)
}
