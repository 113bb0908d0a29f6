//! A real RabbitMQ with its management API. It takes 5 to 40 s to start and 130 MB of memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::blocking::block_on;
use crate::process::{ServerProcess, Spawn, accepts, free_port};
use crate::shared::{Started, open_tempdir, shared};

/// The user that may do everything.
pub const USER: &str = "guest";
/// The user's password.
pub const PASSWORD: &str = "guest";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    amqp: u16,
    amqps: u16,
    management: u16,
    distribution: u16,
    names: u16,
    ca_certificate: PathBuf,
}

/// A running RabbitMQ. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Rabbitmq {
    facts: Facts,
    owned: Option<(Option<ServerProcess>, tempfile::TempDir)>,
}

impl Rabbitmq {
    /// The broker of this test run; started by whoever asks first. Take a virtual host of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("rabbitmq", |home| {
            let (process, facts) = launch(home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A broker of one's own.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-rabbitmq-")?;
        let (process, facts) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some((Some(process), dir)) })
    }

    /// The port of AMQP on 127.0.0.1, without TLS.
    pub fn port(&self) -> u16 {
        self.facts.amqp
    }

    /// The port of AMQP on 127.0.0.1 with TLS.
    pub fn tls_port(&self) -> u16 {
        self.facts.amqps
    }

    /// `http://127.0.0.1:PORT`: the management API and its pages.
    pub fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.facts.management)
    }

    /// The authority of the certificate, PEM.
    pub fn ca_certificate(&self) -> &Path {
        &self.facts.ca_certificate
    }

    /// A new virtual host that [`USER`] may use; its name.
    pub fn create_virtual_host(&self) -> Result<String> {
        let name = format!("test-{}", uuid::Uuid::new_v4().simple());
        self.api("PUT", &format!("vhosts/{name}"), json!({}))?;
        self.permit(&name, USER)?;
        Ok(name)
    }

    /// Gives a user every right in a virtual host.
    pub fn permit(&self, virtual_host: &str, user: &str) -> Result<()> {
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.api("PUT", &format!("permissions/{virtual_host}/{user}"), all).map(drop)
    }

    /// One call of the management API below `/api/`. The answer's body; `Null` if it has none.
    pub fn api(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let method: reqwest::Method = method.parse()?;
        let url = format!("http://127.0.0.1:{}/api/{path}", self.facts.management);
        block_on(move || async move {
            let mut request = reqwest::Client::new().request(method, &url).basic_auth(USER, Some(PASSWORD));
            if !body.is_null() {
                request = request.json(&body);
            }
            let answer = request.send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            if !status.is_success() {
                bail!("the broker answers {status} to {url}: {text}");
            }
            Ok(serde_json::from_str(&text).unwrap_or_default())
        })
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        let port = self.facts.amqp;
        let (process, _) = self.owned.as_mut().context("the shared broker is not this test's to stop")?;
        if let Some(mut process) = process.take() {
            process.kill_9()?;
        }
        crate::wait_until("the broker is gone", Duration::from_secs(10), || !accepts(port))
    }

    /// Starts it again, on the same ports with the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.kill_9()?;
        let (process, dir) = self.owned.as_mut().context("the shared broker is not this test's to stop")?;
        *process = Some(run_broker(dir.path(), &self.facts, false)?);
        Ok(())
    }
}

/// Where the broker's program is. Not the one in `/usr/sbin`, which changes to another user.
pub fn binary() -> Result<PathBuf> {
    let place = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
    if !place.is_file() {
        bail!("there is no RabbitMQ: `scripts/setup.sh test` installs it");
    }
    Ok(place)
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    crate::postgres::tls::make_certificates(&home.join("tls"), None)?;
    let mut last = None;
    for _ in 0..3 {
        let facts = Facts {
            amqp: free_port()?,
            amqps: free_port()?,
            management: free_port()?,
            distribution: free_port()?,
            names: free_port()?,
            ca_certificate: home.join("tls/ca.crt"),
        };
        match run_broker(home, &facts, detached) {
            Ok(process) => return Ok((process, facts)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A broker in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, true)?;
    let (amqp, amqps, management) = (facts.amqp, facts.amqps, facts.management);
    let address = format!("127.0.0.1:{amqp} (TLS {amqps}; http://127.0.0.1:{management}; {USER} {PASSWORD})");
    Ok((process.leave_running(), address))
}

/// Erlang's name server and the broker, as children that the kernel kills with this shell.
const TOGETHER: &str = r#"
setpriv --pdeathsig KILL epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
setpriv --pdeathsig KILL "$1" &
wait $!
"#;

fn run_broker(home: &Path, facts: &Facts, detached: bool) -> Result<ServerProcess> {
    let (log, tls) = (home.join("log"), home.join("tls"));
    let config = format!(
        "listeners.tcp.1 = 127.0.0.1:{}\nlisteners.ssl.1 = 127.0.0.1:{}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n\
         ssl_options.cacertfile = {tls}/ca.crt\nssl_options.certfile = {tls}/server.crt\nssl_options.keyfile = {tls}/server.key\n\
         ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n\
         vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 50MB\n",
        facts.amqp,
        facts.amqps,
        facts.management,
        tls = tls.display(),
    );
    std::fs::write(home.join("rabbitmq.conf"), config)?;
    std::fs::write(home.join("enabled_plugins"), "[rabbitmq_management].\n")?;
    let mut command = Command::new("sh");
    command.args(["-c", TOGETHER, "weir-test-rabbitmq"]).arg(binary()?).current_dir(home);
    command.env("HOME", home).env("RABBITMQ_NODENAME", "weir@localhost").env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq"));
    command.env("RABBITMQ_MNESIA_BASE", home.join("mnesia")).env("RABBITMQ_LOG_BASE", home.join("logs"));
    command.env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("enabled_plugins")).env("RABBITMQ_PID_FILE", home.join("pid"));
    command.env("RABBITMQ_DIST_PORT", facts.distribution.to_string());
    command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", facts.names.to_string());
    command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}");
    // The script becomes the broker instead of waiting for it.
    command.env("detached", "true");
    let mut process = ServerProcess::spawn("RabbitMQ", &mut command, &log, Spawn { user: None, detached })?;
    let overview = format!("http://127.0.0.1:{}/api/overview", facts.management);
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        accepts(facts.amqp) && accepts(facts.amqps) && answers(&overview)
    })?;
    Ok(process)
}

fn answers(url: &str) -> bool {
    let url = url.to_owned();
    let asked = block_on(move || async move {
        let asked = reqwest::Client::new().get(&url).basic_auth(USER, Some(PASSWORD)).timeout(Duration::from_secs(5)).send();
        Ok(asked.await?.status().is_success())
    });
    asked.unwrap_or(false)
}
