//! The tenant itself, its principals and their tokens.

use serde_json::json as object;
use weir_error::{Error, Kind, Result};

use super::TenantStore;
use crate::backend::{Columns, Row, Value, args, json, kept, now};
use crate::fault;
use crate::model::{ApiToken, NewToken, Page, PageRequest, Principal, PrincipalId, PrincipalKind, Role, Tenant, TokenId, Usage};
use crate::page::Asked;
use crate::writer::{Writer, done};

/// The columns of a tenant called `t`.
pub(crate) const TENANT_COLUMNS: &str = "t.id, t.name, t.status, t.quotas, t.version, t.created_at";
/// The columns of a principal called `p`.
pub(crate) const PRINCIPAL_COLUMNS: &str =
    "p.id, p.tenant_id, p.kind, p.name, p.role, p.oidc_subject, p.disabled, p.version, p.created_at";
/// The columns of a token called `k`.
pub(crate) const TOKEN_COLUMNS: &str =
    "k.id, k.principal_id, k.name, k.prefix, k.role, k.scopes, k.expires_at, k.revoked_at, k.last_used_at, k.created_at";

const DAY_MICROS: i64 = 86_400_000_000;

impl TenantStore {
    /// The tenant.
    pub async fn tenant(&self) -> Result<Tenant> {
        let sql = format!("SELECT {TENANT_COLUMNS} FROM tenants t WHERE t.id = $1");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id()]).await?;
        read_tenant(&mut row.ok_or_else(|| fault::missing("tenant"))?.columns())
    }

    /// What it has used.
    pub async fn usage(&self) -> Result<Usage> {
        let today = day(now());
        let row = self
            .backend
            .fetch_optional(
                "SELECT (SELECT count(*) FROM jobs WHERE tenant_id = $1 AND deleted_at IS NULL), \
                 (SELECT count(*) FROM runs WHERE tenant_id = $1 AND status = 'running'), \
                 coalesce((SELECT rows_written FROM usage_days WHERE tenant_id = $1 AND day = $2), 0), \
                 coalesce((SELECT bytes_written FROM usage_days WHERE tenant_id = $1 AND day = $2), 0)",
                args![self.tenant_id(), today],
            )
            .await?
            .ok_or_else(|| Error::internal("an aggregate without a row"))?;
        let mut columns = row.columns();
        Ok(Usage {
            pipelines: columns.count()?,
            concurrent_runs: columns.count()?,
            rows_today: columns.count()?,
            bytes_today: columns.count()?,
        })
    }

    /// Makes a principal. A name that is taken is `WEIR-STORE-026`, an OIDC subject that is taken `WEIR-STORE-029`. Audit
    /// `principal.create`.
    pub async fn create_principal(
        &self,
        kind: PrincipalKind,
        name: &str,
        role: Role,
        oidc_subject: Option<&str>,
    ) -> Result<Principal> {
        let mut writer = self.write().await?;
        if let Some(subject) = oidc_subject {
            let sql = "SELECT version FROM principals WHERE tenant_id = $1 AND oidc_subject = $2";
            if writer.tx.fetch_optional(sql, args![&writer.tenant, subject]).await?.is_some() {
                return Err(Error::new("WEIR-STORE-029", Kind::Conflict, "another principal has this OIDC subject already"));
            }
        }
        let principal = insert_principal(&mut writer, kind, name, role, oidc_subject).await?;
        let entry = done("principal.create", target(&principal.id), object!({"name": name, "role": role, "kind": kind}));
        writer.commit(entry, Vec::new()).await?;
        Ok(principal)
    }

    /// A principal.
    pub async fn principal(&self, id: &PrincipalId) -> Result<Principal> {
        let sql = format!("SELECT {PRINCIPAL_COLUMNS} FROM principals p WHERE p.tenant_id = $1 AND p.id = $2");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), id]).await?;
        read_principal(&mut row.ok_or_else(missing)?.columns())
    }

    /// Principals, oldest first.
    pub async fn list_principals(&self, page: &PageRequest) -> Result<Page<Principal>> {
        let asked = Asked::of("principals", page)?;
        let mut values = args![self.tenant_id()];
        let tail = asked.oldest_first("p.created_at", "p.id", &mut values);
        let sql = format!("SELECT {PRINCIPAL_COLUMNS} FROM principals p WHERE p.tenant_id = $1{tail}");
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let principal = read_principal(&mut row.columns())?;
            let key = (principal.created_at.timestamp_micros(), principal.id.as_str().to_owned());
            Ok((principal, key))
        })
    }

    /// Changes role and whether it may act. Audit `principal.update`.
    pub async fn update_principal(
        &self,
        id: &PrincipalId,
        expected_version: Option<i64>,
        role: Role,
        disabled: bool,
    ) -> Result<Principal> {
        let mut writer = self.write().await?;
        let before = in_writer(&mut writer, id).await?;
        if expected_version.is_some_and(|expected| expected != before.version) {
            return Err(fault::stale("principal"));
        }
        let after = Principal { role, disabled, version: before.version + 1, ..before };
        writer
            .tx
            .execute(
                "UPDATE principals SET role = $3, disabled = $4, version = $5 WHERE tenant_id = $1 AND id = $2",
                args![&writer.tenant, id, role.as_str(), disabled, after.version],
            )
            .await?;
        let detail = object!({"name": after.name, "role": role, "disabled": disabled, "version": after.version});
        writer.commit(done("principal.update", target(id), detail), Vec::new()).await?;
        Ok(after)
    }

    /// Deletes a principal with its tokens. Audit `principal.delete`.
    pub async fn delete_principal(&self, id: &PrincipalId) -> Result<()> {
        let mut writer = self.write().await?;
        let principal = in_writer(&mut writer, id).await?;
        writer.tx.execute("DELETE FROM tokens WHERE tenant_id = $1 AND principal_id = $2", args![&writer.tenant, id]).await?;
        writer.tx.execute("DELETE FROM principals WHERE tenant_id = $1 AND id = $2", args![&writer.tenant, id]).await?;
        writer.commit(done("principal.delete", target(id), object!({"name": principal.name})), Vec::new()).await
    }

    /// Stores a token of one of the tenant's principals. Audit `token.create`.
    pub async fn create_token(&self, token: NewToken) -> Result<ApiToken> {
        let mut writer = self.write().await?;
        in_writer(&mut writer, &token.principal_id).await?;
        let made = insert_token(&mut writer, &token).await?;
        let detail = object!({"principal_id": made.principal_id, "name": made.name, "role": made.role, "scopes": made.scopes});
        writer.commit(done("token.create", format!("token/{}", made.id), detail), Vec::new()).await?;
        Ok(made)
    }

    /// Tokens, revoked and expired ones too, oldest first.
    pub async fn list_tokens(&self, principal: Option<&PrincipalId>, page: &PageRequest) -> Result<Page<ApiToken>> {
        let asked = Asked::of("tokens", page)?;
        let mut values = args![self.tenant_id()];
        let mut sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens k WHERE k.tenant_id = $1");
        if let Some(principal) = principal {
            values.push(Value::from(principal));
            sql += " AND k.principal_id = $2";
        }
        sql += &asked.oldest_first("k.created_at", "k.id", &mut values);
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let token = read_token(&mut row.columns())?;
            let key = (token.created_at.timestamp_micros(), token.id.as_str().to_owned());
            Ok((token, key))
        })
    }

    /// A token.
    pub async fn token(&self, id: &TokenId) -> Result<ApiToken> {
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens k WHERE k.tenant_id = $1 AND k.id = $2");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), id]).await?;
        read_token(&mut row.ok_or_else(|| fault::missing("token"))?.columns())
    }

    /// Refuses a token from now on; one that is refused already stays so. Audit `token.revoke`.
    pub async fn revoke_token(&self, id: &TokenId) -> Result<()> {
        let mut writer = self.write().await?;
        let rows = writer
            .tx
            .execute(
                "UPDATE tokens SET revoked_at = coalesce(revoked_at, $3) WHERE tenant_id = $1 AND id = $2",
                args![&writer.tenant, id, writer.now],
            )
            .await?;
        if rows == 0 {
            return Err(fault::missing("token"));
        }
        writer.commit(done("token.revoke", format!("token/{id}"), object!({})), Vec::new()).await
    }
}

/// Days since 1970 (UTC).
pub(crate) fn day(at: chrono::DateTime<chrono::Utc>) -> i64 {
    at.timestamp_micros().div_euclid(DAY_MICROS)
}

fn missing() -> Error {
    fault::missing("principal")
}

fn target(id: &PrincipalId) -> String {
    format!("principal/{id}")
}

async fn in_writer(writer: &mut Writer, id: &PrincipalId) -> Result<Principal> {
    let sql = format!("SELECT {PRINCIPAL_COLUMNS} FROM principals p WHERE p.tenant_id = $1 AND p.id = $2");
    let row = writer.tx.fetch_optional(sql, args![&writer.tenant, id]).await?;
    read_principal(&mut row.ok_or_else(missing)?.columns())
}

fn kind_word(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::ServiceAccount => "service_account",
    }
}

/// Inserts a principal as part of a change.
pub(crate) async fn insert_principal(
    writer: &mut Writer,
    kind: PrincipalKind,
    name: &str,
    role: Role,
    oidc_subject: Option<&str>,
) -> Result<Principal> {
    let principal = Principal {
        id: PrincipalId::generate(),
        tenant_id: writer.tenant.clone(),
        kind,
        name: name.into(),
        role,
        oidc_subject: oidc_subject.map(str::to_owned),
        disabled: false,
        version: 1,
        created_at: writer.now,
    };
    writer
        .tx
        .execute(
            "INSERT INTO principals (tenant_id, id, kind, name, role, oidc_subject, disabled, version, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, 1, $7)",
            args![&principal.tenant_id, &principal.id, kind_word(kind), name, role.as_str(), oidc_subject, principal.created_at],
        )
        .await
        .map_err(|error| {
            fault::on_taken(error, || {
                Error::new("WEIR-STORE-026", Kind::Conflict, format!("there is a principal named `{name}` already"))
            })
        })?;
    Ok(principal)
}

/// Inserts a token as part of a change.
pub(crate) async fn insert_token(writer: &mut Writer, token: &NewToken) -> Result<ApiToken> {
    let made = ApiToken {
        id: TokenId::generate(),
        principal_id: token.principal_id.clone(),
        name: token.name.clone(),
        prefix: token.prefix.clone(),
        role: token.role,
        scopes: token.scopes.clone(),
        expires_at: token.expires_at.map(kept),
        revoked_at: None,
        last_used_at: None,
        created_at: writer.now,
    };
    writer
        .tx
        .execute(
            "INSERT INTO tokens (tenant_id, id, principal_id, name, prefix, hash, role, scopes, expires_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            args![
                &writer.tenant,
                &made.id,
                &made.principal_id,
                &made.name,
                &made.prefix,
                &token.hash,
                made.role.as_str(),
                json(&made.scopes)?,
                made.expires_at,
                made.created_at
            ],
        )
        .await?;
    Ok(made)
}

/// The columns of [`TENANT_COLUMNS`].
pub(crate) fn read_tenant(columns: &mut Columns<'_>) -> Result<Tenant> {
    Ok(Tenant {
        id: columns.id()?,
        name: columns.text()?,
        status: columns.word()?,
        quotas: columns.json()?,
        version: columns.int()?,
        created_at: columns.time()?,
    })
}

/// The columns of [`PRINCIPAL_COLUMNS`].
pub(crate) fn read_principal(columns: &mut Columns<'_>) -> Result<Principal> {
    Ok(Principal {
        id: columns.id()?,
        tenant_id: columns.id()?,
        kind: columns.word()?,
        name: columns.text()?,
        role: columns.word()?,
        oidc_subject: columns.opt_text()?,
        disabled: columns.flag()?,
        version: columns.int()?,
        created_at: columns.time()?,
    })
}

/// The columns of [`TOKEN_COLUMNS`].
pub(crate) fn read_token(columns: &mut Columns<'_>) -> Result<ApiToken> {
    Ok(ApiToken {
        id: columns.id()?,
        principal_id: columns.id()?,
        name: columns.text()?,
        prefix: columns.text()?,
        role: columns.word()?,
        scopes: columns.json()?,
        expires_at: columns.opt_time()?,
        revoked_at: columns.opt_time()?,
        last_used_at: columns.opt_time()?,
        created_at: columns.time()?,
    })
}

/// A tenant's row, from a row that holds nothing else.
pub(crate) fn tenant_of(row: &Row) -> Result<Tenant> {
    read_tenant(&mut row.columns())
}
