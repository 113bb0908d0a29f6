//! The REST API of SeaTunnel's engine Zeta.
//!
//! There are two: the first (2.3.4 has no other) is Hazelcast's own, below `/hazelcast/rest/maps` of the cluster's port; the second (2.3.9 and later) is the same
//! requests on a port of its own, with a way to ask for one job. The first does not know a job's end by its number, so the lists of ended jobs are searched.
//!
//! 2.3.4 chooses a job's number itself, whatever it is told, so the job's name carries the run's own: if the answer to a submission gets lost, the job is
//! found by its name.
//! Zeta replaces no variables in a job that comes over REST, so values are put in here.

use async_trait::async_trait;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_error::{Error, Kind, Result, Retry};

use crate::client::rest::{Answer, Login, Rest};
use crate::client::settings::{Around, parse};
use crate::client::variables::{Quoting, fill};
use crate::client::{EngineClient, Job, LOG_LINES, Look, Savepoint, State, Submission, UNCERTAIN, cause, strange, sum};

const ENGINE: &str = "seatunnel";

/// Where SeaTunnel is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SeaTunnelSettings {
    /// A member of the cluster: its port 5801 for the first API, 8080 for the second.
    pub url: String,
    /// `v1` (2.3.4 and later), or `v2` (2.3.9 and later).
    pub api: Api,
}

impl Default for SeaTunnelSettings {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:5801".into(), api: Api::V1 }
    }
}

/// The client that these settings make.
pub fn connect(settings: Value, around: Around<'_>) -> Result<Box<dyn EngineClient>> {
    let settings: SeaTunnelSettings = parse(ENGINE, settings)?;
    Ok(Box::new(SeaTunnelClient::new(&settings.url, settings.api, around.login)?))
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// Below `/hazelcast/rest/maps`; 2.3.4 and later.
    V1,
    /// 2.3.9 and later; `seatunnel.engine.http.enable-http` turns it on.
    V2,
}

impl Api {
    /// The path of a request: the API's own start, then the segments.
    fn path<'a>(self, segments: &[&'a str]) -> Vec<&'a str> {
        let start: &[&'a str] = match self {
            Self::V1 => &["hazelcast", "rest", "maps"],
            Self::V2 => &[],
        };
        start.iter().chain(segments).copied().collect()
    }
}

/// One cluster.
#[derive(Debug, Clone)]
pub struct SeaTunnelClient {
    rest: Rest,
    api: Api,
}

impl SeaTunnelClient {
    /// The cluster at `url`: `http://HOST:5801` for the first API, `http://HOST:8080` for the second.
    pub fn new(url: &str, api: Api, login: Option<Login>) -> Result<Self> {
        Ok(Self { rest: Rest::new(ENGINE, url, login)?, api })
    }

    async fn get(&self, segments: &[&str]) -> Result<Answer> {
        let answer = self.rest.get(&self.api.path(segments), &[]).await?;
        if answer.good() {
            Ok(answer)
        } else {
            Err(self.rest.unexpected("does not answer what it is asked", &answer, said(&answer)))
        }
    }

    async fn stop(&self, job: &Job, savepoint: bool) -> Result<()> {
        let body = json!({"jobId": number(job)?, "isStopWithSavePoint": savepoint});
        let answer = self.rest.call(Method::POST, &self.api.path(&["stop-job"]), &[], Some(&body)).await?;
        if answer.good() { Ok(()) } else { Err(self.rest.unexpected("does not stop the job", &answer, said(&answer))) }
    }

    /// The job in a list of ended ones.
    async fn ended(&self, job: &Job) -> Result<Option<Look>> {
        for (word, state) in [
            ("FINISHED", State::Finished),
            ("FAILED", State::Failed),
            ("CANCELED", State::Cancelled),
            ("SAVEPOINT_DONE", State::Suspended),
        ] {
            let answer = self.get(&["finished-jobs", word]).await?;
            let found = answer.json.as_array().into_iter().flatten().find(|one| text(&one["jobId"]).as_deref() == Some(job.id()));
            if let Some(found) = found {
                return Ok(Some(look_of(state, word, found)));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl EngineClient for SeaTunnelClient {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn place(&self) -> String {
        self.rest.place()
    }

    async fn version(&self) -> Result<String> {
        let answer = self.rest.get(&self.api.path(&["overview"]), &[]).await?;
        if let Some(version) = answer.json["projectVersion"].as_str() {
            return Ok(version.to_owned());
        }
        // 2.3.4 answers 400 and nothing there.
        let members = self.get(&["system-monitoring-information"]).await?;
        match members.json.as_array() {
            Some(members) if !members.is_empty() => Ok("2.3.4".into()),
            _ => Err(strange(ENGINE, self.place(), "member in what system-monitoring-information says")),
        }
    }

    async fn submit(&self, job: &Submission) -> Result<Job> {
        let refused = || Error::new("WEIR-LAUNCH-016", Kind::Spec, "SeaTunnel refuses the job").at(self.place());
        let filled = fill(&job.only(&["json"], "SeaTunnel")?.text, &job.variables, Quoting::Json);
        let body: Value = serde_json::from_str(&filled).map_err(|error| refused().because(format!("it is no JSON: {error}")))?;
        let name = name(job);
        let mut query = vec![("jobName", name.as_str())];
        if let Some(Savepoint(id)) = &job.resume {
            query.extend([("jobId", id.as_str()), ("isStartWithSavePoint", "true")]);
        }
        match self.rest.call(Method::POST, &self.api.path(&["submit-job"]), &query, Some(&body)).await {
            Ok(answer) if answer.good() => match text(&answer.json["jobId"]) {
                Some(given) => Ok(Job::one(given)),
                None => Err(refused().because(cause::first(said(&answer).unwrap_or(&answer.text)))),
            },
            Ok(answer) => Err(refused().because(cause::first(said(&answer).unwrap_or(&answer.text)))),
            Err(error) if error.retryable() == Retry::Never => Err(error),
            Err(error) => match self.find(job).await {
                Ok(Some(found)) => Ok(found),
                // Not there now may be there in a moment.
                _ => Err(Error::new(UNCERTAIN, Kind::Connect, "SeaTunnel may or may not have the job")
                    .at(format!("job `{name}` on {}", self.place()))
                    .because(error.why().unwrap_or(error.what()))
                    .hint("when it answers again the same command looks for that job first")),
            },
        }
    }

    async fn find(&self, job: &Submission) -> Result<Option<Job>> {
        let name = name(job);
        for list in
            [&["running-jobs"][..], &["finished-jobs", "FINISHED"], &["finished-jobs", "FAILED"], &["finished-jobs", "CANCELED"]]
        {
            let answer = self.get(list).await?;
            let found = answer.json.as_array().into_iter().flatten().find(|one| one["jobName"].as_str() == Some(name.as_str()));
            if let Some(id) = found.and_then(|found| text(&found["jobId"])) {
                return Ok(Some(Job::one(id)));
            }
        }
        Ok(None)
    }

    async fn look(&self, job: &Job) -> Result<Option<Look>> {
        let answer = match self.api {
            Api::V1 => self.get(&["running-job", job.id()]).await?,
            Api::V2 => self.get(&["job-info", job.id()]).await?,
        };
        let Some(word) = answer.json["jobStatus"].as_str() else { return self.ended(job).await };
        let state = state(word);
        // The list of running jobs is left before the list of ended ones is entered; only the latter has the reason.
        if state.ended()
            && let Some(ended) = self.ended(job).await?
        {
            return Ok(Some(ended));
        }
        // Failed, and the reason is on its way into the list.
        let state = if state == State::Failed { State::Stopping } else { state };
        Ok(Some(look_of(state, word, &answer.json)))
    }

    async fn cancel(&self, job: &Job) -> Result<()> {
        self.stop(job, false).await
    }

    async fn suspend(&self, job: &Job) -> Result<Savepoint> {
        self.stop(job, true).await?;
        // The savepoint is the job's own: a later one takes its number.
        Ok(Savepoint(job.id().to_owned()))
    }

    async fn logs(&self, job: &Job) -> Result<Vec<String>> {
        if self.api == Api::V1 {
            let error = self.ended(job).await?.and_then(|look| look.error);
            return Ok(error.map(|error| error.lines().take(LOG_LINES).map(str::to_owned).collect()).unwrap_or_default());
        }
        let answer = self.get(&["logs", job.id()]).await?;
        let lines: Vec<&str> = answer.text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect())
    }
}

fn state(word: &str) -> State {
    match word {
        "RUNNING" => State::Running,
        "RESTARTING" | "RECONCILING" => State::Restarting,
        "FAILING" | "CANCELING" | "CANCELLING" | "DOING_SAVEPOINT" => State::Stopping,
        "FINISHED" => State::Finished,
        "FAILED" => State::Failed,
        "CANCELED" | "CANCELLED" => State::Cancelled,
        "SAVEPOINT_DONE" => State::Suspended,
        // INITIALIZING, CREATED, PENDING, SCHEDULED, UNKNOWABLE
        _ => State::Waiting,
    }
}

fn look_of(state: State, word: &str, found: &Value) -> Look {
    let metrics = &found["metrics"];
    let error = found["errorMsg"].as_str().filter(|text| !text.trim().is_empty() && *text != "null").map(cause::first);
    Look {
        rows_read: total(&metrics["SourceReceivedCount"]),
        rows_written: total(&metrics["SinkWriteCount"]),
        bytes_read: total(&metrics["SourceReceivedBytes"]),
        bytes_written: total(&metrics["SinkWriteBytes"]),
        error: if state == State::Failed { error } else { None },
        ..Look::new(state, word)
    }
}

/// A count: a number, a number in a text, or one for each subtask.
fn total(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Array(parts) => parts.iter().map(|part| total(part.get("value").unwrap_or(part))).fold(None, sum),
        _ => None,
    }
}

/// A job's number, which is written as a number here and as a text there.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

fn number(job: &Job) -> Result<i64> {
    job.id().parse().map_err(|_| Error::internal(format!("`{}` is no number of a job", job.id())))
}

/// The name that the job has there: the pipeline's, and the run's.
fn name(job: &Submission) -> String {
    format!("{} ({})", job.name, job.run_id)
}

fn said(answer: &Answer) -> Option<&str> {
    answer.json["message"].as_str().or_else(|| answer.json["error"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_in_three_shapes() {
        assert_eq!(total(&json!("12")), Some(12));
        assert_eq!(total(&json!(12)), Some(12));
        assert_eq!(total(&json!([{"value": 3}, {"value": "4"}])), Some(7));
        assert_eq!(total(&Value::Null), None);
        assert_eq!(total(&json!("many")), None);
    }

    #[test]
    fn the_two_apis_differ_in_their_start_only() {
        assert_eq!(Api::V1.path(&["submit-job"]), ["hazelcast", "rest", "maps", "submit-job"]);
        assert_eq!(Api::V2.path(&["submit-job"]), ["submit-job"]);
    }
}
