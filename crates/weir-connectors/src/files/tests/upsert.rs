//! Upsert by compaction.

use super::*;

async fn the_last_row_of_a_key_wins_and_untouched_files_stay(place: Place) {
    let options = json!({"path": "lake", "partition_by": ["day"]});
    let first =
        place.run(options.clone(), target("r1", WriteMode::Upsert), &[named(0..30, "old"), named(3..5, "mid")]).await.unwrap();
    assert_eq!(first.rows, 32, "counts what it was given");
    let before = place.visible();
    // Ids 1 and 31 lie in the partition of day 1; 31 is new.
    let second = [named([1, 31], "new"), named([1], "newest")];
    place.run(options, target("r2", WriteMode::Upsert), &second).await.unwrap();
    let expected = sorted(&[
        named([0], "old"),
        named([2], "old"),
        named(3..5, "mid"),
        named(5..30, "old"),
        named([31], "new"),
        named([1], "newest"),
    ]);
    assert_eq!(place.rows(json!({"path": "lake"})).await.unwrap(), expected);
    let kept = place.visible().keys().filter(|path| before.contains_key(*path)).count();
    assert_eq!(kept, before.len() - 1, "only the file with id 1 is rewritten");
}

#[tokio::test]
async fn the_last_row_of_a_key_wins_and_untouched_files_stay_locally() {
    the_last_row_of_a_key_wins_and_untouched_files_stay(Place::local()).await;
}

#[tokio::test]
async fn the_last_row_of_a_key_wins_and_untouched_files_stay_on_s3() {
    the_last_row_of_a_key_wins_and_untouched_files_stay(Place::s3()).await;
}

#[tokio::test]
async fn a_row_whose_partition_changes_leaves_its_old_folder() {
    let place = Place::local();
    let options = json!({"path": "lake", "partition_by": ["name"]});
    place.run(options.clone(), target("r1", WriteMode::Upsert), &[named(0..10, "old")]).await.unwrap();
    place.run(options, target("r2", WriteMode::Upsert), &[named([3], "moved")]).await.unwrap();
    let rows = place.rows(json!({"path": "lake"})).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.starts_with("3|")).collect::<Vec<_>>(), [&text(&named([3], "moved"))[0]]);
    assert_eq!(rows.len(), 10);
    assert!(!place.visible().keys().any(|path| path.contains("name=old3")), "{:?}", place.visible());
}

#[tokio::test]
async fn upsert_without_a_key_or_in_a_format_that_is_not_rewritten_is_refused() {
    let place = Place::local();
    let mut keyless = target("r1", WriteMode::Upsert);
    keyless.key.clear();
    let error = place.prepare(json!({"path": "lake"}), keyless).await.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "WEIR-FILE-053");
    let error = place.sink(json!({"path": "lake", "format": "csv", "write_mode": "upsert"})).await.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "WEIR-FILE-052");
}
