//! Gets a MinIO binary: built once from its Go module into the cache, because no package registry carries one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::install_once;
use crate::process::run_checked;

/// The module version that is built. Changing it builds anew, beside the old one.
pub const VERSION: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";

const MAIN: &str = r#"package main

import (
	"os"

	minio "github.com/minio/minio/cmd"
)

func main() { minio.Main(os.Args) }
"#;

/// The binary, built when missing (about five minutes of two cores, with the Go tool chain and its module proxy).
/// `WEIR_MINIO_BIN` names another one.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_MINIO_BIN").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("WEIR_MINIO_BIN names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let dir = install_once("minio", build)?;
    let built = std::fs::read_to_string(dir.join("VERSION")).unwrap_or_default();
    if built.trim() == VERSION {
        return Ok(dir.join("minio"));
    }
    Ok(install_once(&format!("minio-{VERSION}"), build)?.join("minio"))
}

/// Whether [`binary`] would answer at once.
pub fn is_installed() -> bool {
    std::env::var_os("WEIR_MINIO_BIN").is_some_and(|v| !v.is_empty())
        || crate::cache::cache_dir().is_ok_and(|c| c.join("minio/minio").is_file())
}

fn build(dir: &Path) -> Result<()> {
    let source = dir.join("source");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("go.mod"), "module weir.invalid/minio\n\ngo 1.26.0\n")?;
    std::fs::write(source.join("main.go"), MAIN)?;
    let go = |args: &[&str]| -> Result<()> {
        let mut command = Command::new("go");
        command.args(args).current_dir(&source).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "0");
        run_checked(&mut command).context("MinIO is built with the Go tool chain: install `go`, or set WEIR_MINIO_BIN")?;
        Ok(())
    };
    eprintln!("building MinIO {VERSION} (once, some minutes)");
    go(&["get", &format!("github.com/minio/minio@{VERSION}")])?;
    go(&["mod", "tidy"])?;
    go(&["build", "-trimpath", "-ldflags", "-s -w", "-o", "../minio", "."])?;
    std::fs::remove_dir_all(&source)?;
    std::fs::write(dir.join("VERSION"), format!("{VERSION}\n"))?;
    Ok(())
}
