//! Targets that cannot be written: a disk without room, a read-only file system, a file in the place of a folder.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::harness::Folder;
use crate::scene::{Ran, csv_rows, from_files, lines_of, output, run, visible, words};

/// Rows of about 25 bytes: the target gets over a megabyte.
const MANY: u64 = 60_000;

/// Runs with no file allowed to grow beyond `bytes`: what a full disk is to a program, without needing privileges.
fn run_in_room(folder: &Folder, arguments: &[&str], bytes: u64) -> Ran {
    let mut command: Command = folder.command(&["run"]);
    command.args(arguments).args(["--json", "--progress", "json"]);
    // SAFETY: between fork and exec only async-signal-safe calls are made, on values of their own.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            // By default the signal kills; ignored, the write fails instead, and the program has to tell it.
            if libc::signal(libc::SIGXFSZ, libc::SIG_IGN) == libc::SIG_ERR || libc::setrlimit(libc::RLIMIT_FSIZE, &limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    output(&mut command)
}

#[test]
fn no_room_for_a_file_fails_the_run_shows_nothing_and_the_next_run_is_exact() {
    for format in ["csv", "parquet"] {
        let folder = Folder::new();
        let text = words(MANY);
        folder.write("in.csv", &text);
        folder.write(
            "orders.yaml",
            format!(
                "pipeline: orders\nsource:\n  file: {{path: in.csv, split_size: 100kB}}\n\
                 sink:\n  file: {{path: lake/orders, format: {format}, write_mode: append}}\n"
            ),
        );
        // The state file needs less than this, the target more.
        run_in_room(&folder, &["orders.yaml", "--parallelism", "1"], 400_000)
            .failed(1, "WEIR-IO-027", "io")
            .says(&["too large", "lake/orders/_weir/staging"]);
        assert_eq!(visible(&folder.path().join("lake")), Vec::<std::path::PathBuf>::new());
        run(&folder, &["orders.yaml"]).wrote(MANY);
        let sql = "select count(*) as n, count(distinct id) as different, min(id) as low, max(id) as high from orders";
        let rows = folder.weir(&["query", "--output", "csv", sql]).ok().out;
        assert_eq!(rows, format!("n,different,low,high\n{MANY},{MANY},0,{}\n", MANY - 1), "{format}");
    }
}

#[test]
fn an_overwrite_without_room_leaves_the_old_rows_as_they_were() {
    let folder = Folder::new();
    folder.write("in.csv", "id,word\n1,old\n2,old\n");
    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml"]).wrote(2);
    let text = words(MANY);
    folder.write("in.csv", &text);
    run_in_room(&folder, &["orders.yaml"], 400_000).failed(1, "WEIR-IO-027", "io");
    assert_eq!(csv_rows(&folder, "orders"), ["1,old", "2,old"]);
    run(&folder, &["orders.yaml"]).wrote(MANY);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&text));
}

#[test]
fn a_signal_for_too_large_a_file_is_a_crash_and_the_next_run_goes_on() {
    let folder = Folder::new();
    let text = words(MANY);
    folder.write("in.csv", &text);
    from_files(&folder, "path: in.csv, split_size: 100kB", "");
    let script = "ulimit -c 0; ulimit -f 250; exec \"$0\" run orders.yaml --progress none --checkpoint-interval 1ms";
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_weir")]).current_dir(folder.path());
    // Killed by the signal that nobody has ignored: the checkpoint file is the first to grow that far, long before the commit.
    let ended = command.output().unwrap().status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGXFSZ), "{ended}");
    assert_eq!(visible(&folder.path().join("lake")), Vec::<std::path::PathBuf>::new());
    run(&folder, &["orders.yaml"]).wrote(MANY);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&text));
}

/// Nobody, root included, may make folders here.
const READ_ONLY: &str = "/sys/weir-lake";

#[test]
fn a_read_only_target_is_told_and_nothing_is_read_for_it() {
    let folder = Folder::new();
    folder.write("in.csv", words(10));
    folder.write(
        "orders.yaml",
        format!("pipeline: orders\nsource:\n  file: {{path: in.csv}}\nsink:\n  file: {{path: {READ_ONLY}}}\n"),
    );
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-IO-013", "io").says(&[READ_ONLY, "choose another"]);

    folder.write(
        "orders.yaml",
        format!("pipeline: orders\nsource:\n  file: {{path: in.csv}}\nsink:\n  file: {{path: {READ_ONLY}/out.csv}}\n"),
    );
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-IO-013", "io").says(&[READ_ONLY]);
}

#[test]
fn a_file_in_the_place_of_the_target_is_left_alone_and_told() {
    let folder = Folder::new();
    folder.write("in.csv", words(10));
    from_files(&folder, "path: in.csv", "");
    let standing = folder.write("lake/orders", "somebody's notes");
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FILE-004", "conflict").says(&["lake/orders", "move the file away"]);
    assert_eq!(std::fs::read_to_string(&standing).unwrap(), "somebody's notes");

    std::fs::remove_file(&standing).unwrap();
    run(&folder, &["orders.yaml"]).wrote(10);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&words(10)));
}

#[test]
fn a_file_above_the_target_is_told_too() {
    let folder = Folder::new();
    folder.write("in.csv", words(10));
    from_files(&folder, "path: in.csv", "");
    folder.write("lake", "somebody's notes");
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FILE-004", "conflict").says(&["lake"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("lake")).unwrap(), "somebody's notes");
}

#[test]
fn a_folder_in_the_place_of_a_single_file_is_left_alone() {
    let folder = Folder::new();
    folder.write("in.csv", words(10));
    folder.write("out.csv/notes.txt", "somebody's notes");
    folder.write(
        "orders.yaml",
        "pipeline: orders\nsource:\n  file: {path: in.csv}\nsink:\n  file: {path: out.csv, write_mode: overwrite}\n",
    );
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.report["status"].as_str()), (1, Some("failed")), "{}", ran.err);
    ran.says(&["out.csv"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("out.csv/notes.txt")).unwrap(), "somebody's notes");
    std::fs::remove_dir_all(folder.path().join("out.csv")).unwrap();
    run(&folder, &["orders.yaml"]).wrote(10);
    assert_eq!(std::fs::read_to_string(folder.path().join("out.csv")).unwrap(), words(10));
}

#[test]
fn a_manifest_that_somebody_broke_stops_the_run_before_it_can_do_harm() {
    let folder = Folder::new();
    folder.write("in.csv", words(10));
    from_files(&folder, "path: in.csv", "");
    run(&folder, &["orders.yaml"]).wrote(10);
    let manifest = folder.path().join("lake/orders/_weir/manifest.json");
    let good = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &good[..good.len() / 2]).unwrap();
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FILE-030", "data").says(&["manifest"]);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&words(10)));

    std::fs::write(&manifest, &good).unwrap();
    run(&folder, &["orders.yaml"]).wrote(10);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&words(10)));
}

#[test]
fn staged_rows_that_somebody_swept_away_are_missed_not_left_out() {
    let folder = Folder::new();
    let text = words(MANY);
    folder.write("in.csv", &text);
    from_files(&folder, "path: in.csv, split_size: 100kB", "");
    // Ends in the middle, with checkpoints whose rows are staged.
    let arguments = ["orders.yaml", "--parallelism", "1", "--checkpoint-interval", "1ms"];
    let stopped = crate::scene::Watched::start(&folder, &arguments);
    stopped.wait_for_checkpoint_before(MANY);
    stopped.signal(libc::SIGKILL);
    assert_eq!(stopped.end().code, -1);
    let staging = folder.path().join("lake/orders/_weir/staging");
    assert!(staging.is_dir());
    std::fs::remove_dir_all(&staging).unwrap();

    run(&folder, &["orders.yaml"]).failed(1, "WEIR-FILE-009", "not_found").says(&["weir state reset"]);
    assert_eq!(visible(&folder.path().join("lake")), Vec::<std::path::PathBuf>::new());
    folder.weir(&["state", "reset", "orders"]).ok();
    run(&folder, &["orders.yaml"]).wrote(MANY);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&text));
}
