//! Metric points and alerts, across tenants.

use chrono::{DateTime, Utc};
use weir_error::Result;

use super::System;
use crate::Actor;
use crate::backend::{args, json};
use crate::fault;
use crate::model::{Alert, AlertRule, MetricPoint};
use crate::tenant::monitoring::{RULE, alert_event, begin_alert, end_alert, firing, read_rule, rule_in_writer};
use crate::writer::Writer;

impl System {
    /// Stores points. Values that are no finite numbers are refused (`WEIR-STORE-012`).
    pub async fn write_points(&self, points: Vec<MetricPoint>) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(points.len());
        for point in points {
            if !point.value.is_finite() {
                return Err(fault::refused(format!("a point of `{}` has no finite value", point.metric)));
            }
            rows.push(args![
                &point.tenant_id,
                point.job_id.as_ref(),
                point.run_id.as_ref(),
                point.metric,
                json(&point.labels)?,
                point.at,
                point.value
            ]);
        }
        let mut tx = self.backend.begin().await?;
        tx.insert_many("INSERT INTO metric_points (tenant_id, job_id, run_id, metric, labels, at, value) VALUES ", rows).await?;
        tx.commit().await
    }

    /// Deletes the points before a time; how many.
    pub async fn prune(&self, before: DateTime<Utc>) -> Result<u64> {
        self.backend.delete_in_turns("metric_points", "at < $1", args![before]).await
    }

    /// The rules of all jobs of active tenants, paused jobs too.
    pub async fn all_rules(&self) -> Result<Vec<AlertRule>> {
        let sql = format!(
            "SELECT a.* FROM ({RULE}) AS a JOIN jobs j ON j.tenant_id = a.tenant_id AND j.id = a.job_id JOIN tenants t ON t.id = a.tenant_id \
             WHERE j.deleted_at IS NULL AND t.status = 'active' ORDER BY a.tenant_id, a.job_id, a.created_at, a.id"
        );
        self.backend.fetch_all(sql, args![]).await?.iter().map(read_rule).collect()
    }

    /// Begins an alert; `None`: it is firing already, or the rule is gone. Event `alert.firing`.
    pub async fn fire_alert(&self, rule: &AlertRule, value: f64) -> Result<Option<Alert>> {
        let mut writer = self.alert_writer(rule).await?;
        let Some(rule) = rule_in_writer(&mut writer, &rule.id).await? else { return Ok(None) };
        if firing(&mut writer, &rule.id).await?.is_some() {
            return Ok(None);
        }
        let alert = begin_alert(&mut writer, &rule, value).await?;
        writer.commit_events(vec![alert_event("alert.firing", &alert, Some(&rule))]).await?;
        Ok(Some(alert))
    }

    /// Ends the rule's alert, at a value that the event tells; `None`: none is firing. Event `alert.resolved`.
    pub async fn resolve_alert(&self, rule: &AlertRule, value: f64) -> Result<Option<Alert>> {
        let mut writer = self.alert_writer(rule).await?;
        let Some(mut alert) = firing(&mut writer, &rule.id).await? else { return Ok(None) };
        end_alert(&mut writer, &mut alert).await?;
        let mut told = alert_event("alert.resolved", &alert, Some(rule));
        told.data["resolved_value"] = value.into();
        writer.commit_events(vec![told]).await?;
        Ok(Some(alert))
    }

    async fn alert_writer(&self, rule: &AlertRule) -> Result<Writer> {
        Writer::within(self.backend.begin().await?, &rule.tenant_id, &Actor::system("alerts")).await
    }
}
