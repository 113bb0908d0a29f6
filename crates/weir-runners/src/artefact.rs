//! What a compiler makes: named files, and the variables that they expect. Never the value of a secret.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::registry::Target;

/// An engine's own artefact for one pipeline. The same pipeline and target give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artefacts {
    /// What it was made for.
    pub target: Target,
    /// In the order in which they are used; the first is the job.
    pub files: Vec<File>,
    /// The variables that stand in the files in place of values, by name.
    pub expects: Vec<Expected>,
    /// The weakest promise over all sinks, as far as the engine's own guarantees go.
    pub delivery: weir_spec::Delivery,
    /// Why, one clause each.
    pub reasons: Vec<String>,
    /// What whoever runs it should know: settings of the native engine that have no counterpart, how results may differ.
    pub notes: Vec<String>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Submitted to the engine.
    Job,
    /// Arguments of the engine's command line, one a line.
    Arguments,
    /// A pipeline of our own that feeds the job: `weir run` it beside.
    Companion,
    /// Where a connector of Kafka Connect begins: the body of `PATCH /connectors/NAME/offsets`.
    Offsets,
}

/// One text file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Its name, without a folder: `orders.conf`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its content, ending with a line end.
    pub text: String,
}

/// A variable that must have its value where the job runs. Where the engine reads no environment by itself, whoever submits the job
/// puts the
/// values in, in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// As it stands in the files: `${NAME}`, `os.environ["NAME"]`, `${env:NAME}`.
    pub name: String,
    /// Where its value comes from.
    pub from: Origin,
    /// Whether it must not be shown.
    pub secret: bool,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The environment, with what is taken when it is not set there.
    Environment {
        /// The variable there.
        name: String,
        /// The default of `${NAME:-default}`.
        default: Option<String>,
    },
    /// An entry of the pipeline's `credentials_ref`.
    Credential {
        /// The entry.
        name: String,
    },
    /// A key of a secret in Vault.
    Vault {
        /// Mount and path.
        path: String,
        /// The key in it.
        key: String,
    },
    /// The content of a file.
    File {
        /// Its path.
        path: String,
    },
    /// Plain text of the pipeline file, which is not repeated here.
    Literal {
        /// The node, or the connection.
        node: String,
        /// The option: `password`, `headers.Authorization`.
        option: String,
    },
}

impl Artefacts {
    /// The content of a file.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|file| file.name == name).map(|file| file.text.as_str())
    }

    /// The files by name.
    pub fn by_name(&self) -> BTreeMap<&str, &str> {
        self.files.iter().map(|file| (file.name.as_str(), file.text.as_str())).collect()
    }
}
