//! One consistent view for all lanes, and the proof that a table has not changed since an earlier one.
//!
//! Every lane has its own session with `START TRANSACTION WITH CONSISTENT SNAPSHOT`. Two such transactions see the same rows of a table if
//! nobody commits a change to it in between. So, where privileges allow, the table is locked against writers (`LOCK TABLES … READ`) for the
//! moment in which the lanes begin, and the lock waits for transactions that have written to it. Where they do not, there is one lane.

use std::sync::Mutex;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_connect::{Error, Kind, Result};

use super::client::Client;
use super::config::Address;
use super::errors;
use super::quote::TableName;

/// Seconds to wait for writers before one lane must do.
const LOCK_SECONDS: u32 = 5;

/// What a later attempt compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Which server.
    pub server: String,
    /// Everything that was written to the binlog, as GTIDs; `None` without.
    pub written: Option<String>,
    /// When the table was last written to, by the server's clock in whole seconds; `None` if the server does not know.
    pub updated: Option<i64>,
    /// When the table was made.
    pub created: Option<String>,
    /// The server's clock just before the view began, seconds.
    pub now: i64,
    /// The same as RFC 3339.
    pub as_of: String,
}

impl Facts {
    /// Why rows may be different under the view `later`; `None` if they cannot be.
    pub fn changed(&self, later: &Self) -> Option<String> {
        if self.server != later.server {
            return Some("it is another server now".into());
        }
        if later.created.is_none() || self.created != later.created {
            return Some("the table was made anew or altered".into());
        }
        match (self.updated, later.updated) {
            // Every commit to the table sets the time. A commit in the very second of the view might hide behind an equal time.
            (Some(then), Some(now)) if then == now && then + 2 <= self.now => None,
            // The time is forgotten by a restart, and when the table leaves the server's cache.
            (None, None) if self.written.is_some() && self.written == later.written => None,
            (Some(_), Some(_)) => Some("the table was written to since, or in the second in which the read began".into()),
            _ => Some("the server does not know any more when the table was last written to".into()),
        }
    }
}

/// Sessions in transactions that see the same.
pub struct View {
    idle: Mutex<Vec<Client>>,
    free: std::sync::Arc<Semaphore>,
    /// How many.
    pub lanes: usize,
    /// See [`Facts`].
    pub facts: Facts,
}

/// A session taken out of a view; it goes back when the split is read to its end.
pub struct Lane {
    /// The session.
    pub client: Client,
    permit: OwnedSemaphorePermit,
}

impl View {
    /// Takes a session, waiting for one if all are in use.
    pub async fn lane(&self) -> Result<Lane> {
        let closed = || {
            Error::new("WEIR-MY-023", Kind::Connect, "the sessions that hold the view are gone")
                .because("an earlier read over them did not end")
                .hint("the run starts again under a new view")
                .transient()
        };
        let permit = self.free.clone().acquire_owned().await.map_err(|_| closed())?;
        let client = self.idle.lock().map_err(|_| closed())?.pop().ok_or_else(closed)?;
        Ok(Lane { client, permit })
    }

    /// Gives a session back whose statement has ended.
    pub fn give_back(&self, lane: Lane) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(lane.client);
        }
        drop(lane.permit);
    }
}

async fn begin(client: &mut Client, table: Option<&TableName>) -> Result<()> {
    client.batch("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    if let Some(table) = table {
        // From here on the table cannot be altered until the read has ended.
        client.batch(&format!("SELECT 1 FROM {} LIMIT 0", table.sql())).await?;
    }
    Ok(())
}

async fn session(address: &Address) -> Result<Client> {
    let mut client = Client::connect(address).await?;
    client.batch("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    Ok(client)
}

/// Opens a view of a table for so many lanes, or of whatever a query reads for one.
pub async fn open(address: &Address, table: Option<&TableName>, lanes: usize) -> Result<View> {
    let mut clients = try_join_all((0..lanes.max(1)).map(|_| session(address))).await?;
    let mut holder = match table {
        Some(table) if lanes > 1 => lock(address, table).await?,
        _ => None,
    };
    if holder.is_none() {
        clients.truncate(1);
    }
    let Some(first) = clients.first_mut() else { return Err(Error::internal("a view without sessions")) };
    // Before the view begins: what is committed while it does counts as later.
    let mut facts = server_facts(first).await?;
    try_join_all(clients.iter_mut().map(|client| begin(client, table))).await?;
    if let (Some(client), Some(table)) = (clients.first_mut(), table) {
        table_facts(client, table, &mut facts).await?;
    }
    if let Some(holder) = &mut holder {
        holder.batch("UNLOCK TABLES").await?;
    }
    if let Some(holder) = holder {
        holder.close().await;
    }
    let lanes = clients.len();
    Ok(View { idle: Mutex::new(clients), free: std::sync::Arc::new(Semaphore::new(lanes)), lanes, facts })
}

/// A session that holds the lock; `None` if it cannot be had.
async fn lock(address: &Address, table: &TableName) -> Result<Option<Client>> {
    let mut client = Client::connect(address).await?;
    client.batch(&format!("SET SESSION lock_wait_timeout = {LOCK_SECONDS}")).await?;
    match client.batch(&format!("LOCK TABLES {} READ", table.sql())).await {
        Ok(_) => Ok(Some(client)),
        // Not allowed, or a long transaction is in the way, or the server cannot lock here: that is no reason not to read.
        Err(error) if errors::number(&error).is_some() && error.kind() != Kind::NotFound => {
            tracing::debug!(table = %table.display(), %error, "one lane reads the table");
            client.close().await;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn server_facts(client: &mut Client) -> Result<Facts> {
    let (server, written) = if client.version.maria {
        ("CONCAT_WS(':', @@hostname, @@port, @@server_id)", "IF(@@log_bin, NULLIF(@@gtid_binlog_pos, ''), NULL)")
    } else if client.version.number >= 50_600 {
        ("CONCAT_WS(':', @@server_uuid, @@port)", "NULLIF(@@global.gtid_executed, '')")
    } else {
        ("CONCAT_WS(':', @@hostname, @@port, @@server_id)", "NULL")
    };
    let rows = client
        .query(&format!("SELECT {server}, {written}, CAST(UNIX_TIMESTAMP() AS CHAR), CAST(UTC_TIMESTAMP(6) AS CHAR)"), &[])
        .await?;
    let row = rows.first().ok_or_else(|| Error::internal("the server does not say who it is"))?;
    Ok(Facts {
        server: row.text(0).into(),
        written: row.opt(1).map(str::to_string),
        updated: None,
        created: None,
        now: row.int(2),
        as_of: format!("{}Z", row.text(3).replace(' ', "T")),
    })
}

async fn table_facts(client: &mut Client, table: &TableName, facts: &mut Facts) -> Result<()> {
    let rows = client
        .query(
            "SELECT CAST(UNIX_TIMESTAMP(UPDATE_TIME) AS CHAR), CAST(CREATE_TIME AS CHAR) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            &[table.database.as_str().into(), table.table.as_str().into()],
        )
        .await?;
    if let Some(row) = rows.first() {
        facts.updated = row.opt(0).and_then(|text| text.split('.').next()?.parse().ok());
        facts.created = row.opt(1).map(str::to_string);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(written: Option<&str>, updated: Option<i64>) -> Facts {
        Facts {
            server: "s".into(),
            written: written.map(str::to_string),
            updated,
            created: Some("c".into()),
            now: 1000,
            as_of: String::new(),
        }
    }

    #[test]
    fn only_what_is_proven_unchanged_counts_as_unchanged() {
        let same = |a: &Facts, b: &Facts| a.changed(b).is_none();
        assert!(same(&facts(None, Some(998)), &facts(Some("x"), Some(998))));
        // Another commit in the same second would leave the same time.
        assert!(!same(&facts(None, Some(999)), &facts(None, Some(999))));
        assert!(!same(&facts(None, Some(998)), &facts(None, Some(1001))));
        assert!(!same(&facts(Some("x"), Some(998)), &facts(Some("x"), None)));
        assert!(same(&facts(Some("x"), None), &facts(Some("x"), None)));
        assert!(!same(&facts(Some("x"), None), &facts(Some("y"), None)));
        assert!(!same(&facts(None, None), &facts(None, None)));
    }
}
