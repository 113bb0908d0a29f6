//! Who asks, and whether they may. Tokens and JWTs are verified by [`weir_control::access`]; here is what HTTP adds: which header,
//! and the check of role and token scopes against a row of the route table.

use axum::http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode, Uri};
use weir_control::access::{Caller, Credentials};
use weir_control::config::Environment;
use weir_error::Kind;
use weir_store::model::AuditEntry;

use crate::app::App;
use crate::problem::Problem;
use crate::route::{Needs, Route};

/// Names another tenant; for platform-admins.
pub const TENANT_HEADER: &str = "x-tenant-id";

/// Who asks.
pub async fn caller(app: &App, headers: &HeaderMap, request_id: &str, trace_id: &str) -> Result<Caller, Problem> {
    let bearer = bearer(headers)?;
    if bearer.is_none() && app.platform.settings.environment == Environment::Development {
        from_this_machine(headers)?;
    }
    let tenant = match headers.get(TENANT_HEADER) {
        None => None,
        Some(value) => {
            Some(value.to_str().map_err(|_| Problem::bad_request("WEIR-API-014", "`X-Tenant-Id` is not a tenant's id"))?)
        }
    };
    let credentials = Credentials { bearer, tenant, request_id, trace_id: Some(trace_id) };
    app.platform.access.authenticate(&credentials).await.map_err(|error| match error.kind() {
        Kind::Auth => Problem::from(error).header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        _ => Problem::from(error),
    })
}

/// A guarded operation without a caller. The gate makes one first, so nobody sees this.
pub fn nobody() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "WEIR-API-020", "this needs a token")
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// What follows `Bearer `; `None` if the header is not there.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(Problem::new(StatusCode::UNAUTHORIZED, "WEIR-API-020", "the `Authorization` header is not `Bearer TOKEN`")
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
    }
}

/// Without a token whoever reaches the socket is the platform-admin, so a page in a browser must not reach it: neither from another
/// origin nor under a name that was bound to the loopback address.
fn from_this_machine(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |what: &str| {
        Err(Problem::new(StatusCode::FORBIDDEN, "WEIR-API-023", format!("{what} is not this machine"))
            .hint("`--dev` takes requests without a token only from programs and pages of this machine; use a token"))
    };
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    if !host.is_some_and(is_loopback) {
        return refuse("the `Host` header");
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let same = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
        if same.as_ref().and_then(|uri| uri.authority()).map(|authority| authority.as_str()) != host {
            return refuse("the `Origin` header");
        }
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site") {
        return refuse("the page that asks");
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the caller may do what the row says; a refusal is written to the audit log.
pub async fn admit(app: &App, caller: &Caller, route: &Route, path: &str) -> Result<(), Problem> {
    let Needs::Role(needed) = route.needs else { return Ok(()) };
    let problem = if caller.role < needed {
        Problem::new(
            StatusCode::FORBIDDEN,
            "WEIR-API-021",
            format!("this needs the role {}; you have {}", needed.as_str(), caller.role.as_str()),
        )
        .hint("ask an admin of your tenant for a token with that role")
    } else if !in_scope(&caller.scopes, route.method.as_str(), path) {
        Problem::new(StatusCode::FORBIDDEN, "WEIR-API-022", "this token's scopes do not include this operation")
            .hint("use a token with a scope for this path, or one without scopes")
    } else {
        return Ok(());
    };
    let entry = AuditEntry {
        action: "access.denied".into(),
        target: format!("{} {}", route.method, route.path),
        outcome: "denied".into(),
        detail: serde_json::json!({"operation": route.id, "role": caller.role.as_str(), "needed": needed.as_str(), "code": problem.code()}),
    };
    if let Err(error) = app.tenant(&caller.scope).audit(entry).await {
        tracing::error!(%error, "a denial could not be written to the audit log");
    }
    Err(problem)
}

/// `METHOD /prefix` patterns, `*` for any method; a prefix ends where a segment ends. No patterns = everything.
pub fn in_scope(scopes: &[String], method: &str, path: &str) -> bool {
    scopes.is_empty()
        || scopes.iter().any(|scope| {
            let Some((verb, prefix)) = scope.split_once(' ') else { return false };
            let prefix = prefix.trim_end_matches('/');
            (verb == "*" || verb.eq_ignore_ascii_case(method))
                && path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_its_path_and_what_is_below_it() {
        let scopes = vec!["GET /api/v1/jobs".to_string(), "* /api/v1/runs/".to_string()];
        for (method, path, yes) in [
            ("GET", "/api/v1/jobs", true),
            ("GET", "/api/v1/jobs/7/runs", true),
            ("POST", "/api/v1/jobs", false),
            ("GET", "/api/v1/jobsecrets", false),
            ("POST", "/api/v1/runs/7/cancel", true),
            ("GET", "/api/v1/audit", false),
        ] {
            assert_eq!(in_scope(&scopes, method, path), yes, "{method} {path}");
        }
        assert!(in_scope(&[], "DELETE", "/anything"));
        assert!(!in_scope(&["garbage".into()], "GET", "/x"));
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for yes in ["localhost:8080", "127.0.0.1:1", "127.0.0.1", "[::1]:8080", "LOCALHOST"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["evil.example:8080", "localhost.evil.example", "10.0.0.1", "[::ffff:1.2.3.4]:80", ""] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
