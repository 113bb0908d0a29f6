//! Why a run's Pod did not do its work, read from what Kubernetes says of Job, Pod and events.

use serde_json::Value;
use weir_error::{Error, Kind};

use super::api::over_quota;

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminated {
    /// Its exit code; 128 and a signal's number when a signal ended it.
    pub code: i32,
}

/// What one look at a Pod says.
#[derive(Debug)]
pub enum Seen {
    /// It waits, for this reason if one is known. `lasting`: waiting longer changes nothing.
    Waiting {
        /// `Unschedulable: 0/3 nodes are available`.
        reason: Option<String>,
        /// Nothing but a person changes it.
        lasting: bool,
    },
    /// Its container runs, on this node.
    Running(String),
    /// Its container has ended. The error says why, unless it ended by itself.
    Ended(Option<Terminated>, Option<Error>),
}

/// Reasons of a waiting container that only a person can mend.
const LASTING: [&str; 3] = ["InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"];

/// Understands a Pod.
pub fn pod(pod: &Value) -> Seen {
    let status = &pod["status"];
    let container = status["containerStatuses"].as_array().and_then(|all| all.first()).map(|one| &one["state"]);
    let terminated = container.map(|state| &state["terminated"]).filter(|state| state.is_object());
    let phase = status["phase"].as_str().unwrap_or_default();
    if let Some(ended) = terminated {
        let code = ended["exitCode"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
        let error = match ended["reason"].as_str() {
            Some("OOMKilled") => Some(out_of_memory(pod)),
            _ => evicted(status).or_else(|| (ended["reason"] == "ContainerStatusUnknown").then(node_lost)),
        };
        return Seen::Ended(Some(Terminated { code }), error);
    }
    if matches!(phase, "Failed" | "Succeeded") {
        let error = evicted(status).or_else(|| (phase == "Failed").then(|| failed_pod(status)));
        return Seen::Ended(None, error);
    }
    if container.is_some_and(|state| state["running"].is_object()) {
        return Seen::Running(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned());
    }
    let waiting = container.map(|state| &state["waiting"]).filter(|state| state.is_object());
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let unscheduled = conditions.into_iter().find(|one| one["type"] == "PodScheduled" && one["status"] == "False");
    let (reason, lasting) = match (waiting, unscheduled) {
        (Some(state), _) => (words(state), state["reason"].as_str().is_some_and(|reason| LASTING.contains(&reason))),
        (None, Some(condition)) => (words(condition), false),
        (None, None) => (None, false),
    };
    Seen::Waiting { reason, lasting }
}

/// `Reason: message`.
fn words(of: &Value) -> Option<String> {
    let text = |key: &str| of[key].as_str().filter(|text| !text.is_empty());
    let cut = |text: String| text.chars().take(500).collect();
    match (text("reason"), text("message")) {
        (Some(reason), Some(message)) => Some(cut(format!("{reason}: {message}"))),
        (one, other) => one.or(other).map(|text| cut(text.to_owned())),
    }
}

/// What a controller is refused because what was just made is not known everywhere yet; it tries again by itself.
const PASSING: [&str; 2] = ["status unknown for quota", "error looking up service account"];

fn out_of_memory(pod: &Value) -> Error {
    let limit = pod["spec"]["containers"][0]["resources"]["limits"]["memory"].as_str().unwrap_or("?");
    Error::new("WEIR-KUBE-010", Kind::Limit, "the run was killed at its memory limit (OOMKilled)")
        .because(format!("its Pod may hold {limit} (bytes where there is no unit)"))
        .hint("raise the limit (WEIR_RUN_MEMORY, the tenant's max_memory_bytes_per_run; the smaller counts), or use fewer lanes")
}

fn evicted(status: &Value) -> Option<Error> {
    let reason = status["reason"].as_str()?;
    let what = match reason {
        "Evicted" => "the node put the run's Pod out",
        "Preempted" | "Preempting" => "the run's Pod had to make room for another one",
        "NodeLost" => return Some(node_lost()),
        "DeadlineExceeded" => return Some(deadline()),
        "Shutdown" | "Terminated" | "NodeShutdown" => "the node of the run's Pod shut down",
        _ => return None,
    };
    Some(
        Error::new("WEIR-KUBE-011", Kind::Io, format!("{what} ({reason})"))
            .because(words(status).unwrap_or_default())
            .transient(),
    )
}

fn node_lost() -> Error {
    Error::new("WEIR-KUBE-011", Kind::Io, "the node of the run's Pod is lost").transient()
}

fn failed_pod(status: &Value) -> Error {
    Error::new("WEIR-KUBE-012", Kind::Io, "the run's Pod failed before its container could say anything")
        .because(words(status).unwrap_or_else(|| "Kubernetes gives no reason".into()))
        .transient()
}

/// `activeDeadlineSeconds` has passed.
pub fn deadline() -> Error {
    Error::new("WEIR-KUBE-013", Kind::Limit, "Kubernetes ended the run's Job at its deadline (DeadlineExceeded)")
        .hint("raise the job's timeout_secs, or JOB_TIMEOUT_SECONDS; the next run goes on at the checkpoint")
}

/// Why a Job has failed that has no Pod to ask, if it has: the reason of its condition.
pub fn job(job: &Value) -> Option<Error> {
    let conditions = job["status"]["conditions"].as_array()?;
    let failed = conditions
        .iter()
        .find(|one| matches!(one["type"].as_str(), Some("Failed" | "FailureTarget")) && one["status"] == "True")?;
    Some(match failed["reason"].as_str() {
        Some("DeadlineExceeded") => deadline(),
        _ => Error::new("WEIR-KUBE-014", Kind::Io, "the run's Pod is gone and its Job has failed")
            .because(words(failed).unwrap_or_default())
            .transient(),
    })
}

/// Why a Job has no Pod: what its controller was refused.
pub fn no_pod(events: &Value) -> Option<Error> {
    let events = events["items"].as_array()?;
    let mut refusals =
        events.iter().filter(|event| event["reason"] == "FailedCreate").filter_map(|event| event["message"].as_str());
    let message = refusals.rfind(|message| !PASSING.iter().any(|part| message.contains(part)))?;
    Some(if message.contains("exceeded quota") {
        over_quota(message)
    } else {
        Error::new("WEIR-KUBE-004", Kind::Spec, "Kubernetes refuses the run's Pod")
            .because(message.chars().take(1000).collect::<String>())
            .hint("an admission rule of the cluster or a setting of the platform stands against it")
    })
}

/// It has waited for too long.
pub fn pending(secs: u64, reason: Option<&str>) -> Error {
    Error::new("WEIR-KUBE-015", Kind::Limit, format!("the run's Pod did not start within {secs} s"))
        .because(reason.unwrap_or("Kubernetes gives no reason"))
        .hint("`kubectl describe pod` says more; KUBERNETES_PENDING_SECONDS is how long is waited")
        .transient()
}

/// Only a person can mend why it waits.
pub fn stuck(reason: &str) -> Error {
    Error::new("WEIR-KUBE-016", Kind::Spec, "the run's Pod cannot start")
        .because(reason)
        .hint("KUBERNETES_IMAGE names the image of weir")
}

/// Somebody else has removed it.
pub fn vanished() -> Error {
    Error::new("WEIR-KUBE-017", Kind::Conflict, "the run's Job has vanished from the cluster")
        .because("somebody has deleted it, or another worker has put its own in its place")
        .transient()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(status: Value) -> (Option<Terminated>, Option<Error>) {
        let limits = json!({"containers": [{"resources": {"limits": {"memory": "1073741824"}}}]});
        match pod(&json!({"spec": limits, "status": status})) {
            Seen::Ended(how, why) => (how, why),
            other => panic!("{other:?}"),
        }
    }

    fn state(state: Value) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{"state": state}]})
    }

    #[test]
    fn what_ended_a_pod_is_told_with_its_own_reason() {
        let (how, why) = ended(state(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})));
        let why = why.unwrap();
        assert_eq!((how, why.code(), why.kind()), (Some(Terminated { code: 137 }), "WEIR-KUBE-010", Kind::Limit));
        assert!(why.why().unwrap().contains("1073741824") && why.retryable() == weir_error::Retry::Never);
        let (how, why) = ended(state(json!({"terminated": {"exitCode": 1, "reason": "Error"}})));
        assert!(how == Some(Terminated { code: 1 }) && why.is_none(), "it ended by itself: its own report says why");
        for (reason, code) in [
            ("Evicted", "WEIR-KUBE-011"),
            ("NodeLost", "WEIR-KUBE-011"),
            ("DeadlineExceeded", "WEIR-KUBE-013"),
            ("New", "WEIR-KUBE-012"),
        ] {
            let (how, why) = ended(json!({"phase": "Failed", "reason": reason, "message": "low on ephemeral-storage"}));
            assert_eq!((how, why.unwrap().code()), (None, code), "{reason}");
        }
    }

    #[test]
    fn what_a_pod_waits_for_is_told_and_whether_waiting_helps() {
        let waits = |status: Value| match pod(&json!({"status": status})) {
            Seen::Waiting { reason, lasting } => (reason.unwrap_or_default(), lasting),
            other => panic!("{other:?}"),
        };
        let pull = waits(state(json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})));
        assert_eq!(pull, ("ImagePullBackOff: not found".into(), false));
        assert!(waits(state(json!({"waiting": {"reason": "InvalidImageName"}}))).1);
        let unscheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"});
        let full = json!({"phase": "Pending", "conditions": [unscheduled]});
        assert_eq!(waits(full).0, "Unschedulable: 0/3 nodes");
        assert!(
            matches!(pod(&json!({"spec": {"nodeName": "n"}, "status": state(json!({"running": {}}))})), Seen::Running(node) if node == "n")
        );
    }

    #[test]
    fn a_job_without_a_pod_says_why() {
        let quota = json!({"items": [{"reason": "FailedCreate", "message": "pods \"x\" is forbidden: exceeded quota: weir"}]});
        assert_eq!(no_pod(&quota).unwrap().code(), "WEIR-KUBE-006");
        let early =
            json!({"items": [{"reason": "FailedCreate", "message": "pods \"x\" is forbidden: status unknown for quota: weir"}]});
        assert!(no_pod(&early).is_none(), "it passes");
        assert!(no_pod(&json!({"items": [{"reason": "SuccessfulCreate", "message": "m"}]})).is_none());
        let failed = |reason: &str| json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason}]}});
        assert_eq!(job(&failed("DeadlineExceeded")).unwrap().code(), "WEIR-KUBE-013");
        assert_eq!(job(&failed("BackoffLimitExceeded")).unwrap().code(), "WEIR-KUBE-014");
        assert!(job(&json!({"status": {"active": 1}})).is_none());
    }
}
