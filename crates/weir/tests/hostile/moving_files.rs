//! Files that vanish or change between the plan and the read, or while they are read. A server that holds its answer back
//! makes the moment certain: no test here is a race.

use std::time::Duration;

use weir_testkit::{HttpFixture, Reply};

use crate::harness::{Folder, Pages};
use crate::scene::{Watched, csv_rows, lines_of, run, visible, words};

/// Two streams, one after the other: pages of an API, then the file. While the server holds page 3 the plan is made, and
/// the file was looked at, but not opened.
fn behind_a_held_page(folder: &Folder, pages: &Pages) {
    folder.write(
        "both.yaml",
        format!(
            "pipeline: both\nsources:\n  first:\n    http: {{url: \"http://{}/items\", records: data, pagination: {{page: {{}}}}}}\n\
             \x20 second:\n    file: {{path: in.csv}}\n\
             sinks:\n  one:\n    input: first\n    file: {{path: lake/pages, format: csv, write_mode: overwrite}}\n\
             \x20 two:\n    input: second\n    file: {{path: lake/orders, format: csv, write_mode: overwrite}}\n",
            pages.address
        ),
    );
}

/// Starts the run, lets `change` happen when the plan is made, and gives the end of the run.
fn changed_after_the_plan(folder: &Folder, pages: &Pages, change: impl FnOnce()) -> crate::scene::Ran {
    behind_a_held_page(folder, pages);
    let running = Watched::start(folder, &["both.yaml"]);
    while pages.asked.recv_timeout(Duration::from_secs(60)).unwrap() != 3 {}
    change();
    pages.release();
    running.end()
}

#[test]
fn a_file_that_is_deleted_after_the_plan_fails_the_run_and_its_return_is_read_whole() {
    let folder = Folder::new();
    let pages = Pages::serve(3, 10, Some(3));
    let text = words(50);
    let path = folder.write("in.csv", &text);
    let ran = changed_after_the_plan(&folder, &pages, || std::fs::remove_file(&path).unwrap());
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("not_found")), "{}", ran.err);
    ran.says(&["in.csv"]);
    assert_eq!(visible(&folder.path().join("lake/orders")), Vec::<std::path::PathBuf>::new());

    folder.write("in.csv", &text);
    pages.release();
    let ran = run(&folder, &["both.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [80, 80, 0, 0]), "{}", ran.err);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&text));
    assert_eq!(csv_rows(&folder, "pages").len(), 30);
}

#[test]
fn rows_that_were_added_after_the_plan_come_too_or_not_at_all() {
    let folder = Folder::new();
    let pages = Pages::serve(3, 10, Some(3));
    folder.write("in.csv", words(50));
    let longer = words(60);
    let ran = changed_after_the_plan(&folder, &pages, || drop(folder.write("in.csv", &longer)));
    assert_eq!((ran.code, ran.counts()), (0, [90, 90, 0, 0]), "{}", ran.err);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&longer));
}

#[test]
fn columns_that_changed_places_after_the_plan_do_not_change_their_values() {
    let folder = Folder::new();
    let pages = Pages::serve(3, 10, Some(3));
    folder.write("in.csv", "id,first,last\n1,Ada,Lovelace\n2,Alan,Turing\n");
    let ran = changed_after_the_plan(&folder, &pages, || {
        folder.write("in.csv", "id,last,first\n1,Lovelace,Ada\n2,Turing,Alan\n");
    });
    let rows = csv_rows(&folder, "orders");
    if ran.code == 0 {
        assert_eq!(rows, ["1,Ada,Lovelace", "2,Alan,Turing"], "values stand under another column's name");
    } else {
        assert_eq!((ran.code, rows.len()), (1, 0), "{}", ran.report);
    }
}

#[test]
fn a_type_that_changed_after_the_plan_is_no_success_with_other_values() {
    let folder = Folder::new();
    let pages = Pages::serve(3, 10, Some(3));
    folder.write("in.csv", "id,amount\n1,10\n2,20\n");
    let ran = changed_after_the_plan(&folder, &pages, || drop(folder.write("in.csv", "id,amount\n1,10.75\n2,lots\n")));
    assert_eq!(ran.code, 1, "the plan said whole numbers: {}", ran.report);
    assert_eq!(csv_rows(&folder, "orders"), Vec::<String>::new());

    pages.release();
    assert_eq!(run(&folder, &["both.yaml"]).code, 0);
    assert_eq!(csv_rows(&folder, "orders"), ["1,10.75", "2,lots"]);
}

/// Three files into an API that does not answer the first request: the first is being read, the second may be, the third is
/// not open yet.
#[test]
fn a_file_that_changes_while_another_is_read_is_noticed() {
    for gone in [true, false] {
        let folder = Folder::new();
        let server = HttpFixture::start().unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(Some(wait));
        server.handle("/in", move |_| {
            if let Some(wait) = wait.lock().unwrap().take() {
                wait.recv_timeout(Duration::from_secs(60)).unwrap();
            }
            Reply::status(200)
        });
        folder.write("in/large.csv", words(300));
        folder.write("in/middle.csv", words(200));
        let small = folder.write("in/small.csv", words(100));
        folder.write(
            "push.yaml",
            format!(
                "pipeline: push\nsource:\n  file: {{path: 'in/*.csv'}}\nsink:\n  http: {{url: \"{}/in\", batch_rows: 10}}\n",
                server.url()
            ),
        );
        let running = Watched::start(&folder, &["push.yaml", "--parallelism", "1"]);
        server.wait_for(1, Duration::from_secs(60)).unwrap();
        if gone {
            std::fs::remove_file(&small).unwrap()
        } else {
            std::fs::write(&small, words(99)).unwrap()
        }
        go.send(()).unwrap();
        running.end().failed(1, "WEIR-FILE-007", "conflict").says(&["in/small.csv", "run again"]);
    }
}
