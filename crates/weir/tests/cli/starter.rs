//! `weir init` and everything that its last lines promise.

use crate::assert_said;
use crate::harness::Folder;

#[test]
fn the_starter_pipeline_checks_previews_runs_and_answers() {
    let folder = Folder::new();
    assert_said!("init", folder.weir(&["init", "orders"]));
    assert_said!("check_ok", folder.weir(&["check", "orders.yaml"]));
    assert_said!("plan", folder.weir(&["plan", "orders.yaml"]));
    assert_said!("preview_masks_what_looks_personal", folder.weir(&["preview", "orders.yaml"]));
    assert_said!("run_plain", folder.weir(&["run", "--progress", "plain", "orders.yaml"]));
    assert_said!("query_table", folder.weir(&["query", "select * from orders order by order_id"]));
    assert_said!("state_show", folder.weir(&["state", "show", "orders"]));
}

#[test]
fn a_run_without_a_terminal_tells_json_lines_and_ends_with_one_object() {
    let folder = Folder::new();
    folder.weir(&["init"]).ok();
    let said = folder.weir(&["run", "starter.yaml", "--json"]).ok();
    let report = said.json();
    let stream = &report["streams"][0];
    let count = |name: &str| stream[name].as_u64().unwrap();
    assert_eq!((count("rows_read"), count("rows_written"), count("rows_filtered"), count("rows_dead")), (5, 4, 1, 0));
    assert_eq!((&report["status"], &report["guarantee"]), (&"succeeded".into(), &"exactly_once".into()));
    for key in ["run_id", "duration_ms", "checkpoint", "warnings"] {
        assert!(!report[key].is_null(), "{key}: {report}");
    }
    let events: Vec<serde_json::Value> = said.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "started");
    assert_eq!(events.last().unwrap()["event"], "finished");
}

#[test]
fn existing_files_are_not_replaced_without_force() {
    let folder = Folder::new();
    folder.write("orders.yaml", "mine");
    assert_said!("init_refuses", folder.weir(&["init", "orders"]));
    assert_eq!(std::fs::read_to_string(folder.path().join("orders.yaml")).unwrap(), "mine");
    folder.weir(&["init", "orders", "--force"]).ok();
    assert_said!("init_bad_name", folder.weir(&["init", "Orders!"]));
}

#[test]
fn the_same_run_twice_gives_the_same_lake() {
    let folder = Folder::new();
    folder.weir(&["init", "orders"]).ok();
    let ask = || folder.weir(&["query", "--output", "csv", "select * from orders order by order_id"]).ok().out;
    folder.weir(&["run", "orders.yaml"]).ok();
    let first = ask();
    folder.weir(&["run", "orders.yaml"]).ok();
    assert_eq!(first, ask());
    assert_eq!(first.lines().count(), 5, "{first}");
}

#[test]
fn converted_is_the_same_pipeline() {
    let folder = Folder::new();
    folder.weir(&["init", "orders"]).ok();
    let native = folder.weir(&["spec", "convert", "orders.yaml"]).ok().out;
    folder.write("again.yaml", &native);
    assert_eq!(folder.weir(&["spec", "convert", "again.yaml"]).ok().out, native);
    let plan = |file: &str| folder.weir(&["plan", file, "--json"]).ok().json();
    assert_eq!(plan("orders.yaml"), plan("again.yaml"));
}
