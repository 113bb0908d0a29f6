//! A workflow of Apache DolphinScheduler 3, as `Import Workflow` takes it: an HTTP task that starts the run, and one that asks for its end.
//!
//! DolphinScheduler's HTTP task asks once, so waiting is a task that fails until the run has succeeded and is tried again every minute. It looks at
//! the job's newest run: no other clock should start the job. A run that failed is seen when the tries are used up.

use serde_json::{Value, json};
use url::Url;
use weir_error::{Error, Kind, Result};

use super::Started;

/// The workflow's file. The token is the workflow's global parameter `weir_token`, empty here.
///
/// # Errors
/// `server` is no address of a server, or holds a login.
pub fn dolphinscheduler(started: &Started<'_>, server: &str) -> Result<String> {
    let wrong = || {
        Error::new(
            "WEIR-EXPORT-002",
            Kind::Spec,
            format!("`{}` is no address of a server", server.split('@').next_back().unwrap_or_default()),
        )
        .hint("write it like http://weir:8080; a token is the parameter `weir_token` of the workflow")
    };
    let url = Url::parse(server).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !url.username().is_empty() || url.password().is_some()
    {
        return Err(wrong());
    }
    let server = url.as_str().trim_end_matches('/');
    let job = started.job;
    let start = Task {
        code: 1,
        name: "start",
        about: "Starts a run; sent again it starts no second one",
        method: "POST",
        url: format!("{server}/api/v1/jobs/{job}/run"),
        header: Some(("Idempotency-Key", "dolphinscheduler-${system.workflow.instance.id}")),
        check: ("STATUS_CODE_CUSTOM", "202"),
        tries: 3,
    };
    let wait = Task {
        code: 2,
        name: "wait",
        about: "Asks every minute until the run has succeeded",
        method: "GET",
        url: format!("{server}/api/v1/jobs/{job}/runs?limit=1"),
        header: None,
        check: ("BODY_CONTAINS", "\"status\":\"succeeded\""),
        tries: started.timeout_minutes,
    };
    let token = json!({"prop": "weir_token", "direct": "IN", "type": "VARCHAR", "value": ""});
    let places = json!([{"taskCode": 1, "x": 100, "y": 100}, {"taskCode": 2, "x": 400, "y": 100}]);
    let relation = |from: u32, to: u32| {
        json!({
            "name": "", "preTaskCode": from, "preTaskVersion": u32::from(from > 0), "postTaskCode": to, "postTaskVersion": 1,
            "conditionType": "NONE", "conditionParams": {},
        })
    };
    let workflow = json!([{
        "processDefinition": {
            "code": 0, "name": format!("weir_{}", started.pipeline.name), "version": 1, "description": started.about(),
            "releaseState": "OFFLINE", "flag": "YES", "executionType": "SERIAL_WAIT", "timeout": 0,
            "globalParams": Value::from(vec![token.clone()]).to_string(), "globalParamList": [token], "locations": places.to_string(),
        },
        "processTaskRelationList": [relation(0, 1), relation(1, 2)],
        "taskDefinitionList": [start.definition(), wait.definition()],
        "schedule": null,
    }]);
    Ok(format!("{workflow:#}\n"))
}

/// An HTTP task.
struct Task {
    code: u32,
    name: &'static str,
    about: &'static str,
    method: &'static str,
    url: String,
    header: Option<(&'static str, &'static str)>,
    /// What of the answer is looked at, and what it must be.
    check: (&'static str, &'static str),
    /// A minute apart.
    tries: u32,
}

impl Task {
    fn definition(&self) -> Value {
        let header = |(name, value): (&str, &str)| json!({"prop": name, "httpParametersType": "HEADERS", "value": value});
        let login = ("Authorization", "Bearer ${weir_token}");
        json!({
            "code": self.code, "name": self.name, "version": 1, "description": self.about, "taskType": "HTTP",
            "taskParams": {
                "localParams": [], "resourceList": [], "httpMethod": self.method, "url": self.url,
                "httpParams": self.header.into_iter().chain([login]).map(header).collect::<Vec<_>>(),
                "httpCheckCondition": self.check.0, "condition": self.check.1, "connectTimeout": 10_000, "socketTimeout": 30_000,
            },
            "flag": "YES", "taskPriority": "MEDIUM", "workerGroup": "default", "environmentCode": -1, "delayTime": 0,
            "failRetryTimes": self.tries, "failRetryInterval": 1, "timeoutFlag": "CLOSE", "timeoutNotifyStrategy": null, "timeout": 0,
        })
    }
}
