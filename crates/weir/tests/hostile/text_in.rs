//! CSV that was cut, mis-encoded, ragged or made to hurt.

use crate::harness::Folder;
use crate::scene::{csv_rows, from_files, gzip, lines_of, nothing_visible, run, words};

/// More rows than are looked at before the run, so that the damage is met while it runs.
const MANY: u64 = 60_000;

#[test]
fn a_gzip_file_that_was_cut_fails_the_run_and_its_beginning_is_not_taken_for_the_whole() {
    let folder = Folder::new();
    let text = words(MANY);
    let whole = gzip(&text);
    from_files(&folder, "path: in.csv.gz", "");
    folder.write("in.csv.gz", &whole[..whole.len() * 9 / 10]);
    run(&folder, &["orders.yaml", "--checkpoint-interval", "1ms"]).failed(1, "WEIR-FMT-002", "data").says(&[
        "gzip",
        "cut off",
        "in.csv.gz",
    ]);
    nothing_visible(&folder);
    folder.write("in.csv.gz", &whole);
    run(&folder, &["orders.yaml"]).wrote(MANY);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&text));
}

#[test]
fn a_gzip_file_without_its_last_eight_bytes_is_not_believed() {
    let folder = Folder::new();
    let whole = gzip(words(100));
    from_files(&folder, "path: in.csv.gz", "");
    // All rows are there; only the checksum and the length are not.
    folder.write("in.csv.gz", &whole[..whole.len() - 8]);
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FMT-002", "data");
    let mut lying = whole.clone();
    let at = lying.len() - 8;
    lying[at] ^= 1;
    folder.write("in.csv.gz", &lying);
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FMT-002", "data");
    nothing_visible(&folder);
}

#[test]
fn gzip_files_that_were_joined_are_read_to_the_end() {
    let folder = Folder::new();
    from_files(&folder, "path: in.csv.gz", "");
    folder.write("in.csv.gz", [gzip("id,word\n1,a\n2,b\n"), gzip("3,c\n")].concat());
    run(&folder, &["orders.yaml"]).wrote(3);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a", "2,b", "3,c"]);
}

#[test]
fn a_file_that_is_no_gzip_but_says_so_is_told_before_the_run() {
    let folder = Folder::new();
    from_files(&folder, "path: in.csv.gz, compression: gzip", "");
    folder.write("in.csv.gz", "id,word\n1,a\n");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("data")), "{}", ran.err);
    ran.says(&["in.csv.gz"]);
    nothing_visible(&folder);
}

fn utf16(text: &str, mark: bool) -> Vec<u8> {
    let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn utf_16_is_read_by_its_mark_or_by_its_name_and_never_as_something_else() {
    let folder = Folder::new();
    let text = "id,word\n1,Grüße\n2,日本\n";
    from_files(&folder, "path: in.csv", "");
    folder.write("in.csv", utf16(text, true));
    run(&folder, &["orders.yaml"]).wrote(2);
    assert_eq!(csv_rows(&folder, "orders"), ["1,Grüße", "2,日本"]);

    folder.write("in.csv", utf16(text, false));
    from_files(&folder, "path: in.csv, csv: {encoding: utf-16le}", "");
    run(&folder, &["orders.yaml"]).wrote(2);
    assert_eq!(csv_rows(&folder, "orders"), ["1,Grüße", "2,日本"]);
}

#[test]
fn utf_16_without_a_mark_is_recognised() {
    let folder = Folder::new();
    folder.write("in.csv", utf16("id,word\n1,abc\n2,def\n", false));
    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml"]).wrote(2);
    assert_eq!(csv_rows(&folder, "orders"), ["1,abc", "2,def"]);
}

#[test]
fn latin1_that_was_not_declared_is_set_aside_with_its_bytes_and_read_once_it_is_declared() {
    let folder = Folder::new();
    folder.write("in.csv", b"id,word\n1,plain\n2,caf\xe9\n3,\xfcber\n");
    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(1, 2);
    assert_eq!(csv_rows(&folder, "orders"), ["1,plain"]);
    let shown = folder.weir(&["dead", "show", "orders", "--json"]).ok();
    let letters: Vec<serde_json::Value> = shown.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.iter().map(|letter| letter["code"].as_str().unwrap()).collect::<Vec<_>>(), ["WEIR-FMT-102"; 2]);
    assert!(letters.iter().any(|letter| letter["payload"] == serde_json::json!(b"2,caf\xe9")), "{letters:?}");

    from_files(&folder, "path: in.csv, csv: {encoding: latin1}", "");
    run(&folder, &["orders.yaml"]).wrote(3);
    assert_eq!(csv_rows(&folder, "orders"), ["1,plain", "2,café", "3,über"]);
}

#[test]
fn ragged_records_are_dead_letters_an_error_or_padded_as_asked() {
    let folder = Folder::new();
    folder.write("in.csv", "a,b,c\n1,2,3\n4,5\n6,7,8,9\n10,11,12\n");
    from_files(&folder, "path: in.csv, csv: {ragged: error}", "");
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FMT-101", "data").says(&["in.csv:3"]);
    nothing_visible(&folder);

    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(2, 2);
    assert_eq!(csv_rows(&folder, "orders"), ["1,2,3", "10,11,12"]);

    // Too few fields can be padded; a field too many has no column to go to.
    from_files(&folder, "path: in.csv, csv: {ragged: pad}", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(3, 1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,2,3", "10,11,12", "4,5,"]);
}

#[test]
fn a_line_of_ten_megabytes_passes_whole_in_a_small_budget() {
    let folder = Folder::new();
    let long = "x".repeat(10 << 20);
    folder.write("in.csv", format!("id,word\n1,short\n2,{long}\n3,after\n"));
    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml", "--max-memory", "64MiB"]).wrote(3);
    let rows = csv_rows(&folder, "orders");
    assert_eq!((rows.len(), rows[1].len(), rows[2].as_str()), (3, long.len() + 2, "3,after"));
    assert!(rows[1][2..] == long, "the cell has changed");
}

#[test]
fn a_line_over_the_limit_is_set_aside_and_its_neighbours_pass() {
    let folder = Folder::new();
    folder.write("in.csv", format!("id,word\n1,short\n2,{}\n3,after\n", "x".repeat(10 << 20)));
    from_files(&folder, "path: in.csv, csv: {max_record_bytes: 1000000}", "");
    run(&folder, &["orders.yaml"]).wrote_with_dead(2, 1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,short", "3,after"]);
    let groups = folder.weir(&["dead", "list", "orders", "--json"]).ok().json();
    assert_eq!((&groups[0]["code"], &groups[0]["count"]), (&"WEIR-FMT-104".into(), &1.into()));
}

#[test]
fn a_quote_that_is_never_closed_does_not_swallow_the_rest_of_the_file() {
    let folder = Folder::new();
    let rest: String = (3..2_000).map(|id| format!("{id},fine\n")).collect();
    folder.write("in.csv", format!("id,word\n1,fine\n2,\"open\n{rest}"));
    from_files(&folder, "path: in.csv, csv: {delimiter: \",\", quote: '\"'}", "");
    let ran = run(&folder, &["orders.yaml"]);
    assert_ne!(ran.code, 0, "1998 lines became one cell: {}", ran.report);
    assert!(csv_rows(&folder, "orders").iter().all(|row| row.ends_with(",fine")));
}

#[test]
fn nul_bytes_in_a_cell_are_kept_exactly() {
    let folder = Folder::new();
    folder.write("in.csv", "id,word\n1,be\0fore\n2,after\n");
    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml"]).wrote(2);
    assert_eq!(csv_rows(&folder, "orders"), ["1,be\0fore", "2,after"]);
}

#[test]
fn a_file_without_a_byte_is_no_silent_success_unless_others_tell_the_columns() {
    let folder = Folder::new();
    folder.write("in/empty.csv", "");
    from_files(&folder, "path: in/*.csv", "");
    let alone = run(&folder, &["orders.yaml"]);
    assert_ne!(alone.code, 0, "a stream without columns cannot be written: {}", alone.report);
    nothing_visible(&folder);
    folder.write("in/full.csv", "id,word\n1,a\n");
    run(&folder, &["orders.yaml"]).wrote(1);
    assert_eq!(csv_rows(&folder, "orders"), ["1,a"]);
}

#[test]
fn an_empty_file_that_should_be_compressed_was_cut() {
    let folder = Folder::new();
    folder.write("in.csv.gz", "");
    from_files(&folder, "path: in.csv.gz", "");
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FMT-002", "data").says(&["in.csv.gz", "empty"]);
    nothing_visible(&folder);
}

#[test]
fn a_header_without_rows_is_a_success_with_no_rows() {
    let folder = Folder::new();
    folder.write("in.csv", "id,word\n");
    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml"]).wrote(0);
    assert_eq!(csv_rows(&folder, "orders"), Vec::<String>::new());
}

#[test]
fn what_is_no_file_is_told_with_its_path() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("nowhere", folder.path().join("gone.csv")).unwrap();
    std::fs::create_dir(folder.path().join("folder.csv")).unwrap();
    for path in ["gone.csv", "folder.csv", "absent/*.csv"] {
        from_files(&folder, &format!("path: '{path}'"), "");
        run(&folder, &["orders.yaml"]).failed(1, "WEIR-FILE-080", "not_found").says(&[path]);
        nothing_visible(&folder);
    }
}
