//! Where secrets may be written, and that their values turn up nowhere.

use std::path::Path;

use serde_json::json;
use weir_testkit::{HttpFixture, Reply};

use crate::harness::{Folder, Said};

/// Long and of one piece, so that a trace of it anywhere is no accident.
const SALT: &str = "pepper-f00dcafe5eed";

fn masked(folder: &Folder, salt: &str) {
    folder.write("people.csv", "id,email\n1,ada@example.org\n2,bob@example.org\n");
    folder.write(
        "people.yaml",
        format!(
            "pipeline: people\nsource:\n  file: {{path: people.csv}}\n\
             transforms:\n  - mask: {{columns: {{email: {{hash: {{salt: \"{salt}\"}}}}}}}}\n\
             sink:\n  file: {{path: out.csv, write_mode: overwrite}}\n"
        ),
    );
}

/// Every file below a folder that holds a text.
pub fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn silent(said: Said) -> Said {
    assert!(!said.out.contains(SALT) && !said.err.contains(SALT), "{}", said.shown());
    said
}

fn vault() -> HttpFixture {
    let server = HttpFixture::start().unwrap();
    let mount = json!({"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}});
    let data = json!({"data": {"data": {"salt": SALT}, "metadata": {"version": 1}}});
    server.on("/v1/sys/internal/ui/mounts/secret/mask", Reply::json(mount));
    server.on("/v1/secret/data/mask", Reply::json(data));
    server
}

#[test]
fn a_salt_may_stand_anywhere_and_is_never_shown() {
    // What the hashes must be: the salt in plain text, in a folder that is not searched.
    let plain = Folder::new();
    masked(&plain, SALT);
    plain.weir(&["run", "people.yaml"]).ok();
    let expected = std::fs::read_to_string(plain.path().join("out.csv")).unwrap();
    assert!(!expected.contains("example.org") && expected.lines().count() == 3, "{expected}");

    let server = vault();
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("salt"), format!("{SALT}\n")).unwrap();
    let file = format!("file://{}", secrets.path().join("salt").display());
    for reference in ["${MASK_SALT}", "${UNSET:-${MASK_SALT}}", &file, "vault://secret/mask#salt"] {
        let mut folder = Folder::new();
        folder.set("MASK_SALT", SALT);
        folder.set("WEIR_SECRETS_PATH", secrets.path().to_str().unwrap());
        folder.set("VAULT_ADDR", server.url());
        folder.set("VAULT_TOKEN", "hvs.unseen");
        masked(&folder, reference);
        let plan = silent(folder.weir(&["plan", "people.yaml"])).ok();
        assert!(!plan.err.contains("WEIR-SPEC-040"), "a reference is no secret in plain text: {}", plan.err);
        silent(folder.weir(&["plan", "people.yaml", "--json"])).ok();
        silent(folder.weir(&["run", "people.yaml", "--json"])).ok();
        silent(folder.weir(&["state", "show", "people"])).ok();
        assert_eq!(std::fs::read_to_string(folder.path().join("out.csv")).unwrap(), expected, "{reference}");
        assert_eq!(holding(folder.path(), SALT), Vec::<String>::new(), "{reference}");
        assert_eq!(holding(folder.path(), "hvs.unseen"), Vec::<String>::new(), "{reference}");
    }
}

#[test]
fn a_secret_of_vault_is_read_once_in_a_run() {
    let server = vault();
    let mut folder = Folder::new();
    folder.set("VAULT_ADDR", server.url());
    folder.set("VAULT_TOKEN", "hvs.unseen");
    folder.write("people.csv", "id,email,phone\n1,ada@example.org,5\n");
    folder.write(
        "people.yaml",
        "pipeline: people\nsource:\n  file: {path: people.csv}\ntransforms:\n\
         \x20 - mask: {columns: {email: {hash: {salt: \"vault://secret/mask#salt\"}}}}\n\
         \x20 - mask: {columns: {phone: {hash: {salt: \"vault://secret/mask#salt\"}}}}\n\
         sink:\n  file: {path: out.csv, write_mode: overwrite}\n",
    );
    silent(folder.weir(&["run", "people.yaml"])).ok();
    assert_eq!(server.requests_to("/v1/secret/data/mask").len(), 1);
}

#[test]
fn a_salt_that_cannot_be_resolved_says_why_and_nothing_else() {
    let mut folder = Folder::new();
    masked(&folder, "vault://secret/mask#salt");
    let said = folder.weir(&["plan", "people.yaml"]);
    assert_eq!(said.code, 2, "{}", said.shown());
    assert!(said.err.contains("vault://secret/mask#salt") && said.err.contains("VAULT_ADDR"), "{}", said.err);
    let server = vault();
    folder.set("VAULT_ADDR", server.url());
    folder.set("VAULT_TOKEN", "hvs.unseen");
    masked(&folder, "vault://secret/mask#slat");
    let said = silent(folder.weir(&["plan", "people.yaml"]));
    assert_eq!(said.code, 2, "{}", said.shown());
    assert!(said.err.contains("it has `salt`"), "{}", said.err);
    masked(&folder, &("${A:-".repeat(12) + &"}".repeat(12)));
    assert_eq!(folder.weir(&["plan", "people.yaml"]).code, 2);
}
