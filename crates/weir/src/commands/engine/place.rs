//! Where an engine is: `--engine-option`, else the pipeline's `engine_configs`, else those of the settings file, else what everything is by default.

use std::path::Path;

use serde_json::{Map, Value};
use weir_error::{Error, Kind, Result};
use weir_plan::ResolveReferences;
use weir_runners::client::EngineClient;
use weir_runners::client::settings::{Around, connect, login};
use weir_spec::Engine;

use crate::cli::EnginePlace;
use crate::commands::Context;
use crate::commands::serve::setup;
use crate::planning::Opened;

/// The variable with a token, or USER:PASSWORD, of what stands in front of an engine.
const LOGIN: &str = "WEIR_ENGINE_TOKEN";

/// The client of an engine for a pipeline; nothing is connected yet.
pub fn client(
    engine: &str,
    opened: &Opened,
    place: &EnginePlace,
    state_dir: &Path,
    context: &Context,
) -> Result<Box<dyn EngineClient>> {
    let mut settings = of_file(engine, place, context)?;
    settings.extend(of_pipeline(engine, opened)?);
    for option in &place.engine_option {
        if let Some((key, value)) = of_engine(engine, option)? {
            settings.insert(key, value);
        }
    }
    let login = std::env::var(LOGIN).ok().and_then(|text| login(&text));
    let jobs = state_dir.join("engines").join("jobs");
    connect(engine, Value::Object(settings), Around { login, jobs: &jobs })
}

/// The pipeline's own, its references resolved.
fn of_pipeline(engine: &str, opened: &Opened) -> Result<Map<String, Value>> {
    let pipeline = &opened.pipeline;
    let own = Engine::parse(engine).and_then(|engine| pipeline.engine_configs.get(&engine)).cloned().unwrap_or_default();
    let resolved = opened.resolver.resolve(&Value::Object(own), pipeline.credentials_ref.as_deref());
    match resolved.map_err(|error| error.at(format!("engine_configs.{engine}")))? {
        Value::Object(settings) => Ok(settings),
        _ => Ok(Map::new()),
    }
}

fn of_file(engine: &str, place: &EnginePlace, context: &Context) -> Result<Map<String, Value>> {
    let Some(file) = &place.config else { return Ok(Map::new()) };
    let places = crate::cli::Settings { config: Some(file.clone()), data: None, files: None };
    let settings = setup::load(&setup::inputs(&places), context)?;
    let spelt = [engine.to_owned(), engine.replace('-', "_")];
    let found = spelt.iter().find_map(|name| settings.engine_configs.get(name));
    Ok(found.and_then(Value::as_object).cloned().unwrap_or_default())
}

/// `url=…` is for every engine, `flink.url=…` for one. A value that is JSON is taken as such, any other as text.
fn of_engine(engine: &str, option: &str) -> Result<Option<(String, Value)>> {
    let wrong = || {
        Error::new("WEIR-CLI-080", Kind::Spec, format!("`--engine-option {option}` is no setting"))
            .hint("write KEY=VALUE: --engine-option url=http://flink:8081")
    };
    let (key, value) = option.split_once('=').filter(|(key, _)| !key.trim().is_empty()).ok_or_else(wrong)?;
    let key = match key.trim().split_once('.') {
        Some((of, key)) if of.replace('_', "-") == engine => key,
        Some(_) => return Ok(None),
        None => key.trim(),
    };
    let value = match serde_json::from_str::<Value>(value) {
        Ok(value @ (Value::Object(_) | Value::Array(_) | Value::Bool(_))) => value,
        _ => Value::String(value.to_owned()),
    };
    Ok(Some((key.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_option_is_for_every_engine_or_for_one() {
        let read = |option: &str| of_engine("kafka-connect", option).unwrap();
        assert_eq!(read("url=http://h:1/?a=b"), Some(("url".into(), json!("http://h:1/?a=b"))));
        assert_eq!(read("kafka_connect.url=x"), Some(("url".into(), json!("x"))));
        assert_eq!(read("flink.url=x"), None);
        assert_eq!(read(r#"conf={"a": "1"}"#), Some(("conf".into(), json!({"a": "1"}))));
        assert_eq!(read("executor_cores=4"), Some(("executor_cores".into(), json!("4"))));
        assert_eq!(of_engine("flink", "url").unwrap_err().exit_code(), 2);
    }
}
