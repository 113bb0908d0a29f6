//! Rules about single files: length, names, `unwrap` outside tests, paths of one machine, hosts of registries.

use super::Finding;

const RUST_LIMITS: (usize, usize) = (400, 800);
const TYPESCRIPT_LIMITS: (usize, usize) = (150, 300);
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// Homes of people and workplaces; a file that names one works on one machine only.
const MACHINE_FOLDERS: [&str; 3] = ["root", "work", "Users"];
/// Registries are used through their clients, by name; a host in a file would bypass the user's own set-up.
const REGISTRY_HOSTS: [&str; 7] = [
    "pypi.org",
    "files.pythonhosted.org",
    "static.crates.io",
    "proxy.golang.org",
    "registry.npmjs.org",
    "repo1.maven.org",
    "deb.debian.org",
];
/// Where those strings are the subject itself.
const ABOUT_HOSTS: [&str; 2] = ["xtask/src/lint/files.rs", "Cargo.lock"];

/// Everything about one file. `only_tests`: a module that its parent includes for tests alone.
pub fn check(path: &str, text: &str, only_tests: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(name(path));
    if !only_tests && !is_test_file(path) {
        findings.extend(length(path, text));
        findings.extend(unwraps(path, text));
    }
    if !ABOUT_HOSTS.contains(&path) {
        findings.extend(foreign_strings(path, text));
    }
    findings
}

/// Connector folders that `registry.rs` does not name.
pub fn registered(folders: &[String], registry: &str) -> Vec<Finding> {
    folders
        .iter()
        .filter(|folder| !registry.contains(&format!("{folder}::")))
        .map(|folder| Finding::hard(format!("crates/weir-connectors/src/{folder} is not in registry.rs")))
        .collect()
}

/// The files that this one includes for tests alone: `#[cfg(test)] mod name;`.
pub fn test_modules(path: &str, text: &str) -> Vec<String> {
    let Some(stem) = path.strip_suffix(".rs") else { return Vec::new() };
    let folder = match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    };
    let mut found = Vec::new();
    let mut for_tests = false;
    for line in text.lines().map(str::trim) {
        let declared = line.split_once("mod ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
        if let Some(module) = declared.and_then(|(_, rest)| rest.strip_suffix(';')).filter(|_| for_tests) {
            found.extend([format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")]);
        }
        for_tests = line == "#[cfg(test)]" || (for_tests && line.starts_with("#["));
    }
    found
}

fn name(path: &str) -> Option<Finding> {
    let is_source = path.ends_with(".rs") || path.ends_with(".ts") || path.ends_with(".tsx");
    let part = path.split('/').find(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or_default()))?;
    is_source.then(|| Finding::hard(format!("{path}: `{part}` says nothing about what is in it")))
}

/// Whether the whole file is tests (or a bench or example).
fn is_test_file(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    path.split('/').any(|part| ["tests", "benches", "fuzz", "examples"].contains(&part))
        || file == "tests.rs"
        || file.ends_with("_tests.rs")
        || file.contains(".test.")
}

/// `mod x`, `pub mod x`, `pub(crate) mod x`.
fn is_module(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("mod ") || (line.starts_with("pub") && line.contains(" mod "))
}

/// The lines before the module of tests at the end.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let end = (0..lines.len()).find(|&i| {
        lines[i].trim() == "#[cfg(test)]"
            && lines[i + 1..].iter().find(|l| !l.trim_start().starts_with("#[")).is_some_and(|l| is_module(l) && l.contains('{'))
    });
    lines[..end.unwrap_or(lines.len())].to_vec()
}

fn length(path: &str, text: &str) -> Option<Finding> {
    let (soft, hard) = match path.rsplit('.').next() {
        Some("rs") => RUST_LIMITS,
        Some("ts" | "tsx") if path.starts_with("web/") && !path.contains("generated") => TYPESCRIPT_LIMITS,
        _ => return None,
    };
    let lines = without_tests(text).len();
    if lines > hard {
        return Some(Finding::hard(format!(
            "{path}: {lines} lines without tests, the limit is {hard}: tell two stories in two files"
        )));
    }
    (lines > soft).then(|| Finding::soft(format!("{path}: {lines} lines without tests, more than {soft}")))
}

fn unwraps(path: &str, text: &str) -> Vec<Finding> {
    if !path.ends_with(".rs") {
        return Vec::new();
    }
    let is_code = |line: &str| !line.trim_start().starts_with("//");
    without_tests(text)
        .iter()
        .enumerate()
        .filter(|(_, line)| is_code(line) && !line.contains('"') && line.contains(".unwrap()"))
        .map(|(index, _)| Finding::hard(format!("{path}:{}: `unwrap()` outside tests", index + 1)))
        .collect()
}

fn foreign_strings(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for folder in MACHINE_FOLDERS {
            let word = format!("/{folder}/");
            // Only where a path begins: a folder of that name inside `docs` is no machine's path.
            let begins = line
                .match_indices(&word)
                .any(|(at, _)| line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !"._-/}*".contains(c)));
            if begins {
                findings.push(Finding::hard(format!("{path}:{}: `{word}` is a path of one machine", index + 1)));
            }
        }
        if let Some(host) = REGISTRY_HOSTS.iter().find(|host| line.contains(*host)) {
            findings.push(Finding::hard(format!("{path}:{}: `{host}` is the host of a registry", index + 1)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, text: &str) -> Vec<String> {
        check(path, text, false).into_iter().map(|f| f.text).collect()
    }

    #[test]
    fn tests_at_the_end_do_not_count_for_length_or_unwrap() {
        let code = "fn f() {}\n".repeat(390);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    let x = g().unwrap();\n".repeat(500));
        assert_eq!(texts("crates/a/src/b.rs", &format!("{code}{tests}")), Vec::<String>::new());
        assert_eq!(texts("crates/a/tests/b.rs", &"x.unwrap();\n".repeat(900)), Vec::<String>::new());
        let shared = tests.replace("mod tests", "pub(super) mod tests");
        assert_eq!(texts("crates/a/src/b.rs", &format!("{code}{shared}")), Vec::<String>::new());
    }

    #[test]
    fn a_test_only_item_before_the_code_does_not_hide_it() {
        let text = format!("#[cfg(test)]\nmod tests;\n{}", "x.unwrap();\n");
        assert_eq!(texts("crates/a/src/b.rs", &text), ["crates/a/src/b.rs:3: `unwrap()` outside tests"]);
    }

    #[test]
    fn a_module_included_for_tests_alone_is_tests() {
        let parent = "mod a;\n#[cfg(test)]\npub(crate) mod b;\n#[cfg(test)]\nmod tests {\n}\nmod c;\n";
        assert_eq!(test_modules("crates/x/src/main.rs", parent), ["crates/x/src/b.rs", "crates/x/src/b/mod.rs"]);
        assert_eq!(test_modules("crates/x/src/y.rs", parent)[0], "crates/x/src/y/b.rs");
        assert!(check("crates/x/src/b.rs", "x.unwrap();", true).is_empty());
    }

    #[test]
    fn long_files_are_noted_and_very_long_ones_refused() {
        let found = |lines: usize| {
            check("crates/a/src/b.rs", &"//\n".repeat(lines), false).into_iter().map(|f| f.soft).collect::<Vec<_>>()
        };
        assert_eq!((found(400), found(401), found(800), found(801)), (vec![], vec![true], vec![true], vec![false]));
    }

    #[test]
    fn names_that_say_nothing_are_refused_as_file_and_as_folder() {
        assert_eq!((texts("crates/a/src/utils.rs", "").len(), texts("crates/a/tests/common/mod.rs", "").len()), (1, 1));
        assert!(texts("crates/a/src/commonmark.rs", "").is_empty());
    }

    #[test]
    fn paths_of_one_machine_and_hosts_of_registries_are_refused() {
        assert_eq!(texts("a.toml", &format!("x = \"/{}/.cargo\"", MACHINE_FOLDERS[0])).len(), 1);
        assert_eq!(texts("a.sh", "pip --index https://pypi.org/simple").len(), 1);
        assert!(texts("a.sh", &["cd \"$HOME", "/x\"; ls docs", "/"].join("/work")).is_empty());
    }

    #[test]
    fn a_connector_that_nobody_registered_is_found() {
        let folders = ["http".to_owned(), "files".to_owned()];
        let found = registered(&folders, "registry.add(Arc::new(crate::files::Files::file()));");
        assert_eq!(found[0].text, "crates/weir-connectors/src/http is not in registry.rs");
        assert_eq!(found.len(), 1);
    }
}
