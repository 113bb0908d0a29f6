//! Gets a Vault binary: built once from its Go module into the cache, because no package registry carries one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::install_once;
use crate::process::run_checked;

/// The module version that is built. Changing it builds anew, beside the old one.
pub const VERSION: &str = "v1.21.0";
/// The version of Vault's own SDK that goes with it: its go.mod names one that was never published.
const SDK: &str = "v0.20.0";

const MAIN: &str = r#"package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
"#;

/// The binary, built when missing (about eight minutes of two cores and 9 GB of disk while it lasts, with the Go tool chain and its module proxy).
/// `WEIR_VAULT_BIN` names another one.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_VAULT_BIN").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("WEIR_VAULT_BIN names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let dir = install_once("vault", build)?;
    let built = std::fs::read_to_string(dir.join("VERSION")).unwrap_or_default();
    if built.trim() == VERSION {
        return Ok(dir.join("vault"));
    }
    Ok(install_once(&format!("vault-{VERSION}"), build)?.join("vault"))
}

fn build(dir: &Path) -> Result<()> {
    let source = dir.join("source");
    std::fs::create_dir(&source)?;
    let sdk = "github.com/hashicorp/vault/sdk";
    std::fs::write(source.join("go.mod"), format!("module weir.invalid/vault\n\ngo 1.26.0\n\nreplace {sdk} => {sdk} {SDK}\n"))?;
    std::fs::write(source.join("main.go"), MAIN)?;
    // Caches of its own, which go with the build: nothing else would use these thousands of packages again.
    let caches = dir.join("caches");
    let go = |args: &[&str]| -> Result<()> {
        let mut command = Command::new("go");
        command.args(args).current_dir(&source).env("GOFLAGS", "-mod=mod -modcacherw").env("CGO_ENABLED", "0");
        command.env("GOCACHE", caches.join("build")).env("GOMODCACHE", caches.join("modules"));
        run_checked(&mut command).context("Vault is built with the Go tool chain: install `go`, or set WEIR_VAULT_BIN")?;
        Ok(())
    };
    eprintln!("building Vault {VERSION} (once, some minutes)");
    go(&["get", &format!("github.com/hashicorp/vault@{VERSION}")])?;
    go(&["mod", "tidy"])?;
    go(&["build", "-trimpath", "-ldflags", "-s -w", "-o", "../vault", "."])?;
    std::fs::remove_dir_all(&source)?;
    std::fs::remove_dir_all(&caches)?;
    std::fs::write(dir.join("VERSION"), format!("{VERSION}\n"))?;
    Ok(())
}
