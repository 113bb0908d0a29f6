//! Tenants, and who comes with a token.

use chrono::TimeDelta;
use serde_json::json as object;
use weir_error::{Error, Kind, Result};

use super::System;
use crate::Actor;
use crate::backend::{Turn, Tx, args, json, now};
use crate::chain;
use crate::fault;
use crate::model::{
    ApiToken, NewToken, Page, PageRequest, Principal, PrincipalKind, Quotas, Role, Tenant, TenantId, TenantStatus, TokenId,
};
use crate::page::Asked;
use crate::tenant::access::{
    PRINCIPAL_COLUMNS, TENANT_COLUMNS, TOKEN_COLUMNS, insert_principal, insert_token, read_principal, read_tenant, read_token,
    tenant_of,
};
use crate::writer::{Writer, done};

impl System {
    /// Makes tenant `default` (if it is not there) and principal `admin` (platform-admin) with that token, if there is no principal in the
    /// whole database; says whether it did. Of several processes one does.
    pub async fn bootstrap(&self, tenant_name: &str, token_hash: &str, prefix: &str) -> Result<bool> {
        let mut tx = self.backend.begin().await?;
        tx.turn(Turn::Bootstrap).await?;
        if tx.fetch_optional("SELECT version FROM principals LIMIT 1", args![]).await?.is_some() {
            return Ok(false);
        }
        let id = TenantId::from("default");
        if tx.fetch_optional("SELECT version FROM tenants WHERE id = $1", args![&id]).await?.is_none() {
            insert_tenant(
                &mut tx,
                &Tenant {
                    id: id.clone(),
                    name: tenant_name.into(),
                    status: TenantStatus::Active,
                    quotas: Quotas::default(),
                    version: 1,
                    created_at: now(),
                },
            )
            .await?;
        }
        let mut writer = Writer::within(tx, &id, &Actor::system("bootstrap")).await?;
        let admin = insert_principal(&mut writer, PrincipalKind::User, "admin", Role::PlatformAdmin, None).await?;
        let token = NewToken {
            principal_id: admin.id.clone(),
            name: "first start".into(),
            prefix: prefix.into(),
            hash: token_hash.into(),
            role: Role::PlatformAdmin,
            scopes: Vec::new(),
            expires_at: None,
        };
        let token = insert_token(&mut writer, &token).await?;
        let detail = object!({"principal_id": admin.id, "token_id": token.id});
        writer.commit(done("platform.bootstrap", format!("tenant/{id}"), detail), Vec::new()).await?;
        Ok(true)
    }

    /// Makes a tenant. An id that is no DNS label is `WEIR-STORE-012`, one that is taken `WEIR-STORE-028`. Audit `tenant.create`, in the
    /// new tenant's log.
    pub async fn create_tenant(&self, actor: &Actor, id: &TenantId, name: &str, quotas: Quotas) -> Result<Tenant> {
        check_label(id)?;
        let tenant =
            Tenant { id: id.clone(), name: name.into(), status: TenantStatus::Active, quotas, version: 1, created_at: now() };
        let mut tx = self.backend.begin().await?;
        insert_tenant(&mut tx, &tenant).await.map_err(|error| {
            fault::on_taken(error, || Error::new("WEIR-STORE-028", Kind::Conflict, format!("there is a tenant `{id}` already")))
        })?;
        let writer = Writer::within(tx, id, actor).await?;
        writer
            .commit(done("tenant.create", format!("tenant/{id}"), object!({"name": name, "quotas": tenant.quotas})), Vec::new())
            .await?;
        Ok(tenant)
    }

    /// All tenants, oldest first.
    pub async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>> {
        let asked = Asked::of("tenants", page)?;
        let mut values = args![];
        let tail = asked.oldest_first("t.created_at", "t.id", &mut values);
        let rows = self.backend.fetch_all(format!("SELECT {TENANT_COLUMNS} FROM tenants t WHERE 1 = 1{tail}"), values).await?;
        asked.page(&rows, |row| {
            let tenant = tenant_of(row)?;
            let key = (tenant.created_at.timestamp_micros(), tenant.id.as_str().to_owned());
            Ok((tenant, key))
        })
    }

    /// A tenant.
    pub async fn tenant(&self, id: &TenantId) -> Result<Tenant> {
        let sql = format!("SELECT {TENANT_COLUMNS} FROM tenants t WHERE t.id = $1");
        tenant_of(&self.backend.fetch_optional(sql, args![id]).await?.ok_or_else(missing)?)
    }

    /// Changes a tenant: suspends it, lets it go on. One that was removed is `WEIR-STORE-034`; [`System::remove_tenant`] removes. Audit
    /// `tenant.update`, in its log.
    pub async fn update_tenant(
        &self,
        actor: &Actor,
        id: &TenantId,
        expected_version: Option<i64>,
        name: &str,
        status: TenantStatus,
        quotas: Quotas,
    ) -> Result<Tenant> {
        let mut writer = Writer::within(self.backend.begin().await?, id, actor).await?;
        let sql = format!("SELECT {TENANT_COLUMNS} FROM tenants t WHERE t.id = $1");
        let before = tenant_of(&writer.tx.fetch_optional(sql, args![id]).await?.ok_or_else(missing)?)?;
        if expected_version.is_some_and(|expected| expected != before.version) {
            return Err(fault::stale("tenant"));
        }
        if before.status == TenantStatus::Removed || status == TenantStatus::Removed {
            return Err(Error::new("WEIR-STORE-034", Kind::Conflict, "a tenant that was removed cannot be changed")
                .hint("make another one; the id of a removed tenant is never given again"));
        }
        let after = Tenant { name: name.into(), status, quotas, version: before.version + 1, ..before };
        writer
            .tx
            .execute(
                "UPDATE tenants SET name = $2, status = $3, quotas = $4, version = $5 WHERE id = $1",
                args![id, &after.name, status_word(status), json(&after.quotas)?, after.version],
            )
            .await?;
        let detail = object!({"name": name, "status": status, "quotas": after.quotas, "version": after.version});
        writer.commit(done("tenant.update", format!("tenant/{id}"), detail), Vec::new()).await?;
        Ok(after)
    }

    /// The token with that hash, whatever its state, with its principal and tenant.
    pub async fn token_by_hash(&self, hash: &str) -> Result<Option<(ApiToken, Principal, Tenant)>> {
        let sql = format!(
            "SELECT {TOKEN_COLUMNS}, {PRINCIPAL_COLUMNS}, {TENANT_COLUMNS} FROM tokens k \
             JOIN principals p ON p.tenant_id = k.tenant_id AND p.id = k.principal_id JOIN tenants t ON t.id = k.tenant_id WHERE k.hash = $1"
        );
        let Some(row) = self.backend.fetch_optional(sql, args![hash]).await? else { return Ok(None) };
        let mut columns = row.columns();
        Ok(Some((read_token(&mut columns)?, read_principal(&mut columns)?, read_tenant(&mut columns)?)))
    }

    /// Notes that a token was used; at most one write a minute.
    pub async fn touch_token(&self, id: &TokenId) -> Result<()> {
        let now = now();
        let before = now - TimeDelta::seconds(60);
        let due = "SELECT created_at FROM tokens WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
        if self.backend.fetch_optional(due, args![id, before]).await?.is_some() {
            self.backend.execute("UPDATE tokens SET last_used_at = $2 WHERE id = $1", args![id, now]).await?;
        }
        Ok(())
    }

    /// The principal of a tenant that comes with that OIDC subject.
    pub async fn principal_by_oidc(&self, tenant: &TenantId, subject: &str) -> Result<Option<Principal>> {
        let sql = format!("SELECT {PRINCIPAL_COLUMNS} FROM principals p WHERE p.tenant_id = $1 AND p.oidc_subject = $2");
        let row = self.backend.fetch_optional(sql, args![tenant, subject]).await?;
        row.map(|row| read_principal(&mut row.columns())).transpose()
    }
}

pub(super) fn missing() -> Error {
    fault::missing("tenant")
}

pub(super) fn status_word(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Active => "active",
        TenantStatus::Suspended => "suspended",
        TenantStatus::Removed => "removed",
    }
}

/// Tenant ids are parts of paths, topics and labels.
fn check_label(id: &TenantId) -> Result<()> {
    let text = id.as_str();
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 63 || !text.chars().all(inner) || text.starts_with('-') || text.ends_with('-') {
        return Err(fault::refused(format!("`{text}` cannot be a tenant's id"))
            .hint("1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"));
    }
    Ok(())
}

async fn insert_tenant(tx: &mut Tx, tenant: &Tenant) -> Result<()> {
    tx.execute(
        "INSERT INTO tenants (id, name, status, quotas, version, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        args![&tenant.id, &tenant.name, status_word(tenant.status), json(&tenant.quotas)?, tenant.version, tenant.created_at],
    )
    .await?;
    let sql = "INSERT INTO heads (tenant_id, audit_seq, audit_hash, outbox_seq) VALUES ($1, 0, $2, 0)";
    tx.execute(sql, args![&tenant.id, chain::START]).await.map(drop)
}
