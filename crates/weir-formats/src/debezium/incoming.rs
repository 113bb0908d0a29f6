//! Debezium's envelope, read: with or without the schema around it.

use crate::json::tape::{Tape, What};
use crate::messages::Refusal;

/// One change, as it stands in its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// `c`, `u`, `d` or `r`.
    pub op: &'a str,
    /// The row as a JSON object: as it is now; of a delete as it was.
    pub row: &'a [u8],
}

/// Opens envelopes.
#[derive(Debug, Default)]
pub struct Opener {
    tape: Tape,
}

impl Opener {
    /// What a message says.
    ///
    /// # Errors
    /// `WEIR-FMT-044` for what is no envelope, has no row (`op` t, m), or is a delete of a row that the log does not have.
    pub fn open<'a>(&mut self, message: &'a [u8], max_depth: usize) -> Result<Change<'a>, Refusal> {
        let refuse = |reason: String| Refusal { code: "WEIR-FMT-044", reason };
        if simdutf8::basic::from_utf8(message).is_err() {
            return Err(Refusal { code: "WEIR-FMT-102", reason: "not valid UTF-8".into() });
        }
        if u32::try_from(message.len()).is_err() {
            return Err(Refusal { code: "WEIR-FMT-104", reason: "a message of 4 GiB or more".into() });
        }
        self.tape.parse(message, max_depth).map_err(|fault| Refusal {
            code: if fault.too_deep { "WEIR-FMT-114" } else { "WEIR-FMT-111" },
            reason: format!("{} (byte {} of the message)", fault.what, fault.at),
        })?;
        let tape = &self.tape;
        let object = |node: u32| tape.nodes.get(node as usize).is_some_and(|node| node.what == What::Object);
        let member = |node: u32, name: &[u8]| -> Option<u32> {
            object(node).then(|| tape.members(node).find(|(key, _)| tape.text(*key, message) == name).map(|(_, value)| value))?
        };
        let envelope = match (member(0, b"schema"), member(0, b"payload")) {
            (Some(_), Some(payload)) => payload,
            _ => 0,
        };
        let op = member(envelope, b"op").filter(|node| matches!(tape.nodes[*node as usize].what, What::Text { .. }));
        let Some(op) = op else { return Err(refuse("the message is no envelope of Debezium: it has no `op`".into())) };
        let op = std::str::from_utf8(tape.text(op, message)).unwrap_or_default();
        let side = match op {
            "c" | "u" | "r" => "after",
            "d" => "before",
            "t" => return Err(refuse("the table was emptied (`op` t): that is no row".into())),
            other => return Err(refuse(format!("a message with `op` {other} has no row"))),
        };
        match member(envelope, side.as_bytes()).filter(|node| object(*node)) {
            Some(row) => Ok(Change { op, row: tape.raw(row, message) }),
            None => Err(refuse(format!("an `op` {op} without `{side}`; REPLICA IDENTITY FULL brings deleted rows into the log"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_found_with_and_without_a_schema() {
        let mut opener = Opener::default();
        let mut open = |message: &str| {
            opener
                .open(message.as_bytes(), 64)
                .map(|change| (change.op.to_owned(), String::from_utf8_lossy(change.row).into_owned()))
        };
        let row = |op: &str, row: &str| Ok((op.to_owned(), row.to_owned()));
        assert_eq!(open(r#"{"before": null, "after": {"id": 1}, "op": "c"}"#), row("c", r#"{"id": 1}"#));
        assert_eq!(
            open(r#"{"schema": {}, "payload": {"before": {"id": 2}, "after": null, "op": "d"}}"#),
            row("d", r#"{"id": 2}"#)
        );
        // A table may have columns of these names.
        assert_eq!(open(r#"{"op": "r", "after": {"op": "x", "payload": 1}}"#), row("r", r#"{"op": "x", "payload": 1}"#));
        for (message, code) in [
            (r#"{"id": 1}"#, "WEIR-FMT-044"),
            (r#"{"op": "t", "before": null, "after": null}"#, "WEIR-FMT-044"),
            (r#"{"op": "d", "before": null}"#, "WEIR-FMT-044"),
            ("[]", "WEIR-FMT-044"),
            ("{", "WEIR-FMT-111"),
        ] {
            assert_eq!(open(message).unwrap_err().code, code, "{message}");
        }
    }
}
