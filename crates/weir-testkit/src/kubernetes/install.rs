//! Gets the programs of Kubernetes: API server and controller manager are built once from their Go module into the cache, because no package
//! registry carries them; etcd is the system's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::install_once;
use crate::process::run_checked;
use crate::shared::first_file;

/// The release that is built. Changing it builds anew, beside the old one.
pub const VERSION: &str = "1.36.3";
/// The release of Kubernetes' own libraries that goes with it: its go.mod leaves their versions to whoever builds.
const LIBRARIES: &str = "v0.36.3";
const MODULE: &str = "k8s.io/kubernetes";

/// The folder of `kube-apiserver` and `kube-controller-manager`, built when missing (about seven minutes of two cores, with the Go tool
/// chain and its module proxy).
pub fn programs() -> Result<PathBuf> {
    install_once(&format!("kubernetes-{VERSION}"), build)
}

/// The system's etcd.
pub fn etcd() -> Result<PathBuf> {
    match first_file(["/usr/bin/etcd".into(), "/usr/local/bin/etcd".into()]) {
        Some(path) => Ok(path),
        None => bail!("there is no etcd: scripts/setup.sh test installs it (Debian: etcd-server)"),
    }
}

fn build(dir: &Path) -> Result<()> {
    let source = dir.join("source");
    std::fs::create_dir(&source)?;
    let head = format!("module weir.invalid/kubernetes\n\ngo 1.26.0\n\nrequire {MODULE} v{VERSION}\n");
    std::fs::write(source.join("go.mod"), &head)?;
    // Caches of its own, which go with the build: nothing else would use these thousands of packages again.
    let caches = dir.join("caches");
    let go = |args: &[&str]| -> Result<String> {
        let mut command = Command::new("go");
        command.args(args).current_dir(&source).env("GOFLAGS", "-mod=mod -modcacherw").env("CGO_ENABLED", "0");
        command.env("GOCACHE", caches.join("build")).env("GOMODCACHE", caches.join("modules"));
        run_checked(&mut command).context("Kubernetes is built with the Go tool chain: install `go`")
    };
    eprintln!("building Kubernetes {VERSION} (once, some minutes)");
    go(&["mod", "download", &format!("{MODULE}@v{VERSION}")])?;
    let theirs = caches.join(format!("modules/cache/download/{MODULE}/@v/v{VERSION}.mod"));
    std::fs::write(source.join("go.mod"), head + &replaced(&std::fs::read_to_string(theirs)?))?;
    let program = |name: &str| format!("{MODULE}/cmd/{name}");
    let names = ["kube-apiserver", "kube-controller-manager"];
    go(&["get", &format!("{}@v{VERSION}", program(names[0])), &format!("{}@v{VERSION}", program(names[1]))])?;
    let about = "k8s.io/component-base/version";
    let flags = format!("-s -w -X {about}.gitVersion=v{VERSION} -X {about}.gitMajor=1 -X {about}.gitMinor=36");
    for name in names {
        go(&["build", "-trimpath", "-ldflags", &flags, "-o", &format!("../{name}"), &program(name)])?;
    }
    std::fs::remove_dir_all(&source)?;
    std::fs::remove_dir_all(&caches)?;
    Ok(())
}

/// A line for each library that their go.mod names without a version.
fn replaced(theirs: &str) -> String {
    let mut names: Vec<&str> = theirs
        .lines()
        .filter_map(|line| line.trim().strip_suffix(" v0.0.0"))
        .filter(|name| name.starts_with("k8s.io/") && !name.contains(' '))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.iter().map(|name| format!("replace {name} => {name} {LIBRARIES}\n")).collect()
}
