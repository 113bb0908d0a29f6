//! `weir serve` from the first start to the last request, and the commands around it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;
use weir_testkit::process::free_port;

use crate::assert_said;
use crate::harness::Folder;

/// A server that said where it listens.
pub struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    pub fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let mut child = folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("weir listens on http://") else {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("{line}{told}");
        };
        Self { address: address.to_owned(), child, out }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Status and body.
    pub fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        self.ask("GET", path, token, "")
    }

    /// Status and body.
    pub fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: {}\r\n{token}connection: close\r\n", self.address).unwrap();
        write!(stream, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
    }

    /// A polite kill; the exit code, and what was left on stdout and stderr.
    pub fn stop(mut self) -> (i32, String) {
        // SAFETY: the child has not been waited for, so the id is its own.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), libc::SIGTERM) };
        assert_eq!(sent, 0);
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }
}

#[test]
fn the_first_start_gives_a_token_that_works_and_a_polite_kill_ends_it_well() {
    let folder = Folder::new();
    let mut server = Server::start(&folder, &["serve", "--listen", "127.0.0.1:0"]);
    let line = server.line();
    let token = line.rsplit(' ').next().unwrap().to_owned();
    assert!(line.starts_with("token of the first administrator") && token.starts_with("weir_"), "{line}");
    let (status, health) = server.get("/health", None);
    assert_eq!(
        (status, &health["status"], &health["tenant_id"]),
        (200, &Value::from("healthy"), &Value::from("default")),
        "{health}"
    );
    assert_eq!(server.get("/api/v1/jobs", None).0, 401);
    assert_eq!(server.get("/api/v1/jobs", Some("weir_0000000000000000000000000000000000000000000")).0, 401);
    assert_eq!(server.get("/api/v1/jobs", Some(&token)).0, 200);
    let (code, rest) = server.stop();
    assert_eq!(code, 0, "{rest}");
    assert!(!rest.contains(&token), "the token is in no log");

    let server = Server::start(&folder, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(server.get("/api/v1/jobs", Some(&token)).0, 200, "the token outlives the process");
    let (code, rest) = server.stop();
    assert!(code == 0 && !rest.contains("token of the first"), "{rest}");
}

#[test]
fn development_needs_no_token() {
    let folder = Folder::new();
    let mut server = Server::start(&folder, &["serve", "--dev", "--listen", "127.0.0.1:0"]);
    assert!(server.line().starts_with("development:"));
    assert_eq!(server.get("/api/v1/jobs", None).0, 200);
    let (status, config) = server.get("/api/v1/config", None);
    let listen = config["items"].as_array().unwrap().iter().find(|setting| setting["key"] == "listen").unwrap();
    assert_eq!((status, &listen["value"], &listen["origin"]), (200, &"127.0.0.1:0".into(), &"flag --listen".into()), "{config}");
    let (status, schema) = server.get("/api/v1/pipelines/schema", None);
    assert!(status == 200 && schema["$defs"]["source.file"]["properties"]["path"].is_object());
    assert_eq!(server.stop().0, 0);
}

#[test]
fn the_runner_serves_and_says_how_it_is() {
    let mut folder = Folder::new();
    let (port, metrics) = (free_port().unwrap(), free_port().unwrap());
    folder.set("METRICS_PORT", metrics.to_string());
    folder.set("WEIR_LISTEN", format!("127.0.0.1:{port}"));
    let away = folder.weir(&["runner", "health"]);
    assert_eq!(away.code, 3, "{}", away.shown());
    assert!(away.err.contains("weir serve"), "{}", away.err);
    let mut server = Server::start(&folder, &["runner", "server", "--host", "127.0.0.1", "--port", &port.to_string()]);
    assert_eq!(server.line(), format!("metrics are on http://127.0.0.1:{metrics}/metrics"));
    let health = folder.weir(&["runner", "health"]).ok().json();
    assert_eq!(
        (&health["status"], &health["components"]["metrics"]["status"]),
        (&"healthy".into(), &"enabled".into()),
        "{health}"
    );
    let doctor = folder.weir(&["doctor"]).ok();
    assert!(doctor.out.contains("is served by") && doctor.out.contains("schema"), "{}", doctor.out);
    let second = folder.weir(&["serve"]);
    assert_eq!(second.code, 1, "{}", second.shown());
    assert!(second.err.contains("somebody else listens there"), "{}", second.err);
    assert_eq!(server.stop().0, 0);
}

#[test]
fn a_backup_restores_into_an_empty_place_and_nowhere_else() {
    let folder = Folder::new();
    let mut server = Server::start(&folder, &["serve", "--listen", "127.0.0.1:0"]);
    let token = server.line().rsplit(' ').next().unwrap().to_owned();
    folder.weir(&["backup", "copy.db"]).ok();
    folder.weir(&["backup", "--portable", "dump.jsonl"]).ok();
    assert_eq!(server.stop().0, 0);
    let again = folder.weir(&["backup", "copy.db"]);
    assert_eq!(again.code, 2, "{}", again.shown());
    let verified = folder.weir(&["audit", "verify", "--json"]).ok().json();
    assert!(verified["rows"].as_u64().unwrap() > 0 && verified["whole"] == true, "{verified}");
    for (file, place) in [("copy.db", "one"), ("dump.jsonl", "two")] {
        let restored = folder.weir(&["restore", file, "--data", place]).ok();
        assert!(restored.err.contains("verified"), "{}", restored.err);
        let server = Server::start(&folder, &["serve", "--listen", "127.0.0.1:0", "--data", place]);
        assert_eq!(server.get("/api/v1/jobs", Some(&token)).0, 200, "{file}");
        assert_eq!(server.stop().0, 0);
        let refused = folder.weir(&["restore", file, "--data", place]);
        assert_ne!(refused.code, 0, "{}", refused.shown());
    }
    assert_eq!(folder.weir(&["restore", "none.db", "--data", "three"]).code, 1);
}

#[test]
fn the_doctor_of_a_fresh_machine_finds_nothing_wrong_and_makes_nothing() {
    let folder = Folder::new();
    let findings = folder.weir(&["doctor", "--json"]).ok().json();
    let parts: Vec<&str> = findings.as_array().unwrap().iter().map(|finding| finding["part"].as_str().unwrap()).collect();
    assert_eq!(parts, ["data folder", "disk", "seal key", "clock", "database", "address"]);
    assert!(!folder.path().join("weir-data").exists());
}

#[test]
fn the_doctor_names_what_is_broken_and_what_to_do() {
    let mut folder = Folder::new();
    folder.write("not-a-folder", "");
    folder.set("WEIR_SEAL_KEY", "dG9vIHNob3J0");
    folder.set("VAULT_ADDRESS", "http://127.0.0.1:9");
    folder.set("VAULT_TOKEN", "s3cr3t");
    folder.set("TRACING_ENDPOINT", "http://127.0.0.1:9/v1/traces");
    folder.set("IGNITE_HOSTS", "127.0.0.1:9");
    folder.set("DATABASE_URL", "postgres://weir:s3cr3t@127.0.0.1:9/weir");
    folder.set("OIDC_ISSUER", "http://127.0.0.1:9");
    folder.set("OIDC_AUDIENCE", "weir");
    let said = folder.weir(&["doctor", "--json", "--data", "not-a-folder"]);
    assert_eq!(said.code, 1, "{}", said.shown());
    assert!(!said.out.contains("s3cr3t"), "{}", said.out);
    for part in ["data folder", "seal key", "database", "Vault", "Ignite", "tracing", "sign-in"] {
        let findings = said.json();
        let finding = findings.as_array().unwrap().iter().find(|finding| finding["part"] == part).unwrap().clone();
        assert!(finding["state"] == "fail" && finding["hint"].is_string(), "{finding}");
    }
}

#[test]
fn a_worker_without_slots_is_refused() {
    let mut folder = Folder::new();
    folder.set("MAX_CONCURRENT_JOBS", "0");
    assert_said!("worker_without_slots", folder.weir(&["worker"]));
}
