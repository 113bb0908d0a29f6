//! The web pages, embedded: what is served where no operation of the API has a path. A file by its path; for the address of a page,
//! which only the pages themselves know, the one HTML file. What is no page (`/api/…`, an asset that is not there) is left to the API's 404.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Response};

use crate::gate;

/// A file of `web/dist`, with its compressed forms where they are smaller.
pub struct File {
    path: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// Sorted by path; empty if the pages were not built.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What stands at `/` without them.
static NOT_BUILT: &[u8] = include_bytes!("not_built.html");

/// The folder of files whose name changes with their content.
const HASHED: &str = "/assets/";

/// First segments that belong to the API or to assets: what is missing there is missing.
const NOT_PAGES: &[&str] = &["api", "assets", "docs", "health", "jobs", "livez", "metrics", "openapi.json", "readyz"];

/// Scripts, styles and images come from here only, and no script is inline. Styles may be: the components and the editor make theirs at
/// run time.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Answers with a page or one of its files; `None` = this is not for the pages.
pub fn answer(request: &Request) -> Option<Response<Body>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let (path, headers) = (request.uri().path(), request.headers());
    let mut response = match FILES.binary_search_by(|file| file.path.cmp(path)) {
        Ok(at) => FILES.get(at).map(|file| sent(file, headers))?,
        Err(_) if is_page(path, headers) => index(headers),
        Err(_) => return None,
    };
    let (id, _) = gate::ids(headers);
    gate::finish(&mut response, &id);
    Some(response)
}

/// Whether a person looks at an address of these pages. `/` is one for programs too.
fn is_page(path: &str, headers: &HeaderMap) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    path == "/" || (!NOT_PAGES.contains(&first) && takes(headers, header::ACCEPT, "text/html"))
}

fn index(headers: &HeaderMap) -> Response<Body> {
    match FILES.iter().find(|file| file.path == "/index.html") {
        Some(file) => sent(file, headers),
        None => page(NOT_BUILT, None, "/index.html"),
    }
}

fn sent(file: &File, headers: &HeaderMap) -> Response<Body> {
    let compressed = [("br", file.brotli), ("gzip", file.gzip)].into_iter();
    let fitting = compressed
        .filter_map(|(coding, bytes)| Some((coding, bytes?)))
        .find(|(coding, _)| takes(headers, header::ACCEPT_ENCODING, coding));
    match fitting {
        Some((coding, bytes)) => page(bytes, Some(coding), file.path),
        None => page(file.plain, None, file.path),
    }
}

fn page(bytes: &'static [u8], coding: Option<&'static str>, path: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    let hashed = path.starts_with(HASHED);
    let fixed: [(HeaderName, &'static str); 8] = [
        (header::CONTENT_TYPE, media(path)),
        (header::CACHE_CONTROL, if hashed { "public, max-age=31536000, immutable" } else { "no-cache" }),
        (header::VARY, "Accept-Encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

fn media(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

/// Whether a list header names the word, without refusing it (`q=0`).
fn takes(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let named = parts.next().is_some_and(|first| first.eq_ignore_ascii_case(word));
        named && !parts.any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, path: &str, accept: &'static str) -> Option<Response<Body>> {
        let request = Request::builder().method(method).uri(path).header("accept", accept).body(Body::empty()).unwrap();
        answer(&request)
    }

    #[test]
    fn an_address_of_the_pages_is_html_and_one_of_the_api_is_not() {
        for path in ["/", "/pipelines", "/runs/01a1ff19d3df7526a0514330653d6dbc/logs", "/login?next=%2Fruns"] {
            let response = asked(Method::GET, path, "text/html,application/xhtml+xml").unwrap();
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8", "{path}");
            assert_eq!(response.headers()["cache-control"], "no-cache", "{path}");
            assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        }
        for path in ["/api/v1/nothing", "/api", "/docs/nothing.js", "/jobs/7", "/assets/gone-1234.js", "/metrics"] {
            assert!(asked(Method::GET, path, "text/html").is_none(), "{path}");
        }
        assert!(asked(Method::GET, "/pipelines", "*/*").is_none(), "a program gets the API's 404");
        assert!(asked(Method::GET, "/", "*/*").is_some());
        assert!(asked(Method::POST, "/", "text/html").is_none());
    }

    #[test]
    fn a_coding_that_is_refused_is_not_sent() {
        let file = File { path: "/assets/a-1.js", plain: b"plain", brotli: Some(b"br"), gzip: Some(b"gz") };
        let coding = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
            let response = sent(&file, &headers);
            assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
            response.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(coding("gzip, deflate, br").as_deref(), Some("br"));
        assert_eq!(coding("gzip;q=0.5, br;q=0").as_deref(), Some("gzip"));
        assert_eq!(coding("identity"), None);
    }
}
