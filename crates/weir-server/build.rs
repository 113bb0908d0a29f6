//! Puts the web pages into the program: every file of `web/dist`, as `cargo xtask web build` has left it there, compressed ones beside it.
//! Without them the program is whole, only that it says at `/` how they are built.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let dist = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../web/dist");
    // The folder is in the repository, so that this line does not make every build a new one.
    println!("cargo:rerun-if-changed={}", dist.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut found = Vec::new();
    if dist.join("index.html").is_file() {
        files(&dist, &mut found)?;
    }
    found.sort();
    let mut code = String::from("&[\n");
    for file in found.iter().filter(|file| !is_compressed(file)) {
        let path = file.strip_prefix(&dist).map_err(io::Error::other)?;
        let url = format!("/{}", path.to_string_lossy());
        let beside = |ending: &str| {
            let mut name = file.clone().into_os_string();
            name.push(ending);
            bytes(Path::new(&name))
        };
        let line = writeln!(
            code,
            "    File {{ path: {url:?}, plain: include_bytes!({file:?}), brotli: {}, gzip: {} }},",
            beside(".br"),
            beside(".gz")
        );
        line.map_err(io::Error::other)?;
    }
    code.push(']');
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("pages.rs"), code)
}

/// All files below, without hidden ones: those are notes of the build.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => files(&entry.path(), found)?,
            false => found.push(entry.path()),
        }
    }
    Ok(())
}

fn is_compressed(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "br" || ending == "gz")
}

fn bytes(file: &Path) -> String {
    match file.is_file() {
        true => format!("Some(include_bytes!({file:?}))"),
        false => "None".into(),
    }
}
