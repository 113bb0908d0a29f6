//! Child processes that cannot outlive the test: started with a death signal, stopped by pid, waited for.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs `command` to its end with no standard input and gives its standard output; a failure carries its standard error.
pub fn run_checked(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        let line =
            std::iter::once(command.get_program()).chain(command.get_args()).map(|a| a.to_string_lossy()).collect::<Vec<_>>();
        bail!("`{}` ended with {}\n{}", line.join(" "), output.status, tail(&String::from_utf8_lossy(&output.stderr), 30));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last `lines` lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A port on 127.0.0.1 that was free a moment ago. Another process may take it: start and, if that fails, ask again.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Whether the process exists (a zombie counts as gone).
pub fn is_alive(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z' && state != 'X')
        }
        Err(_) => false,
    }
}

/// Sends `signal` to one process. A process that is gone already is not an error.
pub fn signal(pid: u32, signal: i32) -> Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    #[allow(unsafe_code)]
    let rc = unsafe { libc::kill(pid as libc::pid_t, signal) };
    if rc != 0 {
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ESRCH) {
            return Err(error).with_context(|| format!("cannot signal process {pid}"));
        }
    }
    Ok(())
}

/// Who the server runs as and what becomes of it when its parent dies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spawn {
    /// Drop to this user and group (only the superuser can).
    pub user: Option<(u32, u32)>,
    /// Leave the parent's session and survive it. Else the kernel kills the child with its parent.
    pub detached: bool,
}

/// A server that this process started.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    name: String,
}

impl ServerProcess {
    /// Starts `command` with its output appended to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path, how: Spawn) -> Result<Self> {
        let out =
            File::options().create(true).append(true).open(log).with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        if let Some((uid, gid)) = how.user {
            command.uid(uid).gid(gid);
        }
        let parent = std::process::id() as libc::pid_t;
        // SAFETY: between fork and exec only async-signal-safe system calls are made.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                if how.detached {
                    libc::setsid();
                    return Ok(());
                }
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The parent may have died between fork and prctl: then no signal would ever come.
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
                Ok(())
            });
        }
        let child =
            spawn_from_lasting_thread(command).with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks `ready` every 20 ms until it says yes; fails when the process ends or `limit` passes, with the end of `log`.
    pub fn wait_ready(&mut self, log: &Path, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let begin = Instant::now();
        loop {
            if ready() {
                return Ok(());
            }
            let said = || tail(&std::fs::read_to_string(log).unwrap_or_default(), 20);
            if let Some(status) = self.exited()? {
                bail!("{} ended with {status} while starting\n{}", self.name, said());
            }
            if begin.elapsed() > limit {
                bail!("{} did not get ready within {} s\n{}", self.name, limit.as_secs(), said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends `signal_number` and waits for the end; after `patience` the process is killed.
    pub fn stop(&mut self, signal_number: i32, patience: Duration) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        signal(self.pid(), signal_number)?;
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if self.exited()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill_9()
    }

    /// Kills at once, and waits until the process is gone.
    pub fn kill_9(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }

    /// Gives up ownership: the process is not stopped when this value goes.
    pub(crate) fn leave_running(self) -> u32 {
        let pid = self.pid();
        std::mem::forget(self);
        pid
    }
}

/// Spawns from a thread that lives as long as this process: the kernel sends the death signal when the spawning
/// *thread* ends, and the thread of a test ends with the test.
fn spawn_from_lasting_thread(command: &mut Command) -> std::io::Result<Child> {
    type Answer = mpsc::Sender<std::io::Result<Child>>;
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<(Command, Answer)>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<(Command, Answer)>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let gone = || std::io::Error::other("the spawning thread is gone");
    let (sender, answer) = mpsc::channel();
    let program = command.get_program().to_owned();
    let job = (std::mem::replace(command, Command::new(program)), sender);
    spawner.lock().map_err(|_| gone())?.send(job).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.kill_9();
    }
}

/// Whether something accepts TCP connections there.
pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_millis(500)).is_ok()
}
