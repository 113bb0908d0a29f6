//! Connections that specs name, and the tenant's secrets. Sealed bytes go in and out as they are.

use serde_json::json as object;
use weir_error::{Error, Kind, Result};

use super::TenantStore;
use crate::backend::{Row, Tx, args, json};
use crate::fault;
use crate::model::{Connection, ConnectionId, NewConnection, Page, PageRequest, SealedSecret, SecretName, TenantId};
use crate::page::Asked;
use crate::writer::{Writer, done};

const CONNECTION: &str = "SELECT id, name, kind, options, sealed, secret_names, version, created_at, updated_at FROM connections";

impl TenantStore {
    /// Makes a connection (`expected_version` `None`; a name that is taken is then `WEIR-STORE-021`), or changes the one of that name if it
    /// is at that version (else `WEIR-STORE-022`). Audit `connection.create` or `connection.update`.
    pub async fn put_connection(&self, connection: NewConnection, expected_version: Option<i64>) -> Result<Connection> {
        let mut writer = self.write().await?;
        let sql = format!("{CONNECTION} WHERE tenant_id = $1 AND name = $2");
        let before = writer.tx.fetch_optional(sql, args![&writer.tenant, &connection.name]).await?;
        let before = before.map(|row| read(&row)).transpose()?;
        let now = writer.now;
        let (made, action) = match (before, expected_version) {
            (None, None) => {
                let made =
                    Connection { id: ConnectionId::generate(), body: connection, version: 1, created_at: now, updated_at: now };
                (made, "connection.create")
            }
            (None, Some(_)) => return Err(missing()),
            (Some(_), None) => {
                return Err(Error::new(
                    "WEIR-STORE-021",
                    Kind::Conflict,
                    format!("there is a connection named `{}` already", connection.name),
                )
                .hint("choose another name, or update that connection"));
            }
            (Some(before), Some(expected)) if before.version != expected => return Err(fault::stale("connection")),
            (Some(before), Some(_)) => {
                let made = Connection { body: connection, version: before.version + 1, updated_at: now, ..before };
                (made, "connection.update")
            }
        };
        let body = &made.body;
        writer
            .tx
            .execute(
                "INSERT INTO connections (tenant_id, id, name, kind, options, sealed, secret_names, version, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant_id, id) DO UPDATE SET kind = excluded.kind, \
                 options = excluded.options, sealed = excluded.sealed, secret_names = excluded.secret_names, version = excluded.version, \
                 updated_at = excluded.updated_at",
                args![
                    &writer.tenant,
                    &made.id,
                    &body.name,
                    &body.kind,
                    json(&body.options)?,
                    body.sealed.as_ref(),
                    json(&body.secret_names)?,
                    made.version,
                    made.created_at,
                    made.updated_at
                ],
            )
            .await?;
        let detail = object!({"name": body.name, "kind": body.kind, "version": made.version, "secrets": body.secret_names});
        writer.commit(done(action, target(&made.id), detail), Vec::new()).await?;
        Ok(made)
    }

    /// A connection.
    pub async fn connection(&self, id: &ConnectionId) -> Result<Connection> {
        let sql = format!("{CONNECTION} WHERE tenant_id = $1 AND id = $2");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), id]).await?;
        read(&row.ok_or_else(missing)?)
    }

    /// The connection of that name, if there is one.
    pub async fn connection_by_name(&self, name: &str) -> Result<Option<Connection>> {
        let sql = format!("{CONNECTION} WHERE tenant_id = $1 AND name = $2");
        self.backend.fetch_optional(sql, args![self.tenant_id(), name]).await?.map(|row| read(&row)).transpose()
    }

    /// Connections by name.
    pub async fn list_connections(&self, page: &PageRequest) -> Result<Page<Connection>> {
        let asked = Asked::of("connections", page)?;
        let mut values = args![self.tenant_id()];
        let tail = asked.by_name("name", &mut values);
        let rows = self.backend.fetch_all(format!("{CONNECTION} WHERE tenant_id = $1{tail}"), values).await?;
        asked.page(&rows, |row| {
            let connection = read(row)?;
            let key = (0, connection.body.name.clone());
            Ok((connection, key))
        })
    }

    /// Deletes a connection that no job names (else `WEIR-STORE-024`). Audit `connection.delete`.
    pub async fn delete_connection(&self, id: &ConnectionId, expected_version: Option<i64>) -> Result<()> {
        let mut writer = self.write().await?;
        let sql = format!("{CONNECTION} WHERE tenant_id = $1 AND id = $2");
        let row = writer.tx.fetch_optional(sql, args![&writer.tenant, id]).await?;
        let connection = read(&row.ok_or_else(missing)?)?;
        if expected_version.is_some_and(|expected| expected != connection.version) {
            return Err(fault::stale("connection"));
        }
        let users = users(&mut writer.tx, &writer.tenant, &connection.body.name).await?;
        if !users.is_empty() {
            return Err(Error::new("WEIR-STORE-024", Kind::Conflict, "the connection is in use")
                .because(format!("jobs that name it: {}", users.join(", ")))
                .hint("change or delete those jobs first"));
        }
        writer.tx.execute("DELETE FROM connections WHERE tenant_id = $1 AND id = $2", args![&writer.tenant, id]).await?;
        writer.commit(done("connection.delete", target(id), object!({"name": connection.body.name})), Vec::new()).await
    }

    /// Sets a secret, new or not. Audit `secret.set`, with its name only.
    pub async fn set_secret(&self, name: &str, sealed: SealedSecret) -> Result<()> {
        let mut writer = self.write().await?;
        put_secret(&mut writer, name, &sealed).await?;
        writer.commit(done("secret.set", format!("secret/{name}"), object!({})), Vec::new()).await
    }

    /// A secret, sealed.
    pub async fn secret(&self, name: &str) -> Result<Option<SealedSecret>> {
        let row = self
            .backend
            .fetch_optional("SELECT sealed FROM secrets WHERE tenant_id = $1 AND name = $2", args![self.tenant_id(), name])
            .await?;
        row.map(|row| row.columns().blob().map(SealedSecret)).transpose()
    }

    /// All names, in order.
    pub async fn secret_names(&self) -> Result<Vec<SecretName>> {
        let sql = "SELECT name, updated_at FROM secrets WHERE tenant_id = $1 ORDER BY name";
        let rows = self.backend.fetch_all(sql, args![self.tenant_id()]).await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                Ok(SecretName { name: columns.text()?, updated_at: columns.time()? })
            })
            .collect()
    }

    /// Deletes a secret. Audit `secret.delete`.
    pub async fn delete_secret(&self, name: &str) -> Result<()> {
        let mut writer = self.write().await?;
        let sql = "DELETE FROM secrets WHERE tenant_id = $1 AND name = $2";
        if writer.tx.execute(sql, args![&writer.tenant, name]).await? == 0 {
            return Err(fault::missing("secret"));
        }
        writer.commit(done("secret.delete", format!("secret/{name}"), object!({})), Vec::new()).await
    }
}

fn missing() -> Error {
    fault::missing("connection")
}

fn target(id: &ConnectionId) -> String {
    format!("connection/{id}")
}

/// Sets a secret as part of a change.
pub(super) async fn put_secret(writer: &mut Writer, name: &str, sealed: &SealedSecret) -> Result<()> {
    let sql = "INSERT INTO secrets (tenant_id, name, sealed, updated_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (tenant_id, name) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at";
    writer.tx.later(sql, args![&writer.tenant, name, sealed, writer.now]).await
}

async fn users(tx: &mut Tx, tenant: &TenantId, name: &str) -> Result<Vec<String>> {
    let sql = "SELECT j.name FROM job_uses u CROSS JOIN jobs j WHERE j.tenant_id = u.tenant_id AND j.id = u.job_id \
               AND u.tenant_id = $1 AND u.kind = 'connection' AND u.target = $2 ORDER BY j.name LIMIT 5";
    tx.fetch_all(sql, args![tenant, name]).await?.iter().map(|row| row.columns().text()).collect()
}

fn read(row: &Row) -> Result<Connection> {
    let mut columns = row.columns();
    let id = columns.id()?;
    let body = NewConnection {
        name: columns.text()?,
        kind: columns.text()?,
        options: columns.json()?,
        sealed: columns.opt_blob()?.map(SealedSecret),
        secret_names: columns.json()?,
    };
    Ok(Connection { id, body, version: columns.int()?, created_at: columns.time()?, updated_at: columns.time()? })
}
