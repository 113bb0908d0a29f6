//! What the server keeps for a pipeline: the publication that says which tables are in the stream, and the slot that keeps the log. Everything
//! that would make a gap, or would hurt the source, is found here before a row is given out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use weir_connect::{Error, Kind, Result};

use super::super::client::Client;
use super::super::errors::sqlstate;
use super::super::quote::{TableName, ident, literal};
use super::decode::{Lsn, lsn_text, parse_lsn};
use super::options::{CdcOptions, Names};
use super::position::Position;
use super::table::{CatalogColumn, Table, published};

/// How long a slot may be busy with a receiver that is gone already.
const BUSY: Duration = Duration::from_secs(20);

/// The state of things after [`prepare`].
#[derive(Debug)]
pub struct Prepared {
    /// Where the log is read from.
    pub start: Lsn,
    /// System identifier.
    pub system: String,
    /// Timeline.
    pub timeline: u32,
    /// The slot was made now: whatever ran before it has ended.
    pub fresh: bool,
}

fn setting(what: &str, place: &str, why: impl Into<String>, hint: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new("WEIR-PG-073", Kind::Unsupported, what).at(place).because(why.into()).hint(hint)
}

fn gap(what: impl Into<String>, place: &str, why: impl Into<String>) -> Error {
    Error::new("WEIR-PG-075", Kind::Conflict, what).at(place).because(why.into()).hint(
        "changes are lost for this pipeline: `weir state reset` drops its slot, and the next run begins with a new snapshot",
    )
}

/// Server settings and privileges.
pub async fn check_server(control: &mut Client) -> Result<()> {
    let rows = control
        .query(
            "SELECT current_setting('wal_level'), pg_is_in_recovery(), r.rolsuper OR r.rolreplication OR \
             (SELECT coalesce(bool_or(pg_has_role(current_user, oid, 'MEMBER')), false) FROM pg_roles WHERE rolname = 'rds_replication'), \
             current_user FROM pg_roles r WHERE r.rolname = current_user",
            &[],
        )
        .await?;
    let place = control.place().to_string();
    let Some(row) = rows.first() else { return Err(Error::internal("the server does not know its user").at(place)) };
    if row.flag(1) {
        return Err(setting("changes are read from the primary", &place, "this server is a standby", "connect to the primary"));
    }
    if row.text(0) != "logical" {
        return Err(setting(
            "the server does not write a logical log",
            &place,
            format!("wal_level is `{}`", row.text(0)),
            "ALTER SYSTEM SET wal_level = 'logical', then restart the server (on RDS: rds.logical_replication = 1)",
        ));
    }
    if !row.flag(2) {
        let user = ident(row.text(3));
        return Err(Error::new("WEIR-PG-006", Kind::Privilege, "the user may not replicate")
            .at(place)
            .hint(format!("as an administrator: ALTER ROLE {user} REPLICATION (on RDS: GRANT rds_replication TO {user})")));
    }
    Ok(())
}

/// Tables that cannot be followed, or that would refuse their own updates once they are published.
pub fn check_tables(tables: &[Table], place: &str) -> Result<()> {
    for table in tables {
        let name = table.name.sql();
        if table.unlogged {
            return Err(setting(
                &format!("{} cannot be followed", table.stream),
                place,
                "it is unlogged: its changes are not in the log",
                format!("ALTER TABLE {name} SET LOGGED, or exclude it: \"!{}\"", table.stream),
            ));
        }
        let loose = match table.identity {
            'f' => None,
            'n' => Some("its replica identity is NOTHING".to_string()),
            'i' if table.key.is_empty() => Some("the index of its replica identity is gone".to_string()),
            _ if table.key.is_empty() => Some("it has no primary key (or only a deferrable one)".to_string()),
            _ => None,
        };
        let loose = loose.or_else(|| table.loose_partitions.first().map(|list| format!("partitions without identity: {list}")));
        if let Some(why) = loose {
            return Err(Error::new(
                "WEIR-PG-074",
                Kind::Schema,
                format!("rows of {} cannot be told apart in the log", table.stream),
            )
            .at(place)
            .because(format!("{why}; published so, the server would refuse its updates and deletes"))
            .hint(format!(
                "ALTER TABLE {name} ADD PRIMARY KEY (…), or: ALTER TABLE {name} REPLICA IDENTITY FULL, or exclude it: \"!{}\"",
                table.stream
            )));
        }
    }
    Ok(())
}

struct Publication {
    all_tables: bool,
    complete: bool,
    via_root: bool,
}

async fn publication(control: &mut Client, name: &str) -> Result<Option<Publication>> {
    let sql = "SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate, to_jsonb(p)->>'pubviaroot' = 'true' \
               FROM pg_publication p WHERE pubname = $1";
    let rows = control.query(sql, &[Some(name)]).await?;
    Ok(rows.first().map(|row| Publication { all_tables: row.flag(0), complete: row.flag(1), via_root: row.flag(2) }))
}

/// Table → columns in its publication, if the server lists them, and the filter of its rows.
type Scope = HashMap<TableName, (Option<Vec<String>>, Option<String>)>;

async fn scope(control: &mut Client, name: &str) -> Result<Scope> {
    let sql = "SELECT schemaname, tablename, to_jsonb(p)->>'attnames', to_jsonb(p)->>'rowfilter' FROM pg_publication_tables p WHERE pubname = $1";
    let rows = control.query(sql, &[Some(name)]).await?;
    let listed = |text: &str| serde_json::from_str::<Vec<String>>(text).ok();
    Ok(rows
        .iter()
        .map(|row| (TableName::new(row.text(0), row.text(1)), (row.opt(2).and_then(listed), row.opt(3).map(str::to_string))))
        .collect())
}

/// The published columns of each table, in order.
pub async fn columns(control: &mut Client, names: &Names, tables: &[Table]) -> Result<Vec<Vec<CatalogColumn>>> {
    let scope = scope(control, &names.publication).await?;
    let version = control.version;
    Ok(tables
        .iter()
        .map(|table| match scope.get(&table.name) {
            // Before 18 the list names generated columns, but the log never has them.
            Some((listed, _)) => published(table, listed.as_deref(), version >= 180_000 && listed.is_some()),
            // Not there yet: as we shall publish it.
            None => published(table, None, version >= 180_000 && names.own_publication),
        })
        .collect())
}

fn list(tables: &[&Table]) -> String {
    // Inheriting tables are tables of their own; partitions come with their root in any case.
    tables.iter().map(|table| format!("ONLY {}", table.name.sql())).collect::<Vec<_>>().join(", ")
}

/// Makes the publication, or checks that it says what is needed.
async fn ensure_publication(control: &mut Client, names: &Names, tables: &[Table]) -> Result<()> {
    let all: Vec<&Table> = tables.iter().collect();
    let name = ident(&names.publication);
    let statement = {
        let generated = if control.version >= 180_000 { ", publish_generated_columns = stored" } else { "" };
        let root = if control.version >= 130_000 {
            " WITH (publish_via_partition_root = true"
        } else {
            " WITH (publish = 'insert, update, delete, truncate'"
        };
        format!("CREATE PUBLICATION {name} FOR TABLE {}{root}{generated})", list(&all))
    };
    let place = control.place().to_string();
    let advice = |error: Error| {
        if error.kind() != Kind::Privilege {
            return error;
        }
        Error::new("WEIR-PG-006", Kind::Privilege, "the user may not publish the tables")
            .at(place.clone())
            .because(error.why().unwrap_or_default().to_string())
            .hint(format!(
                "it must own them and have CREATE on the database; or let an administrator do it and name it as `publication`: {statement}"
            ))
    };
    let found = match publication(control, &names.publication).await? {
        None if names.own_publication => {
            control.batch(&statement).await.map_err(advice)?;
            return Ok(());
        }
        None => {
            return Err(Error::new("WEIR-PG-076", Kind::NotFound, format!("publication `{}` does not exist", names.publication))
                .at(place)
                .hint(format!("as owner of the tables: {statement}; or leave `publication` out, and it is made")));
        }
        Some(found) => found,
    };
    let incomplete = |why: String| {
        Err(Error::new("WEIR-PG-076", Kind::Schema, format!("publication `{}` leaves something out", names.publication))
            .at(place.clone())
            .because(why)
            .hint(format!("DROP PUBLICATION {name}; {statement}")))
    };
    if !found.complete {
        return incomplete("it does not publish all of insert, update, delete and truncate".into());
    }
    if tables.iter().any(|table| table.partitioned) && !found.via_root {
        return incomplete("publish_via_partition_root is off, so changes come under the partitions' names".into());
    }
    let now = scope(control, &names.publication).await?;
    let missing: Vec<&Table> = tables.iter().filter(|table| !now.contains_key(&table.name)).collect();
    if !missing.is_empty() && !names.own_publication {
        let names: Vec<&str> = missing.iter().map(|table| &*table.stream).collect();
        return incomplete(format!("it does not publish {}", names.join(", ")));
    }
    for table in tables {
        if let Some((columns, filter)) = now.get(&table.name) {
            if let Some(filter) = filter {
                return incomplete(format!("rows of {} are filtered: {filter}", table.stream));
            }
            let lacks = |key: &&String| columns.as_ref().is_some_and(|columns| !columns.contains(key));
            if let Some(key) = table.key.iter().find(lacks) {
                return incomplete(format!("column `{key}` of the key of {} is not published", table.stream));
            }
        }
    }
    if names.own_publication && !found.all_tables {
        if !missing.is_empty() {
            control.batch(&format!("ALTER PUBLICATION {name} ADD TABLE {}", list(&missing))).await.map_err(advice)?;
        }
        let wanted: HashSet<&TableName> = tables.iter().map(|table| &table.name).collect();
        let left: Vec<String> = now.keys().filter(|table| !wanted.contains(table)).map(TableName::sql).collect();
        if !left.is_empty() {
            control.batch(&format!("ALTER PUBLICATION {name} DROP TABLE {}", left.join(", "))).await?;
        }
    }
    Ok(())
}

struct Slot {
    plugin: String,
    database: String,
    active: bool,
    wal_status: String,
    invalid: Option<String>,
    confirmed: Lsn,
}

async fn slot(control: &mut Client, name: &str) -> Result<Option<Slot>> {
    let sql = "SELECT plugin, database, active, to_jsonb(s)->>'wal_status', to_jsonb(s)->>'invalidation_reason', confirmed_flush_lsn \
               FROM pg_replication_slots s WHERE slot_name = $1";
    let rows = control.query(sql, &[Some(name)]).await?;
    Ok(rows.first().map(|row| Slot {
        plugin: row.text(0).into(),
        database: row.text(1).into(),
        active: row.flag(2),
        wal_status: row.text(3).into(),
        invalid: row.opt(4).map(str::to_string),
        confirmed: parse_lsn(row.text(5)).unwrap_or(0),
    }))
}

/// The names to use: those of this pipeline and database, but a slot that has its former name is used on, or its position would be lost.
pub async fn names(
    control: &mut Client,
    pipeline: &str,
    database: &str,
    options: &CdcOptions,
    from: Option<&Position>,
) -> Result<Names> {
    let mut names = Names::of(pipeline, database, options);
    if let Some(former) = Names::former_slot(pipeline, options) {
        let used_on = match from {
            Some(from) => from.slot == former,
            // One of another database is another pipeline's.
            None => slot(control, &former).await?.is_some_and(|found| found.plugin == "pgoutput" && found.database == database),
        };
        if used_on {
            names.slot = former;
        }
    }
    Ok(names)
}

/// Where our timeline ended, if it is a part of the server's history.
async fn left_timeline_at(wire: &mut Client, now: u32, ours: u32) -> Option<Lsn> {
    let rows = wire.simple(&format!("TIMELINE_HISTORY {now}")).await.ok()?;
    rows.first()?.text(1).lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let number: u32 = words.next()?.parse().ok()?;
        (number == ours).then(|| parse_lsn(words.next()?)).flatten()
    })
}

/// Checks everything, makes publication and slot, and says where to begin.
pub async fn prepare(
    control: &mut Client,
    wire: &mut Client,
    options: &CdcOptions,
    names: &Names,
    tables: &[Table],
    from: Option<&Position>,
    database: &str,
) -> Result<Prepared> {
    check_server(control).await?;
    let place = control.place().to_string();
    check_tables(tables, &place)?;
    let identity = wire.simple("IDENTIFY_SYSTEM").await?;
    let row = identity.first().ok_or_else(|| Error::internal("the server does not identify itself").at(place.clone()))?;
    let (system, timeline) = (row.text(0).to_string(), row.int(1) as u32);
    let current = parse_lsn(row.text(2)).unwrap_or(0);
    if let Some(from) = from {
        if from.system != system {
            return Err(gap("this is another server", &place, format!("its system identifier is {system}, not {}", from.system)));
        }
        if from.database != database {
            return Err(gap("this is another database", &place, format!("the position is of database `{}`", from.database)));
        }
        if from.slot != names.slot {
            return Err(gap(
                "this is another slot",
                &place,
                format!("the position is of slot `{}`, not `{}`", from.slot, names.slot),
            ));
        }
        if from.timeline != timeline {
            let left = left_timeline_at(wire, timeline, from.timeline).await;
            if left.is_none_or(|left| from.lsn > left) {
                return Err(gap(
                    "the server is on another timeline",
                    &place,
                    match left {
                        Some(left) => format!(
                            "it left timeline {} at {} (restore or failover), and we were at {} already",
                            from.timeline,
                            lsn_text(left),
                            lsn_text(from.lsn)
                        ),
                        None => format!("it is on timeline {timeline}, which does not come from ours ({})", from.timeline),
                    },
                ));
            }
        }
        if from.lsn > current {
            return Err(gap(
                "the server's log ends before our position",
                &place,
                format!(
                    "it ends at {}, we were at {}: it was restored or lost its last moments",
                    lsn_text(current),
                    lsn_text(from.lsn)
                ),
            ));
        }
    }
    let found = slot(control, &names.slot).await?;
    let Some(mut found) = found else {
        if let Some(from) = from {
            return Err(gap(
                format!("slot `{}` is gone", names.slot),
                &place,
                format!("somebody dropped it, or the server was restored; the log after {} is not kept", lsn_text(from.lsn)),
            ));
        }
        ensure_publication(control, names, tables).await?;
        let start = create(control, options, names).await?;
        return Ok(Prepared { start, system, timeline, fresh: true });
    };
    if found.plugin != "pgoutput" || found.database != database {
        return Err(Error::new("WEIR-PG-077", Kind::Conflict, format!("slot `{}` is not one of ours", names.slot))
            .at(place)
            .because(format!("its plugin is `{}`, its database `{}`", found.plugin, found.database))
            .hint("choose another name with `slot`"));
    }
    if found.wal_status == "lost" || found.invalid.is_some() {
        let why =
            found.invalid.unwrap_or_else(|| "wal_status is `lost`: the server needed the room (max_slot_wal_keep_size)".into());
        return Err(gap(format!("slot `{}` is lost", names.slot), &place, why));
    }
    if let Some(from) = from
        && found.confirmed > from.lsn
    {
        return Err(gap(
            format!("slot `{}` was advanced by somebody else", names.slot),
            &place,
            format!("it is at {}, and only what is before {} is durable", lsn_text(found.confirmed), lsn_text(from.lsn)),
        ));
    }
    let since = std::time::Instant::now();
    while found.active {
        // A receiver that was killed a moment ago is noticed by the server soon.
        if since.elapsed() > BUSY {
            return Err(Error::new("WEIR-PG-078", Kind::Conflict, format!("slot `{}` is in use", names.slot))
                .at(place)
                .hint("another run of this pipeline reads it; pg_stat_replication shows from where")
                .transient());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        match slot(control, &names.slot).await? {
            Some(next) => found = next,
            None => return Err(gap(format!("slot `{}` is gone", names.slot), &place, "somebody dropped it just now")),
        }
    }
    ensure_publication(control, names, tables).await?;
    Ok(Prepared { start: from.map_or(found.confirmed, |from| from.lsn), system, timeline, fresh: false })
}

async fn create(control: &mut Client, options: &CdcOptions, names: &Names) -> Result<Lsn> {
    let place = control.place().to_string();
    if options.failover && control.version < 170_000 {
        return Err(setting(
            "this server has no failover slots",
            &place,
            format!("it is version {}", control.version / 10_000),
            "remove `failover`, or use PostgreSQL 17 or newer",
        ));
    }
    // Waits until every transaction that runs now has ended: what they did before is seen by the snapshot, all later ones are in the log whole.
    let extra = if options.failover { ", false, false, true" } else { "" };
    let sql = format!("SELECT lsn FROM pg_create_logical_replication_slot({}, 'pgoutput'{extra})", literal(&names.slot));
    let rows = control.query(&sql, &[]).await.map_err(|error| match sqlstate(&error) {
        Some("53400") => Error::new("WEIR-PG-079", Kind::Limit, "the server has no replication slot left")
            .at(place.clone())
            .because(&error)
            .hint("raise max_replication_slots and restart the server, or drop slots that nobody uses (pg_replication_slots)"),
        _ => error,
    })?;
    rows.first()
        .and_then(|row| parse_lsn(row.text(0)))
        .ok_or_else(|| Error::internal("the server made a slot without position").at(place))
}

/// Drops both. What is gone already is fine.
pub async fn forget(control: &mut Client, names: &Names) -> Result<()> {
    let since = std::time::Instant::now();
    loop {
        let dropped = control
            .query(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                 WHERE slot_name = $1 AND database = current_database()",
                &[Some(&names.slot)],
            )
            .await;
        match dropped {
            Ok(_) => break,
            Err(error) if sqlstate(&error) == Some("42704") => break,
            Err(error) if sqlstate(&error) == Some("55006") && since.elapsed() < BUSY => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error),
        }
    }
    if names.own_publication {
        control.batch(&format!("DROP PUBLICATION IF EXISTS {}", ident(&names.publication))).await?;
    }
    Ok(())
}

/// A table has another name than its stream.
pub fn table_renamed(stream: &str, now: &str, place: &str) -> Error {
    Error::new("WEIR-PG-007", Kind::NotFound, format!("table `{stream}` does not exist (any more)"))
        .at(place)
        .because(format!("it is `{now}` now: changes of it come under that name"))
        .hint("rename it back; or name it in `tables` as it is called now, which begins with a new snapshot of it")
}

/// The table of a stream is another one now.
pub fn table_replaced(stream: &str, place: &str) -> Error {
    Error::new("WEIR-PG-080", Kind::Conflict, format!("{stream} was dropped and made again"))
        .at(place)
        .because("it is another table under the same name; what was written of the old one would be mixed with it")
        .hint("take it out of `tables` for one run, empty its target, and add it again")
}

/// The key changed while the snapshot of the table was not complete.
pub fn key_replaced(stream: &str, place: &str) -> Error {
    Error::new("WEIR-PG-080", Kind::Conflict, format!("the key of {stream} is another one"))
        .at(place)
        .because("its snapshot was not complete, and what was read can no more be told from what was not")
        .hint("take it out of `tables` for one run, empty its target, and add it again")
}
