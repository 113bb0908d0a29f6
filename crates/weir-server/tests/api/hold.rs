//! A server to point other programs at (schemathesis, a load generator): `cargo test … hold -- --ignored`.

use std::time::Duration;

use weir_store::model::Role;

use crate::harness::{OURS, Server};

/// Serves while the file that `WEIR_HOLD` names is there; writes address and a platform-admin's token into it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "serves other programs"]
async fn hold() {
    let path = std::env::var("WEIR_HOLD").expect("WEIR_HOLD names a file");
    let server = Server::start().await;
    let jobs = std::env::var("WEIR_HOLD_JOBS").ok().and_then(|count| count.parse().ok()).unwrap_or(20);
    for index in 0..jobs {
        server.job(OURS, &format!("job {index}")).await;
    }
    std::fs::write(&path, format!("{} {}", server.base, server.token(OURS, Role::PlatformAdmin))).unwrap();
    while std::fs::exists(&path).unwrap() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.stop().await;
}
