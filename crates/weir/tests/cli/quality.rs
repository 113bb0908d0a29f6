//! `data_quality` end to end: what the report counts, what the dead letters say, and that a failing rule commits nothing.

use crate::harness::Folder;

const ORDERS: &str = "id,amount\n1,5\n2,-7\n2,8\n3,\n";

fn folder(rules: &str) -> Folder {
    let folder = Folder::new();
    folder.write("orders.csv", ORDERS);
    folder.write(
        "p.yaml",
        format!(
            "pipeline: p\ndead_letters: {{allow: 10}}\nsource: {{file: {{path: orders.csv}}}}\ntransforms:\n  - data_quality: {{rules: {rules}}}\n\
             sink: {{file: {{path: out/orders.csv, write_mode: overwrite}}}}\n"
        ),
    );
    folder
}

#[test]
fn rows_and_rules_are_accounted_for_row_by_row_and_together() {
    for (rules, written, dead, filtered) in [
        ("[{range: {column: amount, min: 0}, on_fail: quarantine}, {not_null: amount, on_fail: drop}]", 2, 1, 1),
        ("[{unique: id, on_fail: quarantine}, {not_null: amount, on_fail: warn}]", 2, 2, 0),
    ] {
        let folder = folder(rules);
        let report = folder.weir(&["run", "p.yaml", "--json"]).ok().json();
        let stream = &report["streams"][0];
        let count = |name: &str| stream[name].as_u64().unwrap();
        assert_eq!((count("rows_written"), count("rows_dead"), count("rows_filtered")), (written, dead, filtered), "{rules}");
        assert_eq!(count("rows_read"), written + dead + filtered);
        let failed: Vec<u64> = stream["rules"].as_array().unwrap().iter().map(|rule| rule["failed"].as_u64().unwrap()).collect();
        assert_eq!(failed, if dead == 1 { [1, 1] } else { [2, 1] }, "{rules}");
        assert!(stream["rules"].as_array().unwrap().iter().all(|rule| rule["checked"] == 4), "{rules}");
        let letters = folder.weir(&["dead", "list", "p"]).ok();
        assert!(letters.out.contains("WEIR-QUALITY-001"), "{}", letters.out);
        assert!(report["warnings"].to_string().contains("1 of 4 rows break it"), "{}", report["warnings"]);
    }
}

#[test]
fn a_rule_that_fails_leaves_what_was_there() {
    let folder = folder("[{range: {column: amount, min: 0}}, {row_count: {min: 1}}]");
    folder.write("out/orders.csv", "what was there\n");
    let said = folder.weir(&["run", "p.yaml"]);
    assert_eq!(said.code, 1, "{}\n{}", said.out, said.err);
    assert!(said.err.contains("rule `range_amount`: amount is `-7`; expected: at least 0"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(folder.path().join("out/orders.csv")).unwrap(), "what was there\n");
    // Corrected, the same command goes through.
    folder.write("orders.csv", ORDERS.replace("-7", "7"));
    folder.weir(&["run", "p.yaml"]).ok();
    assert_eq!(std::fs::read_to_string(folder.path().join("out/orders.csv")).unwrap().lines().count(), 5);
}
