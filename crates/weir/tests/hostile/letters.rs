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

/// All rows to `lake/raw`, rows with a whole number as word to `lake/typed`.
fn two_ways(folder: &Folder, cast: &str, raw_mode: &str) {
    folder.write(
        "orders.yaml",
        format!(
            "pipeline: orders\nsources: {{in: {{file: {{path: in.csv, columns: {{word: string}}}}}}}}\n\
             transforms:\n  typed: {{input: in, {cast}}}\n\
             sinks:\n  raw: {{input: in, file: {{path: lake/raw, format: csv, write_mode: {raw_mode}}}}}\n  \
             whole: {{input: typed, file: {{path: lake/whole, format: csv, write_mode: overwrite}}}}\ndead_letters: {{allow: 9}}\n"
        ),
    );
}

const STRICT: &str = "cast: {columns: {word: int64}}";
const MENDED: &str = "sql: \"SELECT id, CASE word WHEN 'ten' THEN 10 ELSE CAST(word AS BIGINT) END AS word FROM input\"";

#[test]
fn a_row_that_one_sink_has_is_replayed_into_the_other_only() {
    let folder = Folder::new();
    folder.write("in.csv", "id,word\n1,10\n2,ten\n3,30\n");
    two_ways(&folder, STRICT, "append");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.report["streams"][0]["rows_dead"].as_u64()), (0, Some(1)), "{}", ran.report);
    assert_eq!((csv_rows(&folder, "raw").len(), csv_rows(&folder, "whole").len()), (3, 2));
    let shown = folder.weir(&["dead", "show", "orders", "--json"]).ok().json();
    assert_eq!((&shown["sink"], &shown["flow"]), (&"whole".into(), &"in".into()));

    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (4, Some(0)), "{}", said.shown());
    two_ways(&folder, MENDED, "append");
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (0, Some(1)), "{}", said.shown());
    assert_eq!(csv_rows(&folder, "raw"), ["1,10", "2,ten", "3,30"]);
    assert_eq!(csv_rows(&folder, "whole"), ["1,10", "2,10", "3,30"]);
    assert_eq!(waiting(&folder), 0);
}

#[test]
fn what_failed_before_the_ways_part_is_replayed_into_every_sink() {
    let folder = Folder::new();
    // A record that is no row at all, and a row that the transform before both sinks sets aside.
    folder.write("in.csv", "id,word\n1,10\n2\n3,ten\n");
    let spec = |ragged: &str, cast: &str| {
        folder.write(
            "orders.yaml",
            format!(
                "pipeline: orders\nsources: {{in: {{file: {{path: in.csv, columns: {{word: string}}, csv: {{ragged: {ragged}}}}}}}}}\n\
                 transforms:\n  typed: {{input: in, {cast}}}\n  small: {{input: typed, filter: \"word < 20 OR word IS NULL\"}}\n\
                 sinks:\n  all: {{input: typed, file: {{path: lake/all, format: csv, write_mode: append}}}}\n  \
                 few: {{input: small, file: {{path: lake/few, format: csv, write_mode: append}}}}\ndead_letters: {{allow: 9}}\n"
            ),
        )
    };
    spec("dead_letter", STRICT);
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.report);
    assert_eq!(waiting(&folder), 3, "the record once, the row once for each sink that lacks it");
    spec("pad", MENDED);
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (0, Some(3)), "{}", said.shown());
    for name in ["all", "few"] {
        assert_eq!(csv_rows(&folder, name), ["1,10", "2,", "3,10"], "{name}");
    }
    let (said, _) = replay(&folder);
    assert!(said.err.contains("no dead letters wait"), "{}", said.shown());
}

#[test]
fn letters_of_rows_that_a_later_run_replaced_are_left_alone() {
    let folder = with_letters();
    assert_eq!(run(&folder, &["orders.yaml"]).code, 0);
    assert_eq!(waiting(&folder), 4);
    mend(&folder);
    let (said, body) = replay(&folder);
    let count = |name: &str| body[name].as_array().map(Vec::len);
    assert_eq!((said.code, count("through"), count("replaced")), (0, Some(2), Some(2)), "{}", said.shown());
    assert_eq!(csv_rows(&folder, "orders"), ["1,a,x", "2,b,", "3,c,z", "4,,"]);
}

#[test]
fn where_rows_are_seen_together_the_letter_says_what_to_do_instead() {
    let folder = Folder::new();
    folder.write("in.csv", "id,word\n1,a\n2\n3,a\n");
    folder.write(
        "orders.yaml",
        "pipeline: orders\nsource: {file: {path: in.csv}}\ntransforms:\n  - sql: SELECT word, count(*) AS n FROM input GROUP BY word\n\
         sink: {file: {path: lake/orders, format: csv, write_mode: append}}\ndead_letters: {allow: 1}\n",
    );
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.report);
    let (said, body) = replay(&folder);
    assert_eq!(said.code, 4, "{}", said.shown());
    let reason = body["still_dead"][0]["reason"].as_str().unwrap();
    for part in ["an aggregate", "run the pipeline again", "appends, so empty its target first"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(csv_rows(&folder, "orders"), ["a,2"]);
}

#[test]
fn a_row_discarded_behind_a_transform_goes_through_the_transform_once() {
    let folder = Folder::new();
    let spec = |policy: &str| {
        let sink = "sink: {file: {path: lake/orders, format: csv, write_mode: append}}\ndead_letters: {allow: 9}\n";
        let sql = "transforms:\n  - filter: id > 0\n  - sql: SELECT id + 100 AS id, word, new FROM input\n";
        [
            "pipeline: orders\nsource: {file: {path: in.csv, columns: {new: int64}}}\n",
            sql,
            sink,
            "on_schema_change: ",
            policy,
            "\n",
        ]
        .concat()
    };
    folder.write("lake-before.csv", "id,word\n101,a\n");
    folder.write(
        "first.yaml",
        "pipeline: first\nsource: {file: {path: lake-before.csv}}\nsink: {file: {path: lake/orders, format: csv, write_mode: append}}\n",
    );
    assert_eq!(run(&folder, &["first.yaml"]).code, 0);
    folder.write("in.csv", "id,word,new\n0,z,\n2,b,\n3,c,7\n");
    folder.write("orders.yaml", spec("discard_row"));
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [3, 1, 1, 1]), "{}", ran.report);
    let shown = folder.weir(&["dead", "show", "orders", "--json"]).ok().json();
    assert_eq!(shown["payload"], "{\"id\":3,\"word\":\"c\",\"new\":7}");
    folder.write("orders.yaml", spec("evolve"));
    let (said, _) = replay(&folder);
    assert_eq!(said.code, 0, "{}", said.shown());
    let ids: Vec<String> = csv_rows(&folder, "orders").iter().map(|row| row.split(',').next().unwrap().to_owned()).collect();
    assert_eq!(ids, ["101", "102", "103"]);
}

#[test]
fn letters_of_an_api_are_replayed_and_move_no_cursor() {
    let (folder, server) = (Folder::new(), weir_testkit::HttpFixture::start().unwrap());
    server.handle("/items", |_| {
        weir_testkit::Reply::json(serde_json::json!([
            {"id": 1, "price": "1.50"}, {"id": 2, "price": "2.00", "note": "new"}, {"id": 3, "price": "3.00"}
        ]))
    });
    let spec = |more: &str| {
        folder.write(
            "orders.yaml",
            format!(
                "pipeline: orders\nmode: incremental\nsource:\n  http: {{url: \"{}/items\", cursor: id, sample_pages: 0, {more}\n                 \
                 columns: {{id: int64, price: \"decimal(9,2)\"}}}}\n\
                 sink:\n  file: {{path: lake/orders, format: csv, write_mode: append}}\ndead_letters: {{allow: 1}}\n",
                server.url()
            ),
        )
    };
    spec("");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [3, 2, 0, 1]), "{}", ran.report);
    let (said, body) = replay(&folder);
    assert_eq!(said.code, 4, "nothing was mended: {}", said.shown());
    assert!(body["still_dead"].to_string().contains("note"), "{body}");
    let before = folder.weir(&["state", "show", "orders", "--json"]).ok().json();
    spec("unknown_keys: ignore,");
    let (said, body) = replay(&folder);
    assert_eq!((said.code, body["through"].as_array().map(Vec::len)), (0, Some(1)), "{}", said.shown());
    assert_eq!(waiting(&folder), 0);
    let after = folder.weir(&["state", "show", "orders", "--json"]).ok().json();
    assert_eq!(after["streams"], before["streams"]);
    assert_eq!(csv_rows(&folder, "orders"), ["1,1.50", "2,2.00", "3,3.00"]);
}

#[test]
fn an_incremental_run_tells_what_is_broken_in_a_file_once() {
    let folder = Folder::new();
    folder.write("in/a.csv", "id,word\n1,a\n2\n3,c\n");
    folder.write(
        "orders.yaml",
        "pipeline: orders\nmode: incremental\nsource: {file: {path: 'in/*.csv', cursor: id}}\n\
         sink: {file: {path: lake/orders, format: csv, write_mode: append}}\ndead_letters: {allow: 9}\n",
    );
    assert_eq!(run(&folder, &["orders.yaml"]).counts(), [3, 2, 0, 1]);
    folder.write("in/b.csv", "id,word\n4,d\n5\n");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [3, 1, 1, 1]), "the row at the bound comes again: {}", ran.report);
    assert_eq!(run(&folder, &["orders.yaml"]).counts()[3], 0);
    assert_eq!(waiting(&folder), 2);
}
