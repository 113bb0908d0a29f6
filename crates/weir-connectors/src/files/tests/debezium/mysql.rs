//! The same of MySQL and MariaDB: changes.sql at both, beside what Debezium's connectors for them said. `mysql/golden.py` makes the other side.

use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::*;
use crate::mysql::MysqlCdc;

const CHANGES: &str = include_str!("mysql/changes.sql");
const TABLES: [&str; 3] = ["kinds", "plain", "strict"];

fn golden(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MySql => include_str!("mysql/mysql.ndjson"),
        Flavor::MariaDb => include_str!("mysql/mariadb.ndjson"),
    }
}

/// Where both sides may differ: times, positions, the program, the session, and which row of a snapshot it is.
fn normalised(mut message: Value) -> Value {
    for payload in ["/value", "/value/payload"] {
        let Some(value) = message.pointer_mut(payload).and_then(Value::as_object_mut).filter(|value| value.contains_key("op"))
        else {
            continue;
        };
        for name in ["ts_ms", "ts_us", "ts_ns"] {
            assert!(value[name].is_i64());
            value[name] = json!("at");
        }
        if value["op"] == "r" && value["after"]["j"].is_string() && value["source"]["connector"] == "mysql" {
            // The blanks that the server prints are in Debezium's snapshot, and not in its stream.
            let json: Value = serde_json::from_str(value["after"]["j"].as_str().unwrap()).unwrap();
            value["after"]["j"] = json.to_string().into();
        }
        if value["source"]["connector"] == "mariadb" && value["after"]["id"] == 10 {
            // A zero moment, which Debezium's connector for MariaDB takes for 1970.
            assert!(matches!(value["after"]["ts"].as_str(), None | Some("1970-01-01T00:00:00Z")));
            value["after"]["ts"] = Value::Null;
        }
        let truncate = value["op"] == "t";
        let source = value["source"].as_object_mut().unwrap();
        let snapshot = source["snapshot"] != "false";
        source["snapshot"] = json!(snapshot.to_string());
        assert_eq!(source["gtid"].is_null(), snapshot);
        // The session that emptied a table is in the log.
        if truncate {
            source["thread"] = Value::Null;
        }
        for name in ["version", "ts_ms", "ts_us", "ts_ns", "gtid", "file", "pos", "row", "thread"] {
            source[name] = json!(if source[name].is_null() { "none" } else { "some" });
        }
    }
    message
}

/// What the schemas of ours do not have.
fn without_defaults(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("field").is_none_or(|field| field != "snapshot") {
                fields.remove("default");
            }
            fields.values_mut().for_each(without_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        _ => {}
    }
}

async fn told(flavor: Flavor, schemas: bool, normalised: impl Fn(Value) -> Value) -> Told {
    let database: MysqlDatabase = MysqlServer::shared(flavor).unwrap().create_database().unwrap();
    let (setup, then) = CHANGES.split_once("-- changes\n").unwrap();
    let zone = "SET time_zone = '+00:00';";
    database.execute(format!("{zone}{setup}")).unwrap();
    let place = Place::local();
    // Zero dates are NULL.
    let columns = ["d", "dt", "dt6", "ts"].map(|name| (name.to_owned(), LossChoice::Accept)).into();
    let context = SourceContext {
        connection: json!({"url": database.url()}),
        options: json!({"tables": TABLES}),
        on_loss: OnLoss { columns, ..OnLoss::default() },
        parallelism: 1,
        base_dir: PathBuf::from("."),
    };
    let source = MysqlCdc::default().source(context).await.unwrap();
    let mut options = json!({"schemas": schemas, "topic_prefix": "golden"});
    if flavor == Flavor::MariaDb {
        options["connector"] = json!("mariadb");
    }
    let streams = writers(&place, source.as_ref(), options).await;
    let mut into = Into { pipeline: format!("golden {}", database.name()), streams };
    let position = drain(source.as_ref(), &mut into, None, 1).await;
    database.execute(format!("{zone}{then}")).unwrap();
    drain(source.as_ref(), &mut into, Some(position), 2).await;
    // The database is called otherwise here.
    let text = |value: Value| value.to_string().replace(database.name(), "bench");
    let told = messages(&place, |message| normalised(serde_json::from_str(&text(message)).unwrap()));
    told.into_iter().map(|(topic, messages)| (topic.replace(database.name(), "bench"), messages)).collect()
}

#[tokio::test]
async fn the_messages_of_mysql_are_those_of_a_real_debezium() {
    assert_messages(golden(Flavor::MySql), 36, &told(Flavor::MySql, false, normalised).await, normalised);
}

#[tokio::test]
async fn the_messages_of_mariadb_are_those_of_a_real_debezium() {
    assert_messages(golden(Flavor::MariaDb), 36, &told(Flavor::MariaDb, false, normalised).await, normalised);
}

#[tokio::test]
async fn the_schemas_of_mysql_and_mariadb_are_those_of_a_real_debezium() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let compared = assert_schemas(golden(flavor), &told(flavor, true, |message| message).await, without_defaults);
        assert!(compared > 60, "{compared}");
    }
}

#[tokio::test]
async fn places_in_the_log_of_mysql_order_the_changes_of_a_stream() {
    for messages in told(Flavor::MySql, false, |message| message).await.into_values() {
        let places: Vec<_> = messages
            .iter()
            .filter(|message| message["value"]["source"]["snapshot"] == "false")
            .map(|message| &message["value"]["source"])
            .map(|source| (source["file"].to_string(), source["pos"].as_u64().unwrap(), source["row"].as_u64().unwrap()))
            .collect();
        assert!(!places.is_empty() && places.is_sorted_by(|a, b| a < b), "{places:?}");
    }
}
