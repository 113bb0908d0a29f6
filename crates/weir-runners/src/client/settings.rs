//! Where an engine is: its settings (`engine_configs` of the settings file, `--engine-option`), and the client that they make.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_error::{Error, Kind, Result, Secret};

use super::EngineClient;
use super::rest::Login;

/// What a client is made from, beside the engine's own settings.
#[derive(Debug)]
pub struct Around<'a> {
    /// How to log in.
    pub login: Option<Login>,
    /// Where jobs that are processes of this machine are kept.
    pub jobs: &'a Path,
}

/// Makes a client; connects to nothing.
pub type Connect = fn(Value, Around<'_>) -> Result<Box<dyn EngineClient>>;

/// Every engine that has a client, by its name.
pub const CLIENTS: [(&str, Connect); 4] = [
    ("seatunnel", crate::seatunnel::client::connect),
    ("flink", crate::flink::client::connect),
    ("spark", crate::spark::client::connect),
    ("kafka-connect", crate::kafka_connect::client::connect),
];

/// The client of an engine. `settings` is an object, or null for what everything is by default.
pub fn connect(engine: &str, settings: Value, around: Around<'_>) -> Result<Box<dyn EngineClient>> {
    let found = CLIENTS.iter().find(|(name, _)| *name == engine);
    let (_, connect) = found.ok_or_else(|| {
        let names = CLIENTS.map(|(name, _)| name).join(", ");
        Error::new("WEIR-LAUNCH-025", Kind::Spec, format!("there is no engine `{engine}`"))
            .because(format!("there are native, {names}"))
    })?;
    connect(settings, around)
}

/// The login that a variable holds: `USER:PASSWORD`, or a token.
pub fn login(text: &str) -> Option<Login> {
    match text.split_once(':') {
        _ if text.is_empty() => None,
        Some((user, password)) => Some(Login::Basic(user.to_owned(), Secret::new(password))),
        None => Some(Login::Bearer(Secret::new(text))),
    }
}

/// Settings of one engine from what was written.
pub(crate) fn parse<T: DeserializeOwned>(engine: &str, settings: Value) -> Result<T> {
    let settings = if settings.is_null() { Value::Object(serde_json::Map::new()) } else { settings };
    serde_json::from_value(settings).map_err(|error| {
        Error::new("WEIR-LAUNCH-026", Kind::Spec, format!("the settings of engine `{engine}` cannot be read"))
            .because(error.to_string())
            .hint("docs/how-to/engines.md lists them")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(engine: &str, settings: Value) -> Result<String> {
        Ok(connect(engine, settings, Around { login: None, jobs: Path::new("jobs") })?.place())
    }

    #[test]
    fn engines_are_where_they_usually_are_or_where_the_settings_say() {
        assert_eq!(place("flink", Value::Null).unwrap(), "http://127.0.0.1:8081");
        assert_eq!(place("seatunnel", json!({"url": "http://st:5801"})).unwrap(), "http://st:5801");
        assert_eq!(place("kafka-connect", json!({})).unwrap(), "http://127.0.0.1:8083");
        let spark = place(
            "spark",
            json!({"home": "/opt/spark", "master": "spark://m:7077", "executor_memory": "8g", "executor_cores": "4"}),
        );
        assert_eq!(spark.unwrap(), "spark://m:7077 (/opt/spark)");
        assert_eq!(place("flink", json!({"taskmanager_memory": "4g", "task_slots": "4"})).unwrap(), "http://127.0.0.1:8081");
    }

    #[test]
    fn wrong_settings_are_told_with_what_is_right() {
        let error = place("flink", json!({"adress": "http://h"})).unwrap_err();
        assert!(error.why().unwrap().contains("adress") && error.why().unwrap().contains("sql_gateway_url"), "{error}");
        assert_eq!(place("storm", Value::Null).unwrap_err().exit_code(), 2);
        assert!(place("seatunnel", json!({"api": "v3"})).is_err());
    }

    #[test]
    fn a_login_is_a_user_or_a_token() {
        assert!(matches!(login("u:p:q"), Some(Login::Basic(user, password)) if user == "u" && password.expose() == "p:q"));
        assert!(matches!(login("t0ken"), Some(Login::Bearer(token)) if token.expose() == "t0ken"));
        assert!(login("").is_none());
    }
}
