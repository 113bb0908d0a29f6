//! Messages that are no rows, as dead letters; and such a letter read once more.

use weir_connect::{Batch, DeadLetter, Event, Result};

use super::rows::{OwnValue, Rows};
use super::shape::{Format, Shape};

/// Bytes of a message that a letter keeps.
const KEPT_BYTES: usize = 1 << 20;

impl Format {
    /// What a payload is called in a letter.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain",
            Self::Raw => "application/octet-stream",
        }
    }
}

/// About a message of `stream` at `place`; `why` is a code and a reason. Of a large payload the beginning is kept.
pub fn letter(stream: &str, place: String, why: (&str, String), payload: &[u8], media_type: &str) -> DeadLetter {
    DeadLetter {
        stream: stream.to_owned(),
        code: why.0.to_owned(),
        reason: why.1,
        place,
        payload: payload[..payload.len().min(KEPT_BYTES)].to_vec(),
        media_type: media_type.to_owned(),
    }
}

/// Whether the letter may have the beginning of its message only.
pub fn is_cut(letter: &DeadLetter) -> bool {
    letter.payload.len() >= KEPT_BYTES
}

/// The letter as it was, with this reason.
pub fn still(letter: &DeadLetter, reason: impl Into<String>) -> Result<Vec<Event>> {
    Ok(vec![Event::Dead(DeadLetter { reason: reason.into(), ..letter.clone() })])
}

/// The payload of a letter as a row of this shape, with these values of its own columns; or the letter with why it still is none.
///
/// # Errors
/// What [`Rows`] cannot be made of.
pub fn again(shape: &Shape, own: &[OwnValue<'_>], letter: &DeadLetter) -> Result<Vec<Event>> {
    let mut rows = Rows::new(shape)?;
    if let Err(refusal) = rows.push(&letter.payload, own) {
        return still(letter, refusal.reason);
    }
    let source_bytes = letter.payload.len() as u64;
    Ok(vec![Event::Batch(Batch { records: rows.finish()?, position: None, source_bytes })])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Payload;

    #[tokio::test]
    async fn a_letter_keeps_the_beginning_and_is_read_again_when_it_is_whole() {
        let large = vec![b'x'; KEPT_BYTES + 1];
        let cut = letter("s", "s entry 1".into(), ("WEIR-MSG-003", "no".into()), &large, Format::Raw.media_type());
        assert_eq!((cut.payload.len(), is_cut(&cut), cut.media_type.as_str()), (KEPT_BYTES, true, "application/octet-stream"));
        let text = Payload { format: Format::Text, ..Payload::default() };
        let shape = Shape::of(text, Vec::new(), &[], "s").await.unwrap();
        let whole = letter("s", "s entry 2".into(), ("WEIR-MSG-003", "no".into()), b"\xff", Format::Text.media_type());
        assert!(!is_cut(&whole));
        let events = again(&shape, &[], &whole).unwrap();
        assert!(
            matches!(&events[..], [Event::Dead(dead)] if dead.reason.contains("UTF-8") && dead.code == "WEIR-MSG-003"),
            "{events:?}"
        );
        let events = again(&shape, &[], &DeadLetter { payload: b"fine".to_vec(), ..whole }).unwrap();
        assert!(
            matches!(&events[..], [Event::Batch(batch)] if batch.records.num_rows() == 1 && batch.position.is_none()),
            "{events:?}"
        );
    }
}
