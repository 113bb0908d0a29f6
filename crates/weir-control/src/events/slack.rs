//! Alerts as Slack (and what speaks like it: Mattermost, Rocket.Chat, Discord's `/slack`) wants them.

use serde_json::{Value, json};
use weir_store::model::OutboxRow;

/// The body of an incoming webhook: one line of text and one coloured attachment. `job`: the job's name, if it is still known.
pub fn body(row: &OutboxRow, job: Option<&str>) -> Value {
    let data = &row.event.data;
    let (rule, alert) = (&data["rule"], &data["alert"]);
    let text = |value: &Value| value.as_str().map(escaped);
    let job = job.or(row.event.job_id.as_ref().map(|job| job.as_str())).map_or_else(|| "unknown job".into(), escaped);
    let metric = text(&rule["metric"]).unwrap_or_default();
    let severity = text(&rule["severity"]).unwrap_or_else(|| "info".into());
    let threshold = rule["threshold"].as_f64();
    let value = alert["value"].as_f64();
    let resolved = row.event.kind == "alert.resolved";
    let headline = match (resolved, row.event.kind.starts_with("alert.")) {
        (true, _) => format!("Resolved: {metric} of {job}"),
        (false, true) => format!("{}: {metric} of {job}", severity.to_uppercase()),
        (false, false) => format!("{}: {job}", escaped(&row.event.kind)),
    };
    let color = match (resolved, severity.as_str()) {
        (true, _) => "good",
        (false, "critical") => "danger",
        (false, "warning") => "warning",
        (false, _) => "#439fe0",
    };
    let mut fields = vec![field("Tenant", row.tenant_id.to_string()), field("Job", job)];
    fields.extend(value.map(|value| field("Value", number(value))));
    fields.extend(threshold.map(|threshold| field("Threshold", number(threshold))));
    fields.extend((!metric.is_empty()).then(|| field("Severity", severity)));
    json!({
        "text": headline,
        "attachments": [{"fallback": headline, "color": color, "fields": fields, "ts": row.at.timestamp(), "footer": "weir"}],
    })
}

fn field(title: &str, value: String) -> Value {
    json!({"title": title, "value": value, "short": true})
}

fn number(value: f64) -> String {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    if rounded.is_finite() { rounded.to_string() } else { value.to_string() }
}

/// Slack's three: names of jobs are texts that somebody typed, and `<!channel>` would call everybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::cloudevent::tests::row;
    use super::*;

    #[test]
    fn an_alert_is_a_line_and_an_attachment_and_calls_nobody() {
        let data =
            json!({"alert": {"value": 0.123456}, "rule": {"metric": "error_rate", "threshold": 0.05, "severity": "critical"}});
        let said = body(&row("alert.firing", Some("j1"), data.clone()), Some("<!channel> orders"));
        assert_eq!(said["text"], "CRITICAL: error_rate of &lt;!channel&gt; orders");
        let attachment = &said["attachments"][0];
        assert_eq!((&attachment["color"], &attachment["fields"][2]["value"]), (&json!("danger"), &json!("0.1235")));
        let over = body(&row("alert.resolved", Some("j1"), data), Some("<!channel> orders"));
        assert_eq!(
            (&over["attachments"][0]["color"], &over["text"]),
            (&json!("good"), &json!("Resolved: error_rate of &lt;!channel&gt; orders"))
        );
    }
}
