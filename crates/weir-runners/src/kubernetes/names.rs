//! Names and labels of what Weir makes in a cluster.

use serde_json::{Map, Value, json};

/// Who made an object: the value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "weir";
/// The label of that.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The tenant's label.
pub const TENANT: &str = "weir.dev/tenant";
/// The job's label.
pub const JOB: &str = "weir.dev/job";
/// The run's label.
pub const RUN: &str = "weir.dev/run";
/// The annotation that orders attempts: a later one has a larger number.
pub const FENCE: &str = "weir.dev/fence";

/// Room that a Job leaves below 63 letters: its Pods are called `NAME-xxxxx`.
const LONGEST: usize = 57;

/// A name as RFC 1123 has labels: lower case letters, digits, dashes, at most [`LONGEST`]. A text that is none becomes one with a hash of
/// its own, so that two texts never share a name.
pub fn label(text: &str) -> String {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits =
        !text.is_empty() && text.len() <= LONGEST && text.chars().all(good) && !text.starts_with('-') && !text.ends_with('-');
    if fits {
        return text.to_owned();
    }
    let tame: String = text.to_ascii_lowercase().chars().map(|c| if good(c) { c } else { '-' }).take(LONGEST - 9).collect();
    let tame = tame.trim_matches('-');
    let head = if tame.is_empty() { "x" } else { tame };
    format!("{head}-{:08x}", fingerprint(text))
}

/// FNV-1a, folded to 32 bits: the same for the same text in every release, because it is part of names that outlive a process.
fn fingerprint(text: &str) -> u32 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    ((hash >> 32) ^ (hash & 0xffff_ffff)) as u32
}

/// The labels of everything that belongs to a run; empty parts are left out.
pub fn labels(tenant: &str, job: &str, run: &str) -> Value {
    let mut out = Map::new();
    out.insert(MANAGED_BY.into(), json!(MANAGER));
    for (key, value) in [(TENANT, tenant), (JOB, job), (RUN, run)] {
        if !value.is_empty() {
            out.insert(key.into(), json!(label(value)));
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_becomes_a_label_and_no_two_the_same() {
        assert_eq!(label("acme-2"), "acme-2");
        let long = "x".repeat(200);
        let odd = ["Acme", "acme_", "acme.", "-acme", "", "ä", "a b", long.as_str(), &long[1..]];
        let made: Vec<String> = odd.iter().map(|text| label(text)).collect();
        for name in &made {
            assert!(name.len() <= LONGEST && !name.starts_with('-') && !name.ends_with('-'), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        }
        assert_eq!(made.iter().collect::<std::collections::BTreeSet<_>>().len(), odd.len(), "{made:?}");
        assert_eq!(label("Acme"), label("Acme"));
    }
}
