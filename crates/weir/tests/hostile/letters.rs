//! Dead letters from the first sight to their replay, through a target that breaks in between.

use serde_json::Value;

use crate::harness::{Folder, Said};
use crate::scene::{csv_rows, from_files, run};

/// Two good records and two ragged ones.
fn with_letters() -> Folder {
    let folder = Folder::new();
    folder.write("in.csv", "id,word,more\n1,a,x\n2,b\n3,c,z\n4\n");
    from_files(&folder, "path: in.csv", "dead_letters: {allow: 2}\n");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [4, 2, 0, 2]), "{}", ran.err);
    folder
}

/// The same pipeline, with an option under which short records are good.
fn mend(folder: &Folder) {
    from_files(folder, "path: in.csv, csv: {ragged: pad}", "dead_letters: {allow: 2}\n");
}

fn waiting(folder: &Folder) -> i64 {
    let groups = folder.weir(&["dead", "list", "orders", "--json"]).ok().json();
    groups.as_array().unwrap().iter().map(|group| group["count"].as_i64().unwrap()).sum()
}

fn replay(folder: &Folder) -> (Said, Value) {
    let said = folder.weir(&["dead", "replay", "orders.yaml", "--json"]);
    let body = serde_json::from_str(said.out.trim()).unwrap_or_default();
    (said, body)
}

#[test]
fn letters_are_listed_shown_replayed_once_and_gone() {
    let folder = with_letters();
    let groups = folder.weir(&["dead", "list", "orders", "--json"]).ok().json();
    assert_eq!((&groups[0]["stream"], &groups[0]["code"]), (&"in".into(), &"WEIR-FMT-101".into()));
    let shown = folder.weir(&["dead", "show", "orders", "--json"]).ok();
    let letters: Vec<Value> = shown.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        letters.iter().map(|letter| (letter["place"].as_str().unwrap(), letter["payload"].as_str().unwrap())).collect();
    assert_eq!(told, [("in.csv:3", "2,b"), ("in.csv:5", "4")]);

    // Nothing was mended yet: the letters stay, and no row appears.
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (4, Some(0)), "{}", said.shown());
    assert_eq!((waiting(&folder), csv_rows(&folder, "orders").len()), (2, 2));

    mend(&folder);
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (0, Some(2)), "{}", said.shown());
    assert_eq!(csv_rows(&folder, "orders"), ["1,a,x", "2,b,", "3,c,z", "4,,"]);
    assert_eq!(waiting(&folder), 0);

    let (said, _) = replay(&folder);
    assert_eq!(said.code, 0, "{}", said.shown());
    assert!(said.err.contains("no dead letters wait"), "{}", said.shown());
    assert_eq!(csv_rows(&folder, "orders").len(), 4, "a second replay doubles nothing");
}

#[test]
fn a_replay_into_a_broken_target_keeps_the_letters_and_works_after_the_repair() {
    let folder = with_letters();
    mend(&folder);
    let lake = folder.path().join("lake/orders");
    let aside = folder.path().join("aside");
    std::fs::rename(&lake, &aside).unwrap();
    std::fs::write(&lake, "a file in the place of the dataset").unwrap();
    let (said, body) = replay(&folder);
    assert_eq!(said.code, 1, "{}", said.shown());
    assert!(said.out.contains("WEIR-FILE-004"), "{}", said.shown());
    assert_eq!((waiting(&folder), body["through"].as_array().map_or(0, Vec::len)), (2, 0));

    std::fs::remove_file(&lake).unwrap();
    std::fs::rename(&aside, &lake).unwrap();
    let (said, _) = replay(&folder);
    assert_eq!(said.code, 0, "{}", said.shown());
    assert_eq!(csv_rows(&folder, "orders"), ["1,a,x", "2,b,", "3,c,z", "4,,"]);
    assert_eq!(waiting(&folder), 0);
}

#[test]
fn letters_of_a_failed_run_are_not_told_twice_after_the_next() {
    let folder = Folder::new();
    // A ragged record, then a target that cannot be had: the run fails after it has read.
    folder.write("in.csv", "id,word\n1,a\n2\n3,c\n");
    folder.write("standing", "a file");
    let pipeline = |path: &str| {
        folder.write(
            "orders.yaml",
            format!(
                "pipeline: orders\nsource:\n  file: {{path: in.csv}}\nsink:\n  file: {{path: {path}, format: csv, write_mode: overwrite}}\n\
                 dead_letters: {{allow: 1}}\n"
            ),
        );
    };
    pipeline("standing/orders");
    assert_eq!(run(&folder, &["orders.yaml"]).code, 1);
    pipeline("lake/orders");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [3, 2, 0, 1]), "{}", ran.err);
    assert_eq!(waiting(&folder), 1);
}

#[test]
fn letters_of_other_kinds_are_replayed_exactly_or_stay() {
    let folder = Folder::new();
    let long = "z".repeat(2 << 20);
    // A wrong encoding, a value of another type, a line whose end was not kept.
    let bytes = [b"id,word\n1,a\n2,caf\xe9\nthree,c\n4,".as_slice(), long.as_bytes(), b"\n"].concat();
    folder.write("in.csv", bytes);
    let options = |more: &str| format!("path: in.csv, columns: {{id: int64}}, csv: {{max_record_bytes: 1500000{more}}}");
    from_files(&folder, &options(""), "dead_letters: {allow: 3}\n");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [4, 1, 0, 3]), "{}", ran.report);

    from_files(&folder, &options(", encoding: latin1"), "dead_letters: {allow: 3}\n");
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (4, Some(1)), "{}", said.shown());
    let reasons = body["still_dead"].to_string();
    assert!(reasons.contains("three") && reasons.contains("only the beginning"), "{reasons}");
    assert_eq!(csv_rows(&folder, "orders"), ["1,a", "2,café"]);
    assert_eq!(waiting(&folder), 2);
}

#[test]
fn letters_of_json_are_replayed_from_lines_and_from_documents() {
    for (name, text) in [
        ("in.ndjson", "{\"id\":1,\"word\":\"a\"}\n{\"id\":2,\"word\":[[[[\"deep\"]]]]}\n"),
        ("in.json", "[{\"id\":1,\"word\":\"a\"},\n {\"id\":2,\n  \"word\":[[[[\"deep\"]]]]}]"),
    ] {
        let folder = Folder::new();
        folder.write(name, text);
        let options = |depth: u32| format!("path: {name}, columns: {{word: string}}, json: {{max_depth: {depth}}}");
        from_files(&folder, &options(3), "dead_letters: {allow: 1}\n");
        let ran = run(&folder, &["orders.yaml"]);
        assert_eq!((ran.code, ran.counts()), (0, [2, 1, 0, 1]), "{}", ran.report);
        from_files(&folder, &options(30), "dead_letters: {allow: 1}\n");
        let (said, _) = replay(&folder);
        assert_eq!((said.code, waiting(&folder)), (0, 0), "{}", said.shown());
        assert_eq!(csv_rows(&folder, "orders"), ["1,a", "2,\"[[[[\"\"deep\"\"]]]]\""]);
    }
}

#[test]
fn a_letter_that_does_not_exist_is_told() {
    let folder = with_letters();
    let said = folder.weir(&["dead", "show", "4711"]);
    assert_eq!(said.code, 1, "{}", said.shown());
    assert!(said.err.contains("WEIR-CLI-032") && said.err.contains("weir dead list"), "{}", said.shown());
}

#[test]
fn the_same_run_again_brings_the_same_letters_not_more() {
    let folder = with_letters();
    assert_eq!(waiting(&folder), 2);
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [4, 2, 0, 2]), "{}", ran.err);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a,x", "3,c,z"]);
    // Two runs met the records; each run's letters are its own.
    assert_eq!(waiting(&folder), 4);
}

#[test]
fn a_row_that_a_transform_set_aside_goes_through_once_the_transform_is_mended() {
    let folder = Folder::new();
    folder.write("in.csv", "id,word\n1,10\n2,ten\n3,30\n");
    let spec = |transform: &str| {
        [
            "pipeline: orders\nsource: {file: {path: in.csv, columns: {word: string}}}\ntransforms:\n  - ",
            transform,
            "\nsink: {file: {path: lake/orders, format: csv, write_mode: overwrite}}\ndead_letters: {allow: 1}\n",
        ]
        .concat()
    };
    folder.write("orders.yaml", spec("cast: {columns: {word: int64}}"));
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [3, 2, 0, 1]), "{}", ran.report);
    let (said, body) = replay(&folder);
    assert_eq!(said.code, 4, "nothing has changed: {}", said.shown());
    assert!(body["still_dead"].to_string().contains("ten"), "{body}");
    folder.write(
        "orders.yaml",
        spec("sql: SELECT id, CASE word WHEN 'ten' THEN 10 ELSE CAST(word AS BIGINT) END AS word FROM input"),
    );
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (0, Some(1)), "{}", said.shown());
    assert_eq!(csv_rows(&folder, "orders"), ["1,10", "2,10", "3,30"]);
    assert_eq!(waiting(&folder), 0);
}

#[test]
fn discard_row_sets_aside_what_the_target_has_no_column_for() {
    let folder = Folder::new();
    let spec = |policy: &str| {
        let sink = "sink: {file: {path: lake/orders, format: csv, write_mode: append}}\ndead_letters: {allow: 9}\n";
        ["pipeline: orders\nsource: {file: {path: in.csv}}\n", sink, "on_schema_change: ", policy, "\n"].concat()
    };
    folder.write("in.csv", "id,word\n1,a\n");
    folder.write("orders.yaml", spec("discard_row"));
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [1, 1, 0, 0]), "{}", ran.report);
    folder.write("in.csv", "id,word,new\n2,b,\n3,c,7\n4,d,\n");
    let planned = folder.weir(&["plan", "orders.yaml"]).ok();
    assert!(planned.out.contains("no column `new`"), "{}", planned.shown());
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [3, 2, 0, 1]), "{}", ran.report);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a", "2,b", "4,d"]);
    let shown = folder.weir(&["dead", "show", "orders"]).ok();
    assert!(shown.out.contains("WEIR-ROW-003") && shown.out.contains("`new`"), "{}", shown.shown());
    // Once the target may have the column, the row goes in.
    folder.write("orders.yaml", spec("evolve"));
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (0, Some(1)), "{}", said.shown());
    assert_eq!(csv_rows(&folder, "orders").len(), 4);
}
