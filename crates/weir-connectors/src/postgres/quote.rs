//! Names and literals in SQL text. Every identifier that enters a statement goes through here.

use weir_connect::{Error, Kind, Result};

/// PostgreSQL cuts longer names silently.
pub const NAME_BYTES: usize = 63;

/// `"name"`, safe for any content.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'` for places where a parameter cannot stand. Relies on `standard_conforming_strings`, which the session sets.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name that will be created: not empty, no NUL, at most 63 bytes.
pub fn checked(name: &str) -> Result<&str> {
    let why = if name.is_empty() {
        "it is empty".to_string()
    } else if name.contains('\0') {
        "it contains a NUL character".to_string()
    } else if name.len() > NAME_BYTES {
        format!("it has {} bytes and PostgreSQL would cut it after {NAME_BYTES}", name.len())
    } else {
        return Ok(name);
    };
    Err(Error::new("WEIR-PG-021", Kind::Schema, "a name cannot be used in PostgreSQL")
        .at(format!("`{name}`"))
        .because(why)
        .hint("rename it with a field_mapper, or choose another `table`"))
}

/// A table's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
}

impl TableName {
    /// From its parts.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }

    /// For statements: `"schema"."table"`.
    pub fn sql(&self) -> String {
        format!("{}.{}", ident(&self.schema), ident(&self.table))
    }

    /// For people and stream names: parts are quoted only where they must be to be read back by [`split`].
    pub fn display(&self) -> String {
        let part = |name: &str| if name.contains(['.', '"']) { ident(name) } else { name.to_string() };
        format!("{}.{}", part(&self.schema), part(&self.table))
    }
}

/// The table that [`TableName::display`] gave this text for.
pub fn table(displayed: &str) -> TableName {
    let (schema, table) = split(displayed);
    TableName::new(schema.unwrap_or_default(), table)
}

/// Splits `a.b`, `"a.b".c`, `c` at the first dot outside quotes. What follows is the table, with its further dots.
pub fn split(text: &str) -> (Option<String>, String) {
    let unquote = |part: &str| match part.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => part.to_string(),
    };
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted && at > 0 && at + 1 < text.len() => return (Some(unquote(&text[..at])), unquote(&text[at + 1..])),
            _ => {}
        }
    }
    (None, unquote(text))
}

/// `"a", "b"`.
pub fn join_idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_display_and_split() {
        for (schema, table) in [("public", "t"), ("a.b", "c"), ("a", "b.c"), ("q\"q", "x"), ("s", "say \"hi\".csv"), ("😀", "ü")]
        {
            let name = TableName::new(schema, table);
            let (s, t) = split(&name.display());
            assert_eq!((s.as_deref(), t.as_str()), (Some(schema), table), "{}", name.display());
        }
        assert_eq!(split("plain"), (None, "plain".into()));
        assert_eq!(split(".hidden"), (None, ".hidden".into()));
    }

    #[test]
    fn names_that_would_be_cut_are_refused() {
        assert!(checked(&"ü".repeat(31)).is_ok());
        assert!(checked(&"ü".repeat(32)).is_err());
        assert!(checked("").is_err());
        assert!(checked("a\0b").is_err());
    }
}
