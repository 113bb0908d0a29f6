//! Gets a collector: built once from its Go modules into the cache, because no package registry carries one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::install_once;
use crate::process::run_checked;

/// The modules that are built, all of one release. Newer releases have parts that the module proxy does not give out.
const MODULES: [&str; 9] = [
    "go.opentelemetry.io/collector/otelcol@v0.160.0",
    "go.opentelemetry.io/collector/service@v0.160.0",
    "go.opentelemetry.io/collector/component@v1.66.0",
    "go.opentelemetry.io/collector/confmap@v1.66.0",
    "go.opentelemetry.io/collector/confmap/provider/fileprovider@v1.66.0",
    "go.opentelemetry.io/collector/exporter/debugexporter@v0.160.0",
    "go.opentelemetry.io/collector/receiver/otlpreceiver@v0.160.0",
    "go.opentelemetry.io/collector/receiver@v1.66.0",
    "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter@v0.160.0",
];

/// The binary, built when missing (some minutes, with the Go tool chain and its module proxy). `WEIR_OTELCOL_BIN` names another one.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_OTELCOL_BIN").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("WEIR_OTELCOL_BIN names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    Ok(install_once("otel-collector-0.160.0", build)?.join("otelcol"))
}

fn build(dir: &Path) -> Result<()> {
    let source = dir.join("source");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("go.mod"), "module weir.invalid/otelcol\n\ngo 1.25.0\n")?;
    std::fs::write(source.join("main.go"), include_str!("main.go"))?;
    let caches = dir.join("caches");
    let go = |args: &[&str]| -> Result<()> {
        let mut command = Command::new("go");
        command.args(args).current_dir(&source).env("GOFLAGS", "-mod=mod -modcacherw").env("CGO_ENABLED", "0");
        command.env("GOCACHE", caches.join("build")).env("GOMODCACHE", caches.join("modules"));
        run_checked(&mut command)
            .context("the OpenTelemetry collector is built with the Go tool chain: install `go`, or set WEIR_OTELCOL_BIN")?;
        Ok(())
    };
    eprintln!("building the OpenTelemetry collector (once, some minutes)");
    let mut get = vec!["get"];
    get.extend(MODULES);
    go(&get)?;
    // Not `go mod tidy`: it would want the modules that only the tests of the modules use.
    go(&["build", "-trimpath", "-ldflags", "-s -w", "-o", "../otelcol", "."])?;
    std::fs::remove_dir_all(&source)?;
    std::fs::remove_dir_all(&caches)?;
    Ok(())
}
