//! Names and literals in SQL text. Every identifier that enters a statement goes through here.

use weir_connect::{Error, Kind, Result};

/// Longer names are refused by the server; in characters.
pub const NAME_CHARACTERS: usize = 64;

/// `` `name` ``, safe for any content.
pub fn ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `'text'` for places where a parameter cannot stand. The session never sets `NO_BACKSLASH_ESCAPES`.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for character in text.chars() {
        match character {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            other => out.push(other),
        }
    }
    out.push('\'');
    out
}

/// A name that will be created.
pub fn checked(name: &str) -> Result<&str> {
    let why = if name.is_empty() {
        "it is empty".to_string()
    } else if name.contains('\0') {
        "it contains a NUL character".to_string()
    } else if name.ends_with(' ') {
        "it ends with a blank".to_string()
    } else if name.chars().any(|character| character > '\u{ffff}') {
        "it contains a character outside the basic plane, which the server's names cannot hold".to_string()
    } else if name.chars().count() > NAME_CHARACTERS {
        format!("it has {} characters and MySQL takes {NAME_CHARACTERS}", name.chars().count())
    } else {
        return Ok(name);
    };
    Err(Error::new("WEIR-MY-021", Kind::Schema, "a name cannot be used in MySQL")
        .at(format!("`{name}`"))
        .because(why)
        .hint("rename it with a field_mapper, or choose another `table`"))
}

/// A table's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TableName {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
}

impl TableName {
    /// From its parts.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { database: database.into(), table: table.into() }
    }

    /// For statements.
    pub fn sql(&self) -> String {
        format!("{}.{}", ident(&self.database), ident(&self.table))
    }

    /// For people and stream names: parts are quoted only where they must be to be read back by [`split`].
    pub fn display(&self) -> String {
        let part = |name: &str| if name.contains(['.', '`']) { ident(name) } else { name.to_string() };
        format!("{}.{}", part(&self.database), part(&self.table))
    }
}

/// Splits `a.b`, `` `a.b`.c ``, `c` at the first dot outside quotes. What follows is the table, with its further dots.
pub fn split(text: &str) -> (Option<String>, String) {
    let unquote = |part: &str| match part.strip_prefix('`').and_then(|p| p.strip_suffix('`')) {
        Some(inner) => inner.replace("``", "`"),
        None => part.to_string(),
    };
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '`' => quoted = !quoted,
            '.' if !quoted && at > 0 && at + 1 < text.len() => return (Some(unquote(&text[..at])), unquote(&text[at + 1..])),
            _ => {}
        }
    }
    (None, unquote(text))
}

/// `` `a`, `b` ``.
pub fn join_idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_display_and_split() {
        for (database, table) in [("shop", "t"), ("a.b", "c"), ("a", "b.c"), ("q`q", "x"), ("s", "say `hi`.csv"), ("ä", "ü")] {
            let name = TableName::new(database, table);
            let (d, t) = split(&name.display());
            assert_eq!((d.as_deref(), t.as_str()), (Some(database), table), "{}", name.display());
        }
        assert_eq!(split("plain"), (None, "plain".into()));
    }

    #[test]
    fn names_that_the_server_would_change_are_refused() {
        assert!(checked(&"ü".repeat(64)).is_ok());
        for name in [&"ü".repeat(65), "", "a\0b", "a ", "😀"] {
            assert!(checked(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("a'b\\c"), "'a''b\\\\c'");
    }
}
