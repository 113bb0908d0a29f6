//! Metric points in Apache Ignite, over its REST API: one SQL table, its key led by the tenant, all values bound as arguments.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Client;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;
use weir_error::{Error, Kind, Result};
use weir_store::model::{MetricPoint, MetricQuery, TenantId};

use super::series::SeriesStore;

/// A small cache that only lends its name to the SQL commands, which ask for one.
const CACHE: &str = "weir";
/// Rows per `MERGE`; and per page of an answer.
const BATCH: usize = 64;
const PAGE: usize = 5_000;
const COLUMNS: usize = 8;

/// The table: points of one tenant lie on one node.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS PUBLIC.WEIR_POINTS (TENANT VARCHAR, ID VARCHAR, JOB VARCHAR, RUN VARCHAR, METRIC VARCHAR, \
                     LABELS VARCHAR, AT_US BIGINT, AMOUNT DOUBLE, PRIMARY KEY (TENANT, ID)) \
                     WITH \"TEMPLATE=PARTITIONED,BACKUPS=1,AFFINITY_KEY=TENANT,CACHE_NAME=WEIR_POINTS\"";
const INDEX: &str = "CREATE INDEX IF NOT EXISTS WEIR_POINTS_TIME ON PUBLIC.WEIR_POINTS (TENANT, AT_US)";

/// An Ignite cluster. The first host that answers is asked; the others stand in.
pub struct Ignite {
    hosts: Vec<Url>,
    client: Client,
    /// Whether the table was seen. A cluster that keeps nothing on disk forgets it when it restarts.
    ready: AtomicBool,
}

impl Ignite {
    /// `hosts`: REST endpoints, `http://host:8080`, `host:8080` or `host` (port 8080 then). Nothing is asked yet.
    pub fn new(hosts: &[String]) -> Result<Self> {
        let hosts: Vec<Url> = hosts.iter().map(|host| endpoint(host.trim())).collect::<Result<_>>()?;
        if hosts.is_empty() {
            return Err(Error::new("WEIR-IGNITE-001", Kind::Spec, "no Ignite host is named").hint("set IGNITE_HOSTS"));
        }
        let client = Client::builder()
            .timeout(Duration::from_secs(15))
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Error::internal("no HTTP client").caused_by(error))?;
        Ok(Self { hosts, client, ready: AtomicBool::new(false) })
    }

    /// A statement about the table, which is made first if it was not seen; after a refusal it is looked for again the next time.
    async fn on_table(&self, statement: &str, arguments: &[String]) -> Result<Vec<Vec<Value>>> {
        if !self.ready.load(Ordering::Relaxed) {
            self.command(&[("cmd", "getorcreate".into()), ("cacheName", CACHE.into())]).await?;
            self.sql(TABLE, &[]).await?;
            self.sql(INDEX, &[]).await?;
            self.ready.store(true, Ordering::Relaxed);
        }
        let outcome = self.sql(statement, arguments).await;
        if outcome.is_err() {
            self.ready.store(false, Ordering::Relaxed);
        }
        outcome
    }

    /// One statement, all pages of its answer. The arguments are bound by Ignite.
    async fn sql(&self, statement: &str, arguments: &[String]) -> Result<Vec<Vec<Value>>> {
        let mut form = vec![
            ("cmd".to_owned(), "qryfldexe".to_owned()),
            ("cacheName".to_owned(), CACHE.to_owned()),
            ("pageSize".to_owned(), PAGE.to_string()),
            ("qry".to_owned(), statement.to_owned()),
        ];
        form.extend(arguments.iter().enumerate().map(|(at, value)| (format!("arg{}", at + 1), value.clone())));
        let (host, mut answer) = self.any_host(&form).await?;
        let mut rows = Vec::new();
        loop {
            let items = answer.get_mut("items").map(Value::take);
            for item in items.as_ref().and_then(Value::as_array).into_iter().flatten() {
                rows.push(item.as_array().cloned().unwrap_or_default());
            }
            if answer["last"].as_bool().unwrap_or(true) {
                return Ok(rows);
            }
            // The cursor lives on the node that was asked.
            let query = answer["queryId"].to_string();
            let more = [("cmd", "qryfetch".to_owned()), ("pageSize", PAGE.to_string()), ("qryId", query)];
            answer = self.ask(host, &more.map(|(k, v)| (k.to_owned(), v))).await?;
        }
    }

    async fn command(&self, form: &[(&str, String)]) -> Result<Value> {
        let form: Vec<(String, String)> = form.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Ok(self.any_host(&form).await?.1)
    }

    async fn any_host(&self, form: &[(String, String)]) -> Result<(&Url, Value)> {
        let mut last = Error::internal("no host");
        for host in &self.hosts {
            match self.ask(host, form).await {
                Ok(answer) => return Ok((host, answer)),
                // Only who cannot be reached is stood in for: another node says the same about a wrong statement.
                Err(error) if error.kind() == Kind::Connect => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn ask(&self, host: &Url, form: &[(String, String)]) -> Result<Value> {
        let place = || host.host_str().unwrap_or_default().to_owned();
        let unreachable = |error: reqwest::Error| {
            Error::new("WEIR-IGNITE-002", Kind::Connect, "Ignite does not answer")
                .at(place())
                .caused_by(error.without_url())
                .hint("IGNITE_HOSTS names the REST endpoints (module ignite-rest-http, port 8080 unless set otherwise)")
                .transient()
        };
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.client.post(host.clone()).header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        let refused =
            |why: String| Error::new("WEIR-IGNITE-003", Kind::Unsupported, "Ignite refuses a command").at(place()).because(why);
        let mut said: Value = match serde_json::from_str(&text) {
            Ok(said) if status.is_success() => said,
            _ if status.is_server_error() => return Err(refused(format!("HTTP {status}")).transient()),
            _ => return Err(refused(format!("HTTP {status}")).hint("is this the REST endpoint of an Ignite node?")),
        };
        match said["successStatus"].as_i64() {
            Some(0) => Ok(said["response"].take()),
            _ => Err(refused(said["error"].as_str().unwrap_or("no reason given").chars().take(300).collect()).transient()),
        }
    }
}

fn endpoint(host: &str) -> Result<Url> {
    let text = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
    let wrong = |why: &str| {
        Error::new("WEIR-IGNITE-004", Kind::Spec, "IGNITE_HOSTS names something that is no REST endpoint")
            .because(why)
            .hint("write `host:8080` or `http://host:8080`, several with commas between them")
    };
    let mut url = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("not http or https, or no host"));
    }
    // `Url` hides a written default port, so `http://host:80` has to be looked for in the text.
    if url.port().is_none() && url.scheme() == "http" && !text.trim_end_matches('/').ends_with(":80") {
        url.set_port(Some(8080)).map_err(|()| wrong("no port can be set"))?;
    }
    url.set_path("/ignite");
    Ok(url)
}

#[async_trait]
impl SeriesStore for Ignite {
    fn name(&self) -> &'static str {
        "ignite"
    }

    async fn write(&self, points: &[MetricPoint]) -> Result<()> {
        for batch in points.chunks(BATCH) {
            let row = format!("({})", ["?"; COLUMNS].join(","));
            let rows = vec![row; batch.len()].join(",");
            let statement =
                format!("MERGE INTO PUBLIC.WEIR_POINTS (TENANT, ID, JOB, RUN, METRIC, LABELS, AT_US, AMOUNT) VALUES {rows}");
            let arguments: Vec<String> = batch.iter().flat_map(arguments_of).collect();
            self.on_table(&statement, &arguments).await?;
        }
        Ok(())
    }

    async fn query(&self, tenant: &TenantId, query: &MetricQuery) -> Result<Vec<MetricPoint>> {
        let mut conditions = String::from("TENANT = ? AND AT_US >= ? AND AT_US < ?");
        let mut arguments =
            vec![tenant.to_string(), query.from.timestamp_micros().to_string(), query.to.timestamp_micros().to_string()];
        if let Some(job) = &query.job_id {
            conditions.push_str(" AND JOB = ?");
            arguments.push(job.to_string());
        }
        if let Some(metric) = &query.metric {
            conditions.push_str(" AND METRIC = ?");
            arguments.push(metric.clone());
        }
        let statement = format!(
            "SELECT JOB, RUN, METRIC, LABELS, AT_US, AMOUNT FROM PUBLIC.WEIR_POINTS WHERE {conditions} ORDER BY AT_US DESC, ID DESC LIMIT {}",
            query.limit
        );
        let rows = self.on_table(&statement, &arguments).await?;
        let mut points: Vec<MetricPoint> = rows.iter().map(|row| point_of(tenant, row)).collect::<Result<_>>()?;
        points.reverse();
        Ok(points)
    }

    async fn prune(&self, before: DateTime<Utc>) -> Result<u64> {
        let gone =
            self.on_table("DELETE FROM PUBLIC.WEIR_POINTS WHERE AT_US < ?", &[before.timestamp_micros().to_string()]).await?;
        Ok(gone.first().and_then(|row| row.first()).and_then(Value::as_u64).unwrap_or(0))
    }

    async fn ready(&self) -> Result<()> {
        self.command(&[("cmd", "version".into())]).await.map(|_| ())
    }
}

/// An empty text stands for a job or run that there is not: arguments cannot be null.
fn arguments_of(point: &MetricPoint) -> [String; COLUMNS] {
    let labels = serde_json::to_string(&point.labels).unwrap_or_default();
    let (job, run) = (point.job_id.as_ref().map_or("", |j| j.as_str()), point.run_id.as_ref().map_or("", |r| r.as_str()));
    let at = point.at.timestamp_micros().to_string();
    let mut hash = Sha256::new();
    for part in [&point.metric, job, run, &labels, &at] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let id: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    [point.tenant_id.to_string(), id, job.into(), run.into(), point.metric.clone(), labels.clone(), at, point.value.to_string()]
}

fn point_of(tenant: &TenantId, row: &[Value]) -> Result<MetricPoint> {
    let strange = || Error::new("WEIR-IGNITE-005", Kind::Data, "Ignite gave a row of another shape").at("table WEIR_POINTS");
    let text = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default();
    let labels: BTreeMap<String, String> = serde_json::from_str(text(3)).map_err(|_| strange())?;
    let at = row.get(4).and_then(Value::as_i64).and_then(DateTime::from_timestamp_micros).ok_or_else(strange)?;
    let value = row.get(5).and_then(Value::as_f64).ok_or_else(strange)?;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(MetricPoint {
        tenant_id: tenant.clone(),
        job_id: given(text(0)).map(Into::into),
        run_id: given(text(1)).map(Into::into),
        metric: text(2).to_owned(),
        labels,
        at,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_rest_endpoint_with_or_without_scheme_and_port() {
        for (given, wanted) in [
            ("ignite", "http://ignite:8080/ignite"),
            ("ignite-0:18081", "http://ignite-0:18081/ignite"),
            ("http://10.0.0.1:80/", "http://10.0.0.1/ignite"),
            ("https://ignite.example", "https://ignite.example/ignite"),
        ] {
            assert_eq!(endpoint(given).unwrap().as_str(), wanted);
        }
        for wrong in ["ftp://x", "http://", "a b"] {
            assert_eq!(endpoint(wrong).unwrap_err().code(), "WEIR-IGNITE-004", "{wrong}");
        }
        assert_eq!(Ignite::new(&[]).err().unwrap().code(), "WEIR-IGNITE-001");
    }
}
