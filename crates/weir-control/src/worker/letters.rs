//! What is asked about a job's dead letters, as the work order says it. Only the engine knows where they are and what is in them.

use serde::{Deserialize, Serialize};

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeadLetterState)]
pub enum LetterState {
    /// Nobody has its rows.
    Waiting,
    /// A replay has written its rows.
    Replayed,
    /// Somebody gave it up.
    Discarded,
}

/// Which letters; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LetterChoice {
    /// These numbers; empty: any.
    pub ids: Vec<i64>,
    /// Where they stand.
    pub state: Option<LetterState>,
    /// The run that met them: the engine's id of it, or the platform's.
    pub run: Option<String>,
    /// Their stream.
    pub stream: Option<String>,
    /// Their code.
    pub code: Option<String>,
    /// The sink that lacks them; empty: those that no sink has.
    pub sink: Option<String>,
    /// Met at this time or later: RFC 3339 with milliseconds, UTC.
    pub since: Option<String>,
    /// Met before.
    pub until: Option<String>,
    /// Not after this number.
    pub up_to: Option<i64>,
}

/// One question, or one thing to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum LetterErrand {
    /// Letters, newest first, with the beginning of each record.
    Find {
        /// Which.
        choice: LetterChoice,
        /// Those below this number.
        below: Option<i64>,
        /// At most so many.
        limit: u32,
    },
    /// One letter, whole.
    Show {
        /// Its number.
        id: i64,
    },
    /// Keep a corrected record beside the original, if a replay would write it.
    Correct {
        /// The letter's number.
        id: i64,
        /// The record.
        record: String,
        /// Who wrote it.
        by: String,
    },
    /// Give letters up.
    Discard {
        /// Which, of those that wait.
        choice: LetterChoice,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// Choose letters for a replay that is going to be queued.
    Choose {
        /// Which, of those that wait.
        choice: LetterChoice,
        /// The replay's name.
        key: String,
    },
}
