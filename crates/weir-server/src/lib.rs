//! HTTP only: handlers parse and authorise, weir-control decides, weir-store keeps.
//!
//! * [`routes`]: the one table of routes: method, path, least role, operation id, handler. The router, the OpenAPI document and the tests
//!   are made from it, so there is no operation outside it;
//! * `gate`: what happens to every request around its handler;
//! * `api`: one file per resource; `legacy`: the API of seed 001 on the same port;
//! * `pages`: the web pages, embedded, where no operation has a path;
//! * `problem`: how this server says no; `body`, `params`: what a request may look like.
#![deny(missing_docs)]

pub mod answer;
pub mod api;
pub mod app;
pub mod ask;
pub mod auth;
pub mod body;
mod connection;
mod gate;
mod idempotency;
pub mod legacy;
mod openapi;
mod pages;
pub mod params;
pub mod problem;
pub mod route;
pub mod routes;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, on};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_control::Platform;
use weir_error::{Error, Kind};

use crate::app::App;
use crate::problem::Problem;

/// The API as a router. Event streams end when `stop` is cancelled.
pub fn router(platform: Platform, stop: CancellationToken) -> Router {
    let app = Arc::new(App::new(platform, stop));
    let mut paths: BTreeMap<&'static str, MethodRouter> = BTreeMap::new();
    for route in routes::TABLE.iter() {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        let app = app.clone();
        let handler = move |request: Request| gate::handle(app.clone(), route, request);
        let methods = paths.remove(route.path).unwrap_or_default();
        paths.insert(route.path, methods.merge(on(filter, handler)));
    }
    let mut router = Router::new();
    for (path, methods) in paths {
        router = router.route(path, methods);
    }
    router.method_not_allowed_fallback(wrong_method).fallback(page_or_nothing)
}

/// `/metrics` alone, for the second listener (`METRICS_PORT`): no token, so it belongs in a network of its own.
pub fn metrics_router(platform: Platform) -> Router {
    let path = platform.settings.metrics_path.clone();
    let app = Arc::new(App::new(platform, CancellationToken::new()));
    let metrics = move |request: Request| {
        let app = app.clone();
        let (id, _) = gate::ids(request.headers());
        async move { legacy::metrics_listener(&app, &id).await }
    };
    Router::new().route(&path, axum::routing::get(metrics)).method_not_allowed_fallback(wrong_method).fallback(no_route)
}

/// Serves until `stop` is cancelled; then finishes what is under way and returns.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> weir_error::Result<()> {
    axum::serve(connection::Limited::new(listener), router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(|error| Error::new("WEIR-API-060", Kind::Io, "the server stopped").caused_by(error))
}

/// There is no such thing, or it is another tenant's: the answer is the same.
pub(crate) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "WEIR-API-404", "there is no such thing")
}

async fn page_or_nothing(request: Request) -> Response<Body> {
    match pages::answer(&request) {
        Some(page) => page,
        None => no_route(request).await,
    }
}

async fn no_route(request: Request) -> Response<Body> {
    let problem = Problem::new(StatusCode::NOT_FOUND, "WEIR-API-001", "there is no such path")
        .hint("GET /openapi.json lists the operations");
    refused(&request, problem)
}

async fn wrong_method(request: Request) -> Response<Body> {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "WEIR-API-002", "this path does not take this method")
        .hint("the `Allow` header has those that it takes");
    refused(&request, problem)
}

fn refused(request: &Request, problem: Problem) -> Response<Body> {
    let (id, _) = gate::ids(request.headers());
    let mut response = problem.into_response(&id);
    gate::finish(&mut response, &id);
    response
}
