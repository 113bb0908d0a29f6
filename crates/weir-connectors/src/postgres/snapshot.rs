//! One consistent view for all lanes, and the proof that finished splits still hold after a crash.
//!
//! A coordinator session holds a REPEATABLE READ transaction, exports its snapshot and keeps the tables from being truncated or
//! rewritten. Lanes import the snapshot. After a crash the snapshot is gone; [`changed`] then asks the server, without moving rows,
//! whether any row in the finished block ranges is newer than the old snapshot or missing. If not, what was read then equals what would be
//! read now, and the rest is read under the new snapshot.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use weir_connect::{Error, Kind, Result, SplitProgress};

use super::catalog::{Relation, Storage};
use super::client::Client;
use super::config::Address;
use super::quote::{TableName, ident, literal};

/// The coordinator's transaction and the lanes' idle sessions.
pub struct Snapshot {
    /// Dropped last: while it lives, the snapshot can be imported.
    _coordinator: Client,
    address: Address,
    exported: String,
    row_security: bool,
    idle: Mutex<Vec<Client>>,
}

/// What the coordinator saw.
pub struct View {
    /// The session, in its transaction.
    pub client: Client,
    /// For `SET TRANSACTION SNAPSHOT`.
    pub exported: String,
    /// `xmin:xmax:xip,…`; empty before version 13.
    pub text: String,
    /// The server's clock at the beginning, RFC 3339.
    pub as_of: String,
    /// Which server, database and timeline.
    pub identity: String,
}

fn begin(row_security: bool) -> String {
    // Without row_security=off, policies would leave out rows silently.
    let security = if row_security { "on" } else { "off" };
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = {security}; \
         SET LOCAL statement_timeout = 0"
    )
}

/// Begins the coordinator's transaction. Tables are locked first, so that nothing is rewritten between lock and snapshot.
pub async fn take(mut client: Client, lock: Option<&Relation>, row_security: bool) -> Result<View> {
    client.batch(&begin(row_security)).await?;
    if let Some(relation) = lock {
        let name = relation.name.sql();
        let statement = match relation.kind {
            'r' | 'p' | 'v' => format!("LOCK TABLE {name} IN ACCESS SHARE MODE"),
            _ => format!("SELECT FROM {name} LIMIT 0"),
        };
        client.batch(&statement).await.map_err(|error| name_table(error, &relation.name))?;
    }
    let snapshot = if client.version >= 130_000 { "pg_current_snapshot()::text" } else { "''" };
    let rows = client
        .query(
            &format!(
                "SELECT pg_export_snapshot(), {snapshot}, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
                 (SELECT system_identifier FROM pg_control_system())::text || '/' || (SELECT timeline_id FROM pg_control_checkpoint()) \
                 || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            &[],
        )
        .await?;
    let row = rows.first().ok_or_else(|| Error::internal("no snapshot").at(client.place().to_string()))?;
    let (exported, text) = (row.text(0).to_string(), row.text(1).to_string());
    let (as_of, identity) = (row.text(2).to_string(), row.text(3).to_string());
    Ok(View { client, exported, text, as_of, identity })
}

/// Says which table a refusal is about, and the GRANT that mends it.
pub fn name_table(error: Error, name: &TableName) -> Error {
    match error.kind() {
        Kind::Privilege => Error::new("WEIR-PG-006", Kind::Privilege, format!("the user may not read {}", name.display()))
            .because(error.why().unwrap_or_default().to_string())
            .hint(if error.why().is_some_and(|why| why.contains("row-level security")) {
                "row-level security would leave out rows silently; set `apply_row_security: true` to read what the policy allows"
                    .to_string()
            } else {
                format!(
                    "run as its owner: GRANT USAGE ON SCHEMA {} TO …; GRANT SELECT ON {} TO …",
                    ident(&name.schema),
                    name.sql()
                )
            }),
        _ => error,
    }
}

impl Snapshot {
    /// Keeps the coordinator for as long as this lives.
    pub fn new(view: View, address: Address, row_security: bool) -> Self {
        Self { _coordinator: view.client, address, exported: view.exported, row_security, idle: Mutex::default() }
    }

    /// A session inside the snapshot.
    pub async fn lane(&self) -> Result<Client> {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        if let Some(client) = idle {
            return Ok(client);
        }
        let mut client = Client::connect(&self.address).await?;
        client
            .batch(&format!("{}; SET TRANSACTION SNAPSHOT {}", begin(self.row_security), literal(&self.exported)))
            .await
            .map_err(|error| {
                // 22023: the coordinator's session is gone, and with it the view.
                if super::errors::sqlstate(&error) == Some("22023") || super::errors::sqlstate(&error) == Some("42704") {
                    Error::new("WEIR-PG-023", Kind::Connect, "the snapshot was lost with its session")
                        .at(self.address.place())
                        .because(error)
                        .transient()
                } else {
                    error
                }
            })?;
        Ok(client)
    }

    /// Gives a session back for the next split.
    pub fn give_back(&self, client: Client) {
        if client.usable()
            && let Ok(mut idle) = self.idle.lock()
        {
            idle.push(client);
        }
    }
}

/// How the stream was divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Division {
    /// Block ranges: can be proven unchanged.
    Blocks,
    /// One split for something that cannot be divided or proven.
    Whole,
}

/// What a reader remembers for the next attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReaderState {
    /// Format of this record.
    pub version: u32,
    /// `pg_current_snapshot()`.
    pub snapshot: String,
    /// Server, timeline, database.
    pub identity: String,
    /// Names and types of the columns.
    pub fingerprint: String,
    /// How it was divided.
    pub division: Division,
    /// Blocks per split.
    pub step: u64,
    /// Where the rows lay.
    pub storage: Vec<Storage>,
    /// Moment of the snapshot.
    pub as_of: String,
    /// Statement of a stream that is no table.
    #[serde(default)]
    pub statement: String,
}

/// Current format of [`ReaderState`].
pub const STATE_VERSION: u32 = 1;

/// A block range of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Table.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// First block.
    pub from: u64,
    /// Block after the last; `None` = to the end, wherever it is by then.
    pub to: Option<u64>,
}

impl Range {
    /// `FROM … WHERE …`.
    pub fn sql(&self) -> String {
        let table = TableName::new(&self.schema, &self.table).sql();
        let upper = self.to.map(|to| format!(" AND ctid < '({to},0)'::tid")).unwrap_or_default();
        format!("FROM ONLY {table} WHERE ctid >= '({},0)'::tid{upper}", self.from)
    }

    /// For messages: `public.orders blocks 0 to 4096`.
    pub fn display(&self) -> String {
        let table = TableName::new(&self.schema, &self.table).display();
        match self.to {
            Some(to) => format!("{table} blocks {} to {to}", self.from),
            None => format!("{table} blocks {} to the end", self.from),
        }
    }
}

/// The reason why finished splits cannot be reused under the new view, or `None` if they can. Conservative: what cannot be
/// proven counts as changed.
pub async fn changed(
    view: &mut View,
    old: &ReaderState,
    now: &ReaderState,
    finished: &[SplitProgress],
) -> Result<Option<String>> {
    if old.division != Division::Blocks || now.division != Division::Blocks {
        return Ok(Some("a view, query or foreign table cannot be proven unchanged".into()));
    }
    if old.identity != now.identity {
        return Ok(Some("the server was restored or replaced".into()));
    }
    if old.fingerprint != now.fingerprint {
        return Ok(Some("the table's columns were altered".into()));
    }
    if old.snapshot.is_empty() || view.client.version < 130_000 {
        return Ok(Some("servers before version 13 cannot prove that nothing changed".into()));
    }
    for before in &old.storage {
        match now.storage.iter().find(|after| after.oid == before.oid) {
            Some(after) if after.filenode == before.filenode && after.heap => {}
            Some(_) => return Ok(Some(format!("table {} was truncated or rewritten", before.table))),
            None => return Ok(Some(format!("table or partition {} is gone", before.table))),
        }
    }
    if let Some(new) = now.storage.iter().find(|after| old.storage.iter().all(|before| before.oid != after.oid)) {
        return Ok(Some(format!("partition {} is new", new.table)));
    }
    for part in finished {
        let range: Range = match serde_json::from_value(part.split.descriptor.clone()) {
            Ok(range) => range,
            Err(_) => return Ok(Some("a finished split cannot be understood".into())),
        };
        // Everything from the oldest transaction on that ran then counts as newer. `pg_visible_in_snapshot` would be wrong: a snapshot's
        // text lists no subtransactions, so a row written after a savepoint would pass for an old one. xmin has 32 bits; the epoch comes from the new snapshot, and what would lie in its future belongs to the epoch before.
        let sql = format!(
            "WITH now AS MATERIALIZED (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric AS next), \
             groups AS (SELECT xmin AS x, count(*) AS n {} GROUP BY xmin), \
             full_ids AS (SELECT n, x::text::numeric AS x, (SELECT next FROM now) AS next FROM groups) \
             SELECT coalesce(sum(n), 0), coalesce(sum(n) FILTER (WHERE x >= 3 AND \
               (trunc(next / 4294967296) * 4294967296 + x - CASE WHEN trunc(next / 4294967296) * 4294967296 + x >= next \
                 AND next >= 4294967296 THEN 4294967296 ELSE 0 END) >= pg_snapshot_xmin($1::pg_snapshot)::text::numeric), 0) FROM full_ids",
            range.sql()
        );
        let rows = view.client.query(&sql, &[Some(&old.snapshot)]).await?;
        let (count, newer) = rows.first().map(|row| (row.int(0), row.int(1))).unwrap_or((-1, -1));
        if newer != 0 {
            return Ok(Some(format!("{newer} rows in {} were written since", range.display())));
        }
        if u64::try_from(count) != Ok(part.rows) {
            return Ok(Some(format!("rows in {} were deleted or updated since", range.display())));
        }
    }
    Ok(None)
}
