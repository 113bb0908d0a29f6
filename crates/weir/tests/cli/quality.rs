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

/// The rows of a folder of NDJSON files, in the order of their numbers.
fn results(folder: &Folder) -> Vec<serde_json::Value> {
    let mut rows: Vec<serde_json::Value> = Vec::new();
    for entry in std::fs::read_dir(folder.path().join("results")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            let text = std::fs::read_to_string(path).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
        }
    }
    rows.sort_by_key(|row| row["id"].as_i64());
    rows
}

fn with_results(rules: &str) -> Folder {
    let folder = folder("[{not_null: id}]");
    folder.write("orders.csv", "id,amount,email\n1,5,a@b\n2,-7,nobody\n2,8,c@d\n3,,e@f\n");
    folder.write(
        "p.yaml",
        format!(
            "pipeline: p\ndead_letters: {{allow: 10}}\nsources: {{orders: {{file: {{path: orders.csv}}}}}}\ntransforms:\n  checked: {{input: orders, data_quality: {{rules: {rules}}}}}\n\
             sinks:\n  out: {{input: checked, file: {{path: out/orders.csv, write_mode: overwrite}}}}\n  results: {{input: checked.results, file: {{path: results, format: ndjson}}}}\n"
        ),
    );
    folder
}

#[test]
fn results_are_one_row_per_rule_of_each_run_row_by_row_and_together() {
    let own = "{range: {column: amount, min: 0}, on_fail: quarantine, name: paid}, {regex: {column: email, pattern: '@'}, on_fail: warn}";
    let all = "{unique: id, on_fail: drop}, {row_count: {min: 100}, on_fail: warn}";
    for (rules, names) in [
        (format!("[{own}]"), vec!["paid", "regex_email"]),
        (format!("[{own}, {all}]"), vec!["paid", "regex_email", "unique_id", "row_count"]),
    ] {
        let folder = with_results(&rules);
        let plan = folder.weir(&["plan", "p.yaml"]).ok();
        let told = plan.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("one row per rule and stream"), "{}", plan.out);
        let report = folder.weir(&["run", "p.yaml", "--json"]).ok().json();
        let rows = results(&folder);
        assert_eq!(rows.iter().map(|row| row["rule"].as_str().unwrap()).collect::<Vec<_>>(), names);
        let paid = &rows[0];
        assert_eq!(
            (&paid["kind"], &paid["columns"], &paid["action"], &paid["node"], &paid["flow"]),
            (&"range".into(), &"amount".into(), &"quarantine".into(), &"checked".into(), &report["streams"][0]["name"])
        );
        assert_eq!(
            (&paid["rows_checked"], &paid["rows_failed"], &paid["share_failed"]),
            (&serde_json::json!(4), &serde_json::json!(1), &serde_json::json!(0.25))
        );
        assert_eq!((&paid["samples"], &paid["run_id"]), (&r#"["amount=-7"]"#.into(), &report["run_id"]));
        // What looks personal is not shown here either.
        assert_eq!(rows[1]["samples"], r#"["email=•••"]"#);
        if let Some(count) = rows.get(3) {
            assert_eq!(
                (&count["columns"], &count["rows_checked"], &count["samples"]),
                (&"".into(), &serde_json::json!(1), &r#"["count(*)=4"]"#.into())
            );
        }
        // The report counts and shows no value.
        assert!(!report.to_string().contains("amount=-7"));
        folder.weir(&["run", "p.yaml", "--progress", "none"]).ok();
        let runs: std::collections::BTreeSet<String> = results(&folder).iter().map(|row| row["run_id"].to_string()).collect();
        assert_eq!((results(&folder).len(), runs.len()), (2 * names.len(), 2));
    }
}

#[test]
fn results_that_nobody_can_read_are_told_before_a_run() {
    let folder = with_results("[{not_null: id}]");
    let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    let said = |from: &str, to: &str| {
        assert!(text.contains(from));
        folder.write("p.yaml", text.replace(from, to));
        let said = folder.weir(&["plan", "p.yaml"]);
        assert_eq!(said.code, 2, "{}", said.shown());
        said.err
    };
    let told = said("  out: {input: checked,", "  out: {input: orders,");
    assert!(told.contains("nothing reads the rows of `checked`"), "{told}");
    let told = said("input: checked.results,", "input: [checked.results, checked],");
    assert!(told.contains("reads rows and results of rules"), "{told}");
    let more = "  more: {input: checked.results, filter: rows_failed > 0}\nsinks:\n  others: {input: more, file: {path: more, format: ndjson}}\n";
    let told = said("sinks:\n", more);
    assert!(told.contains("a sink reads it, and no transform"), "{told}");
    let told = said("input: checked.results,", "input: checked.result,");
    assert!(told.contains("results"), "{told}");
    let told = said("results, format", "results, write_mode: overwrite, format");
    assert!(told.contains("added to those before"), "{told}");
}
