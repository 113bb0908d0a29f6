//! Debezium's source connectors. Names of options: the reference of Debezium 3.7, of which a copy is in `tests/rules`.

use weir_connect::WriteMode;

use super::Config;
use crate::compile::systems::{Captured, DocumentLog, Endpoint, Family, Log, System, is_glob};
use crate::compile::{Compiling, Text, identifier};

/// The configuration of a log's connector, without what becomes of its messages.
pub(super) fn config(compiling: &Compiling<'_>, source: &Endpoint<'_>) -> Config {
    let mut config = Config::default();
    match &source.system {
        System::Log(log) if log.database.family == Family::Postgres => postgres(compiling, source, log, &mut config),
        System::Log(log) => mysql(compiling, source, log, &mut config),
        System::DocumentLog(log) => mongodb(compiling, source, log, &mut config),
        _ => {}
    }
    config
}

/// What topics of this pipeline begin with.
pub(super) fn prefix(compiling: &Compiling<'_>) -> String {
    identifier(&compiling.pipeline().name)
}

fn database(compiling: &Compiling<'_>, log: &Log, class: &str, config: &mut Config) {
    let database = &log.database;
    config.put("connector.class", class);
    config.set("tasks.max", 1);
    config.put("database.hostname", &database.host);
    config.put("database.port", &database.port);
    config.put("database.user", &database.user);
    if let Some(password) = &database.password {
        config.put("database.password", password);
    }
    config.put("topic.prefix", prefix(compiling));
}

/// What is the same of all of them: an idle log moves on.
fn rest(compiling: &Compiling<'_>, config: &mut Config) {
    config.set("heartbeat.interval.ms", compiling.pipeline().checkpoint_interval_ms.unwrap_or(10_000));
}

fn included(names: &[String]) -> Option<String> {
    let chosen: Vec<String> = names.iter().filter(|name| !name.starts_with('!')).map(|name| pattern(name)).collect();
    (!chosen.is_empty()).then(|| chosen.join(","))
}

fn excluded(names: &[String]) -> Option<String> {
    let out: Vec<String> = names.iter().filter_map(|name| name.strip_prefix('!')).map(pattern).collect();
    (!out.is_empty()).then(|| out.join(","))
}

/// A name or glob as the regular expression that Debezium takes: it must match the whole name.
fn pattern(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '.' | '(' | ')' | '+' | '^' | '|' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '{' => out.push('('),
            '}' => out.push(')'),
            ',' => out.push('|'),
            c => out.push(c),
        }
    }
    out
}

fn lists(config: &mut Config, kind: &str, names: &[String]) {
    // Debezium takes one of the two.
    match (included(names), excluded(names)) {
        (Some(list), _) => config.put(format!("{kind}.include.list"), list.replace("${", "${env:")),
        (None, Some(list)) => config.put(format!("{kind}.exclude.list"), list.replace("${", "${env:")),
        (None, None) => {}
    }
}

fn both_lists(compiling: &Compiling<'_>, source: &Endpoint<'_>, names: &[String]) {
    if included(names).is_some() && excluded(names).is_some() {
        compiling.refuse(source.node, Some("tables"), "includes names or excludes them, not both", "name the ones that are read");
    }
}

fn captured(log: Captured) -> &'static str {
    match log {
        Captured::SnapshotThenChanges => "initial",
        Captured::Changes => "no_data",
        Captured::SnapshotOnly => "initial_only",
    }
}

fn postgres(compiling: &Compiling<'_>, source: &Endpoint<'_>, log: &Log, config: &mut Config) {
    database(compiling, log, "io.debezium.connector.postgresql.PostgresConnector", config);
    config.put("database.dbname", &log.database.database);
    if let Some(mode) = &log.database.ssl_mode {
        config.put("database.sslmode", mode.replace('_', "-"));
    }
    if let Some(file) = &log.database.ssl_root_cert {
        config.put("database.sslrootcert", file);
    }
    // The default is a plug-in that servers do not have.
    config.put("plugin.name", "pgoutput");
    let ours = prefix(compiling);
    config.put("slot.name", log.slot.clone().unwrap_or_else(|| format!("weir_{ours}")));
    config.put("publication.name", log.publication.clone().unwrap_or_else(|| format!("weir_{ours}")));
    config.put("publication.autocreate.mode", "filtered");
    if log.failover {
        config.set("slot.failover", true);
    }
    both_lists(compiling, source, &log.database.tables);
    lists(config, "table", &log.database.tables);
    snapshot(compiling, source, log, config);
    rest(compiling, config);
}

fn mysql(compiling: &Compiling<'_>, source: &Endpoint<'_>, log: &Log, config: &mut Config) {
    let mariadb = log.database.mariadb;
    let class =
        if mariadb { "io.debezium.connector.mariadb.MariaDbConnector" } else { "io.debezium.connector.mysql.MySqlConnector" };
    database(compiling, log, class, config);
    // A number among the server's replicas that is the same for each run of this pipeline.
    let id = log.server_id.unwrap_or_else(|| 5_000 + u64::from(sum(&compiling.pipeline().name)));
    config.set("database.server.id", id);
    config.put("database.include.list", &log.database.database);
    if let Some(mode) = &log.database.ssl_mode {
        let word = match mode.as_str() {
            "disable" => "disabled",
            "require" => "required",
            "verify_full" => "verify_identity",
            "verify_ca" => "verify_ca",
            _ => "preferred",
        };
        config.put("database.ssl.mode", word);
    }
    if log.database.ssl_root_cert.is_some() {
        compiling.refuse(
            source.node,
            Some("ssl_root_cert"),
            "takes certificates from a trust store",
            "`database.ssl.truststore` on the worker",
        );
    }
    both_lists(compiling, source, &log.database.tables);
    let tables: Vec<String> = log.database.tables.iter().map(|table| in_database(&log.database.database, table)).collect();
    lists(config, "table", &tables);
    if let Some(start) = &log.start {
        let what = if start.gtid.is_some() { "GTID" } else { "position" };
        compiling.refuse(
            source.node,
            Some("start"),
            format!("is given no {what} to begin at"),
            "PATCH /connectors/NAME/offsets before it starts, or the native engine",
        );
    }
    snapshot(compiling, source, log, config);
    config.put("bigint.unsigned.handling.mode", "precise");
    config.set("include.schema.changes", false);
    let servers = history_servers(compiling, source);
    config.put("schema.history.internal.kafka.bootstrap.servers", servers);
    config.put("schema.history.internal.kafka.topic", format!("{}.schema-history", prefix(compiling)));
    rest(compiling, config);
}

/// Tables of MySQL are told with their database.
fn in_database(database: &Text, table: &str) -> String {
    let (not, bare) = table.strip_prefix('!').map_or(("", table), |bare| ("!", bare));
    if bare.contains('.') { table.to_string() } else { format!("{not}{}.{bare}", database.braces()) }
}

/// Where Debezium keeps the history of tables: the brokers of the pipeline's topics, else those that the machine names.
fn history_servers(compiling: &Compiling<'_>, source: &Endpoint<'_>) -> Text {
    for node in compiling.pipeline().nodes.iter().filter(|node| compiling.kind(node) == "kafka") {
        let (endpoint, _) = Endpoint::read(compiling, node);
        if let System::Kafka(kafka) = endpoint.system {
            return kafka.servers;
        }
    }
    compiling.note(format!(
        "`{}`: KAFKA_BOOTSTRAP_SERVERS are the brokers of the Connect cluster, where the history of tables is kept",
        source.node.name
    ));
    compiling.variable("KAFKA_BOOTSTRAP_SERVERS", None, false)
}

fn sum(text: &str) -> u16 {
    text.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)))
}

fn snapshot(compiling: &Compiling<'_>, source: &Endpoint<'_>, log: &Log, config: &mut Config) {
    config.put("snapshot.mode", captured(log.captured));
    config.put("decimal.handling.mode", "precise");
    if log.snapshot_where.is_empty() {
        return;
    }
    let names: Vec<&str> = log.snapshot_where.iter().map(|(table, _)| table.as_str()).collect();
    if names.iter().any(|name| is_glob(name)) {
        compiling.refuse(source.node, Some("snapshot_where"), "takes tables by name", "one entry per table");
    }
    config.put("snapshot.select.statement.overrides", names.join(","));
    for (table, rows) in &log.snapshot_where {
        let query = Text::plain(format!("SELECT * FROM {} WHERE ", log.database.quoted(table))).then(rows);
        config.put(format!("snapshot.select.statement.overrides.{table}"), query);
    }
}

fn mongodb(compiling: &Compiling<'_>, source: &Endpoint<'_>, log: &DocumentLog, config: &mut Config) {
    let documents = &log.documents;
    config.put("connector.class", "io.debezium.connector.mongodb.MongoDbConnector");
    config.set("tasks.max", 1);
    config.put("mongodb.connection.string", &documents.uri);
    config.put("topic.prefix", prefix(compiling));
    config.put("database.include.list", &documents.database);
    both_lists(compiling, source, &documents.collections);
    let collections: Vec<String> = documents.collections.iter().map(|name| in_database(&documents.database, name)).collect();
    lists(config, "collection", &collections);
    let (mode, update) = match log.full_document.as_deref() {
        Some("required") => ("change_streams_update_full", Some("post_image")),
        Some("none") => ("change_streams", None),
        Some("when_available") => {
            compiling.refuse(
                source.node,
                Some("full_document"),
                "looks documents up or has them all",
                "`update_lookup` or `required`",
            );
            return;
        }
        _ => ("change_streams_update_full", None),
    };
    config.put("capture.mode", mode);
    if let Some(update) = update {
        config.put("capture.mode.full.update.type", update);
    }
    config.put("snapshot.mode", captured(log.captured));
    rest(compiling, config);
}

/// Messages as the pipeline's sink wants them: with `upsert` rows and tombstones by key, with `append` Debezium's envelopes.
pub(super) fn into_topics(compiling: &Compiling<'_>, sink: &Endpoint<'_>, config: &mut Config) {
    let System::Kafka(kafka) = &sink.system else { return };
    match kafka.format.word() {
        "json" => without_schemas(config),
        "avro" => match &kafka.registry {
            Some(registry) => {
                for part in ["key", "value"] {
                    config.put(format!("{part}.converter"), "io.confluent.connect.avro.AvroConverter");
                    config.put(format!("{part}.converter.schema.registry.url"), &registry.url);
                    if let Some((user, password)) = &registry.login {
                        config.put(format!("{part}.converter.basic.auth.credentials.source"), "USER_INFO");
                        config.put(format!("{part}.converter.basic.auth.user.info"), user.clone().then(":").then(password));
                    }
                }
            }
            None => {
                compiling.refuse(sink.node, Some("format"), "needs a registry for Avro", "`registry: {url: …}` at the connection")
            }
        },
        other => compiling.refuse(sink.node, Some("format"), format!("is compiled without `{other}`"), "`json` or `avro`"),
    }
    if !sink.key.is_empty() {
        // Keys of messages, for every table that is read.
        config.put("message.key.columns", format!("(.*):{}", sink.key.join(",")));
    }
    let mut steps = Vec::new();
    if matches!(sink.write_mode, WriteMode::Upsert | WriteMode::Merge) {
        steps.push("unwrap");
    }
    let topic = kafka.topics.first().map_or("{stream}", String::as_str);
    let plain = format!("{}.", prefix(compiling));
    steps.push("route");
    config.put("transforms", steps.join(","));
    if steps.contains(&"unwrap") {
        unwrap(config);
    }
    config.put("transforms.route.type", "org.apache.kafka.connect.transforms.RegexRouter");
    config.put("transforms.route.regex", format!("{}(.*)", pattern(&plain)));
    config.put("transforms.route.replacement", topic.replace('$', "\\$").replace("{stream}", "$1"));
    if kafka.exactly_once && compiling.pipeline().delivery.is_none() {
        compiling.note(format!(
            "`{}`: `delivery: exactly_once` in the pipeline makes the connector write in transactions",
            sink.node.name
        ));
    }
    compiling.note("topics are on the brokers of the Connect cluster: `bootstrap_servers` must be the same");
}

/// The row after a change; a delete is a tombstone.
pub(super) fn unwrap(config: &mut Config) {
    config.put("transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState");
    config.put("transforms.unwrap.delete.tombstone.handling.mode", "tombstone");
}

fn json(config: &mut Config, schemas: bool) {
    for part in ["key", "value"] {
        config.put(format!("{part}.converter"), "org.apache.kafka.connect.json.JsonConverter");
        config.set(&format!("{part}.converter.schemas.enable"), schemas);
    }
}

/// JSON without the types of its columns.
pub(super) fn without_schemas(config: &mut Config) {
    json(config, false);
}

/// JSON with them, for a sink that needs them.
pub(super) fn with_schemas(config: &mut Config) {
    json(config, true);
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn globs_become_expressions_that_match_the_whole_name() {
        assert_eq!(pattern("public.order_*"), "public\\.order_.*");
        assert_eq!(pattern("public.{a,b}"), "public\\.(a|b)");
        assert_eq!(included(&["a.b".into(), "!a.c".into()]).unwrap(), "a\\.b");
        let mut config = Config::default();
        lists(&mut config, "table", &["!a.c".into()]);
        assert_eq!(config.0["table.exclude.list"], "a\\.c");
    }
}
