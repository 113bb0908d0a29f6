//! The one error type of Weir.
//!
//! An error says **what** happened, **where**, **why** and **what to do**. It carries three small axes set at the
//! place where it is thrown: [`Kind`] (what sort of thing went wrong), [`Domain`] (whose fault it is) and [`Retry`]
//! (whether trying again can help). Policy is derived from these axes in one place each: the process exit code in
//! [`Error::exit_code`], the retry loop in the engine.
//!
//! Codes have the form `WEIR-<AREA>-<NNN>` and are stable: a code never changes its meaning.
#![deny(missing_docs)]

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

mod secret;
pub mod veil;
pub use secret::Secret;

/// `Result` with Weir's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The pipeline file, or the command line, is wrong.
    Spec,
    /// The other side could not be reached (DNS, refused, timeout, TLS).
    Connect,
    /// The other side refused the credentials.
    Auth,
    /// The credentials are good but lack a privilege.
    Privilege,
    /// A table, file, bucket, pipeline that should exist does not.
    NotFound,
    /// A schema does not fit: missing column, forbidden change, unsupported type.
    Schema,
    /// A value would be rounded, truncated or shifted and the spec does not allow it.
    TypeLoss,
    /// The data itself is broken: ragged row, invalid UTF-8, corrupted file.
    Data,
    /// Somebody else holds or changed what we need (lock, concurrent run, source changed).
    Conflict,
    /// A limit was reached (memory budget, dead letters allowed, record too large).
    Limit,
    /// The local machine failed us: disk full, permission, I/O.
    Io,
    /// The user or a signal asked to stop.
    Cancelled,
    /// The connector, engine or format cannot do this.
    Unsupported,
    /// A bug in Weir.
    Internal,
}

/// Whose fault it is: decides who is told, never whether we retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// The person who wrote the spec or gave the command can mend it.
    User,
    /// The system on the other side.
    External,
    /// Weir itself.
    Internal,
}

/// Whether trying the same thing again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail the same way.
    Never,
    /// It may pass by itself; back off and try again.
    Transient,
    /// The other side said when to come back.
    After(Duration),
}

struct Inner {
    code: &'static str,
    kind: Kind,
    retry: Retry,
    what: String,
    place: Option<String>,
    why: Option<String>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An error with code, kind, place, cause and advice. One pointer wide.
pub struct Error(Box<Inner>);

impl Error {
    /// An error with a stable code, its kind and one sentence saying what happened.
    /// The default is not to retry.
    pub fn new(code: &'static str, kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            kind,
            retry: Retry::Never,
            what: clear(what.into()),
            place: None,
            why: None,
            hint: None,
            source: None,
        }))
    }

    /// A broken promise inside Weir: never the user's fault.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new("WEIR-INTERNAL-001", Kind::Internal, what)
            .hint("this is a bug in Weir; please report it with the command and the pipeline file")
    }

    /// The user or a signal asked to stop.
    pub fn cancelled() -> Self {
        Self::new("WEIR-RUN-130", Kind::Cancelled, "stopped on request")
    }

    /// Where it happened: a file and byte, a table, a URL without its secrets. The first call wins,
    /// because the innermost place is the most exact one.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        if self.0.place.is_none() {
            self.0.place = Some(clear(place.into()));
        }
        self
    }

    /// Why it happened, in the words of the failing system if possible.
    #[must_use]
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.0.why = Some(clear(why.to_string()));
        self
    }

    /// What the reader should do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        // A text that the program holds is nobody's secret.
        self.0.hint = Some(match hint.into() {
            Cow::Owned(text) => Cow::Owned(clear(text)),
            fixed => fixed,
        });
        self
    }

    /// Marks the error as worth another try.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.0.retry = Retry::Transient;
        self
    }

    /// Sets the retry axis.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Keeps the underlying error as the source; its first cause becomes the `why` unless one is set.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        if self.0.why.is_none() {
            self.0.why = Some(clear(chain(source.as_ref())));
        }
        self.0.source = Some(source);
        self
    }

    /// The stable code, `WEIR-<AREA>-<NNN>`.
    pub fn code(&self) -> &'static str {
        self.0.code
    }
    /// What sort of thing went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
    /// Whether another try can help.
    pub fn retryable(&self) -> Retry {
        self.0.retry
    }
    /// One sentence: what happened.
    pub fn what(&self) -> &str {
        &self.0.what
    }
    /// Where it happened, if known.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }
    /// Why, if known.
    pub fn why(&self) -> Option<&str> {
        self.0.why.as_deref()
    }
    /// What to do, if there is something to do.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whose fault it is; derived from the kind.
    pub fn domain(&self) -> Domain {
        match self.0.kind {
            Kind::Spec | Kind::TypeLoss | Kind::Cancelled | Kind::Limit | Kind::Unsupported => Domain::User,
            Kind::Internal => Domain::Internal,
            _ => Domain::External,
        }
    }

    /// The process exit code of a command that ends with this error:
    /// 2 bad spec or usage, 3 cannot connect, 130 interrupted, otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            Kind::Spec | Kind::TypeLoss => 2,
            Kind::Connect | Kind::Auth => 3,
            Kind::Cancelled => 130,
            _ => 1,
        }
    }

    /// The error as data, for `--json` and the API: code, kind, domain, message, place, cause, hint.
    pub fn to_json(&self) -> ErrorBody {
        ErrorBody {
            code: self.0.code,
            kind: self.0.kind,
            domain: self.domain(),
            transient: self.0.retry != Retry::Never,
            message: self.0.what.clone(),
            place: self.0.place.clone(),
            cause: self.0.why.clone(),
            hint: self.0.hint.as_ref().map(|h| h.to_string()),
        }
    }
}

/// [`Error`] as serialisable data.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ErrorBody {
    /// Stable code.
    pub code: &'static str,
    /// What sort of thing went wrong.
    pub kind: Kind,
    /// Whose fault it is.
    pub domain: Domain,
    /// Whether trying the same thing again can help; absent = no.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub transient: bool,
    /// What happened.
    pub message: String,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The text without secrets: whoever failed may have quoted one.
fn clear(text: String) -> String {
    match veil::veiled(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(veiled) => veiled,
    }
}

/// The messages of an error and its sources, outermost first, without repeating a message that
/// already contains the next one.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let message = inner.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = inner.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.what)?;
        if let Some(place) = &self.0.place {
            write!(f, " ({place})")?;
        }
        if let Some(why) = &self.0.why {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self}", self.0.code)?;
        if let Some(hint) = &self.0.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as E;
        let (code, hint): (_, Option<&'static str>) = match error.kind() {
            E::StorageFull | E::QuotaExceeded => {
                ("WEIR-IO-028", Some("free some space and run the same command again: it resumes"))
            }
            E::FileTooLarge => {
                ("WEIR-IO-027", Some("raise the limit (ulimit -f), or write smaller files: `target_file_size` of a file sink"))
            }
            E::PermissionDenied | E::ReadOnlyFilesystem => {
                ("WEIR-IO-013", Some("give the user that runs weir access to this path, or choose another"))
            }
            E::NotFound => ("WEIR-IO-002", None),
            _ => ("WEIR-IO-001", None),
        };
        let what = match error.kind() {
            E::StorageFull | E::QuotaExceeded => "the disk is full",
            E::FileTooLarge => "the file would become too large for this system or user",
            E::PermissionDenied => "permission denied",
            E::ReadOnlyFilesystem => "the file system is read-only",
            E::NotFound => "no such file or folder",
            _ => "input/output failed",
        };
        let kind = if error.kind() == E::NotFound { Kind::NotFound } else { Kind::Io };
        let built = Error::new(code, kind, what).caused_by(error);
        match hint {
            Some(hint) => built.hint(hint),
            None => built,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_why_and_what_to_do() {
        let error = Error::new("WEIR-X-001", Kind::Connect, "cannot reach the server")
            .at("db:5432")
            .because("connection refused")
            .hint("start it");
        assert_eq!(error.to_string(), "cannot reach the server (db:5432): connection refused");
        assert_eq!(error.exit_code(), 3);
        assert_eq!(error.to_json().hint.as_deref(), Some("start it"));
    }

    #[test]
    fn disk_full_is_told_as_such() {
        let error = Error::from(std::io::Error::from_raw_os_error(28));
        assert_eq!(error.code(), "WEIR-IO-028");
        assert_eq!(error.what(), "the disk is full");
    }

    #[test]
    fn a_file_beyond_the_limit_is_told_as_such() {
        let error = Error::from(std::io::Error::from_raw_os_error(27));
        assert_eq!((error.code(), error.kind()), ("WEIR-IO-027", Kind::Io));
        assert!(error.advice().unwrap_or_default().contains("ulimit -f"));
    }

    #[test]
    fn the_innermost_place_wins() {
        let error = Error::internal("x").at("inner").at("outer");
        assert_eq!(error.place(), Some("inner"));
    }
}
