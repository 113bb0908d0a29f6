//! A script of `cases`: what it says at its head, and its steps.
//!
//! ```sql
//! -- about: what happens
//! -- tables: [public.t]                    what the pipeline names (this is the default); `tables after` for the runs after the change
//! -- all: equal                            the outcome under every contract, or
//! -- freeze: refused WEIR-PG-046           under one; `stopped …` and `running …` where the moment matters
//! -- running all: refused later WEIR-…     a run goes on, the next start is refused
//! -- hold: held                            it waits, a table beside it goes on; when it is approved it comes to what is declared for `evolve`
//! -- running hold: held later              a run goes on, from the next start on it waits
//! -- evolve: equal without b               the target does not have b, the rest is equal
//! -- evolve: equal in SELECT … == SELECT … what is compared, at the source and at the target (one query: the same at both)
//! -- remedy: CREATE UNIQUE INDEX …         what a person does at the target, after which `evolve` goes on and ends equal
//! -- partly: why                           of several changes the first may be taken before another is refused
//! -- remedied: equal                       what is compared then
//! -- known running hold: why               does not hold yet; it is an error when it does
//! --- setup
//! CREATE TABLE t …;                        a step is one transaction, unless it says so itself
//! --- change
//! INSERT …;                                rows of the old shape have ids below 100
//! ---
//! ALTER TABLE …;
//! ---
//! INSERT …;                                rows of the new shape from 100 on: after a refusal none of them is at the target
//! ```

use std::collections::HashMap;
use std::path::Path;

/// `on_schema_change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    Evolve,
    Freeze,
    Hold,
    DiscardColumn,
}

pub const CONTRACTS: [Contract; 4] = [Contract::Evolve, Contract::Freeze, Contract::Hold, Contract::DiscardColumn];

impl Contract {
    pub fn word(self) -> &'static str {
        match self {
            Self::Evolve => "evolve",
            Self::Freeze => "freeze",
            Self::Hold => "hold",
            Self::DiscardColumn => "discard_column",
        }
    }
}

/// When the script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Stopped,
    Running,
}

impl Moment {
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
        }
    }
}

/// What is declared.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Equal(Compared),
    /// With this code.
    Refused(String),
    /// A run goes on; the next start is refused with this code.
    Later(String),
    /// It waits until somebody approves it.
    Held,
    /// A run goes on; from the next start on it waits.
    HeldLater,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Compared {
    /// All columns but these, which the target must not have.
    Without(Vec<String>),
    /// The answers of two queries.
    Queries(String, String),
}

#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    head: HashMap<String, String>,
    pub setup: Vec<String>,
    pub change: Vec<String>,
}

impl Case {
    fn parse(name: String, text: &str) -> Self {
        let mut parts = text.split("\n--- setup\n");
        let (head, rest) = (parts.next().unwrap(), parts.next().unwrap_or_else(|| panic!("{name}: no `--- setup`")));
        let (setup, change) = rest.split_once("\n--- change\n").unwrap_or_else(|| panic!("{name}: no `--- change`"));
        let head = head.lines().map(|line| {
            let line = line.strip_prefix("-- ").unwrap_or_else(|| panic!("{name}: `{line}` is no line of the head"));
            let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{name}: `{line}` says nothing"));
            (key.to_owned(), value.trim().to_owned())
        });
        let steps = |text: &str| text.split("\n---\n").map(str::to_owned).collect();
        Self { head: head.collect(), setup: steps(setup), change: steps(change), name }
    }

    fn find(&self, prefix: &str, moment: Moment, contract: Contract) -> Option<&String> {
        let (moment, contract) = (moment.word(), contract.word());
        [format!("{moment} {contract}"), contract.to_owned(), format!("{moment} all"), "all".to_owned()]
            .iter()
            .find_map(|key| self.head.get(&format!("{prefix}{key}")))
    }

    pub fn outcome(&self, moment: Moment, contract: Contract) -> Outcome {
        let text = self.find("", moment, contract);
        self.parsed(
            text.unwrap_or_else(|| panic!("{}: nothing is declared for {} {}", self.name, moment.word(), contract.word())),
        )
    }

    fn parsed(&self, text: &str) -> Outcome {
        match text {
            "held" => return Outcome::Held,
            "held later" => return Outcome::HeldLater,
            _ => {}
        }
        if let Some(code) = text.strip_prefix("refused later ") {
            return Outcome::Later(code.to_owned());
        }
        if let Some(code) = text.strip_prefix("refused ") {
            return Outcome::Refused(code.to_owned());
        }
        let compared = text.strip_prefix("equal").unwrap_or_else(|| panic!("{}: `{text}` is no outcome", self.name)).trim();
        Outcome::Equal(match compared.split_once(' ') {
            None if compared.is_empty() => Compared::Without(Vec::new()),
            Some(("without", names)) => Compared::Without(names.split(", ").map(str::to_owned).collect()),
            Some(("in", queries)) => {
                let (source, target) = queries.split_once(" == ").unwrap_or((queries, queries));
                Compared::Queries(source.to_owned(), target.to_owned())
            }
            _ => panic!("{}: `{text}` is no outcome", self.name),
        })
    }

    pub fn known(&self, moment: Moment, contract: Contract) -> Option<&String> {
        self.find("known ", moment, contract)
    }

    /// The change is several, and not all of them are refused.
    pub fn partly(&self) -> bool {
        self.head.contains_key("partly")
    }

    /// What a person does at the target, and what is compared then.
    pub fn remedy(&self) -> Option<(&str, Outcome)> {
        let outcome = self.head.get("remedied").map_or("equal", String::as_str);
        Some((self.head.get("remedy")?, self.parsed(outcome)))
    }

    /// As YAML.
    pub fn tables(&self, after: bool) -> &str {
        let after = after.then(|| self.head.get("tables after")).flatten();
        after.or_else(|| self.head.get("tables")).map_or("[public.t]", String::as_str)
    }
}

/// All scripts, by name.
pub fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drift/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "sql"));
    files.sort();
    files
        .iter()
        .map(|file| Case::parse(file.file_stem().unwrap().to_str().unwrap().to_owned(), &std::fs::read_to_string(file).unwrap()))
        .collect()
}
