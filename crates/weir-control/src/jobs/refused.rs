//! Why a job or a connection was not taken: every problem at once, or one error.

use serde::Serialize;
use weir_error::{Error, Kind};
use weir_spec::Diagnostic;

/// A refusal.
#[derive(Debug)]
pub enum Refused {
    /// The request's content is wrong; at least one of these is an error. Kind `Spec`.
    Diagnostics(Vec<Diagnostic>),
    /// Anything else.
    Error(Error),
}

impl Refused {
    /// One problem of the request at a path.
    pub(crate) fn at(code: &str, path: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Diagnostics(vec![Diagnostic::error(code, message).at(path, None).help(help)])
    }

    /// The kind, for a status code.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Diagnostics(_) => Kind::Spec,
            Self::Error(error) => error.kind(),
        }
    }

    /// The problems, if there is a list.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Diagnostics(list) => list,
            Self::Error(_) => &[],
        }
    }

    /// As one error: the first problem and how many more there are.
    pub fn into_error(self) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Diagnostics(list) => {
                let errors = list.iter().filter(|problem| problem.is_error()).count();
                let what =
                    if errors == 1 { "the request has an error".into() } else { format!("the request has {errors} errors") };
                let mut error = Error::new("WEIR-JOB-001", Kind::Spec, what);
                if let Some(first) = list.iter().find(|problem| problem.is_error()) {
                    error = error.because(&first.message);
                    if let Some(span) = first.span {
                        error = error.at(format!("{} {}:{}", first.file, span.line, span.column));
                    }
                    if let Some(help) = first.help.clone() {
                        error = error.hint(help);
                    }
                }
                error
            }
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What `pipelines/validate` answers.
#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    /// Whether the pipeline could be stored and run.
    pub valid: bool,
    /// Everything found, in file order; warnings too.
    pub diagnostics: Vec<Diagnostic>,
    /// What was understood, if there is exactly one pipeline.
    pub pipeline: Option<Understood>,
}

/// What a spec says, for a caller that wants to show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Understood {
    /// Its name.
    pub name: String,
    /// `batch`, `incremental`, `cdc`, `streaming`.
    pub mode: String,
    /// Kinds of its sources.
    pub sources: Vec<String>,
    /// Kinds of its sinks.
    pub sinks: Vec<String>,
    /// Stored connections that it needs.
    pub connections: Vec<String>,
    /// Its schedule in words, if it has one.
    pub schedule: Option<String>,
}
