//! State folders that cannot be used: a run without its memory must not write a row.

use crate::harness::Folder;
use crate::scene::{Watched, csv_rows, from_files, lines_of, nothing_visible, run, words};

fn orders() -> Folder {
    let folder = Folder::new();
    folder.write("in.csv", words(10));
    from_files(&folder, "path: in.csv", "");
    folder
}

#[test]
fn a_state_folder_that_cannot_be_made_is_told_and_nothing_is_written() {
    let folder = orders();
    run(&folder, &["orders.yaml", "--state-dir", "/sys/weir-state"]).failed(1, "WEIR-IO-013", "io").says(&["/sys/weir-state"]);
    folder.write("standing", "somebody's notes");
    let ran = run(&folder, &["orders.yaml", "--state-dir", "standing"]);
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("io")), "{}", ran.err);
    ran.says(&["standing"]);
    let ran = run(&folder, &["orders.yaml", "--state-dir", "standing/below"]);
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("io")), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(folder.path().join("standing")).unwrap(), "somebody's notes");
    nothing_visible(&folder);
}

#[test]
fn a_state_file_that_is_something_else_is_told_left_alone_and_the_run_does_not_begin() {
    let folder = orders();
    let garbage = "this is no database, although it is long enough to be taken for a header of one ".repeat(200);
    let file = folder.write(".weir/state.db", &garbage);
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-STATE-001", "io").says(&["state.db", "not a database", "--state-dir"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), garbage);
    nothing_visible(&folder);
    for command in [&["state", "show", "orders"][..], &["dead", "list"], &["state", "reset", "orders"]] {
        let said = folder.weir(command);
        assert_eq!(said.code, 1, "{}", said.shown());
        assert!(said.err.contains("WEIR-STATE-001"), "{}", said.shown());
    }
    std::fs::remove_file(&file).unwrap();
    run(&folder, &["orders.yaml"]).wrote(10);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&words(10)));
}

#[test]
fn a_folder_in_the_place_of_the_state_file_is_told() {
    let folder = orders();
    folder.write(".weir/state.db/notes.txt", "somebody's notes");
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-STATE-001", "io").says(&["state.db"]);
    nothing_visible(&folder);
}

#[test]
fn a_state_file_of_a_newer_weir_is_refused() {
    let folder = orders();
    run(&folder, &["orders.yaml"]).wrote(10);
    let file = folder.path().join(".weir/state.db");
    let sqlite = "import sqlite3, sys\nd = sqlite3.connect(sys.argv[1])\nd.execute('UPDATE meta SET version = 99')\nd.commit()\n";
    let changed = std::process::Command::new("python3").args(["-c", sqlite]).arg(&file).status().unwrap();
    assert!(changed.success());
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-STATE-003", "conflict").says(&["version 99", "newer weir"]);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&words(10)));
}

/// Rows enough for several checkpoints.
const MANY: u64 = 60_000;

#[test]
fn state_that_is_lost_in_the_middle_of_a_run_costs_time_but_no_row() {
    for repair in ["garbage first", "gone at once"] {
        let folder = Folder::new();
        let text = words(MANY);
        folder.write("in.csv", &text);
        from_files(&folder, "path: in.csv, split_size: 100kB", "");
        let running = Watched::start(&folder, &["orders.yaml", "--parallelism", "1", "--checkpoint-interval", "1ms"]);
        running.wait_for_checkpoint_before(MANY);
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
        let state = folder.path().join(".weir");
        if repair == "garbage first" {
            // The journal alone could still make the file whole again.
            for part in ["state.db-wal", "state.db-shm"] {
                std::fs::remove_file(state.join(part)).unwrap();
            }
            std::fs::write(state.join("state.db"), [0xAA; 8_192]).unwrap();
            let ran = run(&folder, &["orders.yaml"]);
            ran.failed(1, "WEIR-STATE-001", "io");
            nothing_visible(&folder);
        }
        std::fs::remove_dir_all(&state).unwrap();
        // What the lost run had staged belongs to nobody now.
        run(&folder, &["orders.yaml"]).wrote(MANY);
        assert_eq!(csv_rows(&folder, "orders"), lines_of(&text), "{repair}");
    }
}
