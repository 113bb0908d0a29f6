//! Pipeline files, looked at without storing them.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::jobs::{self, Expected, Planned, Previewed, Understood, Validation};

use super::jobs::text_of;
use crate::answer::{Answer, Reply};
use crate::ask::Ask;
use crate::problem::ProblemPart;

/// What creating a job of a pipeline would say.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Validation)]
pub struct ValidationView {
    /// Whether it could be stored and run.
    pub valid: bool,
    /// Everything found, in file order; warnings too.
    pub diagnostics: Vec<ProblemPart>,
    /// What was understood, if there is exactly one pipeline.
    pub pipeline: Option<UnderstoodView>,
}

/// What a pipeline says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Understood)]
pub struct UnderstoodView {
    /// Its name.
    pub name: String,
    /// `batch`, `incremental`, `cdc`, `streaming`.
    pub mode: String,
    /// Kinds of its sources.
    pub sources: Vec<String>,
    /// Kinds of its sinks.
    pub sinks: Vec<String>,
    /// Stored connections that it needs.
    pub connections: Vec<String>,
    /// Its schedule in words.
    pub schedule: Option<String>,
}

impl From<Validation> for ValidationView {
    fn from(validation: Validation) -> Self {
        Self {
            valid: validation.valid,
            diagnostics: validation.diagnostics.iter().map(ProblemPart::of).collect(),
            pipeline: validation.pipeline.map(|understood: Understood| UnderstoodView {
                name: understood.name,
                mode: understood.mode,
                sources: understood.sources,
                sinks: understood.sinks,
                connections: understood.connections,
                schedule: understood.schedule,
            }),
        }
    }
}

/// `POST /pipelines/validate`.
pub async fn validate(ask: Ask, me: Caller) -> Reply {
    let validation = ask.app.jobs.validate(&me.scope, text_of(&ask)?).await?;
    Answer::json(&ValidationView::from(validation))
}

/// `GET /pipelines/schema`.
pub async fn schema(ask: Ask, _me: Caller) -> Reply {
    let made = || serde_json::to_vec(&ask.app.platform.workbench.spec_schema()).unwrap_or_default().into();
    let bytes = ask.app.spec_schema.get_or_init(made);
    Ok(Answer::bytes(StatusCode::OK, "application/schema+json", bytes.clone()))
}

/// What a run of a pipeline would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PipelinePlan)]
pub struct PlanView {
    /// Everything found, by the checker and by planning; with an error among it a run would be refused.
    pub diagnostics: Vec<ProblemPart>,
    /// Flows, columns, guarantee, actions and the recommended engine with its reasons, as `weir plan --json` prints them; null where there is no plan.
    #[schema(value_type = Option<Object>)]
    pub plan: Option<Value>,
    /// The same for people.
    pub text: Option<String>,
    /// What a run would take; null where there is no plan, or one that would be refused.
    pub expected: Option<Expected>,
    /// Why there is no plan although the pipeline is right: code, message, cause, hint.
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
}

impl From<Planned> for PlanView {
    fn from(planned: Planned) -> Self {
        let mut diagnostics: Vec<ProblemPart> = planned.checked.iter().map(ProblemPart::of).collect();
        diagnostics.extend(planned.problems.iter().map(ProblemPart::told));
        Self { diagnostics, plan: planned.plan, text: planned.text, expected: planned.expected, error: planned.error }
    }
}

/// `POST /pipelines/plan`.
pub async fn plan(ask: Ask, me: Caller) -> Reply {
    let app = &ask.app;
    Answer::json(&PlanView::from(jobs::plan(&app.platform, &app.jobs, &me.scope, text_of(&ask)?).await?))
}

/// What flows through a pipeline.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PipelinePreview)]
pub struct PreviewView {
    /// What the checker says; with an error among it nothing was read.
    pub diagnostics: Vec<ProblemPart>,
    /// Each source and each transform with what comes out of it: `step`, `node`, `role`, `kind`, `streams` (`stream`, `columns`, `rows` of texts,
    /// `masked_columns`, `filtered`, `dead_letters`), or `error`.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<Value>,
    /// Why there is nothing: code, message, cause, hint.
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
}

impl From<Previewed> for PreviewView {
    fn from(previewed: Previewed) -> Self {
        let diagnostics = previewed.checked.iter().map(ProblemPart::of).collect();
        Self { diagnostics, steps: previewed.steps, error: previewed.error }
    }
}

/// `POST /pipelines/preview`.
pub async fn preview(ask: Ask, me: Caller) -> Reply {
    let app = &ask.app;
    let limit = ask.values.integer("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(20);
    Answer::json(&PreviewView::from(jobs::preview(&app.platform, &app.jobs, &me.scope, text_of(&ask)?, limit).await?))
}
