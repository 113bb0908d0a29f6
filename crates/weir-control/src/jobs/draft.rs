//! A pipeline that is still being written: what it would do, and what flows through it. Each answer comes from a process of its own, under the
//! same guard as a run; nothing is stored. What the pipeline text holds of secrets is in no answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use weir_error::veil::Veil;
use weir_error::{Error, Kind};
use weir_spec::Diagnostic;
use weir_store::TenantScope;

use super::body;
use super::refused::Refused;
use super::secrets::literal_values;
use super::service::JobService;
use crate::Platform;
use crate::worker::order::Verb;
use crate::worker::outfit;

/// What a run would do.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// What the checker says. With an error among it nothing was asked.
    pub checked: Vec<Diagnostic>,
    /// What planning against the real systems says: objects with `code`, `severity`, `message`, `line`, `column`, `path`, `help`.
    pub problems: Vec<Value>,
    /// The plan as `weir plan --json` prints it; also of one that would be refused.
    pub plan: Option<Value>,
    /// The same for people.
    pub text: Option<String>,
    /// What a run would take here; `None` for a plan that would be refused.
    pub expected: Option<Expected>,
    /// Why there is no plan although the pipeline is right: a system is away, refuses, or was too slow.
    pub error: Option<Value>,
}

/// What a run would take on the platform's own machines. What the sources do not tell is not guessed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Expected {
    /// Rows of all sources, about; null: a source does not tell.
    #[schema(minimum = 0)]
    pub rows: Option<u64>,
    /// Bytes of all sources where they are kept, about; null: a source does not tell.
    #[schema(minimum = 0)]
    pub bytes: Option<u64>,
    /// Seconds, from what one core was measured to do; null: neither rows nor bytes are known, or the pipeline has no end.
    #[schema(minimum = 0)]
    pub seconds: Option<f64>,
    /// Cores that it is reckoned with.
    #[schema(minimum = 1)]
    pub cores: u64,
    /// The memory budget of a run; what does not fit into it is spilled to disk.
    #[schema(minimum = 0)]
    pub memory_bytes: u64,
}

/// What flows through a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Previewed {
    /// What the checker says. With an error among it nothing was asked.
    pub checked: Vec<Diagnostic>,
    /// One object per step: `step`, `node`, `role`, `kind`, `streams`, or `error`.
    pub steps: Vec<Value>,
    /// Why there is nothing.
    pub error: Option<Value>,
}

/// Plans a request body's pipeline against the real systems. That one of them is away is an answer, not an error.
pub async fn plan(platform: &Platform, jobs: &JobService, scope: &TenantScope, request: &str) -> Result<Planned, Refused> {
    let (checked, right) = checked(jobs, scope, request).await?;
    let Some(right) = right else { return Ok(Planned { checked, ..Planned::default() }) };
    let mut answer = ask(platform, scope, Verb::Plan, &right).await?;
    let (ok, error) = parts(&mut answer);
    Ok(Planned {
        checked,
        problems: list(&ok["diagnostics"]),
        plan: Some(ok["plan"].clone()).filter(|plan| !plan.is_null()),
        text: ok["text"].as_str().map(Into::into),
        expected: read(ok["expected"].clone())?,
        error,
    })
}

/// The first rows of each source and after each transform. Nothing is written anywhere; columns that look personal are masked.
pub async fn preview(
    platform: &Platform,
    jobs: &JobService,
    scope: &TenantScope,
    request: &str,
    limit: usize,
) -> Result<Previewed, Refused> {
    let (checked, right) = checked(jobs, scope, request).await?;
    let Some(right) = right else { return Ok(Previewed { checked, ..Previewed::default() }) };
    if !matches!(right.mode.as_str(), "batch" | "incremental") {
        // Reading it would move what a log or a broker remembers of its readers.
        let error =
            Error::new("WEIR-JOB-020", Kind::Unsupported, format!("a pipeline with `mode: {}` has no preview", right.mode))
                .because("its sources give each row once, to the run")
                .hint("where a table can also be read, try the transforms with `mode: batch`");
        return Ok(Previewed { checked, error: Some(json!(error.to_json())), ..Previewed::default() });
    }
    let mut answer = ask(platform, scope, Verb::Steps { limit }, &right).await?;
    let (ok, error) = parts(&mut answer);
    Ok(Previewed { checked, steps: list(&ok["steps"]), error })
}

/// A pipeline without errors.
struct Right {
    spec: String,
    mode: String,
    connections: Vec<String>,
}

async fn checked(jobs: &JobService, scope: &TenantScope, request: &str) -> Result<(Vec<Diagnostic>, Option<Right>), Refused> {
    let validation = jobs.validate(scope, request).await?;
    let right = match validation.pipeline.filter(|_| validation.valid) {
        Some(known) => Some(Right { spec: body::read(request)?.spec, mode: known.mode, connections: known.connections }),
        None => None,
    };
    Ok((validation.diagnostics, right))
}

async fn ask(platform: &Platform, scope: &TenantScope, verb: Verb, right: &Right) -> Result<Value, Refused> {
    let order = outfit::for_errand(platform, scope.tenant(), verb, &right.spec, &right.connections).await?;
    let mut answer = match platform.errands.ask(order).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == Kind::Internal => return Err(error.into()),
        Err(error) => json!({"error": error.to_json()}),
    };
    let values = literal_values(&right.spec, &[]);
    if !values.is_empty() {
        cover(&mut answer, &Veil::new(values.iter().map(String::as_str)));
    }
    Ok(answer)
}

fn cover(value: &mut Value, veil: &Veil) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(veiled) = veil.text(text) {
                *text = veiled;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cover(item, veil)),
        Value::Object(fields) => fields.values_mut().for_each(|item| cover(item, veil)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn parts(answer: &mut Value) -> (Value, Option<Value>) {
    let error = answer.get_mut("error").map(Value::take).filter(|error| !error.is_null());
    (answer.get_mut("ok").map(Value::take).unwrap_or_default(), error)
}

fn read(expected: Value) -> Result<Option<Expected>, Refused> {
    serde_json::from_value(expected).map_err(|error| Error::internal("the answer of an errand").caused_by(error).into())
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_the_text_is_covered_wherever_the_answer_has_it() {
        let text = "pipeline: p\nsource:\n  postgres: {password: hunter2-pw, table: t}\nsink:\n  file: {path: o}\n";
        let values = literal_values(text, &[]);
        assert_eq!(values.iter().collect::<Vec<_>>(), ["hunter2-pw"]);
        let mut answer = json!({"ok": {"text": "login as hunter2-pw", "n": 1, "list": ["x", {"deep": "hunter2-pw"}]}});
        cover(&mut answer, &Veil::new(values.iter().map(String::as_str)));
        assert_eq!(answer, json!({"ok": {"text": "login as ***", "n": 1, "list": ["x", {"deep": "***"}]}}));
    }

    #[test]
    fn an_answer_has_two_parts() {
        assert_eq!(parts(&mut json!({"ok": {"a": 1}})), (json!({"a": 1}), None));
        assert_eq!(parts(&mut json!({"error": {"code": "x"}})), (Value::Null, Some(json!({"code": "x"}))));
        assert_eq!(parts(&mut json!({"error": null, "ok": 1})), (json!(1), None));
    }
}
