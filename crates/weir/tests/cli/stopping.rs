//! Ctrl-C, and one run at a time. The server holds a page back, so the moment of the signal is certain.

use crate::assert_said;
use crate::harness::{Folder, Pages};

/// Pages of an API into a lake. Planning looks at two pages; only the run asks for the third.
fn pipeline(folder: &Folder, pages: &Pages) {
    folder.write(
        "pages.yaml",
        format!(
            "pipeline: pages\nsource:\n  http:\n    url: http://{}/items\n    records: data\n    pagination: {{page: {{}}}}\n\
             sink:\n  file: {{path: lake/items, write_mode: append}}\n",
            pages.address
        ),
    );
}

fn wait_for_page(pages: &Pages, page: usize) {
    while pages.asked.recv().unwrap() != page {}
}

fn lake(folder: &Folder) -> String {
    let sql = "select count(*) as n, count(distinct id) as different, min(id) as low, max(id) as high from items";
    folder.weir(&["query", "--output", "csv", sql]).ok().out
}

#[test]
fn ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on_exactly() {
    let folder = Folder::new();
    let pages = Pages::serve(5, 10, Some(3));
    pipeline(&folder, &pages);
    let mut running = folder.start(&["run", "--progress", "plain", "pages.yaml"]);
    wait_for_page(&pages, 3);
    running.signal(libc::SIGINT);
    running.wait_for_stderr("stopping:");
    pages.release();
    let said = running.end();
    assert_eq!(said.code, 130, "{}", said.shown());
    assert!(said.err.contains("weir run --progress plain pages.yaml"), "{}", said.shown());
    assert_eq!(folder.weir(&["query", "select * from items"]).code, 2, "an interrupted run shows nothing");

    pages.release();
    let said = folder.weir(&["run", "--progress", "plain", "pages.yaml"]);
    assert_eq!(said.code, 0, "{}", said.shown());
    assert!(said.err.contains("read 50 = written 50 + filtered 0 + dead 0"), "{}", said.shown());
    assert_eq!(lake(&folder), "n,different,low,high\n50,50,0,49\n");
}

#[test]
fn after_a_kill_the_next_run_is_exact() {
    let folder = Folder::new();
    let pages = Pages::serve(5, 10, Some(4));
    pipeline(&folder, &pages);
    let running = folder.start(&["run", "--progress", "none", "pages.yaml"]);
    wait_for_page(&pages, 4);
    running.signal(libc::SIGKILL);
    assert_eq!(running.end().code, -1);
    pages.release();
    pages.release();
    folder.weir(&["run", "--progress", "none", "pages.yaml"]).ok();
    assert_eq!(lake(&folder), "n,different,low,high\n50,50,0,49\n");
}

#[test]
fn a_second_run_is_refused_while_the_first_goes_on() {
    let folder = Folder::new();
    let pages = Pages::serve(5, 10, Some(3));
    pipeline(&folder, &pages);
    let first = folder.start(&["run", "--progress", "none", "pages.yaml"]);
    wait_for_page(&pages, 3);
    let second = folder.weir(&["run", "--progress", "plain", "pages.yaml"]);
    pages.release();
    assert_eq!(first.end().code, 0);
    assert_said!("second_run_refused", second);
    assert_eq!(lake(&folder), "n,different,low,high\n50,50,0,49\n");
}

#[test]
fn a_sample_of_the_runner_is_stopped_when_its_time_is_over() {
    let pages = Pages::serve(5, 10, Some(3));
    let mut folder = Folder::new();
    pipeline(&folder, &pages);
    folder.set("JOB_TIMEOUT_SECONDS", "2");
    let said = folder.weir(&["runner", "sample", "pages.yaml"]);
    assert_eq!(said.code, 130, "{}", said.shown());
    assert!(said.err.contains("JOB_TIMEOUT_SECONDS"), "{}", said.shown());
    assert_eq!(said.json()["success"], false);
    pages.release();
}
