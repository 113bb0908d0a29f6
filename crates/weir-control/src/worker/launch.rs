//! Starting `weir execute`: a clean environment, pipes on all three streams, and a parent thread that lasts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, mpsc};

use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use weir_error::{Error, Kind, Result};

/// What a child may inherit of this process's environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TZ", "LANG"];

type Request = (PathBuf, oneshot::Sender<std::io::Result<Child>>);

/// Starts children. Cheap to clone. When the last clone is gone, so are its children: the kernel kills a child when the *thread* that started
/// it ends (the child asks for that itself), which is why one thread does nothing else. Threads of the runtime come and go.
#[derive(Clone)]
pub struct Launcher {
    requests: mpsc::Sender<Request>,
    program: Arc<PathBuf>,
}

impl Launcher {
    /// For the program at `program`; `None` = this one. Call it inside the runtime that the children's pipes belong to.
    pub fn new(program: Option<PathBuf>) -> Result<Self> {
        let program = Arc::new(match program {
            Some(path) => path,
            None => own_program()?,
        });
        let runtime = tokio::runtime::Handle::current();
        let (requests, inbox) = mpsc::channel::<Request>();
        let path = program.clone();
        std::thread::Builder::new()
            .name("weir-launcher".into())
            .spawn(move || {
                let _inside = runtime.enter();
                for (folder, answer) in inbox {
                    // A caller that went away drops the child, which kills it.
                    let _ = answer.send(command(&path, &folder).spawn());
                }
            })
            .map_err(|error| Error::from(error).transient())?;
        Ok(Self { requests, program })
    }

    /// Starts one child with `folder` as its working folder.
    pub async fn start(&self, folder: &Path) -> Result<Child> {
        let cannot = |why: String| {
            Error::new("WEIR-WORKER-010", Kind::Io, "the run's process cannot be started")
                .at(self.program.display().to_string())
                .because(why)
                .transient()
        };
        let (answer, started) = oneshot::channel();
        self.requests.send((folder.to_path_buf(), answer)).map_err(|_| cannot("the launching thread has ended".into()))?;
        let started = started.await.map_err(|_| cannot("the launching thread has ended".into()))?;
        started.map_err(|error| cannot(error.to_string()))
    }
}

fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("execute")
        .env_clear()
        .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C in a terminal is for the worker, which then gives its children time for a checkpoint.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// On Linux the file that runs, even if another was put in its place meanwhile (an upgrade): worker and child are one version.
fn own_program() -> Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() { Ok(link) } else { std::env::current_exe().map_err(Into::into) }
}

/// Kills a child that was not waited for yet, and all that it may have started.
pub(super) fn kill_group(child: &Child) {
    let Some(pid) = child.id().and_then(|pid| libc::pid_t::try_from(pid).ok()) else { return };
    // SAFETY: kill takes integers. The child was not waited for, so its number and its group's are still its own.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(-pid, libc::SIGKILL);
    }
}
