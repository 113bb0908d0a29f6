//! Names of tables: one, two or three parts.

use std::fmt;

use datafusion::sql::TableReference;

/// Name of a table: `orders`, `crm.orders` or `crm.public.orders`. Names keep their case; displayed as it must be written in
/// SQL, where a part that is not plain lower-case is quoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    /// The parts, outermost first; at most three.
    parts: Vec<String>,
}

impl TableName {
    /// Of a stream in a connection: `crm` and `public.orders` make `crm.public.orders`. A stream with more than one dot keeps
    /// the rest in its last part.
    pub fn of_stream(connection: &str, stream: &str) -> Self {
        let mut parts = vec![connection.to_owned()];
        parts.extend(stream.splitn(2, '.').map(String::from));
        Self { parts }
    }

    /// A name that stands alone, dots and all.
    pub fn bare(name: &str) -> Self {
        Self { parts: vec![name.to_owned()] }
    }

    /// A name that stands alone, or `schema.table`.
    pub fn new(name: &str) -> Self {
        Self { parts: name.splitn(2, '.').map(String::from).collect() }
    }

    pub(crate) fn from_reference(reference: &TableReference) -> Self {
        Self { parts: reference.to_vec() }
    }

    pub(crate) fn reference(&self) -> TableReference {
        match self.parts.as_slice() {
            [catalog, schema, table] => TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()),
            [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
            parts => TableReference::bare(parts.join(".")),
        }
    }

    /// The first part: the connection, the schema or the table itself.
    pub fn first(&self) -> &str {
        self.parts.first().map_or("", String::as_str)
    }

    /// All parts joined with dots, unquoted.
    pub fn path(&self) -> String {
        self.parts.join(".")
    }

    /// What follows the first part, joined with dots: the stream of a connection.
    pub fn below_first(&self) -> Option<String> {
        (self.parts.len() > 1).then(|| self.parts[1..].join("."))
    }

    pub(crate) fn parts(&self) -> &[String] {
        &self.parts
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let plain = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if plain { f.write_str(part)? } else { write!(f, "\"{}\"", part.replace('"', "\"\""))? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::TableName;

    #[test]
    fn names_are_shown_as_sql_needs_them() {
        assert_eq!(TableName::of_stream("crm", "public.orders").to_string(), "crm.public.orders");
        assert_eq!(TableName::of_stream("crm", "Public.my.Orders").to_string(), "crm.\"Public\".\"my.Orders\"");
        assert_eq!(TableName::new("2024 \"x\"").to_string(), "\"2024 \"\"x\"\"\"");
    }
}
