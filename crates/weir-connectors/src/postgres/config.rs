//! Options of the `postgres` connector. The doc comments are the reference text.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_connect::{Error, Kind, Result, Secret};

/// Where the server is and who we are. Either `url`, or `host` and the rest.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConnection {
    /// `postgresql://user:password@host:5432/database?sslmode=require`; a `jdbc:postgresql://` URL is understood too.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub url: Option<Secret>,
    /// Host name or address.
    #[schemars(extend("x-weir-aliases" = ["hostname"]))]
    pub host: Option<String>,
    /// Port; 5432 if absent.
    pub port: Option<u16>,
    /// Database.
    #[schemars(extend("x-weir-aliases" = ["dbname", "database_name"]))]
    pub database: Option<String>,
    /// User.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// Password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub password: Option<Secret>,
    /// `disable`, `prefer`, `require` (encrypted, not verified), `verify_ca` or `verify_full`. A URL's `sslmode` is used if absent; else `prefer`.
    pub ssl_mode: Option<SslMode>,
    /// File with the certificate authorities (PEM) for `verify_ca` and `verify_full`; the system's if absent.
    pub ssl_root_cert: Option<String>,
    /// Seconds to wait for a connection; 10 if absent.
    pub connect_timeout_secs: Option<u64>,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SslMode {
    /// Plain.
    Disable,
    /// Encrypted if the server can, else plain.
    Prefer,
    /// Encrypted; the certificate is not looked at.
    Require,
    /// Encrypted; the certificate must come from a known authority.
    VerifyCa,
    /// Encrypted; the certificate must also name the host.
    VerifyFull,
}

/// What to read: tables, or one query.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresSourceOptions {
    /// One table, `schema.table`; the schema is `schema` if it is left out.
    pub table: Option<String>,
    /// Many tables; `*` and `?` match within a name, a leading `!` excludes: `["public.*", "!public.tmp_*"]`.
    #[schemars(extend("x-weir-aliases" = ["table.whitelist", "table_names", "table.include.list"]))]
    pub tables: Vec<String>,
    /// A query instead of tables. `'${last_run_time}'` and `'${cursor}'` are bound as parameters.
    pub query: Option<String>,
    /// Schema of names without one; `public` if absent.
    pub schema: Option<String>,
    /// Name of the stream of a `query`; `query` if absent.
    pub stream: Option<String>,
    /// Column that grows with every change, for `mode: incremental`.
    pub cursor: Option<String>,
    /// How late rows may be committed with an older cursor value: `5m`, or a number for a numeric cursor.
    #[schemars(with = "Option<Value>")]
    pub lag: Option<Value>,
    /// Size of one split in MiB of table; 32 if absent.
    pub split_mib: Option<u64>,
}

/// Where and how to write.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresSinkOptions {
    /// Table, `schema.table`; `{stream}` stands for the stream's name without its schema.
    pub table: Option<String>,
    /// Schema of a name without one; `public` if absent.
    pub schema: Option<String>,
    /// `append`, `overwrite` (swap at the end), `upsert` or `merge` (both by `key`).
    pub write_mode: Option<weir_connect::WriteMode>,
    /// Columns of the key for `upsert` and `merge`; the source's primary key if absent.
    pub key: Vec<String>,
    /// Schema for Weir's own tables (positions of unfinished runs); `_weir` if absent.
    pub state_schema: Option<String>,
}

/// Parses options into their struct; the message is serde's, with the place.
pub fn parse<'a, T: Deserialize<'a>>(what: &str, value: &'a Value) -> Result<T> {
    T::deserialize(value).map_err(|error| {
        Error::new("WEIR-PG-001", Kind::Spec, format!("the {what} options of postgres do not fit")).because(error)
    })
}

impl PostgresSourceOptions {
    /// What JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        let tables = self.table.is_some() || !self.tables.is_empty();
        match (tables, self.query.is_some()) {
            (true, true) => {
                Err(Error::new("WEIR-PG-002", Kind::Spec, "`query` and `table(s)` exclude each other")
                    .hint("use two source nodes"))
            }
            (false, false) => Err(Error::new("WEIR-PG-003", Kind::Spec, "nothing to read: no `table`, `tables` or `query`")
                .hint("add `table: public.orders`, or run `weir discover`")),
            _ => Ok(()),
        }
    }

    /// Patterns as `(exclude, schema, table)`.
    pub fn patterns(&self) -> Vec<(bool, String, String)> {
        let default = self.schema.clone().unwrap_or_else(|| "public".into());
        self.table
            .iter()
            .chain(&self.tables)
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(|text| {
                let (exclude, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
                let (schema, table) = split_name(text, &default);
                (exclude, schema, table)
            })
            .collect()
    }
}

/// `schema.table`, either part in double quotes if it holds a dot.
pub fn split_name(text: &str, default: &str) -> (String, String) {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => {
                if let Some(last) = parts.last_mut() {
                    last.push(other);
                }
            }
        }
    }
    match parts.len() {
        1 => (default.to_owned(), parts.remove(0)),
        _ => {
            let table = parts.split_off(1).join(".");
            (parts.remove(0), table)
        }
    }
}

/// An identifier in double quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal for statements that take no parameters (`SET TRANSACTION SNAPSHOT`). Only for values the server gave us.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_quoted() {
        assert_eq!(split_name("orders", "public"), ("public".into(), "orders".into()));
        assert_eq!(split_name("crm.orders", "public"), ("crm".into(), "orders".into()));
        assert_eq!(split_name("crm.\"a.b\"", "public"), ("crm".into(), "a.b".into()));
        assert_eq!(quote("we\"ird"), "\"we\"\"ird\"");
    }
}
