//! What a stream means for one run: from which sequence to which, fixed when it is opened, kept with the checkpoint, checked before a row is read.

use async_nats::jetstream::stream::Info;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_connect::{Error, Kind, Position, Result, Resume};

use super::config::OnDataLoss;
use super::errors::data_loss;

/// Part of a stream. A split's descriptor, the reader's state, and what the next run goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Of this format.
    pub version: u8,
    /// The stream.
    pub stream: String,
    /// When it was made, in nanoseconds since 1970: a stream of the same name that was made anew is another one.
    pub created: String,
    /// The first sequence to read.
    pub start: u64,
    /// The sequence behind the last one to read; `None`: without end.
    pub end: Option<u64>,
}

/// The stream as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// When it was made.
    pub created: String,
    /// The first sequence that is kept; of an empty stream the next one.
    pub low: u64,
    /// The sequence behind the last one.
    pub high: u64,
}

impl Now {
    /// As the server says.
    pub fn of(info: &Info) -> Self {
        let high = info.state.last_sequence + 1;
        // A stream that never had a message begins with nothing.
        let low = if info.state.first_sequence == 0 { high } else { info.state.first_sequence };
        Self { created: info.created.unix_timestamp_nanos().to_string(), low: low.min(high), high }
    }

    /// Where reading goes on at `wanted` when it can; else what `on_data_loss` says.
    pub fn still_there(&self, stream: &str, wanted: u64, choice: OnDataLoss) -> Result<u64> {
        let (low, high) = (self.low, self.high);
        let why = if wanted < low {
            format!("the next sequence to read is {wanted}, the oldest that is kept is {low}")
        } else if wanted > high {
            format!("the next sequence to read is {wanted}, but the stream ends at {high}: it was cut off or made anew")
        } else {
            return Ok(wanted);
        };
        loss(stream, why, low, choice)
    }

    /// Whether it is the stream that was read before; else reading begins at its beginning, if `on_data_loss` says so.
    pub fn same(&self, view: &View, choice: OnDataLoss) -> Result<bool> {
        if self.created == view.created {
            return Ok(true);
        }
        let why = "the stream was deleted and made again; what it held before and was not read is gone";
        loss(&view.stream, why.to_owned(), self.low, choice).map(|_| false)
    }
}

/// An error, or a line in the log and the sequence to go on at.
pub fn loss(stream: &str, why: String, low: u64, choice: OnDataLoss) -> Result<u64> {
    match choice {
        OnDataLoss::Fail => Err(data_loss(stream, why)),
        OnDataLoss::Earliest => {
            tracing::warn!(target: "weir::nats", "{stream}: {why}; reading goes on at {low}");
            Ok(low)
        }
    }
}

/// Behind a message.
pub fn position(next: u64) -> Position {
    json!({"sequence": next})
}

/// The sequence of a position.
pub fn sequence_of(position: &Position) -> Result<u64> {
    position.get("sequence").and_then(Value::as_u64).ok_or_else(|| broken(&position.to_string()))
}

/// What was written down, read again.
pub fn read_view(value: Value) -> Result<View> {
    let view: View = serde_json::from_value(value)
        .map_err(|error| Error::new("WEIR-NATS-011", Kind::Conflict, "the state of the source cannot be read").because(error))?;
    if view.version != 1 {
        return Err(Error::new("WEIR-NATS-011", Kind::Conflict, "the state of the source is of a later version of Weir"));
    }
    Ok(view)
}

fn broken(what: &str) -> Error {
    Error::new("WEIR-NATS-011", Kind::Conflict, format!("`{what}` is no part of this stream"))
        .hint("the state belongs to another source: `weir state reset`")
}

/// What an interrupted attempt was reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// As it was opened.
    pub view: View,
    /// The next sequence; `None`: it was read to its end.
    pub next: Option<u64>,
}

/// Out of the engine's memory; `None`: it knows nothing of this stream yet.
pub fn left(resume: &Resume, stream: &str) -> Result<Option<Left>> {
    let part = resume.progress.first();
    let view = match part {
        Some(part) => read_view(part.split.descriptor.clone())?,
        None if resume.reader_state.is_null() => return Ok(None),
        None => read_view(resume.reader_state.clone())?,
    };
    if view.stream != stream {
        return Err(broken(&view.stream));
    }
    let next = match part {
        Some(part) if part.done => None,
        Some(part) => Some(part.position.as_ref().map_or(Ok(view.start), sequence_of)?),
        None => Some(view.start),
    };
    Ok(Some(Left { view, next }))
}

#[cfg(test)]
mod tests {
    use weir_connect::{Split, SplitProgress};

    use super::*;

    #[test]
    fn a_place_that_is_gone_is_an_error_or_the_oldest_that_is_left_and_never_the_end() {
        let now = |low, high| Now { created: "1".into(), low, high };
        for (wanted, now) in [(4, now(5, 9)), (10, now(5, 9)), (2, now(1, 1))] {
            assert_eq!(now.still_there("s", wanted, OnDataLoss::Fail).unwrap_err().code(), "WEIR-NATS-010");
            assert_eq!(now.still_there("s", wanted, OnDataLoss::Earliest).unwrap(), now.low);
        }
        for wanted in 5..=9 {
            assert_eq!(now(5, 9).still_there("s", wanted, OnDataLoss::Fail).unwrap(), wanted);
        }
    }

    #[test]
    fn a_split_goes_on_where_it_was_and_one_that_is_done_does_not() {
        let view = View { version: 1, stream: "s".into(), created: "1".into(), start: 3, end: Some(9) };
        let split = Split {
            id: "s".into(),
            descriptor: serde_json::to_value(&view).unwrap(),
            estimated_rows: None,
            estimated_bytes: None,
        };
        let next = |position: Option<Position>, done: bool| {
            let progress = vec![SplitProgress { split: split.clone(), position, done, rows: 0 }];
            left(&Resume { reader_state: Value::Null, progress }, "s").unwrap().unwrap().next
        };
        assert_eq!(next(None, false), Some(3));
        assert_eq!(next(Some(position(7)), false), Some(7));
        assert_eq!(next(Some(position(9)), true), None);
        assert_eq!(left(&Resume::default(), "s").unwrap(), None);
        let other = Resume { reader_state: split.descriptor.clone(), progress: Vec::new() };
        assert_eq!(left(&other, "t").unwrap_err().code(), "WEIR-NATS-011");
    }
}
