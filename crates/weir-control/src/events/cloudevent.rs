//! Events as CloudEvents 1.0, JSON, structured mode.

use serde_json::{Value, json};
use weir_store::model::OutboxRow;

/// Content type of [`envelope`].
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// The event with everything that CloudEvents asks for. `id` is the same in every delivery: who gets an event twice knows it by that.
/// Extensions: `tenantid`, and `sequence`, which grows with each event of the tenant.
pub fn envelope(row: &OutboxRow) -> Value {
    let tenant = format!("/weir/tenants/{}", row.tenant_id);
    let source = row.event.job_id.as_ref().map_or_else(|| tenant.clone(), |job| format!("{tenant}/jobs/{job}"));
    let mut event = json!({
        "specversion": "1.0",
        "id": row.event_id,
        "source": source,
        "type": row.event.kind,
        "time": row.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        "datacontenttype": "application/json",
        "tenantid": row.tenant_id,
        "sequence": row.seq.to_string(),
        "data": row.event.data,
    });
    // An empty subject is not allowed; an event of the tenant as a whole has none.
    let subject = row.event.data.get("run_id").and_then(Value::as_str).map(|run| format!("runs/{run}"));
    if let Some(subject) = subject.or_else(|| row.event.job_id.as_ref().map(|job| format!("jobs/{job}"))) {
        event["subject"] = subject.into();
    }
    event
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use weir_store::model::Event;

    pub(crate) fn row(kind: &str, job: Option<&str>, data: Value) -> OutboxRow {
        OutboxRow {
            seq: 7,
            event_id: "e-1".into(),
            tenant_id: "acme".into(),
            event: Event { kind: kind.into(), job_id: job.map(Into::into), data },
            at: chrono::DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
        }
    }

    #[test]
    fn an_event_has_all_required_attributes_in_their_form() {
        let event = envelope(&row("run.finished", Some("j1"), json!({"run_id": "r1"})));
        assert_eq!(
            event,
            json!({"specversion": "1.0", "id": "e-1", "source": "/weir/tenants/acme/jobs/j1", "type": "run.finished",
                   "time": "2023-11-14T22:13:20.000001Z", "datacontenttype": "application/json", "tenantid": "acme",
                   "sequence": "7", "subject": "runs/r1", "data": {"run_id": "r1"}})
        );
        let plain = envelope(&row("tenant.changed", None, Value::Null));
        assert_eq!((plain["source"].as_str(), plain.get("subject")), (Some("/weir/tenants/acme"), None));
        // Names of attributes: lower-case letters and digits, at most 20.
        for name in event.as_object().unwrap().keys() {
            assert!(name.len() <= 20 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{name}");
        }
    }
}
