//! What the server must be for its log to be followed, and where its log is. Everything that would make a gap is found here before a row is
//! given out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_connect::{Error, Kind, Result};

use super::super::binlog::{GtidSet, MariaGtidList};
use super::super::client::{Client, Row};
use super::super::quote::{TableName, literal};
use super::options::StartOptions;
use super::position::{Done, Family, Place, Position};

/// How long a commit may be in the log before it is visible.
const SETTLE: Duration = Duration::from_secs(20);

/// What was found.
#[derive(Debug, Clone)]
pub struct Server {
    /// How it names transactions.
    pub family: Family,
    /// `server_uuid`; empty for MariaDB.
    pub uuid: String,
    /// Names of tables are compared without case.
    pub fold: bool,
}

fn setting(what: &str, place: &str, why: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-MY-077", Kind::Unsupported, what).at(place).because(why.into()).hint(hint)
}

fn gap(what: &str, place: &str, why: String) -> Error {
    Error::new("WEIR-MY-075", Kind::Conflict, what).at(place).because(why).hint(
        "changes are lost for this pipeline: `weir state reset`, and the next run begins with a new snapshot; keep the log longer than a \
         pipeline may stand still (binlog_expire_logs_seconds)",
    )
}

/// Settings of the server.
pub async fn check(client: &mut Client, server_id: Option<u32>) -> Result<Server> {
    let maria = client.version.maria;
    let own = if maria { "'', ''" } else { "@@global.gtid_mode, @@global.server_uuid" };
    let sql = format!(
        "SELECT CAST(@@global.log_bin AS CHAR), @@global.binlog_format, @@global.binlog_row_image, CAST(@@global.server_id AS CHAR), \
         CAST(@@global.lower_case_table_names AS CHAR), {own}"
    );
    let rows = client.query(&sql, &[]).await?;
    let place = client.place().to_string();
    let row = rows.first().ok_or_else(|| Error::internal("the server does not say how it is set up").at(place.clone()))?;
    if !matches!(row.text(0), "1" | "ON") {
        return Err(setting(
            "the server writes no log of changes",
            &place,
            "log_bin is off",
            "start it with log_bin, binlog_format=ROW and binlog_row_metadata=FULL (on RDS: automated backups on)",
        ));
    }
    if !row.text(1).eq_ignore_ascii_case("ROW") {
        return Err(setting(
            "the server's log has statements instead of rows",
            &place,
            format!("binlog_format is {}", row.text(1)),
            "SET GLOBAL binlog_format = 'ROW' (and in its configuration); sessions that are open keep the old format",
        ));
    }
    if !row.text(2).eq_ignore_ascii_case("FULL") {
        return Err(setting(
            "the server's log does not have whole rows",
            &place,
            format!("binlog_row_image is {}", row.text(2)),
            "SET GLOBAL binlog_row_image = 'FULL' (and in its configuration); sessions that are open keep the old image",
        ));
    }
    if server_id.is_some_and(|ours| row.text(3) == ours.to_string()) {
        return Err(Error::new("WEIR-MY-001", Kind::Spec, "`server_id` is the server's own number")
            .at(place)
            .hint("take one that neither the server nor a replica has"));
    }
    let family = match row.text(5) {
        _ if maria => Family::Mariadb,
        "ON" => Family::Gtids,
        _ => Family::Files,
    };
    Ok(Server { family, uuid: row.text(6).into(), fold: row.text(4) != "0" })
}

fn privilege(error: Error, maria: bool) -> Error {
    if error.kind() != Kind::Privilege {
        return error;
    }
    let hint = if maria {
        "as an administrator: GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO the user"
    } else {
        "as an administrator: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the user"
    };
    Error::new("WEIR-MY-006", Kind::Privilege, "the user may not read the log")
        .because(error.why().unwrap_or_default().to_string())
        .hint(hint)
}

/// Where the log ends now.
pub async fn end(client: &mut Client) -> Result<Place> {
    let row = status(client).await?;
    Ok(Place { file: row.text(0).into(), position: row.uint(1) })
}

/// Whether the log has all databases that are to be followed.
pub async fn check_filters(client: &mut Client, databases: &BTreeSet<&str>) -> Result<()> {
    let row = status(client).await?;
    let list = |at: usize| row.text(at).split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>();
    let (only, without) = (list(2), list(3));
    let missing = databases.iter().find(|name| (!only.is_empty() && !only.contains(*name)) || without.contains(*name));
    match missing {
        Some(name) => Err(setting(
            "the server leaves a database out of its log",
            client.place(),
            format!("`{name}` is not in it: binlog_do_db is `{}`, binlog_ignore_db is `{}`", only.join(","), without.join(",")),
            "take the filter out of the server's configuration",
        )),
        None => Ok(()),
    }
}

async fn status(client: &mut Client) -> Result<Row> {
    let maria = client.version.maria;
    let sql = match (maria, client.version.number) {
        (false, 80_200..) => "SHOW BINARY LOG STATUS",
        _ => "SHOW MASTER STATUS",
    };
    let rows = client.simple(sql).await.map_err(|error| privilege(error, maria))?;
    rows.into_iter().next().ok_or_else(|| {
        setting(
            "the server writes no log of changes",
            client.place(),
            "it does not say where its log ends",
            "start it with log_bin",
        )
    })
}

/// The files of the log, and their sizes, from the oldest.
async fn files(client: &mut Client) -> Result<Vec<Place>> {
    let maria = client.version.maria;
    let rows = client.simple("SHOW BINARY LOGS").await.map_err(|error| privilege(error, maria))?;
    Ok(rows.iter().map(|row| Place { file: row.text(0).into(), position: row.uint(1) }).collect())
}

/// What was executed before a place of the log.
pub async fn names_at(client: &mut Client, place: &Place) -> Result<MariaGtidList> {
    let rows = client.simple(&format!("SELECT BINLOG_GTID_POS({}, {})", literal(&place.file), place.position)).await?;
    match rows.first().and_then(|row| row.opt(0)) {
        Some(text) => text.parse(),
        None => Err(Error::internal("the server does not know a place of its own log").at(place.to_string())),
    }
}

/// The place of the log that a consistent view of this session stands at.
pub async fn place_of_view(client: &mut Client) -> Result<Place> {
    let rows = client.simple("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'").await?;
    let value = |name: &str| rows.iter().find(|row| row.text(0).eq_ignore_ascii_case(name)).map(|row| row.text(1));
    match (value("binlog_snapshot_file"), value("binlog_snapshot_position").and_then(|text| text.parse().ok())) {
        (Some(file), Some(position)) if !file.is_empty() => Ok(Place { file: file.into(), position }),
        _ => Err(Error::internal("the server does not say where its view stands in the log").at(client.place().to_string())),
    }
}

/// What MariaDB's log ends with.
pub async fn last(client: &mut Client) -> Result<MariaGtidList> {
    let rows = client.query("SELECT @@global.gtid_binlog_pos", &[]).await?;
    rows.first().map(|row| row.text(0)).unwrap_or_default().parse()
}

/// Waits until MariaDB shows what its log told: a commit is in the log a moment before it is visible.
pub async fn settle(client: &mut Client, list: &MariaGtidList) -> Result<()> {
    let since = Instant::now();
    loop {
        let place = placed_view(client).await?;
        if names_at(client, &place).await?.covers_all(list) {
            return Ok(());
        }
        if since.elapsed() > SETTLE {
            return Err(Error::new("WEIR-MY-011", Kind::Conflict, "a transaction of the log does not become visible")
                .at(client.place().to_string())
                .because(format!("{list} was read"))
                .hint("does it wait for a replica (semi-synchronous replication)?")
                .transient());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Where a view would stand now.
async fn placed_view(client: &mut Client) -> Result<Place> {
    client.batch("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    client.batch("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    let place = place_of_view(client).await?;
    client.batch("ROLLBACK").await?;
    Ok(place)
}

/// The set of what was executed and is visible.
pub async fn executed(client: &mut Client) -> Result<GtidSet> {
    let rows = client.query("SELECT @@global.gtid_executed", &[]).await?;
    rows.first().map(|row| row.text(0)).unwrap_or_default().parse()
}

/// A place of the log before which everything is visible.
pub async fn settled(client: &mut Client) -> Result<Place> {
    let rows = client.query("SELECT CAST(LOCAL AS CHAR) FROM performance_schema.log_status", &[]).await.map_err(|error| {
        if error.kind() != Kind::Privilege {
            return error;
        }
        Error::new("WEIR-MY-006", Kind::Privilege, "a snapshot cannot be placed in the log")
            .because("the server has no GTIDs, and the user may not see performance_schema.log_status")
            .hint("turn GTIDs on (gtid_mode=ON), or GRANT BACKUP_ADMIN ON *.* TO the user and SELECT ON performance_schema.log_status, or `snapshot: never`")
    })?;
    let text = rows.first().map(|row| row.text(0)).unwrap_or_default();
    let status: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    match (status["binary_log_file"].as_str(), status["binary_log_position"].as_u64()) {
        (Some(file), Some(position)) => Ok(Place { file: file.into(), position }),
        _ => Err(Error::internal("the server does not say where its log is").at(client.place().to_string())),
    }
}

/// Followed tables whose rows are changed without a trace in the log, because rows of another table are: the engine cascades by itself.
pub async fn cascades(client: &mut Client, tables: &[TableName]) -> Result<Vec<String>> {
    let rows = client
        .query(
            "SELECT CONSTRAINT_SCHEMA, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL')",
            &[],
        )
        .await?;
    let found = rows.iter().map(|row| TableName::new(row.text(0), row.text(1))).filter(|name| tables.contains(name));
    let mut found: Vec<String> = found.map(|name| name.display()).collect();
    found.dedup();
    Ok(found)
}

/// Where a first run begins: nothing after it is missed, and what is before it is visible to every later view.
pub async fn beginning(client: &mut Client, server: &Server, given: Option<&StartOptions>) -> Result<(Done, Place)> {
    let wrong = |what: &'static str| {
        Error::new("WEIR-MY-001", Kind::Spec, what).hint("leave `start` out to begin where the log ends now")
    };
    if let Some(start) = given {
        let (done, place) = match (&start.gtid, server.family) {
            (Some(text), Family::Gtids) => (Done::Gtids(text.parse()?), Place::default()),
            (Some(text), Family::Mariadb) => (Done::Maria(text.parse()?), Place::default()),
            (Some(_), Family::Files) => return Err(wrong("`start.gtid` needs a server with GTIDs")),
            (None, family) => {
                let place = Place { file: start.file.clone().unwrap_or_default(), position: start.position.unwrap_or(4) };
                match family {
                    Family::Files => (Done::Upto(place.clone()), place),
                    Family::Mariadb => (Done::Maria(names_at(client, &place).await?), place),
                    Family::Gtids => return Err(wrong("this server has GTIDs: give `start: {gtid: …}`")),
                }
            }
        };
        return Ok((done, place));
    }
    Ok(match server.family {
        Family::Gtids => {
            let done = executed(client).await?;
            (Done::Gtids(done), end(client).await?)
        }
        Family::Mariadb => {
            let place = placed_view(client).await?;
            (Done::Maria(names_at(client, &place).await?), place)
        }
        Family::Files => {
            let place = end(client).await?;
            (Done::Upto(place.clone()), place)
        }
    })
}

/// Whether the log goes on from here, in the history that this position is of.
pub async fn check_position(client: &mut Client, server: &Server, done: &Done, from: Option<&Position>) -> Result<()> {
    let place = client.place().to_string();
    if let Some(from) = from.filter(|from| from.family != server.family) {
        return Err(gap(
            "the stored position is of another kind of log",
            &place,
            format!("it is of {:?}, and the server has {:?}", from.family, server.family).to_lowercase(),
        ));
    }
    match done {
        Done::Gtids(set) => {
            let rows = client.query("SELECT @@global.gtid_purged", &[]).await?;
            let purged: GtidSet = rows.first().map(|row| row.text(0)).unwrap_or_default().parse()?;
            let missing = purged.subtract(set);
            if !missing.is_empty() {
                return Err(gap("the log was purged", &place, format!("transactions {missing} are gone and were not read")));
            }
            let unknown = set.subtract(&executed(client).await?);
            if !unknown.is_empty() {
                return Err(gap(
                    "the server has another history",
                    &place,
                    format!(
                        "it does not know transactions {unknown}, which were read already: was it restored, or is it another server?"
                    ),
                ));
            }
        }
        Done::Maria(list) => {
            let last = last(client).await?;
            if !last.covers_all(list) {
                return Err(gap(
                    "the server has another history",
                    &place,
                    format!("its log ends with {last}, and {list} was read already: was it restored, or is it another server?"),
                ));
            }
            if let Some(oldest) = files(client).await?.first() {
                let before = names_at(client, &Place { file: oldest.file.clone(), position: 4 }).await?;
                if !list.covers_all(&before) {
                    return Err(gap(
                        "the log was purged",
                        &place,
                        format!("its oldest file, {}, begins after {before}, and {list} was read", oldest.file),
                    ));
                }
            }
        }
        Done::Upto(at) => {
            if from.is_some_and(|from| from.server != server.uuid) {
                return Err(gap(
                    "it is another server",
                    &place,
                    format!("its server_uuid is {}, and places in files mean something only at the one they are of", server.uuid),
                ));
            }
            let files = files(client).await?;
            match files.iter().find(|file| file.file == at.file) {
                Some(file) if at.position <= file.position => {}
                Some(file) => {
                    return Err(gap(
                        "the server has another history",
                        &place,
                        format!("{at} was read, and the log ends at {file}"),
                    ));
                }
                None => {
                    let oldest = files.first().map(|file| file.file.clone()).unwrap_or_default();
                    return Err(gap("the log was purged", &place, format!("{} is gone; the oldest file is {oldest}", at.file)));
                }
            }
        }
    }
    Ok(())
}
