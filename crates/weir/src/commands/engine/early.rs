//! What stands against a pipeline on the engine that it names, as far as that can be said without connecting: for `weir check`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use weir_connect::Registry;
use weir_runners::client::settings::{Around, connect};
use weir_runners::compile::{Job, code, compile};
use weir_runners::registry::{Format, Target};
use weir_spec::{Diagnostic, Pipeline, Role};

/// Settings of an engine that its client does not have.
const UNREADABLE: &str = "WEIR-LAUNCH-026";

/// Its settings that the engine does not have, and every node that the engine cannot express. What columns would have to say, which nobody
/// was asked for, is left to `weir plan` and `weir run`.
pub fn problems(pipeline: &Pipeline, registry: &Registry) -> Vec<Diagnostic> {
    let mut found = settings(pipeline);
    let Some(target) = pipeline.foreign_engine().and_then(|engine| Target::parse(engine.word()).ok()) else { return found };
    let job = Job { pipeline, registry, streams: BTreeMap::new(), format: Format::Json };
    let Err(refusals) = compile(&job, target) else { return found };
    let silent = pipeline.of(Role::Source).any(|node| node.options.get("columns").is_none());
    let undecided = |refusal: &Diagnostic| refusal.code == code::COLUMNS || refusal.path.ends_with("columns");
    found.extend(refusals.into_iter().filter(|refusal| !(silent && undecided(refusal))));
    found
}

/// Settings that the client of an engine does not have. Those that hold references are not known yet.
fn settings(pipeline: &Pipeline) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (engine, settings) in &pipeline.engine_configs {
        let settings = Value::Object(settings.clone());
        if ["${", "{{", "vault://", "file://"].iter().any(|mark| settings.to_string().contains(mark)) {
            continue;
        }
        // Where an engine is may be said elsewhere: only what cannot be read is a mistake of the file.
        let tried = connect(engine.word(), settings, Around { login: None, jobs: Path::new(".") });
        if let Err(error) = tried.map(drop)
            && error.code() == UNREADABLE
        {
            let word = engine.word();
            let written = [word.to_owned(), word.replace('-', "_")];
            let span = written.iter().find_map(|word| pipeline.spans.get(&format!("/engine_configs/{word}"))).copied();
            let why = error.why().map_or_else(|| error.to_string(), |why| why.to_string());
            found.push(
                Diagnostic::error(error.code(), format!("the settings of engine `{word}` cannot be read: {why}"))
                    .at(format!("engine_configs.{word}"), span)
                    .help("docs/how-to/engines.md lists the settings of each engine"),
            );
        }
    }
    found
}
