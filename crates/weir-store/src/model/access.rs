//! Tenants, who may act for them, and how much.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{PrincipalId, TenantId, TokenId};

/// What a principal may do; each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Run, cancel, pause, resume, silence.
    Operator,
    /// Create and change jobs, connections, alert rules.
    Editor,
    /// Principals, tokens, quotas' use, audit of the own tenant.
    Admin,
    /// Every tenant, tenants themselves, the platform's metrics.
    PlatformAdmin,
}

impl Role {
    /// All, weakest first.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::Editor, Self::Admin, Self::PlatformAdmin];
    /// As written in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::PlatformAdmin => "platform-admin",
        }
    }
}

impl FromStr for Role {
    type Err = weir_error::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            weir_error::Error::new("WEIR-STORE-011", weir_error::Kind::Spec, format!("`{text}` is not a role"))
                .hint("roles: viewer, operator, editor, admin, platform-admin")
        })
    }
}

/// Whether a tenant may do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// It may.
    Active,
    /// Its tokens are refused, its schedules do not fire, its queued runs wait.
    Suspended,
    /// It is gone for good but for its history; its files are, or will soon be, removed.
    Removed,
}

/// Limits of a tenant; `None` = no limit of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Jobs that are not deleted.
    pub max_pipelines: Option<u64>,
    /// Runs at the same time.
    pub max_concurrent_runs: Option<u64>,
    /// Rows written in a UTC day.
    pub max_rows_per_day: Option<u64>,
    /// Bytes written in a UTC day.
    pub max_bytes_per_day: Option<u64>,
    /// Memory of one run's process, bytes.
    pub max_memory_bytes_per_run: Option<u64>,
    /// CPU seconds of one run's process.
    pub max_cpu_secs_per_run: Option<u64>,
    /// Bytes in the tenant's folder.
    pub max_storage_bytes: Option<u64>,
}

/// What a tenant has used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Jobs that are not deleted.
    pub pipelines: u64,
    /// Runs now.
    pub concurrent_runs: u64,
    /// Rows written today (UTC).
    pub rows_today: u64,
    /// Bytes written today (UTC).
    pub bytes_today: u64,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id, a DNS label.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// Whether it may do anything.
    pub status: TenantStatus,
    /// Its limits.
    pub quotas: Quotas,
    /// Grows with each change; the ETag.
    pub version: i64,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Person or program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program.
    ServiceAccount,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Principal {
    /// Its id.
    pub id: PrincipalId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Unique in the tenant: a login, an e-mail address.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// `issuer|subject` of the OIDC token that it comes with.
    pub oidc_subject: Option<String>,
    /// A disabled one is refused, whatever token it shows.
    pub disabled: bool,
    /// Grows with each change.
    pub version: i64,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A token as the API shows it; the secret itself is never stored, only its SHA-256.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub principal_id: PrincipalId,
    /// For people.
    pub name: String,
    /// The first characters of the token, to recognise it by.
    pub prefix: String,
    /// At most this role, however much the principal may do.
    pub role: Role,
    /// `METHOD /path-prefix` patterns, or empty = all that the role may.
    pub scopes: Vec<String>,
    /// From then on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since then it is refused.
    pub revoked_at: Option<DateTime<Utc>>,
    /// About when it was last used (to the minute).
    pub last_used_at: Option<DateTime<Utc>>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A token to be stored.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose it is.
    pub principal_id: PrincipalId,
    /// For people.
    pub name: String,
    /// The first characters.
    pub prefix: String,
    /// SHA-256 of the whole token, lower-case hexadecimal.
    pub hash: String,
    /// At most this role.
    pub role: Role,
    /// Patterns.
    pub scopes: Vec<String>,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
}

/// How much there is, for gauges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tenants.
    pub tenants: u64,
    /// Jobs that are not deleted.
    pub jobs: u64,
    /// Runs that wait.
    pub queued_runs: u64,
    /// Runs now.
    pub running_runs: u64,
    /// Alerts that hold.
    pub firing_alerts: u64,
    /// Deliveries that wait, be it for their next try.
    pub pending_deliveries: u64,
    /// Deliveries that were given up.
    pub dead_deliveries: u64,
}
