//! `weir serve` as somebody runs it, and everything that it says.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::stage::weir;

/// Nothing here takes so long on a machine that works.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The running server with its folder.
pub struct Program {
    pub folder: PathBuf,
    environment: Vec<(String, String)>,
    child: Child,
    address: String,
    /// Where metrics alone are served.
    pub metrics: String,
    /// The first administrator's token.
    pub token: String,
    /// All that was said so far: where, and what.
    said: Mutex<Vec<(String, Vec<u8>)>>,
}

/// An answer of the API.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self, expected: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, expected, "{text}");
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::from(text))
    }
}

impl Program {
    pub fn start(folder: &Path, environment: &[(&str, String)]) -> Self {
        let environment: Vec<_> = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let (out, err) = (folder.join("stdout.txt"), folder.join("stderr.txt"));
        let child = command(folder, &environment, &["serve", "--listen", "127.0.0.1:0"])
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let text = || std::fs::read_to_string(&out).unwrap();
        let begun = weir_testkit::wait_until("the server says its token", PATIENCE, || text().contains("shown this once: "));
        begun.unwrap_or_else(|error| panic!("{error}: {}", std::fs::read_to_string(&err).unwrap()));
        let text = text();
        let after = |words: &str| text.lines().find_map(|line| line.split_once(words)).unwrap().1.trim().to_owned();
        let metrics = after("metrics are on http://");
        Self {
            folder: folder.to_owned(),
            environment,
            child,
            address: after("weir listens on http://"),
            metrics: metrics.split('/').next().unwrap().to_owned(),
            token: after("shown this once: "),
            said: Mutex::default(),
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Keeps what was said somewhere.
    pub fn heard(&self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.said.lock().unwrap().push((place.into(), bytes.into()));
    }

    pub fn said(&self) -> Vec<(String, Vec<u8>)> {
        self.said.lock().unwrap().clone()
    }

    /// Asks as the administrator and keeps the whole answer.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_with(method, path, &[("content-type", "application/json")], &text)
    }

    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null).json(200)
    }

    /// The same with headers and any body.
    pub fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (answer, raw) = self.quietly(method, path, headers, body);
        self.heard(format!("answer to {method} {}", path.split('?').next().unwrap()), raw);
        answer
    }

    /// An answer that is not searched: it shows a secret this once, or is asked for again and again.
    pub fn quietly(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (Answer, Vec<u8>) {
        let mut all = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            all.push_str(&format!("authorization: Bearer {}\r\n", self.token));
        }
        headers.iter().for_each(|(name, value)| all.push_str(&format!("{name}: {value}\r\n")));
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{all}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).unwrap();
        let head = raw.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: no head"));
        let status = String::from_utf8_lossy(&raw[..head]).split(' ').nth(1).unwrap().parse().unwrap();
        (Answer { status, body: raw[head + 4..].to_vec() }, raw)
    }

    /// Reads a stream of events up to a text that must come.
    pub fn listen(&self, path: &str, until: &str) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let token = &self.token;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\n\r\n")
            .unwrap();
        let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&heard).contains(until) {
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "{path} ended without {until:?}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..count]);
        }
        self.heard(format!("stream of {path}"), heard);
    }

    /// Another command in the same environment; what it says is kept.
    pub fn weir(&self, arguments: &[&str]) {
        let output = command(&self.folder, &self.environment, arguments).output().unwrap();
        let (name, code) = (format!("weir {}", arguments.join(" ")), output.status.code());
        let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(matches!(code, Some(0 | 1)), "{name}: {code:?} {shown}");
        self.heard(name, shown);
    }

    /// A run of a job, to its end; how it ended.
    pub fn run(&self, job: &str) -> Value {
        let run = self.ask("POST", &format!("/api/v1/jobs/{job}/run"), &Value::Null).json(202);
        let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
        let mut now = Value::Null;
        let ended = weir_testkit::wait_until("the run ends", PATIENCE, || {
            now = self.quietly("GET", &path, &[], "").0.json(200);
            ["succeeded", "failed", "cancelled"].contains(&now["status"].as_str().unwrap())
        });
        ended.unwrap_or_else(|error| panic!("{error}: {now:#}"));
        now
    }

    /// A polite kill; it must end well.
    pub fn stop(mut self) -> Vec<(String, Vec<u8>)> {
        // SAFETY: the child has not been waited for, so the id is its own.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), libc::SIGTERM) };
        assert_eq!((sent, self.child.wait().unwrap().code()), (0, Some(0)));
        self.said()
    }
}

impl Drop for Program {
    /// A test that fails leaves no server behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, environment: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(weir());
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("HOME", folder).env("TZ", "UTC").env("PATH", "/usr/bin:/bin");
    command.envs(environment.iter().cloned());
    command
}

/// Arguments and environment of a server's children, at this moment.
pub fn children(parent: u32) -> Vec<u8> {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if of == Some(parent) {
            for file in ["cmdline", "environ"] {
                seen.extend(std::fs::read(entry.path().join(file)).unwrap_or_default());
            }
        }
    }
    seen
}
