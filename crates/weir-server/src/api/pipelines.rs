//! Pipeline files, looked at without storing them.

use serde::Serialize;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::jobs::{Understood, Validation};

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
