//! The reference pages in `docs/reference`, made from the same definitions that parse. A test compares them with what is
//! committed; `WEIR_UPDATE_REFERENCE=1` writes them.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use crate::cli::Cli;
use crate::commands::connectors;
use crate::show::style::Style;

/// Every command with its options, as Markdown.
fn command_line() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut page =
        String::from("# Commands\n\nMade from the program by `WEIR_UPDATE_REFERENCE=1 cargo test -p weir reference`.\n");
    let globals: Vec<&Arg> = cli.get_arguments().filter(|arg| !hidden(arg)).collect();
    let _ = writeln!(page, "\nEverywhere:\n");
    options(&mut page, &globals);
    for command in cli.get_subcommands() {
        section(&mut page, command, "weir");
    }
    page
}

fn section(page: &mut String, command: &Command, above: &str) {
    let name = format!("{above} {}", command.get_name());
    if command.has_subcommands() {
        for inner in command.get_subcommands() {
            section(page, inner, &name);
        }
        return;
    }
    let arguments: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set() && !hidden(arg)).collect();
    let positional: Vec<String> = arguments
        .iter()
        .filter(|arg| arg.is_positional())
        .map(|arg| {
            let value = arg.get_id().as_str().to_uppercase();
            if arg.is_required_set() { value } else { format!("[{value}]") }
        })
        .collect();
    let _ = writeln!(page, "\n## `{}`\n", [name, positional.join(" ")].join(" ").trim_end());
    let _ = writeln!(page, "{}.\n", command.get_about().map(ToString::to_string).unwrap_or_default());
    options(page, &arguments);
}

fn options(page: &mut String, arguments: &[&Arg]) {
    for arg in arguments {
        let value = arg.get_value_names().map(|names| names.join(" ")).filter(|_| arg.get_action().takes_values());
        let mut name = match (arg.get_long(), arg.get_short()) {
            (Some(long), Some(short)) => format!("-{short}, --{long}"),
            (Some(long), None) => format!("--{long}"),
            _ => arg.get_id().as_str().to_uppercase(),
        };
        if let Some(value) = value.filter(|_| !arg.is_positional()) {
            let _ = write!(name, " {value}");
        }
        let _ = write!(page, "- `{name}` {}", arg.get_help().map(ToString::to_string).unwrap_or_default());
        let choices: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_string()).collect();
        if !choices.is_empty() && arg.get_action().takes_values() {
            let _ = write!(page, " ({})", choices.join(", "));
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() && arg.get_action().takes_values() {
            let _ = write!(page, "; default `{}`", defaults.join(" "));
        }
        if let Some(variable) = arg.get_env() {
            let _ = write!(page, "; environment `{}`", variable.to_string_lossy());
        }
        page.push('\n');
    }
}

fn hidden(arg: &Arg) -> bool {
    arg.is_hide_set() || matches!(arg.get_id().as_str(), "help" | "version")
}

/// Every connector with its options, as Markdown.
fn all_connectors() -> String {
    let mut page = String::from(
        "# Connectors\n\nMade from the option structs by `WEIR_UPDATE_REFERENCE=1 cargo test -p weir reference`. On the command line: `weir connectors NAME`.\n",
    );
    let registry = weir_connectors::registry::registry();
    for connector in registry.iter() {
        let descriptor = connector.descriptor();
        let text = connectors::reference(descriptor, Style::new(false), 100);
        let _ = writeln!(page, "\n## {}\n\n```text\n{text}```", descriptor.name);
    }
    page
}

/// Connectors that the default build does not have, and the pages do.
const OPTIONAL: [&str; 4] = ["kafka", "mongodb", "mongodb-cdc", "pulsar"];

fn in_this_build(name: &str) -> bool {
    weir_connectors::registry::registry().get(name).is_some()
}

fn page_has(page: &str, name: &str) -> bool {
    page.contains(&format!("\n## {name}\n"))
}

/// The page without a connector's section.
fn without(page: &str, name: &str) -> String {
    let (before, section) = page.split_once(&format!("\n## {name}\n")).unwrap_or((page, ""));
    let rest = section.find("\n## ").map_or("", |at| &section[at..]);
    format!("{before}{rest}")
}

fn compare(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("WEIR_UPDATE_REFERENCE").is_some() {
        assert!(
            OPTIONAL.iter().all(|name| in_this_build(name)),
            "the pages show every connector: add --features weir/kafka,weir/mongodb,weir/pulsar"
        );
        std::fs::write(&path, page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let committed = OPTIONAL.iter().fold(committed, |page, name| match page_has(&page, name) && !in_this_build(name) {
        true => without(&page, name),
        false => page,
    });
    assert!(committed == page, "docs/reference/{name} is not current: run WEIR_UPDATE_REFERENCE=1 cargo test -p weir reference");
}

#[test]
fn the_page_of_engines_is_current() {
    use weir_spec::Vocabulary;
    let registry = weir_runners::compile::with_foreign(&weir_connectors::registry::registry());
    let page = weir_runners::capability::page(&registry, &weir_plan::vocabulary(&registry).transforms());
    compare_lines("engines.md", &page);
}

/// A page of tables, of which a build without some connectors lacks the lines.
fn compare_lines(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("WEIR_UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let absent = |line: &&str| !OPTIONAL.iter().any(|name| !in_this_build(name) && line.starts_with(&format!("| {name} |")));
    let committed: Vec<&str> = committed.lines().filter(absent).collect();
    let now: Vec<&str> = page.lines().collect();
    assert!(committed == now, "docs/reference/{name} is not current: run WEIR_UPDATE_REFERENCE=1 cargo test -p weir reference");
}

#[test]
fn the_page_of_commands_is_current() {
    compare("commands.md", &command_line());
}

#[test]
fn the_page_of_connectors_is_current() {
    compare("connectors.md", &all_connectors());
}
