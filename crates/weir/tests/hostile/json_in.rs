//! JSON that was cut, nested without end, or is something else.

use crate::harness::Folder;
use crate::scene::{csv_rows, from_files, gzip, nothing_visible, run};

/// Deeper than any thread's stack would take one call per level.
const DEEP: usize = 100_000;

fn deep() -> String {
    format!("{}1{}", "[".repeat(DEEP), "]".repeat(DEEP))
}

#[test]
fn a_record_nested_a_hundred_thousand_deep_is_set_aside_and_its_neighbours_pass() {
    let folder = Folder::new();
    let lines = format!("{{\"id\":1,\"word\":\"a\"}}\n{{\"id\":2,\"word\":{}}}\n{{\"id\":3,\"word\":\"c\"}}\n", deep());
    folder.write("in.ndjson", lines);
    from_files(&folder, "path: in.ndjson", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(2, 1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a", "3,c"]);
    let groups = folder.weir(&["dead", "list", "orders", "--json"]).ok().json();
    assert_eq!(groups[0]["code"], "WEIR-FMT-114");

    let items = format!("[{{\"id\":1,\"word\":\"a\"}},{{\"id\":2,\"word\":{}}},{{\"id\":3,\"word\":\"c\"}}]", deep());
    folder.write("in.json", items);
    from_files(&folder, "path: in.json", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(2, 1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a", "3,c"]);
}

#[test]
fn brackets_that_are_never_closed_do_not_end_the_program() {
    let folder = Folder::new();
    folder.write("in.json", "[".repeat(DEEP));
    from_files(&folder, "path: in.json", "");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("data")), "{}", ran.err);
    nothing_visible(&folder);
}

/// An array of `rows` objects.
fn document(rows: usize) -> String {
    let items: Vec<String> = (0..rows).map(|id| format!("{{\"id\":{id},\"word\":\"w{id}\"}}")).collect();
    format!("[{}]", items.join(","))
}

#[test]
fn a_document_that_was_cut_in_the_middle_fails_and_shows_nothing() {
    let folder = Folder::new();
    from_files(&folder, "path: in.json", "");
    // Beyond what is looked at before the run, so that good rows come first.
    let whole = document(50_000);
    for cut in [whole.len() - 1, whole.len() - 7, whole.len() * 9 / 10] {
        folder.write("in.json", &whole[..cut]);
        run(&folder, &["orders.yaml", "--checkpoint-interval", "1ms"])
            .failed(1, "WEIR-FMT-002", "data")
            .says(&["in.json", "cut off"]);
        nothing_visible(&folder);
    }
    folder.write("in.json", &whole);
    run(&folder, &["orders.yaml"]).wrote(50_000);
    assert_eq!(csv_rows(&folder, "orders").len(), 50_000);
}

#[test]
fn a_last_line_that_was_cut_is_no_row() {
    let folder = Folder::new();
    folder.write("in.ndjson", "{\"id\":1,\"word\":\"a\"}\n{\"id\":2,\"word\":\"b\"}\n{\"id\":3,\"wo");
    from_files(&folder, "path: in.ndjson", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(2, 1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a", "2,b"]);
    let shown = folder.weir(&["dead", "show", "orders", "--json"]).ok().json();
    assert_eq!((&shown["payload"], &shown["code"]), (&"{\"id\":3,\"wo".into(), &"WEIR-FMT-111".into()));
}

#[test]
fn a_line_of_ten_megabytes_passes_whole_and_one_over_the_limit_is_set_aside() {
    let folder = Folder::new();
    let long = "y".repeat(10 << 20);
    folder.write(
        "in.ndjson",
        format!("{{\"id\":1,\"word\":\"a\"}}\n{{\"id\":2,\"word\":\"{long}\"}}\n{{\"id\":3,\"word\":\"c\"}}\n"),
    );
    from_files(&folder, "path: in.ndjson", "");
    run(&folder, &["orders.yaml", "--max-memory", "64MiB"]).wrote(3);
    assert!(csv_rows(&folder, "orders")[1] == format!("2,{long}"), "the cell has changed");

    from_files(&folder, "path: in.ndjson, json: {max_record_bytes: 1000000}", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(2, 1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a", "3,c"]);
}

#[test]
fn broken_texts_inside_lines_are_set_aside_one_by_one() {
    let folder = Folder::new();
    let lines: [&[u8]; 7] = [
        b"{\"id\":1,\"word\":\"good\"}",
        b"{\"id\":2,\"word\":\"\xff\xfe\"}", // no UTF-8
        b"{\"id\":3,\"word\":\"a\0b\"}",     // a control character that must be escaped
        b"{\"id\":4,\"word\":\"\\ud800\"}",  // half of a surrogate pair
        b"[5,\"no object\"]",
        b"{\"id\":6,\"word\":\"x\"} {\"id\":7}", // two records on a line
        b"{\"id\":8,\"word\":\"good\"}",
    ];
    folder.write("in.ndjson", lines.join(&b'\n'));
    from_files(&folder, "path: in.ndjson", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(2, 5);
    assert_eq!(csv_rows(&folder, "orders"), ["1,good", "8,good"]);
}

#[test]
fn a_key_that_comes_twice_is_not_resolved_silently() {
    let folder = Folder::new();
    folder.write("in.ndjson", "{\"id\":1,\"word\":\"a\"}\n{\"id\":2,\"word\":\"b\",\"word\":\"c\"}\n");
    from_files(&folder, "path: in.ndjson", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(1, 1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a"]);
}

#[test]
fn a_packed_file_of_lines_that_was_cut_fails_the_run() {
    let folder = Folder::new();
    let lines: String = (0..50_000).map(|id| format!("{{\"id\":{id},\"word\":\"w{}\"}}\n", id * 7919 % 65_537)).collect();
    let whole = gzip(&lines);
    folder.write("in.ndjson.gz", &whole[..whole.len() * 9 / 10]);
    from_files(&folder, "path: in.ndjson.gz", "");
    run(&folder, &["orders.yaml", "--checkpoint-interval", "1ms"]).failed(1, "WEIR-FMT-002", "data").says(&["in.ndjson.gz"]);
    nothing_visible(&folder);
    folder.write("in.ndjson.gz", &whole);
    run(&folder, &["orders.yaml"]).wrote(50_000);
}

#[test]
fn a_page_of_html_is_told_to_be_no_json() {
    let folder = Folder::new();
    from_files(&folder, "path: in.ndjson", "");
    folder.write("in.ndjson", "<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n");
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FMT-028", "data").says(&["in.ndjson"]);
    nothing_visible(&folder);
}
