//! Each kind of failure: its exit code, and that the message says what, where, why and what to do.

use crate::assert_said;
use crate::harness::{Folder, closed_port};

fn orders(folder: &Folder, csv: &str, more: &str) {
    folder.write("orders.csv", csv);
    folder.write(
        "orders.yaml",
        format!("pipeline: orders\nsource:\n  file: {{path: orders.csv}}\nsink:\n  file: {{path: lake/orders, write_mode: overwrite}}\n{more}"),
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = Folder::new();
    assert_said!("usage_unknown_flag", folder.weir(&["run", "x.yaml", "--fast"]));
    assert_said!("usage_bad_size", folder.weir(&["run", "x.yaml", "--max-memory", "lots"]));
    assert_eq!(folder.weir(&[]).code, 2);
    assert_eq!(folder.weir(&["--help"]).code, 0);
}

#[test]
fn a_missing_file_is_exit_code_2() {
    assert_said!("no_such_file", Folder::new().weir(&["check", "absent.yaml"]));
}

#[test]
fn every_mistake_of_a_spec_is_told_at_once() {
    let folder = Folder::new();
    folder.write(
        "orders.yaml",
        "pipeline: orders\nmode: bach\nsource:\n  file: {path: orders.csv}\nsink:\n  file:\n    path: lake/orders\n    fromat: parquet\n",
    );
    let said = folder.weir(&["check", "orders.yaml"]);
    assert_said!("check_two_mistakes", said);
    let body = folder.weir(&["check", "orders.yaml", "--json"]);
    assert_eq!(body.code, 2);
    let body = body.json();
    let place = |index: usize| (body["diagnostics"][index]["line"].clone(), body["diagnostics"][index]["suggestion"].clone());
    assert_eq!(body["errors"], 2, "{body}");
    assert_eq!(place(0), (2.into(), "batch".into()));
    assert_eq!(place(1), (8.into(), "format".into()));
    assert_eq!(folder.weir(&["run", "orders.yaml"]).code, 2, "a run refuses what the check refuses");
}

#[test]
fn a_transform_that_does_not_fit_the_columns_is_told_at_its_place() {
    let folder = Folder::new();
    orders(&folder, "id,amount\n1,2\n", "transforms:\n  - filter: amont > 1\n");
    assert_said!("plan_unknown_column", folder.weir(&["plan", "orders.yaml"]));
}

#[test]
fn unresolved_references_are_all_named_and_never_their_values() {
    let mut folder = Folder::new();
    folder.set("DB_USER", "hunter2");
    folder.write(
        "db.yaml",
        "pipeline: db\nsource:\n  postgres: {url: \"postgresql://${DB_USER}:${DB_PASSWORD}@${DB_HOST}/crm\", table: public.orders}\n\
         sink:\n  file: {path: lake/orders}\n",
    );
    let said = folder.weir(&["plan", "db.yaml"]);
    assert!(!said.shown().contains("hunter2"));
    assert_said!("unresolved_references", said);
}

#[test]
fn a_server_that_cannot_be_reached_is_exit_code_3() {
    let folder = Folder::new();
    let port = closed_port();
    folder.write(
        "api.yaml",
        format!(
            "pipeline: api\nsource:\n  http: {{url: \"http://127.0.0.1:{port}/items\", max_retries: 0}}\nsink:\n  file: {{path: lake/items}}\n"
        ),
    );
    assert_said!("cannot_connect", folder.weir(&["run", "api.yaml"]));
    let said = folder.weir(&["run", "api.yaml", "--json"]);
    assert_eq!(said.code, 3);
    assert_eq!(said.json()["error"]["kind"], "connect");
    assert!(!folder.path().join("lake/items").join("_weir/manifest.json").exists());
}

#[test]
fn a_truncated_input_fails_the_run_with_exit_code_1_and_shows_nothing() {
    let folder = Folder::new();
    orders(&folder, "id\n", "");
    let whole = include_bytes!("../../../../examples/nycflights/data/weather.ndjson.gz");
    folder.write("weather.ndjson.gz", &whole[..whole.len() / 2]);
    folder.write(
        "weather.yaml",
        "pipeline: weather\nsource:\n  file: {path: weather.ndjson.gz}\nsink:\n  file: {path: lake/weather, write_mode: overwrite}\n",
    );
    let said = folder.weir(&["run", "--progress", "none", "weather.yaml", "--json"]);
    assert_eq!(said.code, 1, "{}", said.shown());
    assert_eq!(said.json()["status"], "failed");
    assert_said!("truncated_input", folder.weir(&["run", "--progress", "plain", "weather.yaml"]));
    assert_eq!(folder.weir(&["query", "select * from weather"]).code, 2, "nothing half-written is visible");
}

#[test]
fn dead_letters_over_the_limit_are_exit_code_4_and_can_be_seen_and_replayed() {
    let folder = Folder::new();
    orders(&folder, "id,amount\n1,10\n2,20,extra\n3,30\n", "");
    assert_said!("dead_letters_over_limit", folder.weir(&["run", "--progress", "plain", "orders.yaml"]));
    assert_said!("dead_list", folder.weir(&["dead", "list", "orders"]));
    assert_said!("dead_show", folder.weir(&["dead", "show", "orders"]));
    let shown = folder.weir(&["dead", "show", "orders", "--json"]).ok();
    let letter: serde_json::Value = serde_json::from_str(shown.out.trim()).unwrap();
    assert_eq!(letter["payload"], "2,20,extra");
    assert_said!("query_good_rows", folder.weir(&["query", "select * from orders order by id"]));
    orders(&folder, "id,amount\n1,10\n2,20,extra\n3,30\n", "dead_letters: {allow: 1}\n");
    assert_eq!(folder.weir(&["run", "orders.yaml"]).code, 0);
}
