//! What a row of the route table is made of.

use std::borrow::Cow;
use std::future::Future;

use axum::http::{Method, StatusCode};
use futures::FutureExt;
use futures::future::BoxFuture;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};
use weir_control::access::Caller;
use weir_store::model::Role;

use crate::answer::Reply;
use crate::ask::Ask;
use crate::params::Param;

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anybody.
    Nobody,
    /// A caller with at least this role.
    Role(Role),
}

/// How an operation is run.
pub enum Run {
    /// Without a caller.
    Open(Box<dyn Fn(Ask) -> BoxFuture<'static, Reply> + Send + Sync>),
    /// For a caller who was let in.
    Guarded(Box<dyn Fn(Ask, Caller) -> BoxFuture<'static, Reply> + Send + Sync>),
}

/// A type that stands in the document's components.
#[derive(Clone, Copy)]
pub struct Component {
    /// Its name there.
    pub name: fn() -> Cow<'static, str>,
    /// Its schema.
    pub schema: fn() -> RefOr<Schema>,
    /// The types that it refers to.
    pub parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Component {
    /// Of a type.
    pub const fn of<T: ToSchema + PartialSchema>() -> Self {
        Self { name: T::name, schema: T::schema, parts: T::schemas }
    }
}

/// What an operation takes.
#[derive(Clone, Copy)]
pub struct Takes {
    /// Its shape.
    pub component: Component,
    /// Also as YAML text; then the handler, not the schema, says what is wrong inside.
    pub yaml: bool,
    /// Nothing is refused for its shape: what is wrong with it is told in the answer.
    pub anything: bool,
    /// An example that works.
    pub example: Option<&'static str>,
}

/// What an operation answers when it does what was asked.
#[derive(Clone, Copy)]
pub struct Gives {
    /// The status.
    pub status: StatusCode,
    /// The media type; none = no body.
    pub media: Option<&'static str>,
    /// The shape of JSON.
    pub component: Option<Component>,
}

/// A row: one operation, who may call it, what runs, and what the document says of it.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{names}`.
    pub path: &'static str,
    /// Who may.
    pub needs: Needs,
    /// `operationId`.
    pub id: &'static str,
    /// The resource.
    pub tag: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Path and query parameters.
    pub params: Vec<Param>,
    /// The body that it takes.
    pub takes: Option<Takes>,
    /// What it answers.
    pub gives: Vec<Gives>,
    /// Answers have an `ETag`; GET knows `If-None-Match`.
    pub tagged: bool,
    /// `If-Match` is looked at.
    pub conditional: bool,
    /// Further statuses that it may answer with, each a problem.
    pub also: Vec<StatusCode>,
    /// What runs.
    pub run: Run,
}

impl Route {
    fn new(method: Method, path: &'static str, needs: Needs, id: &'static str, run: Run) -> Self {
        Self {
            method,
            path,
            needs,
            id,
            tag: "",
            about: "",
            params: Vec::new(),
            takes: None,
            gives: Vec::new(),
            tagged: false,
            conditional: false,
            also: Vec::new(),
            run,
        }
    }

    /// An operation that anybody may call.
    pub fn open<F, R>(method: Method, path: &'static str, id: &'static str, run: F) -> Self
    where
        F: Fn(Ask) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        Self::new(method, path, Needs::Nobody, id, Run::Open(Box::new(move |ask| run(ask).boxed())))
    }

    /// An operation for callers with at least the role.
    pub fn guarded<F, R>(method: Method, path: &'static str, role: Role, id: &'static str, run: F) -> Self
    where
        F: Fn(Ask, Caller) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        Self::new(method, path, Needs::Role(role), id, Run::Guarded(Box::new(move |ask, caller| run(ask, caller).boxed())))
    }

    /// Resource and one sentence.
    pub fn says(mut self, tag: &'static str, about: &'static str) -> Self {
        (self.tag, self.about) = (tag, about);
        self
    }
    /// Parameters.
    pub fn with(mut self, params: &[Param]) -> Self {
        self.params.extend_from_slice(params);
        self
    }
    /// A JSON body.
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Some(Takes { component: Component::of::<T>(), yaml: false, anything: false, example: None });
        self
    }
    /// A pipeline: JSON or YAML.
    pub fn takes_pipeline<T: ToSchema>(mut self, example: &'static str) -> Self {
        self.takes = Some(Takes { component: Component::of::<T>(), yaml: true, anything: false, example: Some(example) });
        self
    }
    /// Whatever is sent is looked at, and what is wrong with it is the answer.
    pub fn anything(mut self) -> Self {
        self.takes = self.takes.map(|takes| Takes { anything: true, ..takes });
        self
    }
    /// An example of its JSON body.
    pub fn such_as(mut self, example: &'static str) -> Self {
        self.takes = self.takes.map(|takes| Takes { example: Some(example), ..takes });
        self
    }
    /// 200 with JSON.
    pub fn gives<T: ToSchema>(self) -> Self {
        self.gives_with::<T>(StatusCode::OK)
    }
    /// Another status with JSON.
    pub fn gives_with<T: ToSchema>(mut self, status: StatusCode) -> Self {
        self.gives.push(Gives { status, media: Some("application/json"), component: Some(Component::of::<T>()) });
        self
    }
    /// 200 with text of a media type.
    pub fn gives_media(mut self, media: &'static str) -> Self {
        self.gives.push(Gives { status: StatusCode::OK, media: Some(media), component: None });
        self
    }
    /// 204.
    pub fn gives_nothing(mut self) -> Self {
        self.gives.push(Gives { status: StatusCode::NO_CONTENT, media: None, component: None });
        self
    }
    /// Answers carry an `ETag`.
    pub fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }
    /// `If-Match` is looked at.
    pub fn conditional(mut self) -> Self {
        self.conditional = true;
        self
    }
    /// Further statuses.
    pub fn also(mut self, statuses: &[u16]) -> Self {
        self.also.extend(statuses.iter().filter_map(|status| StatusCode::from_u16(*status).ok()));
        self
    }
}
