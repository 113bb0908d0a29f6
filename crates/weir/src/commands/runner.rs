//! `weir runner`: the verbs of the ingestion runner, as its manual has them.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use weir_control::config::{self, Inputs, VaultAuth};
use weir_engine::{RunOptions, RunReport, RunStatus};
use weir_error::{Error, Kind, Result};
use weir_secrets::Vault;
use weir_secrets::vault::{VaultConfig, VaultLogin};

use crate::cli::{self, RunnerAsk, RunnerSample, RunnerServer};
use crate::commands::serve::{self, setup};
use crate::commands::{Context, connectors};
use crate::outcome::{Failure, Outcome};
use crate::process::{block_on, stop_on_signals};
use crate::report;

/// `sample SPEC`: runs it in this process; the result is one JSON object on stdout.
pub fn sample(args: &RunnerSample, context: &Context) -> Outcome {
    let places = cli::Settings { config: args.config.clone(), data: None, files: None };
    let token = args.vault_token.clone();
    let settings = setup::load(&setup::inputs(&places).flag("vault_token", "--vault-token", token), context)?;
    let file = cli::File { file: args.spec.clone(), pipeline: None };
    let opened = crate::planning::open_with(&file, vault(&settings), true, context)?;
    super::execute::only_native(&opened.pipeline)?;
    let mut options = RunOptions::new(&args.state.state_dir);
    options.parallelism = opened.lanes(None);
    options.max_memory_bytes = usize::try_from(settings.run_memory_bytes / 2).unwrap_or(usize::MAX);
    if let Some(millis) = opened.pipeline.checkpoint_interval_ms {
        options.checkpoint_interval = Duration::from_millis(millis);
    }
    block_on(async {
        stop_on_signals(options.stop.clone(), context.err)?;
        let (stop, limit) = (options.stop.clone(), Duration::from_secs(settings.job_timeout_secs));
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            eprintln!("the run has taken {} s (JOB_TIMEOUT_SECONDS): it is stopped with a checkpoint", limit.as_secs());
            stop.cancel();
        });
        let plan = tokio::select! {
            plan = opened.plan(None, true, context) => plan?,
            () = options.stop.cancelled() => return Err(Error::cancelled().into()),
        };
        let mut reporter = report::reporter(report::choose(cli::Progress::Auto), context.err);
        let done = weir_engine::run(plan, options, reporter.as_mut()).await;
        drop(reporter);
        let body = result(&done, &opened.pipeline.name, &settings.tenant_id);
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
        Ok::<u8, Failure>(done.exit_code())
    })
}

/// The runner's result: `success`, `job_id`, and `error` when it failed.
fn result(done: &RunReport, spec: &str, tenant: &str) -> Value {
    let success = done.status == RunStatus::Succeeded;
    let sum = |count: fn(&weir_engine::StreamReport) -> u64| done.streams.iter().map(count).sum::<u64>();
    json!({
        "success": success,
        "job_id": done.run_id,
        "status": if success { "completed" } else { "failed" },
        "spec_name": spec,
        "tenant_id": tenant,
        "duration_seconds": done.duration_ms as f64 / 1000.0,
        "records_ingested": sum(|stream| stream.rows_written),
        "bytes_ingested": sum(|stream| stream.bytes_written),
        "error": done.error.as_ref().map(|error| error.message.clone()),
        "report": done,
    })
}

fn vault(settings: &config::Settings) -> Vault {
    let Some((address, login)) = settings.vault.clone() else { return Vault::from_environment() };
    let login = match login {
        VaultAuth::Token(token) => VaultLogin::Token(token),
        VaultAuth::AppRole { role_id, secret_id } => VaultLogin::AppRole { role_id, secret_id },
    };
    let (namespace, ca_cert) = (settings.vault_namespace.clone(), settings.vault_ca_cert.clone());
    Vault::new(VaultConfig { namespace, ca_cert, ..VaultConfig::new(address, login) })
}

/// `server`: `weir serve` with the runner's own defaults: metrics on a port of their own.
pub fn server(args: &RunnerServer, context: &Context) -> Outcome {
    serve::serve(server_inputs(args)?, context)
}

fn server_inputs(args: &RunnerServer) -> Result<Inputs> {
    let mut inputs = setup::inputs(&args.settings);
    inputs.presets.push(("metrics_enabled", "true"));
    if args.host.is_none() && args.port.is_none() {
        return Ok(inputs);
    }
    let host = args.host.as_deref().unwrap_or("127.0.0.1");
    let ip: IpAddr = match host {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        other => other.trim_matches(['[', ']']).parse().map_err(|_| {
            Error::new("WEIR-CLI-064", Kind::Spec, format!("`{other}` is no IP address"))
                .at("--host")
                .hint("--host 127.0.0.1 for this machine, --host 0.0.0.0 for all addresses of this machine")
        })?,
    };
    let address = SocketAddr::new(ip, args.port.unwrap_or(8080)).to_string();
    Ok(inputs.flag("listen", if args.host.is_some() { "--host" } else { "--port" }, Some(address)))
}

/// `health`: what `GET /health` of the server says that these settings name. Exit code 0: healthy, 1: not, 3: nobody answers.
pub fn health(args: &RunnerAsk, context: &Context) -> Outcome {
    let settings = setup::load(&setup::inputs(&args.settings), context)?;
    let url = format!("http://{}/health", reachable(settings.listen));
    block_on(async {
        let unreachable = |why: String| {
            Error::new("WEIR-CLI-065", Kind::Connect, "the server does not answer")
                .at(url.clone())
                .because(why)
                .hint("start it with `weir serve`; WEIR_LISTEN or `listen` in the settings file says where it is")
        };
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let client = client.map_err(|error| Error::internal("no HTTP client can be made").caused_by(error))?;
        let answer = client.get(&url).send().await.map_err(|error| unreachable(weir_error::chain(&error.without_url())))?;
        let body: Value = answer.json().await.map_err(|_| unreachable("what answers there is no weir server".into()))?;
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
        Ok::<u8, Failure>(u8::from(body["status"] != "healthy"))
    })
}

/// Where a server that listens there can be reached from this machine.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// `info`: what this runner is and can do.
pub fn info(args: &RunnerAsk, context: &Context) -> Outcome {
    let loaded = setup::loaded(&setup::inputs(&args.settings), context)?;
    let settings = &loaded.settings;
    let shown = config::show::to_json(&loaded.effective);
    let registry = weir_connectors::registry::registry();
    let names = |is: fn(&weir_connect::Descriptor) -> bool| {
        registry.iter().map(|connector| connector.descriptor()).filter(|one| is(one)).map(|one| one.name).collect::<Vec<_>>()
    };
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "runner_id": settings.runner_id,
        "tenant_id": settings.tenant_id,
        "supported_engines": settings.supported_engines,
        "engine_configs": shown["engine_configs"]["value"],
        "max_concurrent_jobs": settings.max_concurrent_jobs,
        "job_timeout_seconds": settings.job_timeout_secs,
        "vault_enabled": settings.vault.is_some(),
        "metrics_enabled": settings.metrics_listen.is_some(),
        "tracing_enabled": settings.tracing_endpoint.is_some(),
        "kubernetes_enabled": settings.kubernetes.is_some(),
        "sources": names(|one| one.source.is_some()),
        "sinks": names(|one| one.sink.is_some()),
        "connectors": registry.iter().map(|connector| connectors::summary(connector.descriptor())).collect::<Vec<_>>(),
    });
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_one_address() {
        let address = |host: Option<&str>, port| {
            let settings = cli::Settings { config: None, data: None, files: None };
            let inputs = server_inputs(&RunnerServer { host: host.map(Into::into), port, settings })?;
            Ok::<_, Error>(inputs.flags.iter().find(|(key, ..)| *key == "listen").map(|(_, _, value)| value.clone()))
        };
        assert_eq!(address(Some("0.0.0.0"), Some(80)).unwrap().as_deref(), Some("0.0.0.0:80"));
        assert_eq!(address(Some("[::1]"), None).unwrap().as_deref(), Some("[::1]:8080"));
        assert_eq!(address(None, Some(9)).unwrap().as_deref(), Some("127.0.0.1:9"));
        assert_eq!(address(None, None).unwrap(), None);
        assert!(address(Some("db.example.org"), None).is_err());
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
    }
}
