//! Kafka Connect's REST API ([user guide](https://kafka.apache.org/documentation/#connect_rest), Kafka 4.3).
//!
//! A job is one connector or more, by their names. A connector has no end of its own and is known by its name, so handing over the same one twice changes
//! nothing. Its offsets are Connect's own, by the name too: [`EngineClient::suspend`] stops the connectors and leaves the offsets, a later submission
//! goes on from them; [`EngineClient::cancel`] removes both. A task that fails stays failed while its connector is `RUNNING`: that is a failed job here.
//! Connect counts rows only for JMX, so there are none; what moves are the offsets.
//!
//! A file `NAME.offsets.json` says where connector `NAME` begins. It counts for one that has no offsets yet: that is made stopped, gets them, and is
//! resumed, which a command that died in between leaves to the next one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_error::{Error, Kind, Result};

use crate::client::rest::{Answer, Login, Rest};
use crate::client::settings::{Around, parse};
use crate::client::{EngineClient, Job, LOG_LINES, Look, Savepoint, State, Submission, cause, strange};

const ENGINE: &str = "kafka-connect";
/// A rebalance of the group is over by then, and a connector has stopped.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Where Kafka Connect is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConnectSettings {
    /// Any worker of the group.
    pub url: String,
}

impl Default for KafkaConnectSettings {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:8083".into() }
    }
}

/// The client that these settings make.
pub fn connect(settings: Value, around: Around<'_>) -> Result<Box<dyn EngineClient>> {
    let settings: KafkaConnectSettings = parse(ENGINE, settings)?;
    Ok(Box::new(KafkaConnectClient::new(&settings.url, around.login)?))
}

/// One group of workers, by any of them.
#[derive(Debug, Clone)]
pub struct KafkaConnectClient {
    rest: Rest,
}

impl KafkaConnectClient {
    /// The workers at `url` (`http://HOST:8083`).
    pub fn new(url: &str, login: Option<Login>) -> Result<Self> {
        Ok(Self { rest: Rest::new(ENGINE, url, login)? })
    }

    /// A request, made again while the group of workers is being put together anew (409).
    async fn call(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        let begin = Instant::now();
        loop {
            let answer = self.rest.call(method.clone(), path, query, body).await?;
            if answer.status != 409 || begin.elapsed() > SETTLED_WITHIN {
                return Ok(answer);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// The same; an answer that is no success is an error. `Ok(None)`: there is no such connector.
    async fn must(&self, what: &str, method: Method, path: &[&str], query: &[(&str, &str)]) -> Result<Option<Answer>> {
        let answer = self.call(method, path, query, None).await?;
        match answer.status {
            404 => Ok(None),
            _ if answer.good() => Ok(Some(answer)),
            _ => Err(self.rest.unexpected(what, &answer, message(&answer))),
        }
    }

    /// What is wrong with a connector before there is one: every option at once.
    async fn validate(&self, connector: &Connector<'_>) -> Result<()> {
        let Some(class) = connector.config.get("connector.class").and_then(Value::as_str) else {
            return Err(refused(connector.name).because("it has no `connector.class`"));
        };
        // The name is an option too, and a required one.
        let mut config = connector.config.clone();
        config.insert("name".into(), connector.name.into());
        let answer = self
            .call(Method::PUT, &["connector-plugins", class, "config", "validate"], &[], Some(&Value::Object(config)))
            .await?;
        if !answer.good() {
            return Err(refused(connector.name)
                .at(self.rest.place())
                .because(cause::first(message(&answer).unwrap_or(&answer.text)))
                .hint("`curl WORKER/connector-plugins` lists what the workers have installed"));
        }
        let wrong: Vec<String> = answer.json["configs"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|option| {
                let name = option["value"]["name"].as_str().unwrap_or("?").to_owned();
                let errors = option["value"]["errors"].as_array().cloned().unwrap_or_default();
                errors.into_iter().map(move |error| format!("`{name}`: {}", error.as_str().unwrap_or_default()))
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(refused(connector.name).at(self.rest.place()).because(wrong.join("\n"))) }
    }

    async fn status(&self, name: &str) -> Result<Option<Value>> {
        Ok(self
            .must("does not say how a connector is", Method::GET, &["connectors", name, "status"], &[])
            .await?
            .map(|answer| answer.json))
    }

    /// `null` as long as there are none.
    async fn offsets(&self, name: &str) -> Result<Value> {
        let answer = self.call(Method::GET, &["connectors", name, "offsets"], &[], None).await?;
        Ok(if answer.good() { answer.json["offsets"].clone() } else { Value::Null })
    }

    /// Removes the offsets of a stopped connector. A sink's are those of a group of consumers: as long as members of a worker that died are in it, Connect answers 500
    /// and says that the request may be made again.
    async fn forget(&self, name: &str) -> Result<()> {
        let (what, path) = ("keeps the offsets of a connector", ["connectors", name, "offsets"]);
        let begin = Instant::now();
        loop {
            let answer = self.call(Method::DELETE, &path, &[], None).await?;
            match answer.status {
                404 => return Ok(()),
                _ if answer.good() => return Ok(()),
                500 if begin.elapsed() <= SETTLED_WITHIN => tokio::time::sleep(ASK_AGAIN).await,
                _ => return Err(self.rest.unexpected(what, &answer, message(&answer))),
            }
        }
    }

    /// Makes a connector that begins at these offsets. One that has offsets keeps them.
    async fn begin_at(&self, connector: &Connector<'_>, offsets: &Value) -> Result<()> {
        let name = connector.name;
        if self.status(name).await?.is_none() {
            let body = json!({"name": name, "config": connector.config, "initial_state": "STOPPED"});
            let answer = self.call(Method::POST, &["connectors"], &[], Some(&body)).await?;
            if !answer.good() {
                return Err(refused(name).at(self.place()).because(cause::first(message(&answer).unwrap_or(&answer.text))));
            }
        }
        if self.offsets(name).await?.as_array().is_some_and(|known| !known.is_empty()) {
            return Ok(());
        }
        self.stop(name).await?;
        let begin = Instant::now();
        loop {
            let answer = self.call(Method::PATCH, &["connectors", name, "offsets"], &[], Some(offsets)).await?;
            match answer.status {
                _ if answer.good() => return Ok(()),
                // The group of consumers still has members, or the workers have not read yet that it is stopped.
                404 | 500 if begin.elapsed() <= SETTLED_WITHIN => tokio::time::sleep(ASK_AGAIN).await,
                _ => return Err(self.rest.unexpected("does not take the offsets of a connector", &answer, message(&answer))),
            }
        }
    }

    /// Stops one connector and waits until its tasks have written where they are.
    async fn stop(&self, name: &str) -> Result<()> {
        if self.must("does not stop a connector", Method::PUT, &["connectors", name, "stop"], &[]).await?.is_none() {
            return Ok(());
        }
        let begin = Instant::now();
        while let Some(status) = self.status(name).await? {
            let tasks = status["tasks"].as_array().is_some_and(|tasks| !tasks.is_empty());
            if status["connector"]["state"] == "STOPPED" && !tasks {
                break;
            }
            if begin.elapsed() > SETTLED_WITHIN {
                return Err(Error::new("WEIR-LAUNCH-015", Kind::Conflict, format!("connector `{name}` does not stop"))
                    .at(self.rest.place()));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }
}

/// One file of an artefact.
struct Connector<'a> {
    name: &'a str,
    config: &'a Map<String, Value>,
}

impl<'a> Connector<'a> {
    fn of(file: &str, json: &'a Value) -> Result<Self> {
        match (json["name"].as_str(), json["config"].as_object()) {
            (Some(name), Some(config)) if !name.is_empty() => Ok(Self { name, config }),
            _ => Err(refused(file).because("a connector is an object with `name` and `config`")),
        }
    }
}

#[async_trait]
impl EngineClient for KafkaConnectClient {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn place(&self) -> String {
        self.rest.place()
    }

    fn takes_values(&self) -> bool {
        // Connectors say `${env:NAME}`, and the workers put the values in: Connect shows a configuration to whoever asks.
        false
    }

    async fn version(&self) -> Result<String> {
        let answer = self.rest.get(&[], &[]).await?;
        let version = answer.json["version"].as_str().map(str::to_owned);
        version.ok_or_else(|| strange(ENGINE, self.place(), "`version` in what GET / says"))
    }

    async fn submit(&self, job: &Submission) -> Result<Job> {
        let mut texts = Vec::new();
        let mut places: BTreeMap<&str, Value> = BTreeMap::new();
        for file in job.files.iter().filter(|file| file.name.ends_with(".json")) {
            let json: Value = serde_json::from_str(&file.text).map_err(|error| refused(&file.name).because(error.to_string()))?;
            match file.name.strip_suffix(".offsets.json") {
                Some(name) => drop(places.insert(name, json)),
                None => texts.push((file.name.as_str(), json)),
            }
        }
        let connectors = texts.iter().map(|(file, json)| Connector::of(file, json)).collect::<Result<Vec<_>>>()?;
        if connectors.is_empty() {
            return Err(refused(&job.name).because("the artefact has no .json file"));
        }
        // All of them before the first is made.
        for connector in &connectors {
            self.validate(connector).await?;
        }
        for connector in &connectors {
            if let Some(offsets) = places.get(connector.name) {
                self.begin_at(connector, offsets).await?;
            }
            let body = Value::Object(connector.config.clone());
            let answer = self.call(Method::PUT, &["connectors", connector.name, "config"], &[], Some(&body)).await?;
            if !answer.good() {
                return Err(refused(connector.name)
                    .at(self.place())
                    .because(cause::first(message(&answer).unwrap_or(&answer.text))));
            }
            // One that is there already keeps its state: it may be stopped, or failed.
            if answer.status == 200 {
                self.must("does not resume a connector", Method::PUT, &["connectors", connector.name, "resume"], &[]).await?;
                let all = [("includeTasks", "true"), ("onlyFailed", "true")];
                self.must("does not restart a connector", Method::POST, &["connectors", connector.name, "restart"], &all).await?;
            }
        }
        Ok(Job { ids: connectors.iter().map(|connector| connector.name.to_owned()).collect() })
    }

    async fn find(&self, _: &Submission) -> Result<Option<Job>> {
        // Handing over the same connectors once more changes nothing, so that is what is done.
        Ok(None)
    }

    async fn look(&self, job: &Job) -> Result<Option<Look>> {
        let mut worst: Option<Look> = None;
        let mut positions = Vec::new();
        for name in &job.ids {
            let Some(status) = self.status(name).await? else { return Ok(None) };
            let look = state(&status);
            positions.push(self.offsets(name).await?);
            if worst.as_ref().is_none_or(|worst| rank(look.state) > rank(worst.state)) {
                worst = Some(look);
            }
        }
        Ok(worst.map(|look| Look { positions: Some(Value::Array(positions).to_string()), ..look }))
    }

    async fn cancel(&self, job: &Job) -> Result<()> {
        for name in &job.ids {
            // Offsets can be removed only while the connector is there and stopped.
            self.stop(name).await?;
            self.forget(name).await?;
            self.must("does not remove a connector", Method::DELETE, &["connectors", name], &[]).await?;
        }
        Ok(())
    }

    async fn suspend(&self, job: &Job) -> Result<Savepoint> {
        let mut places = Map::new();
        for name in &job.ids {
            self.stop(name).await?;
            places.insert(name.clone(), self.offsets(name).await?);
        }
        Ok(Savepoint(Value::Object(places).to_string()))
    }

    async fn logs(&self, job: &Job) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for name in &job.ids {
            let Some(status) = self.status(name).await? else { continue };
            let traces = parts(&status).filter_map(|part| part["trace"].as_str());
            lines.extend(traces.flat_map(str::lines).map(|line| format!("{name}: {line}")));
        }
        lines.truncate(LOG_LINES);
        Ok(lines)
    }
}

/// The connector itself, then its tasks.
fn parts(status: &Value) -> impl Iterator<Item = &Value> {
    std::iter::once(&status["connector"]).chain(status["tasks"].as_array().into_iter().flatten())
}

fn state(status: &Value) -> Look {
    let connector = status["connector"]["state"].as_str().unwrap_or("UNASSIGNED");
    let word = |part: &Value| part["state"].as_str().unwrap_or("UNASSIGNED").to_owned();
    if let Some(failed) = parts(status).find(|part| part["state"] == "FAILED") {
        let trace = failed["trace"].as_str().unwrap_or_default();
        let told = match failed["id"].as_u64() {
            Some(task) => format!("{connector}, task {task} FAILED"),
            None => "FAILED".into(),
        };
        return Look { error: Some(cause::first(trace)), ..Look::new(State::Failed, told) };
    }
    let tasks: Vec<String> = status["tasks"].as_array().into_iter().flatten().map(word).collect();
    let state = match connector {
        "STOPPED" if tasks.is_empty() => State::Suspended,
        "STOPPED" => State::Stopping,
        "RESTARTING" => State::Restarting,
        "RUNNING" if tasks.iter().any(|task| task == "RESTARTING") => State::Restarting,
        "RUNNING" if !tasks.is_empty() && tasks.iter().all(|task| task == "RUNNING") => State::Running,
        // Running without tasks, unassigned, paused by somebody.
        _ => State::Waiting,
    };
    Look::new(state, connector)
}

/// Of several connectors the one that decides how the job is.
fn rank(state: State) -> u8 {
    match state {
        State::Failed => 7,
        State::Restarting => 6,
        State::Stopping => 5,
        State::Waiting => 4,
        State::Running => 3,
        State::Cancelled => 2,
        State::Suspended => 1,
        State::Finished => 0,
    }
}

fn message(answer: &Answer) -> Option<&str> {
    answer.json["message"].as_str()
}

fn refused(name: &str) -> Error {
    Error::new("WEIR-LAUNCH-016", Kind::Spec, format!("Kafka Connect refuses connector `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_connector_with_a_failed_task_has_failed() {
        let look =
            |connector: &str, tasks: Value| state(&json!({"connector": {"state": connector, "worker_id": "w"}, "tasks": tasks}));
        assert_eq!(look("RUNNING", json!([{"id": 0, "state": "RUNNING"}])).state, State::Running);
        assert_eq!(look("RUNNING", json!([])).state, State::Waiting, "running, and does nothing");
        assert_eq!(
            look("RUNNING", json!([{"id": 0, "state": "RUNNING"}, {"id": 1, "state": "UNASSIGNED"}])).state,
            State::Waiting
        );
        assert_eq!(look("RUNNING", json!([{"id": 0, "state": "RESTARTING"}])).state, State::Restarting);
        assert_eq!(look("PAUSED", json!([{"id": 0, "state": "PAUSED"}])).state, State::Waiting);
        assert_eq!(look("STOPPED", json!([])).state, State::Suspended);
        let failed = look(
            "RUNNING",
            json!([{"id": 0, "state": "FAILED", "trace": "a.b.C: outer\n\tat x\nCaused by: d.E: the slot is gone\n"}]),
        );
        assert_eq!((failed.state, failed.error.as_deref()), (State::Failed, Some("the slot is gone")));
        assert_eq!(failed.word, "RUNNING, task 0 FAILED");
    }
}
