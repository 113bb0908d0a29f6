//! Runs the built program in a folder of its own and shows what it said, with what changes from run to run replaced.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use regex::Regex;

/// A folder in which `weir` is run with an empty environment.
pub struct Folder {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Folder {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.into(), value.into()));
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.path()).env("COLUMNS", "100").env("TZ", "UTC");
        command.envs(self.environment.iter().cloned());
        command
    }

    pub fn weir(&self, arguments: &[&str]) -> Said {
        Said::new(self.command(arguments).output().unwrap(), self.path())
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        let child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child, folder: self.path().to_path_buf() }
    }

    /// The same; what it says on stderr can be read meanwhile, in this file.
    pub fn start_saying_into(&self, file: &str, arguments: &[&str]) -> Running {
        let said = std::fs::File::create(self.path().join(file)).unwrap();
        let child = self.command(arguments).stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        Running { child, folder: self.path().to_path_buf() }
    }
}

/// A program that runs.
pub struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    /// Sends a signal to exactly this process.
    pub fn signal(&self, signal: i32) {
        let id = i32::try_from(self.child.id()).unwrap();
        // SAFETY: the child has not been waited for, so the id is its own.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0, "the program has ended already");
    }

    /// Reads stderr up to the first line that holds the text.
    pub fn wait_for_stderr(&mut self, text: &str) -> String {
        let mut reader = BufReader::new(self.child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                panic!("the program ended without saying {text:?}: {said}");
            }
            said.push_str(&line);
            if line.contains(text) {
                // The rest stays readable for `end`.
                self.child.stderr = Some(reader.into_inner());
                return said;
            }
        }
    }

    pub fn end(self) -> Said {
        let folder = self.folder.clone();
        Said::new(self.child.wait_with_output().unwrap(), &folder)
    }
}

/// Changes rows, round after round from 1, for as long as the work goes on; whatever comes of it, the writer ends. Gives the rounds.
pub fn while_it_changes(change: impl Fn(u64) + Sync, work: impl FnOnce()) -> u64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                change(round);
            }
            round
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
        writer.join().unwrap()
    })
}

/// What a program said and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
    folder: PathBuf,
}

impl Said {
    fn new(output: Output, folder: &Path) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            folder: folder.canonicalize().unwrap(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.shown());
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.shown()))
    }

    /// Everything, for a snapshot.
    pub fn shown(&self) -> String {
        let text = format!("exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, ended(&self.out), ended(&self.err));
        let text = text.replace(self.folder.to_str().unwrap(), "[folder]");
        let replacements = [
            (r"[0-9a-f]{32}", "[run]"),
            (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+Z", "[time]"),
            // Times of this century's data end with Z and stay; those of the state table do not.
            (r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})\n", "[time]\n"),
            (r"127\.0\.0\.1:\d+", "[address]"),
            (r"\b\d+\.\d s\b", "[seconds]"),
            (r#""duration_ms":\d+"#, r#""duration_ms":"[ms]""#),
            (r"\b[\d.]+ k?B\b", "[bytes]"),
            (r#""bytes_written":\d+"#, r#""bytes_written":"[bytes]""#),
        ];
        replacements
            .iter()
            .fold(text, |text, (pattern, with)| Regex::new(pattern).unwrap().replace_all(&text, *with).into_owned())
    }
}

fn ended(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.into() } else { format!("{text}\n") }
}

/// A server that gives pages of numbers, and holds a page back until it is let go.
pub struct Pages {
    pub address: SocketAddr,
    /// The numbers of the pages that were asked for, as they are.
    pub asked: Receiver<usize>,
    release: Sender<()>,
}

impl Pages {
    /// `pages` pages of `size` records `{"id": …, "name": …}`; the answer to page `hold` waits for [`Pages::release`].
    pub fn serve(pages: usize, size: usize, hold: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (told, asked) = channel();
        let (release, released) = channel::<()>();
        let released = std::sync::Arc::new(std::sync::Mutex::new(released));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (told, released) = (told.clone(), released.clone());
                std::thread::spawn(move || {
                    let mut writer = connection.try_clone()?;
                    let mut reader = BufReader::new(connection);
                    let mut request = String::new();
                    while reader.read_line(&mut request)? > 0 {
                        let mut header = String::new();
                        while reader.read_line(&mut header)? > 2 {
                            header.clear();
                        }
                        let page = page_of(&request);
                        let _ = told.send(page);
                        if Some(page) == hold {
                            let _ = released.lock().unwrap().recv();
                        }
                        let body = page_body(page, pages, size);
                        write!(
                            writer,
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        )?;
                        request.clear();
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self { address, asked, release }
    }

    pub fn release(&self) {
        let _ = self.release.send(());
    }
}

fn page_of(request: &str) -> usize {
    let after = request.split("page=").nth(1).unwrap_or("1");
    after.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(1)
}

fn page_body(page: usize, pages: usize, size: usize) -> String {
    if page > pages {
        return "{\"data\":[]}".into();
    }
    let first = (page - 1) * size;
    let records: Vec<String> = (first..first + size).map(|id| format!("{{\"id\":{id},\"name\":\"n{id}\"}}")).collect();
    format!("{{\"data\":[{}]}}", records.join(","))
}

/// A port on which nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The slots of a database are the server's, which has few: they go when the test ends.
pub struct Slots(pub weir_testkit::Database);

impl Drop for Slots {
    fn drop(&mut self) {
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
        let _ = self.0.execute(drop);
    }
}
