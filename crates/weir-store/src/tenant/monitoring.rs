//! Alert rules, alerts, silences, metric points, schema drift.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json as object};
use weir_error::Result;

use super::TenantStore;
use super::jobs;
use crate::backend::{Columns, Row, Value, args, json, now};
use crate::fault;
use crate::model::{
    Alert, AlertId, AlertRule, AlertState, Drift, Event, JobId, MetricPoint, MetricQuery, NewRule, Page, PageRequest, RuleId,
    Silence, SilenceHeld, SilenceId,
};
use crate::page::Asked;
use crate::writer::{Writer, done, event};

/// The columns of a rule, as [`read_rule`] takes them.
pub(crate) const RULE: &str =
    "SELECT id, tenant_id, job_id, metric, threshold, window_secs, severity, action, created_at FROM alert_rules";
/// The columns of an alert, as [`read_alert`] takes them.
pub(crate) const ALERT: &str = "SELECT id, rule_id, tenant_id, job_id, state, value, fired_at, resolved_at FROM alerts";

/// Points that one answer holds at most.
const MOST_POINTS: u32 = 100_000;

impl TenantStore {
    /// A job's rules, oldest first.
    pub async fn rules(&self, job: &JobId) -> Result<Vec<AlertRule>> {
        self.job_exists(job).await?;
        let sql = format!("{RULE} WHERE tenant_id = $1 AND job_id = $2 ORDER BY created_at, id");
        self.backend.fetch_all(sql, args![self.tenant_id(), job]).await?.iter().map(read_rule).collect()
    }

    /// Replaces a job's rules. A rule that stays the same keeps its id and its alert; the alert of one that goes is resolved. Audit
    /// `rules.replace`, events `alert.resolved`.
    pub async fn replace_rules(&self, job: &JobId, rules: Vec<NewRule>) -> Result<Vec<AlertRule>> {
        let mut writer = self.write().await?;
        if !jobs::exists(&mut writer.tx, &writer.tenant, job).await? {
            return Err(jobs::missing());
        }
        let events = set_rules(&mut writer, job, &rules).await?;
        let entry = done("rules.replace", format!("job/{job}"), object!({"rules": rules}));
        writer.commit(entry, events).await?;
        self.rules(job).await
    }

    /// Alerts, newest first.
    pub async fn alerts(&self, job: Option<&JobId>, state: Option<AlertState>, page: &PageRequest) -> Result<Page<Alert>> {
        let asked = Asked::of("alerts", page)?;
        let mut values = args![self.tenant_id()];
        let mut sql = format!("{ALERT} WHERE tenant_id = $1");
        if let Some(job) = job {
            values.push(Value::from(job));
            sql += " AND job_id = $2";
        }
        match state {
            Some(AlertState::Firing) => sql += " AND state = 'firing'",
            Some(AlertState::Resolved) => sql += " AND state = 'resolved'",
            None => {}
        }
        sql += &asked.newest_first("fired_at", "id", &mut values);
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let alert = read_alert(row)?;
            let key = (alert.fired_at.timestamp_micros(), alert.id.as_str().to_owned());
            Ok((alert, key))
        })
    }

    /// No notifications for a while. Audit `silence.create`.
    pub async fn silence(&self, silence: Silence) -> Result<SilenceHeld> {
        let mut writer = self.write().await?;
        if let Some(job) = &silence.job_id
            && !jobs::exists(&mut writer.tx, &writer.tenant, job).await?
        {
            return Err(jobs::missing());
        }
        let id = SilenceId::generate();
        let sql = "INSERT INTO silences (tenant_id, id, job_id, until_at, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
        writer
            .tx
            .execute(sql, args![&writer.tenant, &id, silence.job_id.as_ref(), silence.until, &silence.reason, writer.now])
            .await?;
        let detail = object!({"job_id": silence.job_id, "until": silence.until, "reason": silence.reason});
        writer.commit(done("silence.create", format!("silence/{id}"), detail), Vec::new()).await?;
        Ok(SilenceHeld { id, body: silence })
    }

    /// Ends a silence that holds now. Audit `silence.end`.
    pub async fn end_silence(&self, id: &SilenceId) -> Result<()> {
        let mut writer = self.write().await?;
        // It stays as a row until it is swept: who was silent when is part of the history.
        let sql = "UPDATE silences SET until_at = $3 WHERE tenant_id = $1 AND id = $2 AND until_at > $3";
        if writer.tx.execute(sql, args![&writer.tenant, id, writer.now]).await? == 0 {
            return Err(fault::missing("silence"));
        }
        writer.commit(done("silence.end", format!("silence/{id}"), object!({})), Vec::new()).await
    }

    /// The silences that hold now.
    pub async fn silences(&self) -> Result<Vec<SilenceHeld>> {
        let sql =
            "SELECT id, job_id, until_at, reason FROM silences WHERE tenant_id = $1 AND until_at > $2 ORDER BY until_at, id";
        let rows = self.backend.fetch_all(sql, args![self.tenant_id(), now()]).await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                let id = columns.id()?;
                Ok(SilenceHeld {
                    id,
                    body: Silence { job_id: columns.opt_id()?, until: columns.time()?, reason: columns.text()? },
                })
            })
            .collect()
    }

    /// Points, oldest first; of more than the limit the newest ones.
    pub async fn points(&self, query: &MetricQuery) -> Result<Vec<MetricPoint>> {
        let mut values = args![self.tenant_id(), query.from, query.to];
        let mut sql = String::from(
            "SELECT tenant_id, job_id, run_id, metric, labels, at, value FROM metric_points WHERE tenant_id = $1 AND at >= $2 AND at < $3",
        );
        if let Some(job) = &query.job_id {
            values.push(Value::from(job));
            sql += &format!(" AND job_id = ${}", values.len());
        }
        if let Some(metric) = &query.metric {
            values.push(Value::from(metric));
            sql += &format!(" AND metric = ${}", values.len());
        }
        values.push(Value::from(query.limit.min(MOST_POINTS)));
        sql += &format!(" ORDER BY at DESC LIMIT ${}", values.len());
        let rows = self.backend.fetch_all(sql, values).await?;
        rows.iter().rev().map(read_point).collect()
    }

    /// Notes that a stream's schema changed. Event `schema.drift`.
    pub async fn record_drift(&self, drift: Drift) -> Result<()> {
        let mut writer = self.write().await?;
        let id = uuid::Uuid::now_v7().to_string();
        let owner = "SELECT fence FROM runs WHERE tenant_id = $1 AND id = $2 AND job_id = $3";
        if writer.tx.fetch_optional(owner, args![&writer.tenant, &drift.run_id, &drift.job_id]).await?.is_none() {
            return Err(super::runs::missing());
        }
        let sql = "INSERT INTO drifts (tenant_id, id, job_id, run_id, stream, changes, at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let changes = json(&drift.changes)?;
        writer.tx.execute(sql, args![&writer.tenant, id, &drift.job_id, &drift.run_id, &drift.stream, changes, drift.at]).await?;
        let data = object!({"job_id": drift.job_id, "run_id": drift.run_id, "stream": drift.stream, "changes": drift.changes, "at": drift.at});
        writer.commit_events(vec![event("schema.drift", &drift.job_id, data)]).await
    }

    /// A job's schema changes, newest first, at most 500.
    pub async fn drifts(&self, job: &JobId) -> Result<Vec<Drift>> {
        self.job_exists(job).await?;
        let sql = "SELECT job_id, run_id, stream, changes, at FROM drifts WHERE tenant_id = $1 AND job_id = $2 ORDER BY at DESC, id DESC LIMIT 500";
        let rows = self.backend.fetch_all(sql, args![self.tenant_id(), job]).await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                Ok(Drift {
                    job_id: columns.id()?,
                    run_id: columns.id()?,
                    stream: columns.text()?,
                    changes: columns.json()?,
                    at: columns.time()?,
                })
            })
            .collect()
    }

    /// A stream's schema as it was last set.
    pub async fn stream_schema(&self, job: &JobId, stream: &str) -> Result<Option<Json>> {
        let sql = "SELECT schema FROM stream_schemas WHERE tenant_id = $1 AND job_id = $2 AND stream = $3";
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), job, stream]).await?;
        row.map(|row| row.columns().json()).transpose()
    }

    /// Sets a stream's schema.
    pub async fn set_stream_schema(&self, job: &JobId, stream: &str, schema: &Json) -> Result<()> {
        let mut tx = self.backend.begin().await?;
        if !jobs::exists(&mut tx, self.tenant_id(), job).await? {
            return Err(jobs::missing());
        }
        let sql = "INSERT INTO stream_schemas (tenant_id, job_id, stream, schema, updated_at) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (tenant_id, job_id, stream) DO UPDATE SET schema = excluded.schema, updated_at = excluded.updated_at";
        tx.execute(sql, args![self.tenant_id(), job, stream, json(schema)?, now()]).await?;
        tx.commit().await
    }
}

/// Inserts rules as part of a change.
pub(super) async fn put_rules(writer: &mut Writer, job: &JobId, rules: &[NewRule]) -> Result<()> {
    for rule in rules {
        if !rule.threshold.is_finite() {
            return Err(fault::refused("an alert's threshold must be a finite number"));
        }
        writer
            .tx
            .later(
                "INSERT INTO alert_rules (tenant_id, id, job_id, metric, threshold, window_secs, severity, action, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                args![
                    &writer.tenant,
                    &RuleId::generate(),
                    job,
                    &rule.metric,
                    rule.threshold,
                    rule.window_secs,
                    &rule.severity,
                    &rule.action,
                    writer.now
                ],
            )
            .await?;
    }
    Ok(())
}

/// Makes the job's rules the given ones; the events of alerts that end with their rules.
pub(super) async fn set_rules(writer: &mut Writer, job: &JobId, rules: &[NewRule]) -> Result<Vec<Event>> {
    let sql = format!("{RULE} WHERE tenant_id = $1 AND job_id = $2 ORDER BY created_at, id");
    let rows = writer.tx.fetch_all(sql, args![&writer.tenant, job]).await?;
    let mut new: Vec<Option<&NewRule>> = rules.iter().map(Some).collect();
    let mut events = Vec::new();
    for row in &rows {
        let old = read_rule(row)?;
        if let Some(same) = new.iter_mut().find(|rule| **rule == Some(&old.body)) {
            *same = None;
        } else {
            events.extend(remove_rules(writer, job, Some(&old.id)).await?);
        }
    }
    let new: Vec<_> = new.into_iter().flatten().cloned().collect();
    put_rules(writer, job, &new).await?;
    Ok(events)
}

/// Removes one rule of a job, or all; the events of alerts that end with them.
pub(super) async fn remove_rules(writer: &mut Writer, job: &JobId, rule: Option<&RuleId>) -> Result<Vec<Event>> {
    let mut values = args![&writer.tenant, job];
    let mut only = "";
    let mut of_rule = "";
    if let Some(rule) = rule {
        values.push(Value::from(rule));
        only = " AND id = $3";
        of_rule = " AND rule_id = $3";
    }
    let sql = format!("{ALERT} WHERE tenant_id = $1 AND job_id = $2 AND state = 'firing'{of_rule}");
    let mut events = Vec::new();
    for row in writer.tx.fetch_all(sql, values.clone()).await? {
        let mut alert = read_alert(&row)?;
        end_alert(writer, &mut alert).await?;
        events.push(alert_event("alert.resolved", &alert, None));
    }
    writer.tx.execute(format!("DELETE FROM alert_rules WHERE tenant_id = $1 AND job_id = $2{only}"), values).await?;
    Ok(events)
}

/// Resolves a firing alert.
pub(crate) async fn end_alert(writer: &mut Writer, alert: &mut Alert) -> Result<()> {
    alert.state = AlertState::Resolved;
    alert.resolved_at = Some(writer.now);
    let sql = "UPDATE alerts SET state = 'resolved', resolved_at = $3 WHERE tenant_id = $1 AND id = $2";
    writer.tx.execute(sql, args![&writer.tenant, &alert.id, writer.now]).await.map(drop)
}

/// Begins an alert. The rule has none that is firing.
pub(crate) async fn begin_alert(writer: &mut Writer, rule: &AlertRule, value: f64) -> Result<Alert> {
    let alert = Alert {
        id: AlertId::generate(),
        rule_id: rule.id.clone(),
        tenant_id: writer.tenant.clone(),
        job_id: rule.job_id.clone(),
        state: AlertState::Firing,
        value,
        fired_at: writer.now,
        resolved_at: None,
    };
    let sql =
        "INSERT INTO alerts (tenant_id, id, rule_id, job_id, state, value, fired_at) VALUES ($1, $2, $3, $4, 'firing', $5, $6)";
    writer
        .tx
        .execute(sql, args![&alert.tenant_id, &alert.id, &alert.rule_id, &alert.job_id, alert.value, alert.fired_at])
        .await?;
    Ok(alert)
}

/// `alert.firing` or `alert.resolved`.
pub(crate) fn alert_event(kind: &str, alert: &Alert, rule: Option<&AlertRule>) -> Event {
    event(kind, &alert.job_id, object!({"alert": alert, "rule": rule.map(|rule| &rule.body)}))
}

pub(crate) fn read_rule(row: &Row) -> Result<AlertRule> {
    let mut columns = row.columns();
    Ok(AlertRule {
        id: columns.id()?,
        tenant_id: columns.id()?,
        job_id: columns.id()?,
        body: NewRule {
            metric: columns.text()?,
            threshold: columns.float()?,
            window_secs: u32::try_from(columns.int()?).unwrap_or(u32::MAX),
            severity: columns.text()?,
            action: columns.text()?,
        },
        created_at: columns.time()?,
    })
}

pub(crate) fn read_alert(row: &Row) -> Result<Alert> {
    let mut columns = row.columns();
    Ok(Alert {
        id: columns.id()?,
        rule_id: columns.id()?,
        tenant_id: columns.id()?,
        job_id: columns.id()?,
        state: columns.word()?,
        value: columns.float()?,
        fired_at: columns.time()?,
        resolved_at: columns.opt_time()?,
    })
}

fn read_point(row: &Row) -> Result<MetricPoint> {
    let mut columns: Columns<'_> = row.columns();
    Ok(MetricPoint {
        tenant_id: columns.id()?,
        job_id: columns.opt_id()?,
        run_id: columns.opt_id()?,
        metric: columns.text()?,
        labels: columns.json::<BTreeMap<String, String>>()?,
        at: columns.time()?,
        value: columns.float()?,
    })
}

/// The rule as it stands, if it is still there.
pub(crate) async fn rule_in_writer(writer: &mut Writer, id: &RuleId) -> Result<Option<AlertRule>> {
    let sql = format!("{RULE} WHERE tenant_id = $1 AND id = $2");
    writer.tx.fetch_optional(sql, args![&writer.tenant, id]).await?.as_ref().map(read_rule).transpose()
}

/// The alert that is firing for a rule.
pub(crate) async fn firing(writer: &mut Writer, rule: &RuleId) -> Result<Option<Alert>> {
    let sql = format!("{ALERT} WHERE tenant_id = $1 AND rule_id = $2 AND state = 'firing'");
    writer.tx.fetch_optional(sql, args![&writer.tenant, rule]).await?.as_ref().map(read_alert).transpose()
}
