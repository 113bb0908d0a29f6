//! Flink's two REST APIs ([cluster](https://nightlies.apache.org/flink/flink-docs-release-2.3/docs/ops/rest_api/),
//! [SQL gateway](https://nightlies.apache.org/flink/flink-docs-release-2.3/docs/dev/table/sql-gateway/rest/)), Flink 2.3.
//!
//! A job is a script of SQL with one statement that runs (an `INSERT` or a statement set). It is handed over statement by statement in a session of its own,
//! which is closed when the cluster has the job. The job's name carries the run's own, so that it is found again if the answer to the last statement
//! gets lost. SQL has no variables: values are put in here, and texts of Flink are shown without them.
//!
//! A restart of a task is Flink's own business and shows as `RESTARTING` and in the metric `numRestarts`. A JobManager that keeps its jobs in memory
//! forgets them when it is restarted; one with high availability brings them back under the same number.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_error::{Error, Kind, Result, Retry};

use crate::client::rest::{Answer, Login, Rest};
use crate::client::settings::{Around, parse};
use crate::client::variables::{Quoting, fill};
use crate::client::{EngineClient, Job, LOG_LINES, Look, Savepoint, State, Submission, UNCERTAIN, cause, strange};

pub mod statements;

const ENGINE: &str = "flink";
/// A statement is planned, and a job submitted, by then.
const STATEMENT_WITHIN: Duration = Duration::from_secs(300);
const SAVEPOINT_WITHIN: Duration = Duration::from_secs(600);
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Where Flink is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlinkSettings {
    /// The JobManager's REST API.
    pub url: String,
    /// The SQL gateway.
    pub sql_gateway_url: String,
    /// Memory of a TaskManager. Understood and not used: a session cluster has been started with its own.
    pub taskmanager_memory: Option<Value>,
    /// Slots of a TaskManager. Understood and not used, as above.
    pub task_slots: Option<Value>,
}

impl Default for FlinkSettings {
    fn default() -> Self {
        let (url, sql_gateway_url) = ("http://127.0.0.1:8081".into(), "http://127.0.0.1:8083".into());
        Self { url, sql_gateway_url, taskmanager_memory: None, task_slots: None }
    }
}

/// The client that these settings make.
pub fn connect(settings: Value, around: Around<'_>) -> Result<Box<dyn EngineClient>> {
    let settings: FlinkSettings = parse(ENGINE, settings)?;
    Ok(Box::new(FlinkClient::new(&settings.url, &settings.sql_gateway_url, around.login)?))
}

/// A session cluster and its gateway.
#[derive(Debug, Clone)]
pub struct FlinkClient {
    cluster: Rest,
    gateway: Rest,
}

impl FlinkClient {
    /// The JobManager (`http://HOST:8081`) and the SQL gateway (`http://HOST:8083`).
    pub fn new(cluster: &str, gateway: &str, login: Option<Login>) -> Result<Self> {
        Ok(Self {
            cluster: Rest::new(ENGINE, cluster, login.clone())?,
            gateway: Rest::new("the SQL gateway of flink", gateway, login)?,
        })
    }

    /// What the cluster says of a job; `None`: it does not know it.
    async fn of_job(&self, job: &str, what: &[&str]) -> Result<Option<Value>> {
        let path: Vec<&str> = ["jobs", job].into_iter().chain(what.iter().copied()).collect();
        let answer = self.cluster.get(&path, &[]).await?;
        match answer.status {
            404 => Ok(None),
            _ if answer.good() => Ok(Some(answer.json)),
            _ => Err(self.cluster.unexpected("does not say how a job is", &answer, said(&answer).as_deref())),
        }
    }

    async fn run_script(&self, job: &Submission) -> Result<Job> {
        let script = job.only(&["sql"], "Flink")?;
        let statements = statements::split(&script.text);
        let running = statements.iter().filter(|statement| statements::runs(statement)).count();
        if running != 1 {
            return Err(refused(&job.name)
                .because(format!("{} has {running} statements that run, and a job is one", script.name))
                .hint("several INSERTs go into one EXECUTE STATEMENT SET BEGIN … END"));
        }
        let session = self.open(job).await?;
        let mut submitted = None;
        for (number, statement) in statements.iter().enumerate() {
            // The name is given when the session is opened, with the run's own in it.
            if statements::names(statement) {
                continue;
            }
            let filled = fill(statement, &job.variables, Quoting::Sql);
            let place = || format!("statement {} of {}, {}", number + 1, statements.len(), statements::head(statement));
            match self.execute(&session, &filled).await {
                Ok(id) if statements::runs(statement) => submitted = id,
                Ok(_) => {}
                // Whether it runs is not known before the cluster was asked for its name.
                Err(error) if statements::runs(statement) && error.retryable() != Retry::Never => {
                    submitted = Some(self.found(job, error).await?);
                }
                Err(error) => return Err(error.at(place())),
            }
        }
        submitted
            .map(Job::one)
            .ok_or_else(|| strange(ENGINE, self.gateway.place(), "jobID in what the gateway says of the INSERT"))
    }

    async fn open(&self, job: &Submission) -> Result<Session<'_>> {
        let mode = if job.streaming { "streaming" } else { "batch" };
        let mut properties = json!({"execution.runtime-mode": mode, "pipeline.name": name(job)});
        if let Some(Savepoint(path)) = &job.resume {
            properties["execution.state-recovery.path"] = path.as_str().into();
        }
        let body = json!({"properties": properties});
        let answer = self.gateway.call(Method::POST, &["v1", "sessions"], &[], Some(&body)).await?;
        match answer.json["sessionHandle"].as_str() {
            Some(handle) if answer.good() => Ok(Session { gateway: &self.gateway, handle: handle.to_owned() }),
            _ => Err(self.gateway.unexpected("opens no session", &answer, said(&answer).as_deref())),
        }
    }

    /// Runs one statement to its end; the job's id if it submitted one.
    async fn execute(&self, session: &Session<'_>, statement: &str) -> Result<Option<String>> {
        let body = json!({"statement": statement});
        let path = ["v1", "sessions", session.handle.as_str(), "statements"];
        let answer = self.gateway.call(Method::POST, &path, &[], Some(&body)).await?;
        let Some(operation) = answer.json["operationHandle"].as_str().filter(|_| answer.good()) else {
            return Err(self.statement_refused(&answer));
        };
        let begin = Instant::now();
        let (mut page, mut id) = (0_u64, None);
        loop {
            let number = page.to_string();
            let path = ["v1", "sessions", session.handle.as_str(), "operations", operation, "result", number.as_str()];
            let answer = self.gateway.get(&path, &[]).await?;
            if !answer.good() {
                return Err(self.statement_refused(&answer));
            }
            id = answer.json["jobID"].as_str().map(str::to_owned).or(id);
            match answer.json["resultType"].as_str() {
                Some("NOT_READY") if begin.elapsed() > STATEMENT_WITHIN => {
                    return Err(Error::new(
                        "WEIR-LAUNCH-001",
                        Kind::Connect,
                        "the SQL gateway of flink does not finish a statement",
                    )
                    .because(format!("{} s have passed", STATEMENT_WITHIN.as_secs()))
                    .transient());
                }
                Some("NOT_READY") => tokio::time::sleep(ASK_AGAIN).await,
                Some("PAYLOAD") => page += 1,
                Some("EOS") => return Ok(id),
                _ => return Err(strange(ENGINE, self.gateway.place(), "resultType that is known")),
            }
        }
    }

    fn statement_refused(&self, answer: &Answer) -> Error {
        let why = said(answer).map_or_else(|| cause::first(&answer.text), |said| cause::first(&said));
        Error::new("WEIR-LAUNCH-016", Kind::Spec, "Flink refuses the job").because(why)
    }

    /// The job by its name, when the answer that had its number was lost.
    async fn found(&self, job: &Submission, lost: Error) -> Result<String> {
        let uncertain = |why: &str| {
            Error::new(UNCERTAIN, Kind::Connect, "Flink may or may not have the job")
                .at(format!("job `{}` on {}", name(job), self.cluster.place()))
                .because(why)
                .hint("when it answers again the same command looks for that job first")
        };
        match self.by_name(job).await {
            Ok(Some(id)) => Ok(id),
            // Not there now may be there in a moment: the gateway is still at it.
            Ok(None) => Err(uncertain(lost.why().unwrap_or(lost.what()))),
            Err(error) => Err(uncertain(error.why().unwrap_or(error.what()))),
        }
    }

    async fn by_name(&self, job: &Submission) -> Result<Option<String>> {
        let answer = self.cluster.get(&["jobs", "overview"], &[]).await?;
        let jobs = answer.json["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = jobs.iter().find(|one| one["name"].as_str() == Some(name(job).as_str()));
        Ok(found.and_then(|one| one["jid"].as_str()).map(str::to_owned))
    }

    async fn failure(&self, job: &str) -> Result<Option<String>> {
        let Some(exceptions) = self.of_job(job, &["exceptions"]).await? else { return Ok(None) };
        Ok(trace(&exceptions).map(cause::first))
    }

    async fn restarts(&self, job: &str) -> Result<Option<u64>> {
        let answer = self.cluster.get(&["jobs", job, "metrics"], &[("get", "numRestarts")]).await?;
        Ok(answer.json[0]["value"].as_str().and_then(|value| value.parse().ok()))
    }
}

/// A session of the gateway. The cluster keeps jobs whose session has gone.
struct Session<'a> {
    gateway: &'a Rest,
    handle: String,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let (gateway, handle) = (self.gateway.clone(), std::mem::take(&mut self.handle));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // An idle session ends by itself, so nobody waits for this one.
            runtime.spawn(async move { gateway.call(Method::DELETE, &["v1", "sessions", &handle], &[], None).await });
        }
    }
}

#[async_trait]
impl EngineClient for FlinkClient {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn place(&self) -> String {
        self.cluster.place()
    }

    async fn version(&self) -> Result<String> {
        let answer = self.cluster.get(&["overview"], &[]).await?;
        let version = answer.json["flink-version"].as_str().map(str::to_owned);
        version.ok_or_else(|| strange(ENGINE, self.place(), "`flink-version` in what /overview says"))
    }

    async fn submit(&self, job: &Submission) -> Result<Job> {
        // Better than an INSERT that the gateway cannot hand on.
        self.version().await?;
        self.run_script(job).await
    }

    async fn find(&self, job: &Submission) -> Result<Option<Job>> {
        Ok(self.by_name(job).await?.map(Job::one))
    }

    async fn look(&self, job: &Job) -> Result<Option<Look>> {
        let Some(found) = self.of_job(job.id(), &[]).await? else { return Ok(None) };
        let Some(word) = found["state"].as_str() else {
            return Err(strange(ENGINE, self.place(), "`state` in what it says of a job"));
        };
        let mut look = counted(&found, Look::new(state(word, &found), word));
        if let Some(checkpoints) = self.of_job(job.id(), &["checkpoints"]).await? {
            look.checkpoints = checkpoints["counts"]["completed"].as_u64();
        }
        look.restarts = self.restarts(job.id()).await?;
        if look.state == State::Failed {
            look.error = self.failure(job.id()).await?;
        }
        Ok(Some(look))
    }

    async fn cancel(&self, job: &Job) -> Result<()> {
        let answer = self.cluster.call(Method::PATCH, &["jobs", job.id()], &[("mode", "cancel")], None).await?;
        match answer.status {
            // Gone, or ended: 409.
            404 | 409 => Ok(()),
            _ if answer.good() => Ok(()),
            _ => Err(self.cluster.unexpected("does not cancel the job", &answer, said(&answer).as_deref())),
        }
    }

    async fn suspend(&self, job: &Job) -> Result<Savepoint> {
        let no = |why: String| {
            Error::new("WEIR-LAUNCH-019", Kind::Conflict, "Flink does not stop the job with a savepoint: it runs on")
                .because(why)
                .hint("a savepoint needs a place: execution.checkpointing.savepoint-dir of the cluster, where all its machines can write")
        };
        let answer = self.cluster.call(Method::POST, &["jobs", job.id(), "stop"], &[], Some(&json!({"drain": false}))).await?;
        let Some(request) = answer.json["request-id"].as_str().filter(|_| answer.good()) else {
            return Err(no(said(&answer).map_or_else(|| cause::first(&answer.text), |said| cause::first(&said))));
        };
        let begin = Instant::now();
        while begin.elapsed() < SAVEPOINT_WITHIN {
            let Some(found) = self.of_job(job.id(), &["savepoints", request]).await? else {
                return Err(no("it forgot the request".into()));
            };
            if found["status"]["id"] == "COMPLETED" {
                return match found["operation"]["location"].as_str() {
                    Some(location) => Ok(Savepoint(location.to_owned())),
                    None => {
                        Err(no(cause::first(found["operation"]["failure-cause"]["stack-trace"].as_str().unwrap_or_default())))
                    }
                };
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Err(no(format!("it is not done after {} s", SAVEPOINT_WITHIN.as_secs())))
    }

    async fn logs(&self, job: &Job) -> Result<Vec<String>> {
        let exceptions = self.of_job(job.id(), &["exceptions"]).await?.unwrap_or(Value::Null);
        Ok(trace(&exceptions).unwrap_or_default().lines().take(LOG_LINES).map(str::to_owned).collect())
    }
}

/// The name that the job has there: the pipeline's, and the run's.
fn name(job: &Submission) -> String {
    format!("{} ({})", job.name, job.run_id)
}

fn refused(name: &str) -> Error {
    Error::new("WEIR-LAUNCH-016", Kind::Spec, "Flink refuses the job").at(name.to_owned())
}

/// `RUNNING` is said of a job whose tasks wait for slots, too.
fn state(word: &str, job: &Value) -> State {
    let tasks = |of: &str| job["status-counts"][of].as_u64().unwrap_or(0);
    match word {
        "RUNNING" if tasks("RUNNING") + tasks("FINISHED") + tasks("INITIALIZING") + tasks("DEPLOYING") == 0 => State::Waiting,
        "RUNNING" => State::Running,
        "RESTARTING" | "RECONCILING" => State::Restarting,
        "FAILING" | "CANCELLING" => State::Stopping,
        "FINISHED" => State::Finished,
        "CANCELED" => State::Cancelled,
        "FAILED" => State::Failed,
        // Another JobManager takes it over.
        "SUSPENDED" => State::Restarting,
        // INITIALIZING, CREATED
        _ => State::Waiting,
    }
}

/// What the tasks count. A source counts what it hands on, or, if Flink chained others behind it, what it read; a sink what it was handed. Where Flink chained a sink to
/// its source nobody counts what is written, and so nothing is said of it.
fn counted(job: &Value, look: Look) -> Look {
    let tasks = job["vertices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |task: &Value| task["name"].as_str().unwrap_or_default().to_owned();
    let is_source = |task: &Value| name(task).split(" -> ").any(|part| part.trim().starts_with("Source:"));
    let is_sink = |task: &Value| ["Writer", "Sink", "sink"].iter().any(|word| name(task).contains(word));
    let count = |task: &Value, of: [&str; 2]| {
        let [first, second] = of.map(|of| task["metrics"][of].as_u64());
        first.filter(|count| *count > 0).or(second.filter(|count| *count > 0)).or(first).or(second)
    };
    let total = |of: &dyn Fn(&Value) -> Option<u64>, is: &dyn Fn(&Value) -> bool| {
        tasks.iter().filter(|task| is(task)).map(of).fold(None, crate::client::sum)
    };
    let chained = tasks.iter().any(|task| is_source(task) && is_sink(task));
    let written = total(&|task| task["metrics"]["read-records"].as_u64(), &is_sink);
    Look {
        rows_read: total(&|task| count(task, ["read-records", "write-records"]), &is_source),
        bytes_read: total(&|task| count(task, ["read-bytes", "write-bytes"]), &is_source),
        rows_written: if chained { None } else { written },
        ..look
    }
}

/// The stack trace of the newest failure.
fn trace(exceptions: &Value) -> Option<&str> {
    let newest = exceptions["exceptionHistory"]["entries"][0]["stacktrace"].as_str();
    newest.or_else(|| exceptions["root-exception"].as_str()).filter(|trace| !trace.trim().is_empty())
}

/// Flink's message: both APIs answer with a list, whose last entry is the trace on the server.
fn said(answer: &Answer) -> Option<String> {
    let errors = answer.json["errors"].as_array()?;
    errors
        .iter()
        .rev()
        .find_map(Value::as_str)
        .map(|text| text.trim().trim_start_matches("<Exception on server side:").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_without_a_running_task_is_waiting() {
        assert_eq!(state("RUNNING", &json!({"status-counts": {"SCHEDULED": 2, "RUNNING": 0}})), State::Waiting);
        assert_eq!(state("RUNNING", &json!({"status-counts": {"SCHEDULED": 1, "RUNNING": 1}})), State::Running);
        assert_eq!(state("CANCELED", &json!({})), State::Cancelled);
        assert_eq!(state("INITIALIZING", &json!({})), State::Waiting);
    }

    #[test]
    fn rows_are_counted_where_flink_counts_them() {
        let task =
            |name: &str, read: u64, write: u64| json!({"name": name, "metrics": {"read-records": read, "write-records": write}});
        let rows = |tasks: Value| {
            let look = counted(&json!({"vertices": tasks}), Look::new(State::Running, "RUNNING"));
            (look.rows_read, look.rows_written)
        };
        assert_eq!(rows(json!([task("Source: numbers[7]", 0, 700), task("nothing[8]: Writer", 690, 0)])), (Some(700), Some(690)));
        let chained = task("Source: orders[1] -> Calc[2] -> Sink: Filesystem", 1000, 0);
        assert_eq!(rows(json!([chained])), (Some(1000), None), "1,000 were read, and fewer may have been written");
        assert_eq!(rows(json!([])), (None, None));
    }

    #[test]
    fn the_message_is_the_trace_of_the_server() {
        let answer = Answer {
            status: 500,
            json: json!({"errors": ["Internal server error.", "<Exception on server side:\na.b.C: outer\nCaused by: d.e.F: Object 't' not found\n\tat x\nEnd of exception on server side>"]}),
            text: String::new(),
        };
        assert_eq!(cause::first(&said(&answer).unwrap()), "Object 't' not found");
    }
}
