//! A tenant goes, with its files.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_store::model::Role;

use crate::harness::{OURS, Server, THEIRS, expect};

const PATH: &str = "/api/v1/tenants/theirs";

async fn ask(server: &Server, method: Method, path: &str, body: Option<Value>, status: StatusCode) -> Value {
    let request = server.ask(method, path, OURS, Role::PlatformAdmin);
    let request = body.into_iter().fold(request, |request, body| request.json(&body));
    expect(request.send().await.unwrap(), status).await
}

#[tokio::test]
async fn a_suspended_tenant_is_removed_with_its_files_and_nobody_comes_back() {
    let server = Server::start().await;
    let tenants = server.folder.path().join("tenants");
    for tenant in [OURS, THEIRS] {
        std::fs::create_dir_all(tenants.join(tenant).join("files")).unwrap();
        std::fs::write(tenants.join(tenant).join("files/a.csv"), [0; 70]).unwrap();
    }
    let active = ask(&server, Method::DELETE, PATH, None, StatusCode::CONFLICT).await;
    assert_eq!(active["code"], "WEIR-STORE-032");
    let body = |status: &str| Some(json!({"name": "theirs", "status": status, "quotas": {}}));
    ask(&server, Method::PUT, PATH, body("removed"), StatusCode::BAD_REQUEST).await;
    ask(&server, Method::PUT, PATH, body("suspended"), StatusCode::OK).await;
    let stale = server.ask(Method::DELETE, PATH, OURS, Role::PlatformAdmin).header("if-match", "\"1\"").send().await.unwrap();
    expect(stale, StatusCode::PRECONDITION_FAILED).await;
    ask(&server, Method::DELETE, PATH, None, StatusCode::NO_CONTENT).await;

    let path = "/api/v1/audit?action=tenant.files.remove";
    let begun = Instant::now();
    let of_theirs =
        || server.platform.store.tenant(&weir_store::TenantScope::granted(THEIRS.into(), weir_store::Actor::system("test")));
    let filter = weir_store::model::AuditFilter { action: Some("tenant.files.remove".into()), ..Default::default() };
    let page = weir_store::model::PageRequest { limit: 9, cursor: None };
    let told = loop {
        let found = of_theirs().audit_log(&filter, &page).await.unwrap().items;
        if let Some(first) = found.into_iter().next() {
            break first;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing was removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((told.detail["files"].as_u64(), told.detail["bytes"].as_u64()), (Some(1), Some(70)));
    assert!(!tenants.join(THEIRS).exists() && tenants.join(OURS).join("files/a.csv").exists());

    // For whom it was, it never was; for the platform it is history.
    let refused = server.ask(Method::GET, "/api/v1/jobs", THEIRS, Role::PlatformAdmin).send().await.unwrap();
    expect(refused, StatusCode::UNAUTHORIZED).await;
    let named = server.ask(Method::GET, path, OURS, Role::PlatformAdmin).header("x-tenant-id", THEIRS).send().await.unwrap();
    expect(named, StatusCode::NOT_FOUND).await;
    assert_eq!(ask(&server, Method::GET, PATH, None, StatusCode::OK).await["status"], "removed");
    ask(&server, Method::PUT, PATH, body("active"), StatusCode::CONFLICT).await;
    ask(&server, Method::POST, "/api/v1/tenants", Some(json!({"id": "theirs", "name": "again"})), StatusCode::CONFLICT).await;
    ask(&server, Method::DELETE, PATH, None, StatusCode::NO_CONTENT).await;
    server.stop().await;
}

#[tokio::test]
async fn the_platforms_own_tenant_cannot_be_removed() {
    let server = Server::start().await;
    let refused = ask(&server, Method::DELETE, "/api/v1/tenants/ours", None, StatusCode::CONFLICT).await;
    assert_eq!(refused["code"], "WEIR-API-034");
    ask(&server, Method::DELETE, "/api/v1/tenants/nobody", None, StatusCode::NOT_FOUND).await;
    server.stop().await;
}
