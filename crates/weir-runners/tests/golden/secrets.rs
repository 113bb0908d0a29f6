//! What compiles never contains the value of a secret, and neither does what is said about it.

use std::fs;

use proptest::prelude::*;

use super::{cases, make, parse, registry, shown, targets};

/// The value of every secret in the cases.
const CANARY: &str = "canary";

fn with_canaries() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(path.join("pipeline.yaml")).unwrap();
        if text.contains(CANARY) {
            all.push((path.file_name().unwrap().display().to_string(), text));
        }
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_secret_in_plain_text_is_in_no_artefact_and_no_message(secret in "[A-Za-z][A-Za-z0-9]{11,20}") {
        let registry = registry();
        let cases = with_canaries();
        prop_assert!(cases.len() >= 10, "only {} cases have secrets in plain text", cases.len());
        for (case, text) in cases {
            let text = text.replace(CANARY, &secret);
            let pipeline = parse(&text, &registry).map_err(TestCaseError::fail)?;
            for (name, target, format) in targets() {
                let made = make(&pipeline, &registry, target, format);
                // Diagnostics quote the lines of the file: what they say themselves must not hold it either.
                let said = match &made {
                    Ok(_) => shown(&made, &text),
                    Err(found) => serde_json::to_string(found).unwrap(),
                };
                prop_assert!(!said.contains(&secret), "{case} for {name} shows a secret:\n{said}");
            }
        }
    }
}
