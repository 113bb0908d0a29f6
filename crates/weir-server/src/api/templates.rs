//! Templates: ready pipelines with parameters.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::templates;
use weir_store::model::PageRequest;

use super::page::All;
use crate::answer::{Answer, Reply};
use crate::ask::{Ask, MAX_LIMIT};
use crate::problem::Problem;

/// `GET /templates`.
pub async fn list(ask: Ask, _me: Caller) -> Reply {
    Answer::json(&All { items: templates::list(ask.app.platform.workbench.as_ref())? })
}

/// `GET /templates/{template_id}`.
pub async fn get(ask: Ask, _me: Caller) -> Reply {
    Answer::json(&templates::get(ask.app.platform.workbench.as_ref(), ask.id("template_id"))?)
}

/// Values of a template's parameters.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InstantiateBody {
    /// By name.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    pub parameters: Map<String, Value>,
    /// Also make a job of it.
    #[serde(default)]
    #[schema(required = false, default = false)]
    pub create_job: bool,
}

/// A template with its parameters filled in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Instantiated {
    /// The pipeline file.
    pub spec: String,
    /// The job, if one was asked for.
    pub job: Option<super::jobs::JobView>,
}

/// `POST /templates/{template_id}/instantiate`.
pub async fn instantiate(ask: Ask, me: Caller) -> Reply {
    let body: InstantiateBody = ask.json()?;
    let stored = stored_connections(&ask, &me).await?;
    let spec = templates::instantiate(ask.app.platform.workbench.as_ref(), ask.id("template_id"), &body.parameters, &stored)?;
    let job = match body.create_job {
        true => Some(super::jobs::JobView::from(ask.app.jobs.create(&me.scope, &spec).await?.job)),
        false => None,
    };
    Answer::json(&Instantiated { spec, job })
}

async fn stored_connections(ask: &Ask, me: &Caller) -> Result<Vec<(String, String)>, Problem> {
    let store = ask.app.tenant(&me.scope);
    let (mut all, mut page) = (Vec::new(), PageRequest { limit: MAX_LIMIT, cursor: None });
    loop {
        let found = store.list_connections(&page).await?;
        all.extend(found.items.into_iter().map(|connection| (connection.body.name, connection.body.kind)));
        match found.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(all),
        }
    }
}
