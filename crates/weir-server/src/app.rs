//! What all requests share, made once.

use std::sync::{Arc, LazyLock, OnceLock};

use axum::body::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weir_control::Platform;
use weir_control::connections::{ConnectionService, SecretService};
use weir_control::jobs::JobService;
use weir_store::{TenantScope, TenantStore};

use crate::body::Schemas;
use crate::legacy::VaultWatch;

/// Event streams at the same time in this process.
const MAX_STREAMS: usize = 512;

/// The server's state.
pub struct App {
    /// The services.
    pub platform: Platform,
    /// Cancelled when the server stops; event streams end then.
    pub stop: CancellationToken,
    /// One permit per open event stream.
    pub streams: Arc<Semaphore>,
    /// The listing of connectors, made once.
    pub connectors: OnceLock<Bytes>,
    /// The schema of pipeline files, made once.
    pub spec_schema: OnceLock<Bytes>,
    /// What is known of Vault.
    pub vault: VaultWatch,
    /// Decides about jobs.
    pub jobs: JobService,
    /// Decides about connections.
    pub connections: ConnectionService,
    /// Decides about secrets.
    pub secrets: SecretService,
}

impl App {
    /// The state of one server.
    pub fn new(platform: Platform, stop: CancellationToken) -> Self {
        Self {
            jobs: JobService::of(&platform),
            connections: ConnectionService::of(&platform),
            secrets: SecretService::of(&platform),
            platform,
            stop,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            connectors: OnceLock::new(),
            spec_schema: OnceLock::new(),
            vault: VaultWatch::default(),
        }
    }

    /// What a tenant may ask.
    pub fn tenant(&self, scope: &TenantScope) -> TenantStore {
        self.platform.store.tenant(scope)
    }
}

/// The OpenAPI document, and the schemas that bodies are checked against. They depend on the code only.
pub struct Document {
    /// As served.
    pub json: Bytes,
    /// For bodies.
    pub schemas: Schemas,
}

/// Made at the first use.
pub static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let document = crate::openapi::document(&crate::routes::TABLE);
    let components = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    Document { json: serde_json::to_vec(&document).unwrap_or_default().into(), schemas: Schemas::new(components) }
});
