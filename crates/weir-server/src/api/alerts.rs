//! Alert rules of a job, alerts, silences.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use weir_control::access::Caller;
use weir_control::monitoring;
use weir_store::model::{self, JobId, NewRule, SilenceId};

use super::page::{All, Page};
use super::words::{self, AlertState};
use crate::answer::{Answer, Reply};
use crate::ask::Ask;
use crate::problem::{Problem, ProblemPart};

/// A rule as it is sent: seed 000 writes the window as `5m`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// What is watched: `error_rate`, `processing_lag`, `rows_written`, ….
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z_][A-Za-z0-9_.]*$")]
    pub metric: String,
    /// It fires above this.
    pub threshold: f64,
    /// Over this long: `30s`, `5m`, `1h`, `1d`.
    #[serde(default = "five_minutes")]
    #[schema(required = false, default = "5m", min_length = 2, max_length = 9, pattern = "^[1-9][0-9]{0,6}[smhd]$")]
    pub window: String,
    /// `info`, `warning`, `critical`.
    #[serde(default)]
    #[schema(required = false)]
    pub severity: Severity,
    /// Who is told.
    #[serde(default)]
    #[schema(required = false)]
    pub action: Action,
}

fn five_minutes() -> String {
    "5m".into()
}

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Critical,
}

/// Who is told.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Action {
    #[default]
    Webhook,
    Slack,
    None,
}

/// The rules of a job: a list or an object with `alert_rules` replaces all of them, a single rule is added.
#[derive(Debug)]
pub struct RulesBody;

impl PartialSchema for RulesBody {
    fn schema() -> RefOr<Schema> {
        let list = ArrayBuilder::new().items(Ref::from_schema_name("RuleBody")).max_items(Some(MAX_RULES));
        let one = OneOfBuilder::new()
            .item(list)
            .item(Ref::from_schema_name("RuleList"))
            .item(Ref::from_schema_name("RuleBody"))
            .description(Some(
                "A list, or an object with `alert_rules`, replaces the job's rules; a single rule is added to them.",
            ))
            .build();
        RefOr::T(Schema::OneOf(one))
    }
}

impl ToSchema for RulesBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((RuleBody::name().into(), RuleBody::schema()));
        schemas.push((RuleList::name().into(), RuleList::schema()));
        RuleBody::schemas(schemas);
        RuleList::schemas(schemas);
    }
}

/// `{"alert_rules": […]}`, as seed 000 writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleList {
    /// The new rules.
    #[schema(max_items = 100)]
    pub alert_rules: Vec<RuleBody>,
}

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertRule)]
pub struct RuleView {
    /// Its id.
    pub id: String,
    /// Of which job.
    pub job_id: String,
    /// What is watched.
    pub metric: String,
    /// It fires above this.
    pub threshold: f64,
    /// Over this long: `300s`.
    pub window: String,
    /// How bad.
    pub severity: String,
    /// Who is told.
    pub action: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

impl From<model::AlertRule> for RuleView {
    fn from(rule: model::AlertRule) -> Self {
        Self {
            id: rule.id.to_string(),
            job_id: rule.job_id.to_string(),
            metric: rule.body.metric,
            threshold: rule.body.threshold,
            window: in_words(rule.body.window_secs),
            severity: rule.body.severity,
            action: rule.body.action,
            created_at: rule.created_at,
        }
    }
}

const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// 300 as `5m`.
fn in_words(secs: u32) -> String {
    let (unit, size) = UNITS.into_iter().find(|(_, size)| secs >= *size && secs.is_multiple_of(*size)).unwrap_or(('s', 1));
    format!("{}{unit}", secs / size)
}

/// `5m` as 300.
fn in_secs(window: &str) -> Option<u32> {
    let unit = window.chars().last()?;
    let (_, size) = UNITS.into_iter().find(|(known, _)| *known == unit)?;
    window.get(..window.len() - 1)?.parse::<u32>().ok()?.checked_mul(size).filter(|secs| (1..=MAX_WINDOW_SECS).contains(secs))
}

const MAX_WINDOW_SECS: u32 = 31 * 86_400;

fn rule(body: RuleBody, place: &str) -> Result<NewRule, Problem> {
    let Some(window_secs) = in_secs(&body.window) else {
        return Err(Problem::unprocessable("WEIR-API-026", "a rule's `window` is at most 31 days")
            .errors(vec![ProblemPart::at(format!("{place}/window"), "at most 31 days: `30s`, `5m`, `1h`, `1d`")]));
    };
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(NewRule {
        metric: body.metric,
        threshold: body.threshold,
        window_secs,
        severity: word(serde_json::json!(body.severity)),
        action: word(serde_json::json!(body.action)),
    })
}

/// `POST /jobs/{job_id}/alerts`.
pub async fn put_rules(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let job = JobId::from(ask.id("job_id"));
    let body: serde_json::Value = ask.json()?;
    let list = |value: serde_json::Value| -> Result<Vec<RuleBody>, Problem> {
        serde_json::from_value(value).map_err(|error| crate::ask::malformed(&error))
    };
    let mut rules = Vec::new();
    match body {
        serde_json::Value::Array(_) => {
            for (index, body) in list(body)?.into_iter().enumerate() {
                rules.push(rule(body, &format!("/{index}"))?);
            }
        }
        serde_json::Value::Object(mut fields) if fields.contains_key("alert_rules") => {
            for (index, body) in list(fields.remove("alert_rules").unwrap_or_default())?.into_iter().enumerate() {
                rules.push(rule(body, &format!("/alert_rules/{index}"))?);
            }
        }
        one => {
            let body: RuleBody = serde_json::from_value(one).map_err(|error| crate::ask::malformed(&error))?;
            rules.extend(store.rules(&job).await?.into_iter().map(|known| known.body));
            rules.push(rule(body, "")?);
            if rules.len() > MAX_RULES {
                return Err(Problem::unprocessable("WEIR-API-027", format!("a job has at most {MAX_RULES} alert rules")));
            }
        }
    }
    let rules = store.replace_rules(&job, rules).await?;
    Answer::json(&All { items: rules.into_iter().map(RuleView::from).collect() })
}

/// Rules of a job at most.
const MAX_RULES: usize = 100;

/// `GET /jobs/{job_id}/alerts`.
pub async fn rules(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let job = JobId::from(ask.id("job_id"));
    store.job(&job).await?;
    let rules = store.rules(&job).await?;
    Answer::json(&All { items: rules.into_iter().map(RuleView::from).collect() })
}

/// A rule that was broken, from when to when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub struct AlertView {
    /// Its id.
    pub id: String,
    /// The rule.
    pub rule_id: String,
    /// Of which job.
    pub job_id: String,
    /// The job's name.
    pub job_name: String,
    /// Whether it still holds.
    pub state: AlertState,
    /// The value that broke the rule.
    pub value: f64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub fired_at: DateTime<Utc>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resolved_at: Option<DateTime<Utc>>,
}

impl AlertView {
    fn of(alert: model::Alert, job_name: String) -> Self {
        Self {
            id: alert.id.to_string(),
            rule_id: alert.rule_id.to_string(),
            job_id: alert.job_id.to_string(),
            job_name,
            state: alert.state.into(),
            value: alert.value,
            fired_at: alert.fired_at,
            resolved_at: alert.resolved_at,
        }
    }
}

/// `GET /alerts`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let job = ask.values.text("job_id").map(JobId::from);
    let state = words::read::<AlertState>(ask.values.text("state")).map(Into::into);
    let store = ask.app.tenant(&me.scope);
    let page = store.alerts(job.as_ref(), state, &ask.page()).await?;
    let names = store.job_names(page.items.iter().map(|alert| &alert.job_id)).await?;
    let named = |alert: model::Alert| {
        let name = names.get(&alert.job_id).cloned().unwrap_or_default();
        AlertView::of(alert, name)
    };
    Answer::json(&Page { items: page.items.into_iter().map(named).collect(), next_cursor: page.next_cursor })
}

/// No notifications of a job, or of all, for a while.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Silence)]
pub struct SilenceBody {
    /// Of one job; null = all of the tenant.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    pub job_id: Option<String>,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: DateTime<Utc>,
    /// Why.
    #[schema(min_length = 1, max_length = 500, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub reason: String,
}

/// A silence that holds.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SilenceHeld)]
pub struct SilenceView {
    /// Its id.
    pub id: String,
    /// Of one job; null = all of the tenant.
    pub job_id: Option<String>,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: DateTime<Utc>,
    /// Why.
    pub reason: String,
}

impl From<model::SilenceHeld> for SilenceView {
    fn from(held: model::SilenceHeld) -> Self {
        let model::Silence { job_id, until, reason } = held.body;
        Self { id: held.id.to_string(), job_id: job_id.map(|job| job.to_string()), until, reason }
    }
}

/// `POST /silences`.
pub async fn silence(ask: Ask, me: Caller) -> Reply {
    let body: SilenceBody = ask.json()?;
    let store = ask.app.tenant(&me.scope);
    let job_id = body.job_id.as_deref().map(JobId::from);
    if let Some(job) = &job_id {
        store.job(job).await?;
    }
    let held = store.silence(model::Silence { job_id, until: body.until, reason: body.reason }).await?;
    Answer::accepted(&SilenceView::from(held))
}

/// `DELETE /silences/{silence_id}`.
pub async fn end_silence(ask: Ask, me: Caller) -> Reply {
    ask.app.tenant(&me.scope).end_silence(&SilenceId::from(ask.id("silence_id"))).await?;
    Answer::no_content()
}

/// `POST /jobs/{job_id}/alerts/preview`.
pub async fn rehearse(ask: Ask, me: Caller) -> Reply {
    let rule = rule(ask.json()?, "")?;
    let hours = ask.values.integer("time_range_hours").and_then(|hours| u32::try_from(hours).ok()).unwrap_or(168);
    let job = JobId::from(ask.id("job_id"));
    Answer::json(&monitoring::rehearse(&ask.app.platform, &me.scope, &job, &rule, hours).await?)
}

/// `GET /silences`.
pub async fn silences(ask: Ask, me: Caller) -> Reply {
    let silences = ask.app.tenant(&me.scope).silences().await?;
    Answer::json(&All { items: silences.into_iter().map(SilenceView::from).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_written_as_the_seed_writes_them() {
        for (text, secs) in [("30s", 30), ("5m", 300), ("10m", 600), ("1h", 3600), ("2d", 172_800)] {
            assert_eq!(in_secs(text), Some(secs));
            assert_eq!(in_words(secs), text);
        }
        for bad in ["", "m", "0m", "5x", "9999999d", "5", "-5m", "é"] {
            assert_eq!(in_secs(bad), None, "{bad}");
        }
    }
}
