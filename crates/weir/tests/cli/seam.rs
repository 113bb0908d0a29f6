//! A pipeline that changes its engine: where it is, written down, taken up somewhere else, and every row there once. Also the engine that a
//! file names, as `weir check`, `plan` and `run` meet it.

use serde_json::{Value, json};
use weir_testkit::{Database, PostgresServer};

use crate::harness::{Folder, Slots, closed_port};

fn database() -> Database {
    PostgresServer::shared().unwrap().create_database().unwrap()
}

fn document(folder: &Folder, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.path().join(name)).unwrap()).unwrap()
}

/// Rows, and different ones, of a table.
fn count(database: &Database, table: &str) -> (String, String) {
    let rows = database.rows(format!("SELECT count(*), count(DISTINCT id) FROM {table}")).unwrap();
    (rows[0][0].clone().unwrap(), rows[0][1].clone().unwrap())
}

#[test]
fn a_cursor_goes_on_elsewhere_with_no_row_lost_or_doubled() {
    let database = database();
    database
        .execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
             INSERT INTO orders SELECT g, timestamptz '2026-11-22 10:00:00.123456+00' + (g / 100) * interval '1 s' FROM generate_series(1, 1000) g",
        )
        .unwrap();
    let folder = Folder::new();
    let url = database.url();
    folder.write(
        "orders.yaml",
        format!(
            "pipeline: orders\nmode: incremental\nsource: {{postgres: {{url: '{url}', table: public.orders, cursor: updated_at}}}}\n\
             sink: {{postgres: {{url: '{url}', table: copied}}}}\n"
        ),
    );
    folder.weir(&["run", "--progress", "none", "orders.yaml"]).ok();
    let said = folder.weir(&["state", "export", "orders.yaml", "--for", "spark", "--output", "state.json"]).ok();
    assert!(said.err.contains("rows whose cursor has the last value"), "{}", said.shown());
    let state = document(&folder, "state.json");
    let cursor = &state["sources"][0]["at"]["cursor"];
    assert_eq!((&cursor["column"], &cursor["value"]), (&json!("updated_at"), &json!("2026-11-22T10:00:10.123456Z")), "{state}");
    // One more at the very last value, which only the rows themselves can tell from the old one; and later ones.
    database
        .execute(
            "INSERT INTO orders VALUES (1001, timestamptz '2026-11-22 10:00:10.123456+00');
             INSERT INTO orders SELECT g, timestamptz '2026-11-22 11:00:00+00' FROM generate_series(1002, 1100) g",
        )
        .unwrap();
    let import = ["state", "import", "orders.yaml", "--from", "state.json", "--state-dir", "elsewhere"];
    let said = folder.weir(&import).ok();
    assert!(said.err.contains("nothing is repeated"), "{}", said.shown());
    let said = folder.weir(&["run", "--json", "--progress", "none", "--state-dir", "elsewhere", "orders.yaml"]).ok();
    assert_eq!(said.json()["streams"][0]["rows_written"], 100, "{}", said.shown());
    assert_eq!(count(&database, "copied"), ("1100".into(), "1100".into()));
    // What has a state of its own is not overwritten.
    let said = folder.weir(&import);
    assert!(said.code == 1 && said.err.contains("WEIR-SEAM-010"), "{}", said.shown());
}

#[test]
fn a_cursor_that_somebody_wrote_down_repeats_the_rows_at_it_and_says_so() {
    let database = database();
    database
        .execute("CREATE TABLE numbers (id bigint PRIMARY KEY); INSERT INTO numbers SELECT g FROM generate_series(1, 50) g")
        .unwrap();
    let folder = Folder::new();
    let url = database.url();
    folder.write(
        "numbers.yaml",
        format!(
            "pipeline: numbers\nmode: incremental\nsource: {{postgres: {{url: '{url}', table: public.numbers, cursor: id}}}}\n\
             sink: {{postgres: {{url: '{url}', table: copied}}}}\n"
        ),
    );
    let state = |value: &str, stream: &str| {
        json!({"version": 1, "pipeline": "numbers", "sources": [
            {"node": "source", "stream": stream, "at": {"cursor": {"column": "id", "value": value}}}]})
        .to_string()
    };
    let import = ["state", "import", "numbers.yaml", "--from", "state.json"];
    folder.write("state.json", state("forty", "public.numbers"));
    let said = folder.weir(&import);
    assert!(said.code == 2 && said.err.contains("`forty` is no value of a cursor"), "{}", said.shown());
    folder.write("state.json", state("40", "public.others"));
    let said = folder.weir(&import);
    assert!(said.code == 2 && said.err.contains("the state says nothing of stream `public.numbers`"), "{}", said.shown());
    folder.write("state.json", state("40", "public.numbers"));
    let said = folder.weir(&import).ok();
    assert!(said.err.contains("rows whose cursor has the last value"), "{}", said.shown());
    folder.weir(&["run", "--progress", "none", "numbers.yaml"]).ok();
    assert_eq!(database.rows("SELECT min(id), count(*) FROM copied").unwrap(), [[Some("40".to_owned()), Some("11".to_owned())]]);
}

#[cfg(feature = "kafka")]
#[test]
fn offsets_go_on_elsewhere_with_no_record_lost_or_doubled() {
    let (broker, database) = (weir_testkit::Kafka::shared().unwrap(), database());
    let folder = Folder::new();
    let topic = format!("seam-{}", uuid::Uuid::new_v4().simple());
    let (bootstrap, url) = (broker.bootstrap(), database.url());
    folder.write(
        "fill.yaml",
        format!(
            "pipeline: fill\nmode: incremental\nsource: {{file: {{path: 'in/*.ndjson', format: ndjson, new_files_only: true}}}}\n\
             sink: {{kafka: {{bootstrap_servers: '{bootstrap}', topic: {topic}, key: [id], partitions: 3, transactional_id_prefix: {topic}}}}}\n"
        ),
    );
    folder.write(
        "live.yaml",
        format!(
            "pipeline: live\nmode: streaming\nsource: {{kafka: {{bootstrap_servers: '{bootstrap}', topic: {topic}, only_columns: true, columns: {{id: int64}}}}}}\n\
             sink: {{postgres: {{url: '{url}', table: live}}}}\n"
        ),
    );
    let fill = |part: u64| {
        let lines: String = (part * 1000..(part + 1) * 1000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
        folder.write(&format!("in/{part}.ndjson"), lines);
        folder.weir(&["run", "--progress", "none", "--state-dir", "filling", "fill.yaml"]).ok();
    };
    fill(0);
    folder.weir(&["run", "--progress", "none", "--until-caught-up", "live.yaml"]).ok();
    let said = folder.weir(&["state", "export", "live.yaml", "--for", "flink", "--output", "state.json"]).ok();
    assert!(said.err.contains("nothing is repeated"), "{}", said.shown());
    let state = document(&folder, "state.json");
    let offsets = state["sources"][0]["at"]["kafka_offsets"]["offsets"].as_object().unwrap().clone();
    let next: u64 = offsets.values().map(|offset| offset.as_u64().unwrap()).sum();
    // Markers of transactions before the last record have offsets of their own.
    assert!(offsets.len() == 3 && next >= 1000, "{state}");
    let start = &state["start"][format!("source/{topic}")];
    let each: Vec<String> = offsets.iter().map(|(partition, offset)| format!("partition:{partition},offset:{offset}")).collect();
    assert_eq!(start["scan.startup.specific-offsets"], each.join(";"), "{state}");
    // The job that is compiled begins there.
    let compile = ["compile", "live.yaml", "--target", "flink-sql", "--start-from", "state.json"];
    let said = folder.weir(&compile).ok();
    assert!(said.out.contains(&format!("'scan.startup.specific-offsets' = '{}'", each.join(";"))), "{}", said.shown());
    fill(1);
    folder.weir(&["state", "import", "live.yaml", "--from", "state.json", "--state-dir", "elsewhere"]).ok();
    let run = ["run", "--json", "--progress", "none", "--until-caught-up", "--state-dir", "elsewhere", "live.yaml"];
    let said = folder.weir(&run).ok();
    assert_eq!(said.json()["streams"][0]["rows_read"], 1000, "{}", said.shown());
    assert_eq!(count(&database, "live"), ("2000".into(), "2000".into()));
    // And from there on as any stream.
    fill(2);
    folder.weir(&run).ok();
    assert_eq!(count(&database, "live"), ("3000".into(), "3000".into()));
}

#[test]
fn a_log_is_gone_on_with_from_its_slot_or_not_at_all() {
    let server = PostgresServer::options().set("wal_level", "logical").start().unwrap();
    let database = Slots(server.create_database().unwrap());
    database.0.execute("CREATE TABLE t (id bigint PRIMARY KEY); INSERT INTO t SELECT g FROM generate_series(1, 100) g").unwrap();
    let folder = Folder::new();
    let url = database.0.url();
    let sink = format!("{{postgres: {{url: '{url}', table: copied}}}}");
    folder.write(
        "shop.yaml",
        format!("pipeline: shop\nmode: cdc\nsource: {{postgres-cdc: {{url: '{url}', tables: [public.t]}}}}\nsink: {sink}\n"),
    );
    folder.weir(&["run", "--progress", "none", "--until-caught-up", "shop.yaml"]).ok();
    let said = folder.weir(&["state", "export", "shop.yaml", "--for", "kafka-connect"]).ok();
    assert!(said.err.contains("had not yet acknowledged come again"), "{}", said.shown());
    let state = said.json();
    let (at, start) = (&state["sources"][0]["at"]["postgres_log"], &state["start"]["source/source"]);
    // The slot is there, and has everything that comes after the place.
    let known = format!(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}' AND confirmed_flush_lsn <= '{}'",
        at["slot"].as_str().unwrap(),
        at["lsn"].as_str().unwrap()
    );
    assert_eq!(database.0.value(known).unwrap(), "1", "{state}");
    assert_eq!((&start["slot.name"], &start["snapshot.mode"]), (&at["slot"], &json!("no_data")));
    let said = folder.weir(&["state", "export", "shop.yaml", "--for", "seatunnel"]);
    assert!(said.code != 0 && said.err.contains("leave out what lies between"), "{}", said.shown());
}

#[test]
fn a_pipeline_that_keeps_no_position_has_none_to_take_elsewhere() {
    let folder = Folder::new();
    folder.write("in.csv", "id\n1\n");
    folder.write("copy.yaml", "pipeline: copy\nsource: {file: {path: in.csv}}\nsink: {file: {path: out.csv}}\n");
    folder.weir(&["run", "--progress", "none", "copy.yaml"]).ok();
    let said = folder.weir(&["state", "export", "copy.yaml"]);
    assert!(said.code != 0 && said.err.contains("keeps no position from one run to the next"), "{}", said.shown());
    folder.write("state.json", r#"{"version": 1, "pipeline": "copy", "sources": []}"#);
    let said = folder.weir(&["state", "import", "copy.yaml", "--from", "state.json"]);
    assert!(said.code != 0 && said.err.contains("`mode: batch` keeps no position"), "{}", said.shown());
}

const COPY: &str = "pipeline: copy\nengine: ENGINE\nsource: {file: {path: /data/in.ndjson, columns: {id: int64}}}\nsink: {file: {path: /data/out, format: ndjson}}\n";

#[test]
fn the_engine_of_the_file_is_the_engine_of_the_run_unless_the_command_says_another() {
    let folder = Folder::new();
    let place = format!("http://127.0.0.1:{}", closed_port());
    let at = format!("flink\nengine_configs: {{flink: {{url: '{place}'}}}}");
    folder.write("copy.yaml", COPY.replace("ENGINE", &at));
    folder.weir(&["check", "copy.yaml"]).ok();
    let said = folder.weir(&["run", "copy.yaml"]);
    assert!(said.code == 3 && said.err.contains(&format!("flink does not answer ({place})")), "{}", said.shown());
    // The command wins, engine and place.
    let other = format!("http://127.0.0.1:{}", closed_port());
    let said = folder.weir(&["run", "copy.yaml", "--engine-option", &format!("url={other}")]);
    assert!(said.code == 3 && said.err.contains(&other), "{}", said.shown());
    folder.write("in.ndjson", "{\"id\": 1}\n");
    folder.write("here.yaml", COPY.replace("ENGINE", "flink").replace("/data/", ""));
    folder.weir(&["run", "--progress", "none", "--engine", "native", "here.yaml"]).ok();
    assert!(folder.path().join("out").is_dir());
    let said = folder.weir(&["plan", "copy.yaml"]).ok();
    assert!(said.out.starts_with("copy   batch · flink engine · "), "{}", said.shown());
    assert!(said.out.contains("the file says `engine: flink`"), "{}", said.shown());
    assert_eq!(folder.weir(&["plan", "copy.yaml", "--json"]).ok().json()["engine"], "flink");
}

#[test]
fn what_the_engine_of_the_file_cannot_do_is_told_by_check() {
    let folder = Folder::new();
    folder.write("copy.yaml", COPY.replace("ENGINE", "kafka-connect\nengine_configs: {kafka-connect: {adress: here}}"));
    let said = folder.weir(&["check", "copy.yaml"]);
    assert_eq!(said.code, 2, "{}", said.shown());
    for told in [
        "the settings of engine `kafka-connect` cannot be read",
        "adress",
        "Kafka Connect runs without end",
        "has no source for this system",
    ] {
        assert!(said.err.contains(told), "{told}: {}", said.shown());
    }
    assert_eq!(folder.weir(&["plan", "copy.yaml"]).code, 2);
    // Connectors that only other engines have are known where one of those is named.
    let iceberg = "pipeline: lake\nengine: spark\nsource: {file: {path: /data/in.parquet}}\nsink: {iceberg: {catalog: lake, warehouse: 's3://lake/w', table: a.b}}\n";
    folder.write("lake.yaml", iceberg);
    let said = folder.weir(&["check", "lake.yaml"]);
    assert!(!said.err.contains("there is no connector `iceberg`"), "{}", said.shown());
}

#[test]
fn an_orchestrator_gets_its_file_and_is_told_of_the_schedule() {
    let folder = Folder::new();
    folder.write(
        "copy.yaml",
        "pipeline: copy\nschedule: '0 6 * * *'\nsource: {file: {path: in.csv}}\nsink: {file: {path: out.csv}}\n",
    );
    let said = folder.weir(&["export", "airflow", "copy.yaml", "--job", "j1"]).ok();
    assert!(said.out.contains("endpoint=\"/api/v1/jobs/j1/run\"") && said.err.contains("the DAG has it"), "{}", said.shown());
    let said = folder.weir(&["export", "dolphinscheduler", "copy.yaml", "--job", "j1"]).ok();
    assert_eq!(said.json()[0]["taskDefinitionList"][1]["taskParams"]["condition"], "\"status\":\"succeeded\"");
    assert_eq!(folder.weir(&["export", "airflow", "copy.yaml", "--job", "a/b"]).code, 2);
}
