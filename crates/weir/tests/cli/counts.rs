//! What every node took in and gave out, as `weir run --json` tells it: it adds up from source to sink, also over a kill, and where nobody counts it says so.

use serde_json::Value;

use crate::harness::{Folder, Pages};

fn streams(report: &Value) -> &Vec<Value> {
    report["streams"].as_array().unwrap()
}

/// Rows of an edge, over all streams; `None`: not counted.
fn edge(report: &Value, from: &str, port: Option<&str>, to: &str) -> Option<u64> {
    let edges = streams(report).iter().flat_map(|stream| stream["edges"].as_array().unwrap());
    let mut found = edges.filter(|edge| edge["from"] == from && edge["to"] == to && edge["port"].as_str() == port).peekable();
    assert!(found.peek().is_some(), "there is no edge {from} → {to}: {report}");
    found.map(|edge| edge["rows"].as_u64()).sum()
}

fn node<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut nodes = streams(report).iter().flat_map(|stream| stream["nodes"].as_array().unwrap());
    nodes.find(|node| node["node"] == name).unwrap_or_else(|| panic!("there is no node {name}: {report}"))
}

/// In every stream: rows into a node are those out of the nodes before it, over its edges.
fn add_up(report: &Value) {
    for stream in streams(report) {
        for node in stream["nodes"].as_array().unwrap() {
            let name = &node["node"];
            let into = stream["edges"].as_array().unwrap().iter().filter(|edge| edge["to"] == *name);
            let rows: Option<u64> = into.map(|edge| edge["rows"].as_u64()).sum();
            let is_source = node["rows_in"].is_null() && rows == Some(0);
            assert!(is_source || node["rows_in"].as_u64() == rows, "{name}: {stream}");
        }
    }
}

#[test]
fn a_chain_with_two_ways_adds_up_from_source_to_sinks() {
    let folder = Folder::new();
    let rows: String = (0..1_000)
        .map(|n| {
            format!("{n},{},{}\n", if n % 10 == 0 { "x".into() } else { n.to_string() }, if n % 3 == 0 { "EU" } else { "US" })
        })
        .collect();
    folder.write("in.csv", format!("id,amount,region\n{rows}1000,too,many,fields\n"));
    folder.write(
        "p.yaml",
        "pipeline: p\ndead_letters: {allow: 1000}\nsources:\n  orders: {file: {path: in.csv, columns: {amount: text}}}\n\
         transforms:\n  typed: {input: orders, cast: {columns: {amount: int64}, on_error: dead_letter}}\n\
         \x20 some: {input: typed, filter: id >= 100}\n\
         \x20 routed: {input: some, split: {eu: \"region = 'EU'\", rest: default}}\n\
         sinks:\n  europe: {input: routed.eu, file: {path: out/eu, write_mode: overwrite}}\n\
         \x20 others: {input: routed.rest, file: {path: out/rest, write_mode: overwrite}}\n",
    );
    let report = folder.weir(&["run", "p.yaml", "--json"]).ok().json();
    add_up(&report);
    // A tenth of the amounts are no numbers; 90 of those that are stand below a hundred.
    assert_eq!(edge(&report, "orders", None, "typed"), Some(1_000));
    assert_eq!(edge(&report, "typed", None, "some"), Some(900));
    assert_eq!(edge(&report, "some", None, "routed"), Some(810));
    let (eu, rest) =
        (edge(&report, "routed", Some("eu"), "europe").unwrap(), edge(&report, "routed", Some("rest"), "others").unwrap());
    assert_eq!(eu + rest, 810);
    assert_eq!(eu, (100..1_000).filter(|n| n % 3 == 0 && n % 10 != 0).count() as u64);
    assert_eq!(
        (node(&report, "orders")["rows_dead"].as_u64(), node(&report, "typed")["rows_dead"].as_u64()),
        (Some(1), Some(100))
    );
    assert_eq!(node(&report, "routed")["rows_out"].as_u64(), Some(810));
    let written: u64 = streams(&report).iter().map(|stream| stream["rows_written"].as_u64().unwrap()).sum();
    let sinks = ["europe", "others"].map(|sink| node(&report, sink)["rows_out"].as_u64().unwrap());
    assert_eq!(written, sinks.iter().sum::<u64>());
    assert!(node(&report, "europe")["bytes_out"].as_u64().unwrap() > 0);
    assert!(node(&report, "some")["bytes_in"].as_u64() > node(&report, "some")["bytes_out"].as_u64());
}

#[test]
fn where_a_query_runs_as_a_whole_nobody_counts_and_its_ends_are_known() {
    let folder = Folder::new();
    folder.write("orders.csv", "id,customer\n1,1\n2,1\n3,2\n4,9\n");
    folder.write("customers.csv", "id,name\n1,ada\n2,bob\n3,eve\n");
    folder.write(
        "p.yaml",
        "pipeline: p\nsources:\n  orders: {file: {path: orders.csv}}\n  customers: {file: {path: customers.csv}}\n\
         transforms:\n  named: {input: customers, field_mapper: {rename: {name: customer_name}}}\n\
         \x20 first: {input: orders, filter: id < 4}\n\
         \x20 both: {input: [first, named], join: {on: {customer: id}, drop: [named.id]}}\n\
         sinks:\n  out: {input: both, file: {path: out/all, write_mode: overwrite}}\n",
    );
    let report = folder.weir(&["run", "p.yaml", "--json"]).ok().json();
    add_up(&report);
    assert_eq!((edge(&report, "orders", None, "first"), edge(&report, "customers", None, "named")), (Some(4), Some(3)));
    // Renamed columns are the same rows; the filter is somewhere in the query.
    assert_eq!(edge(&report, "named", None, "both"), Some(3));
    assert_eq!(edge(&report, "first", None, "both"), None);
    assert_eq!(edge(&report, "both", None, "out"), Some(3));
    assert_eq!((&node(&report, "both")["rows_in"], &node(&report, "both")["rows_out"]), (&Value::Null, &Value::from(3)));
}

#[test]
fn rows_before_and_after_a_kill_count_once() {
    let folder = Folder::new();
    let pages = Pages::serve(5, 10, Some(4));
    folder.write(
        "pages.yaml",
        format!(
            "pipeline: pages\nsource:\n  http:\n    url: http://{}/items\n    records: data\n    pagination: {{page: {{}}}}\n\
             transforms:\n  - filter: id % 2 = 0\nsink:\n  file: {{path: lake/items, write_mode: append}}\n",
            pages.address
        ),
    );
    let running = folder.start(&["run", "--progress", "none", "pages.yaml"]);
    while pages.asked.recv().unwrap() != 4 {}
    running.signal(libc::SIGKILL);
    assert_eq!(running.end().code, -1);
    pages.release();
    pages.release();
    let report = folder.weir(&["run", "--progress", "none", "pages.yaml", "--json"]).ok().json();
    add_up(&report);
    let edges: Vec<u64> =
        streams(&report)[0]["edges"].as_array().unwrap().iter().map(|edge| edge["rows"].as_u64().unwrap()).collect();
    assert_eq!((edges, &streams(&report)[0]["rows_written"]), (vec![50, 25], &Value::from(25)));
}

#[test]
fn progress_tells_the_edges_as_they_are() {
    let folder = Folder::new();
    folder.write("in.csv", format!("id\n{}", (0..500).map(|n| format!("{n}\n")).collect::<String>()));
    folder.write(
        "p.yaml",
        "pipeline: p\nsource: {file: {path: in.csv}}\ntransforms:\n  - filter: id < 200\nsink: {file: {path: out, write_mode: overwrite}}\n",
    );
    let said = folder.weir(&["run", "p.yaml", "--progress", "json"]).ok();
    let mut events = said.err.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = events.rfind(|event| event["event"] == "progress").unwrap();
    let rows: Vec<u64> = last["edges"].as_array().unwrap().iter().filter_map(|edge| edge["rows"].as_u64()).collect();
    assert_eq!(rows.len(), 2, "{last}");
    assert!(last["nodes"].as_array().unwrap().iter().all(|node| node["rows_dead"] == 0), "{last}");
}
