//! Paths with `{message-id}`: what comes before the first part that differs from message to message is the folder, the rest the name of a message.

use chrono::{DateTime, Datelike, Timelike, Utc};
use weir_error::{Error, Kind, Result};

const WORDS: [&str; 5] = ["{year}", "{month}", "{day}", "{hour}", "{message-id}"];
const ID: &str = "{message-id}";

/// The part of a path below the folder, `{year}/{month}/{message-id}.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessagePath(String);

/// The folder and the rest; no rest without a `{message-id}`.
pub(crate) fn divide(path: &str) -> (String, Option<MessagePath>) {
    if !path.contains(ID) {
        return (path.to_owned(), None);
    }
    let parts: Vec<&str> = path.split('/').collect();
    let first = parts.iter().position(|part| WORDS.iter().any(|word| part.contains(word))).unwrap_or(parts.len());
    (parts[..first].join("/"), Some(MessagePath(parts[first..].join("/"))))
}

impl MessagePath {
    /// # Errors
    /// `WEIR-FILE-056` for placeholders that are none, `WEIR-FILE-092` for a path that does not tell messages apart by its last part.
    pub(crate) fn check(&self, folder: &str) -> Result<()> {
        let wrong =
            |what: &str| Error::new("WEIR-FILE-092", Kind::Spec, format!("the path of a message {what}")).at(self.0.clone());
        if !self.0.rsplit('/').next().is_some_and(|name| name.contains(ID)) {
            return Err(wrong("has its {message-id} in a folder's name").hint("end it with {message-id}.json"));
        }
        if self.0.split('/').any(|part| part.is_empty() || part.trim_start_matches('.').is_empty()) {
            return Err(wrong("has a part without a name"));
        }
        if folder.is_empty() {
            return Err(wrong("begins with what differs from message to message").hint("begin it with a folder: cdc.{table}/…"));
        }
        let plain = WORDS.iter().fold(self.0.clone(), |text, word| text.replace(word, ""));
        match plain.find('{') {
            None => Ok(()),
            Some(at) => Err(Error::new("WEIR-FILE-056", Kind::Spec, format!("`{}` is no placeholder", &plain[at..]))
                .hint("of a message: {year}, {month}, {day}, {hour} and {message-id}")),
        }
    }

    /// The path of a message that was committed at this time, in UTC.
    pub(crate) fn of(&self, committed_at_us: i64, id: &str) -> String {
        let at = DateTime::<Utc>::from_timestamp_micros(committed_at_us).unwrap_or_default();
        self.0
            .replace("{year}", &format!("{:04}", at.year()))
            .replace("{month}", &format!("{:02}", at.month()))
            .replace("{day}", &format!("{:02}", at.day()))
            .replace("{hour}", &format!("{:02}", at.hour()))
            .replace(ID, id)
    }
}

/// The id of a change: the same whenever it is delivered.
pub(super) fn message_id(position: &str, seq: u64) -> String {
    let plain: String =
        position.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' }).take(80).collect();
    format!("{}-{seq:012}", plain.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_ends_where_messages_differ() {
        let (folder, rest) = divide("tenant-{tenant}/raw/cdc.{connector}.{table}/{year}/{month}/{day}/{hour}/{message-id}.json");
        assert_eq!(folder, "tenant-{tenant}/raw/cdc.{connector}.{table}");
        let rest = rest.unwrap();
        rest.check(&folder).unwrap();
        assert_eq!(rest.of(1_769_862_896_789_012, &message_id("0/16B3748", 42)), "2026/01/31/12/0-16B3748-000000000042.json");
        assert_eq!(divide("lake/{stream}"), ("lake/{stream}".to_owned(), None));
    }

    #[test]
    fn paths_that_do_not_tell_messages_apart_or_climb_are_refused() {
        for (path, code) in [
            ("a/{message-id}/x.json", "WEIR-FILE-092"),
            ("a/{year}/../{message-id}.json", "WEIR-FILE-092"),
            ("{message-id}.json", "WEIR-FILE-092"),
            ("a/{yaer}-{message-id}.json", "WEIR-FILE-056"),
        ] {
            let (folder, rest) = divide(path);
            assert_eq!(rest.unwrap().check(&folder).unwrap_err().code(), code, "{path}");
        }
    }

    #[test]
    fn an_id_names_one_file_whatever_the_position_is() {
        assert_eq!(message_id("../../etc", 1), "-..-etc-000000000001");
        assert!(!message_id("binlog.000003:4711", 2).contains([':', '/']));
    }
}
