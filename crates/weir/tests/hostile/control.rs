//! Signals at every stage, and the state that people reset. A server holds a page back, so the moment of a signal is certain.

use std::time::Duration;

use crate::harness::{Folder, Pages};
use crate::scene::{Watched, csv_rows, nothing_visible, run, words};

/// Five pages of ten numbers into CSV files. Planning looks at two pages; only the run asks for the third.
fn pages(hold: usize) -> (Folder, Pages) {
    let (folder, pages) = (Folder::new(), Pages::serve(5, 10, Some(hold)));
    folder.write(
        "pages.yaml",
        format!(
            "pipeline: pages\nsource:\n  http: {{url: \"http://{}/items\", records: data, pagination: {{page: {{}}}}}}\n\
             sink:\n  file: {{path: lake/items, format: csv, write_mode: append}}\n",
            pages.address
        ),
    );
    (folder, pages)
}

fn wait_for_page(pages: &Pages, page: usize) {
    while pages.asked.recv_timeout(Duration::from_secs(60)).unwrap() != page {}
}

fn is_exact(folder: &Folder) {
    let mut expected: Vec<String> = (0..50).map(|id| format!("{id},n{id}")).collect();
    expected.sort();
    assert_eq!(csv_rows(folder, "items"), expected);
}

/// The program says on stderr that it is stopping; that line is no event.
fn wait_for_stopping(running: &Watched) {
    running.wait_for_line("stopping:");
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_the_next_run_is_exact() {
    let (folder, pages) = pages(3);
    let running = Watched::start(&folder, &["pages.yaml"]);
    wait_for_page(&pages, 3);
    running.signal(libc::SIGINT);
    wait_for_stopping(&running);
    running.signal(libc::SIGINT);
    // The page is still held back: nothing but the signal can have ended it.
    let ran = running.end();
    assert_eq!((ran.code, &ran.report), (130, &serde_json::Value::Null), "{}", ran.err);
    nothing_visible(&folder);

    pages.release();
    pages.release();
    run(&folder, &["pages.yaml"]).wrote(50);
    is_exact(&folder);
}

#[test]
fn sigterm_makes_a_checkpoint_and_stops_like_ctrl_c() {
    let (folder, pages) = pages(3);
    let running = Watched::start(&folder, &["pages.yaml"]);
    wait_for_page(&pages, 3);
    running.signal(libc::SIGTERM);
    wait_for_stopping(&running);
    pages.release();
    let ran = running.end();
    assert_eq!((ran.code, ran.report["status"].as_str()), (130, Some("interrupted")), "{}", ran.err);
    assert!(ran.report["checkpoint"].as_u64() > Some(0), "{}", ran.report);
    nothing_visible(&folder);

    pages.release();
    let again = run(&folder, &["pages.yaml"]);
    again.wrote(50);
    assert!(again.err.contains("going on with run"), "{}", again.err);
    is_exact(&folder);
}

#[test]
fn ctrl_c_while_the_plan_is_made_ends_at_once_with_nothing_begun() {
    let (folder, pages) = pages(1);
    let running = Watched::start(&folder, &["pages.yaml"]);
    wait_for_page(&pages, 1);
    running.signal(libc::SIGINT);
    let ran = running.end();
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (130, Some("cancelled")), "{}", ran.err);
    nothing_visible(&folder);
    assert!(!folder.path().join(".weir").exists(), "nothing was begun, so there is nothing to keep");

    // Once for the request that was given up, then for the plan and for the run.
    (0..3).for_each(|_| pages.release());
    run(&folder, &["pages.yaml"]).wrote(50);
    is_exact(&folder);
}

#[test]
fn a_reset_between_attempts_begins_anew_and_doubles_nothing() {
    let (folder, pages) = pages(3);
    let running = Watched::start(&folder, &["pages.yaml"]);
    wait_for_page(&pages, 3);
    running.signal(libc::SIGKILL);
    assert_eq!(running.end().code, -1);
    let said = folder.weir(&["state", "reset", "pages"]).ok();
    assert!(said.err.contains("starts from the beginning"), "{}", said.err);
    (0..2).for_each(|_| pages.release());
    run(&folder, &["pages.yaml"]).wrote(50);
    is_exact(&folder);
}

/// An incremental pipeline by `id` into rows by key.
fn incremental(folder: &Folder) {
    folder.write("in.csv", "id,word\n1,a\n2,b\n3,c\n");
    folder.write(
        "orders.yaml",
        "pipeline: orders\nmode: incremental\nsource:\n  file: {path: in.csv, cursor: id}\n\
         sink:\n  file: {path: lake/orders, write_mode: upsert, key: [id]}\n",
    );
}

fn upserted(folder: &Folder) -> String {
    folder.weir(&["query", "--output", "csv", "select id, word from orders order by id"]).ok().out
}

#[test]
fn after_a_reset_an_incremental_pipeline_reads_everything_again() {
    let folder = Folder::new();
    incremental(&folder);
    run(&folder, &["orders.yaml"]).wrote(3);
    // A correction behind the cursor is not seen, a new row is.
    folder.write("in.csv", "id,word\n1,corrected\n2,b\n3,c\n4,d\n");
    let second = run(&folder, &["orders.yaml"]);
    assert_eq!((second.code, second.counts()[1]), (0, 1), "{}", second.report);
    assert_eq!(upserted(&folder), "id,word\n1,a\n2,b\n3,c\n4,d\n");

    folder.weir(&["state", "reset", "orders"]).ok();
    run(&folder, &["orders.yaml"]).wrote(4);
    assert_eq!(upserted(&folder), "id,word\n1,corrected\n2,b\n3,c\n4,d\n");
    let shown = folder.weir(&["state", "show", "orders", "--json"]).ok().json();
    assert_eq!(shown[0]["state"]["streams"][0]["cursor"], "4");
}

#[test]
fn a_reset_of_what_is_not_there_is_told_and_changes_nothing() {
    let folder = Folder::new();
    incremental(&folder);
    let said = folder.weir(&["state", "reset", "orders"]);
    assert_eq!(said.code, 1, "{}", said.shown());
    assert!(said.err.contains("WEIR-CLI-030"), "{}", said.shown());
    run(&folder, &["orders.yaml"]).wrote(3);
    let said = folder.weir(&["state", "reset", "ordres"]);
    assert_eq!(said.code, 1, "{}", said.shown());
    assert!(said.err.contains("WEIR-CLI-031") && said.err.contains("there is state of: orders"), "{}", said.shown());
    let again = run(&folder, &["orders.yaml"]);
    assert_eq!((again.code, again.counts()[1]), (0, 0), "the cursor is still there: {}", again.report);
}

#[test]
fn a_reset_during_a_run_is_refused_and_the_run_is_exact() {
    let (folder, pages) = pages(3);
    let running = Watched::start(&folder, &["pages.yaml"]);
    wait_for_page(&pages, 3);
    // Taken away in the middle, the checkpoints would be missing at the commit, and their rows with them.
    let reset = folder.weir(&["state", "reset", "pages"]);
    assert_eq!(reset.code, 1, "{}", reset.shown());
    assert!(reset.err.contains("WEIR-RUN-010"), "{}", reset.shown());
    pages.release();
    running.end().wrote(50);
    is_exact(&folder);
}

/// Appended, not replaced by key: a row that comes again would be seen twice.
#[test]
fn an_incremental_read_of_files_appends_only_what_is_new() {
    let folder = Folder::new();
    folder.write("in.csv", words(30_000));
    folder.write(
        "orders.yaml",
        "pipeline: orders\nmode: incremental\nsource:\n  file: {path: in.csv, cursor: id, split_size: 100kB}\n\
         sink:\n  file: {path: lake/orders, format: csv, write_mode: append}\n",
    );
    run(&folder, &["orders.yaml"]).wrote(30_000);
    // Nothing new; then a hundred rows; then nothing again.
    for (rows, new) in [(30_000, 0), (30_100, 100), (30_100, 0)] {
        folder.write("in.csv", words(rows));
        let ran = run(&folder, &["orders.yaml"]);
        assert_eq!((ran.code, ran.counts()[1]), (0, new), "{}", ran.report);
    }
    assert_eq!(csv_rows(&folder, "orders"), crate::scene::lines_of(&words(30_100)));
}
