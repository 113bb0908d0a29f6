//! Kafka Connect: Debezium out of PostgreSQL into a topic, and from there into a file.

use std::time::Duration;

use serde_json::{Value, json};
use weir_runners::client::{EngineClient, File, Job, Look, Outcome, State, Submission};
use weir_runners::kafka_connect::client::KafkaConnectClient;
use weir_testkit::{Database, Kafka, KafkaConnect, PostgresServer, wait_until};

use super::{end, failed, job, lost, run, suspending, until, vanished, watch};

fn debezium(database: &Database) -> Value {
    let url = url::Url::parse(database.url()).unwrap();
    json!({"name": "orders-source", "config": {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
        "database.hostname": url.host_str(), "database.port": url.port().unwrap().to_string(), "database.user": "postgres",
        "database.password": "${env:PG_PASSWORD}", "database.dbname": database.name(), "topic.prefix": "shop", "plugin.name": "pgoutput",
        "slot.name": "connect_story", "slot.drop.on.stop": "false", "publication.name": "connect_story", "publication.autocreate.mode": "filtered",
        "table.include.list": "public.orders", "tombstones.on.delete": "false", "poll.interval.ms": "100",
        "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1",
        "transforms": "flat", "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState"
    }})
}

fn into_file(name: &str, file: &std::path::Path) -> Value {
    json!({"name": name, "config": {
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "tasks.max": "1", "topics": "shop.public.orders",
        "file": file.display().to_string(), "value.converter": "org.apache.kafka.connect.storage.StringConverter"
    }})
}

fn file(value: &Value) -> File {
    File { name: format!("{}.json", value["name"].as_str().unwrap_or_default()), text: value.to_string() }
}

fn running(look: &Look) -> bool {
    look.state == State::Running
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a broker, a database and a worker of Kafka Connect: see the command above"]
async fn kafka_connect_from_the_first_connector_to_its_loss() {
    let broker = Kafka::shared().unwrap();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    database
        .execute("CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL); INSERT INTO orders SELECT g, 'customer ' || g % 7 FROM generate_series(1, 100) g")
        .unwrap();
    let mut connect = KafkaConnect::start(&broker, &[("PG_PASSWORD", "hunter2-connect")]).unwrap();
    let client = KafkaConnectClient::new(&connect.url(), None).unwrap();
    assert_eq!(client.version().await.unwrap(), weir_testkit::kafka::install::VERSION);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("orders.txt");
    let arrived =
        || std::fs::read_to_string(&out).unwrap_or_default().lines().filter(|line| line.starts_with("{\"id\":")).count();

    // Connectors that are wrong are refused before one of them is made, with every option.
    let mut wrong = debezium(&database);
    wrong["config"].as_object_mut().unwrap().remove("database.hostname");
    wrong["config"]["poll.interval.ms"] = "often".into();
    let submission =
        Submission { files: vec![file(&into_file("orders-sink", &out)), file(&wrong)], ..job("wrong", "none", String::new()) };
    let error = client.submit(&submission).await.unwrap_err();
    eprintln!("kafka-connect refuses: {error:?}");
    assert_eq!((error.code(), error.exit_code()), ("WEIR-LAUNCH-016", 2));
    let why = error.why().unwrap();
    assert!(why.contains("`database.hostname`") && why.contains("`poll.interval.ms`"), "{why}");
    assert_eq!(client.look(&Job { ids: vec!["orders-sink".into()] }).await.unwrap(), None);
    let unknown = json!({"name": "x", "config": {"connector.class": "org.example.Nowhere"}});
    let error = client.submit(&Submission { files: vec![file(&unknown)], ..job("x", "none", String::new()) }).await.unwrap_err();
    eprintln!("kafka-connect refuses: {error:?}");
    assert!(error.why().unwrap().contains("org.example.Nowhere"), "{error:?}");

    // Snapshot and changes arrive; the password is the worker's, and no answer has it.
    let submission = Submission {
        files: vec![file(&debezium(&database)), file(&into_file("orders-sink", &out))],
        streaming: true,
        ..job("orders", "none", String::new())
    };
    let submitted = client.submit(&submission).await.unwrap();
    assert_eq!(submitted.ids, ["orders-source", "orders-sink"]);
    let before = until(&client, &submitted, "it runs", running).await;
    wait_until("the snapshot has arrived", Duration::from_secs(60), || arrived() == 100).unwrap();
    database.execute("INSERT INTO orders SELECT g, 'new' FROM generate_series(101, 150) g").unwrap();
    wait_until("the changes have arrived", Duration::from_secs(60), || arrived() == 150).unwrap();
    let after = until(&client, &submitted, "positions move", |look| look.positions != before.positions).await;
    assert!(
        after.positions.as_deref().is_some_and(|positions| positions.contains("lsn") && positions.contains("kafka_offset")),
        "{after:?}"
    );

    // Handing it over again changes nothing.
    assert_eq!(client.submit(&submission).await.unwrap(), submitted);

    // Stopped, and gone on with: nothing is missing, nothing is there twice.
    let ended = end(&client, &submitted, suspending(), Some(running)).await;
    let Outcome::Suspended(savepoint) = ended.outcome else { panic!("{ended:?}") };
    assert!(savepoint.0.contains("lsn"), "{savepoint:?}");
    database.execute("INSERT INTO orders SELECT g, 'meanwhile' FROM generate_series(151, 170) g").unwrap();
    let again = Submission { resume: Some(savepoint), ..submission.clone() };
    let submitted = client.submit(&again).await.unwrap();
    wait_until("what happened meanwhile has arrived", Duration::from_secs(60), || arrived() >= 170).unwrap();
    let mut ids: Vec<String> = std::fs::read_to_string(&out)
        .unwrap()
        .lines()
        .map(|line| line.split([',', '}']).next().unwrap_or_default().into())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), arrived()), (170, 170));

    // A connector that runs with a task that does not.
    let nowhere = Submission {
        files: vec![file(&into_file("nowhere", &dir.path().join("none/x.txt")))],
        ..job("nowhere", "none", String::new())
    };
    let ended = run(&client, &nowhere).await;
    let error = failed(&ended);
    eprintln!("kafka-connect fails: {error:?}; {:?}", ended.last);
    assert_eq!((error.code(), error.exit_code()), ("WEIR-LAUNCH-013", 1));
    assert!(ended.last.as_ref().unwrap().word.ends_with("task 0 FAILED"), "{ended:?}");
    assert!(!client.logs(&Job { ids: vec!["nowhere".into()] }).await.unwrap().is_empty());

    // The worker dies. Its connectors are in the broker, so they are there when it is back.
    connect.kill_9().unwrap();
    lost(&client, &submitted, "kafka-connect").await;
    connect.restart().unwrap();
    until(&client, &submitted, "it runs again", running).await;

    // Cancelled, there is nothing left of it; whoever follows it still is told.
    let ended = end(&client, &submitted, watch(), Some(running)).await;
    assert!(matches!(ended.outcome, Outcome::Cancelled), "{ended:?}");
    assert_eq!(client.look(&submitted).await.unwrap(), None);
    vanished(&client, &submitted, "kafka-connect").await;
    drop(connect);
    database.execute("SELECT pg_drop_replication_slot('connect_story')").unwrap();
}
