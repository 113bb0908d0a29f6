//! `weir query`, `discover`, `connectors`, `completions`, `spec schema`.

use std::io::Read;
use std::process::Stdio;

use crate::assert_said;
use crate::harness::Folder;

fn lake() -> Folder {
    let folder = Folder::new();
    folder.weir(&["init", "orders"]).ok();
    folder.weir(&["run", "orders.yaml"]).ok();
    folder
}

#[test]
fn rows_come_as_table_csv_and_json() {
    let folder = lake();
    let sql = "select order_id, customer_name, amount, null as nothing from orders where order_id < 1004 order by 1";
    assert_said!("rows_as_table", folder.weir(&["query", sql]));
    assert_said!("rows_as_csv", folder.weir(&["query", "--output", "csv", sql]));
    assert_said!("rows_as_json", folder.weir(&["query", "--json", sql]));
}

#[test]
fn mistakes_in_sql_say_what_there_is() {
    let folder = lake();
    assert_said!("sql_syntax", folder.weir(&["query", "selec 1"]));
    assert_said!("sql_unknown_table", folder.weir(&["query", "select * from customers"]));
    assert_said!("sql_unknown_column", folder.weir(&["query", "select nope from orders"]));
    assert_said!("sql_writes", folder.weir(&["query", "drop table orders"]));
    assert_said!("sql_no_lake", Folder::new().weir(&["query", "select * from orders"]));
}

#[test]
fn sources_and_connections_of_a_pipeline_are_tables() {
    let folder = Folder::new();
    folder.weir(&["init", "orders"]).ok();
    folder.write("data/cities.csv", "id,city\n1,Oslo\n2,Lima\n");
    folder.write(
        "files.yaml",
        "pipeline: files\nsource:\n  file: {connection: here, path: cities.csv}\nsink:\n  file: {path: lake/cities}\n\
         connections:\n  here: {file: {root: data}}\n",
    );
    let sql = "select status, count(*) as n from source group by status order by status";
    assert_said!("query_a_source", folder.weir(&["query", "--file", "orders.yaml", sql]));
    assert_said!("discover_a_pipeline", folder.weir(&["discover", "orders.yaml"]));
    assert_said!("discover_a_connection", folder.weir(&["discover", "here", "--file", "files.yaml"]));
    assert_said!("discover_unknown", folder.weir(&["discover", "there", "--file", "files.yaml"]));
    let found = folder.weir(&["discover", "orders.yaml", "--json"]).ok().json();
    assert_eq!(found[0]["columns"][0]["name"], "order_id");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = lake();
    let sql = "select a.* from orders a cross join orders b cross join orders c cross join orders d cross join orders e cross join orders f";
    let mut child =
        folder.command(&["query", "--output", "csv", sql]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
    assert_eq!(&first, b"order_id");
}

#[test]
fn connectors_are_listed_with_their_options() {
    let folder = Folder::new();
    let list = folder.weir(&["connectors"]).ok().out;
    for name in ["file", "s3", "http", "postgres"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
        let options = folder.weir(&["connectors", name]).ok().out;
        assert!(options.contains("\nsource\n") && options.contains("\nsink\n"), "{options}");
        let body = folder.weir(&["connectors", name, "--json"]).ok().json();
        assert_eq!(body["name"], name);
    }
    // The same in a build that has MongoDB.
    let said = folder.weir(&["connectors", "oracle9i"]).shown().replace(" mongodb, mongodb-cdc,", "");
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("unknown_connector", said)
    });
}

#[test]
fn editors_get_a_schema_and_shells_their_completions() {
    let folder = Folder::new();
    let schema = folder.weir(&["spec", "schema"]).ok().json();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{schema}");
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.weir(&["completions", shell]).ok().out;
        assert!(script.contains("weir") && script.contains("preview"), "{shell}");
    }
}
