//! Parquet files whose bytes were lost or changed on the way.

use crate::harness::Folder;
use crate::scene::{csv_rows, from_files, lines_of, nothing_visible, run, visible, words};

const ROWS: u64 = 5_000;

/// A folder with a Parquet file that Weir wrote itself, its bytes, and a pipeline that reads `broken.parquet`.
fn written() -> (Folder, Vec<u8>) {
    let folder = Folder::new();
    folder.write("in.csv", words(ROWS));
    folder.write(
        "make.yaml",
        "pipeline: make\nsource:\n  file: {path: in.csv}\nsink:\n  file: {path: good.parquet, write_mode: overwrite}\n",
    );
    run(&folder, &["make.yaml"]).wrote(ROWS);
    let bytes = std::fs::read(folder.path().join("good.parquet")).unwrap();
    from_files(&folder, "path: broken.parquet", "");
    (folder, bytes)
}

#[test]
fn a_file_that_was_cut_anywhere_has_no_footer_and_is_refused() {
    let (folder, whole) = written();
    for keep in [1, 4, 11, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
        folder.write("broken.parquet", &whole[..keep]);
        let ran = run(&folder, &["orders.yaml"]);
        assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("data")), "{keep} bytes: {}", ran.err);
        ran.says(&["broken.parquet"]);
        nothing_visible(&folder);
    }
    folder.write("broken.parquet", &whole);
    run(&folder, &["orders.yaml"]).wrote(ROWS);
    assert_eq!(csv_rows(&folder, "orders"), lines_of(&words(ROWS)));
}

#[test]
fn a_file_without_a_byte_is_refused() {
    let (folder, _) = written();
    folder.write("broken.parquet", "");
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("data")), "{}", ran.err);
    nothing_visible(&folder);
}

#[test]
fn a_footer_that_lies_about_its_length_is_refused() {
    let (folder, whole) = written();
    let at = whole.len() - 8;
    for length in [0_u32, 1, 0x7fff_ffff, 0xffff_ffff] {
        let mut lying = whole.clone();
        lying[at..at + 4].copy_from_slice(&length.to_le_bytes());
        folder.write("broken.parquet", &lying);
        let ran = run(&folder, &["orders.yaml"]);
        assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("data")), "length {length}: {}", ran.err);
        nothing_visible(&folder);
    }
}

/// The report of a run over a file with one changed byte is an error about the data, or every row is still right.
#[track_caller]
fn refused_or_right(folder: &Folder, broken: &[u8], at: usize, expected: &[String]) {
    folder.write("broken.parquet", broken);
    let ran = run(folder, &["orders.yaml"]);
    if ran.code == 0 {
        assert_eq!(ran.counts(), [ROWS, ROWS, 0, 0], "byte {at}");
        assert!(csv_rows(folder, "orders") == expected, "byte {at}: a changed value passed as a good one");
        std::fs::remove_dir_all(folder.path().join("lake")).unwrap();
        return;
    }
    let kind = ran.report["error"]["kind"].as_str().unwrap_or("none");
    assert!(matches!(kind, "data" | "unsupported" | "schema" | "limit"), "byte {at}: {}", ran.report);
    assert_eq!(visible(&folder.path().join("lake")), Vec::<std::path::PathBuf>::new(), "byte {at}");
}

#[test]
fn a_byte_that_changed_in_the_footer_never_ends_the_program_nor_changes_a_row() {
    let (folder, whole) = written();
    let expected = lines_of(&words(ROWS));
    let length = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let start = whole.len() - 8 - length;
    for at in (start..whole.len() - 8).step_by((length / 12).max(1)) {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        refused_or_right(&folder, &broken, at, &expected);
    }
}

#[test]
#[ignore = "pages carry no checksum and none is checked: a flipped bit can become another value (weir-formats)"]
fn a_byte_that_changed_in_a_page_never_passes_as_a_value() {
    let (folder, whole) = written();
    let expected = lines_of(&words(ROWS));
    let length = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let end = whole.len() - 8 - length;
    for at in (4..end).step_by((end / 12).max(1)) {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        refused_or_right(&folder, &broken, at, &expected);
    }
}

#[test]
fn a_text_file_with_the_wrong_name_is_told_as_such() {
    let (folder, _) = written();
    folder.write("broken.parquet", words(10));
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (1, Some("data")), "{}", ran.err);
    ran.says(&["broken.parquet"]);
    nothing_visible(&folder);
}
