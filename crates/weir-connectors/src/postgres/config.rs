//! The options of the connector: what a person writes, and the address that comes out of it. No I/O except reading
//! certificate files, which happens in `client`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::{DeleteMode, Error, Kind, Result, Secret, WriteMode};

use crate::certificates::placed;

/// How much TLS, as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server offers it; the certificate is not checked.
    #[default]
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// Always; the certificate must come from a trusted authority.
    VerifyCa,
    /// Always; the certificate must come from a trusted authority and name the host.
    VerifyFull,
}

/// Address and credentials of a PostgreSQL server.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// `postgresql://user:password@host:5432/database?sslmode=require`; `jdbc:postgresql://…` is accepted too. The other options win over its parts.
    #[schemars(with = "Option<String>")]
    pub url: Option<Secret>,
    /// Host name, address, or the folder of a Unix socket. Default `localhost`.
    #[schemars(extend("x-weir-aliases" = ["hostname", "server"]))]
    pub host: Option<String>,
    /// Port. Default 5432.
    pub port: Option<u16>,
    /// Database. Default: the user's name.
    #[schemars(extend("x-weir-aliases" = ["dbname", "db", "database_name"]))]
    pub database: Option<String>,
    /// User. Default `postgres`.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// Password (cleartext, MD5 and SCRAM-SHA-256 authentication).
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub password: Option<Secret>,
    /// `disable`, `prefer` (default), `require`, `verify_ca` or `verify_full`.
    #[schemars(extend("x-weir-aliases" = ["sslmode"]))]
    pub ssl_mode: Option<SslMode>,
    /// PEM file of the authorities to trust, or its text; default: those of the system.
    #[schemars(extend("x-weir-aliases" = ["sslrootcert"]))]
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file of the client's certificate, or its text.
    #[schemars(extend("x-weir-aliases" = ["sslcert"]))]
    pub ssl_cert: Option<PathBuf>,
    /// PEM file of the client's private key, or its text (as a reference: `{{name}}`).
    #[schemars(with = "Option<String>", extend("x-weir-aliases" = ["sslkey"]))]
    pub ssl_key: Option<Secret>,
    /// Seconds to wait for the connection. Default 10.
    #[schemars(extend("x-weir-unit" = "s", "x-weir-aliases" = ["connect_timeout"]))]
    pub connect_timeout_secs: Option<u64>,
    /// What the server shows in `pg_stat_activity`. Default `weir`.
    pub application_name: Option<String>,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// Tables by name or pattern: `orders`, `public.order_*`, `!public.order_tmp`. Views count as tables when named without a pattern.
    #[schemars(extend("x-weir-aliases" = ["table_names", "table.whitelist"]))]
    pub tables: Vec<String>,
    /// One table.
    pub table: Option<String>,
    /// Schema of the names that carry none. Default `public`.
    pub schema: Option<String>,
    /// A query instead of tables; `'${last_run_time}'` and `'${cursor}'` are bound as parameters.
    pub query: Option<String>,
    /// Name of the stream that `query` makes. Default `query`.
    pub name: Option<String>,
    /// Column that only grows, for `mode: incremental`.
    pub cursor: Option<String>,
    /// How far behind the highest cursor value late rows may appear: `5m`, or a number for numeric cursors.
    pub lag: Option<String>,
    /// Size of one split of a table; a split is read by one lane and is the unit of resumption.
    /// Default: a 64th of the table, between 1 and 32 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub split_bytes: Option<u64>,
    /// About how many rows one split has; wins over `split_bytes`.
    pub split_rows: Option<u64>,
    /// Read tables through row-level security as this user sees them. By default such a table is an error, because rows would be left out silently.
    pub apply_row_security: bool,
}

/// Whether the sink creates what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Create {
    /// Schema and table are created from the stream.
    #[default]
    Auto,
    /// The table must exist.
    Never,
}

/// Where and how to write.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// Table, `schema.table` or a name with `{stream}`. Default `{stream}`.
    pub table: String,
    /// Schema; wins over one in `table`. Default: the one in the name, else `public`.
    pub schema: Option<String>,
    /// `auto` (default) or `never`.
    pub create: Create,
    /// `append`, `overwrite`, `upsert` or `merge`.
    pub write_mode: WriteMode,
    /// Key columns for `upsert` and `merge`; default: the source's primary key.
    pub key: Vec<String>,
    /// `mode: cdc`: what a delete at the source does here.
    pub delete_mode: DeleteMode,
    /// Schema in the target database in which Weir keeps how far each run got. Default `_weir`.
    pub state_schema: String,
    /// Schema of the staging tables of `upsert` and `merge`. Default: the target's schema. (`overwrite` stages beside its target, so that the swap is a rename.)
    pub staging_schema: Option<String>,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            table: "{stream}".into(),
            schema: None,
            create: Create::Auto,
            write_mode: WriteMode::Append,
            key: Vec::new(),
            delete_mode: DeleteMode::default(),
            state_schema: "_weir".into(),
            staging_schema: None,
        }
    }
}

/// Options → struct, with the serde message as the cause.
pub fn parse<T: serde::de::DeserializeOwned>(value: &serde_json::Value, what: &str) -> Result<T> {
    crate::options::parse("postgres", "WEIR-PG-001", what, value)
}

impl SourceOptions {
    /// Rules between options.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: &str, hint: &'static str| Err(Error::new("WEIR-PG-001", Kind::Spec, what).hint(hint));
        let chosen = usize::from(!self.tables.is_empty()) + usize::from(self.table.is_some()) + usize::from(self.query.is_some());
        if chosen > 1 {
            return wrong("`tables`, `table` and `query` exclude each other", "keep one of them");
        }
        if self.query.as_deref().is_some_and(|query| query.trim().is_empty()) {
            return wrong("`query` is empty", "write a SELECT, or give `tables`");
        }
        if self.split_bytes == Some(0) || self.split_rows == Some(0) {
            return wrong("a split cannot be empty", "leave `split_bytes` and `split_rows` out for the default");
        }
        if !self.tables.is_empty() && self.patterns().iter().all(|pattern| pattern.starts_with('!')) {
            return wrong("`tables` only excludes", "add a pattern that chooses, for example `*`");
        }
        Ok(())
    }

    /// The patterns, from whichever option holds them; empty for a query.
    pub fn patterns(&self) -> Vec<String> {
        match (&self.table, &self.query) {
            (Some(table), _) => vec![table.clone()],
            (None, Some(_)) => Vec::new(),
            // A seed's whitelist is one comma-separated string.
            (None, None) => {
                let entries = |list: &String| {
                    // A comma may belong to a quoted name, or to the choices of a pattern: `{orders,items}_2024`.
                    let (mut quoted, mut depth) = (false, 0_usize);
                    let parts = list.split(|character| {
                        match character {
                            '"' => quoted = !quoted,
                            '{' if !quoted => depth += 1,
                            '}' if !quoted => depth = depth.saturating_sub(1),
                            _ => {}
                        }
                        character == ',' && !quoted && depth == 0
                    });
                    parts.map(|entry| entry.trim().to_string()).collect::<Vec<_>>()
                };
                self.tables.iter().flat_map(entries).collect()
            }
        }
    }
}

/// Where to connect to, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// Host name, address or socket folder.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Password, if one was given.
    pub password: Option<Secret>,
    /// TLS mode.
    pub ssl_mode: SslMode,
    /// Trusted authorities.
    pub ssl_root_cert: Option<PathBuf>,
    /// Client certificate.
    pub ssl_cert: Option<PathBuf>,
    /// Client key: a path, or the text.
    pub ssl_key: Option<Secret>,
    /// Seconds.
    pub connect_timeout_secs: u64,
    /// For `pg_stat_activity`.
    pub application_name: String,
}

impl Address {
    /// `host:port/database`, for messages; never with credentials.
    pub fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

impl ConnectionOptions {
    /// Puts the parts together. Relative certificate paths resolve against `base`.
    pub fn address(&self, base: &Path) -> Result<Address> {
        let mut address = Address {
            host: "localhost".into(),
            port: 5432,
            database: String::new(),
            user: "postgres".into(),
            password: None,
            ssl_mode: SslMode::default(),
            ssl_root_cert: None,
            ssl_cert: None,
            ssl_key: None,
            connect_timeout_secs: self.connect_timeout_secs.unwrap_or(10).max(1),
            application_name: self.application_name.clone().unwrap_or_else(|| "weir".into()),
        };
        if let Some(url) = &self.url {
            apply_url(&mut address, url.expose())?;
        }
        let set = |to: &mut String, from: &Option<String>| {
            if let Some(value) = from {
                to.clone_from(value);
            }
        };
        set(&mut address.host, &self.host);
        set(&mut address.user, &self.user);
        set(&mut address.database, &self.database);
        address.port = self.port.unwrap_or(address.port);
        address.password = self.password.clone().or(address.password);
        address.ssl_mode = self.ssl_mode.unwrap_or(address.ssl_mode);
        address.ssl_root_cert = self.ssl_root_cert.clone().or(address.ssl_root_cert).map(|pem| placed(base, &pem));
        address.ssl_cert = self.ssl_cert.clone().or(address.ssl_cert).map(|pem| placed(base, &pem));
        let key = self.ssl_key.clone().or(address.ssl_key);
        address.ssl_key = key.map(|pem| Secret::new(placed(base, Path::new(pem.expose())).to_string_lossy()));
        if address.ssl_cert.is_some() != address.ssl_key.is_some() {
            return Err(Error::new("WEIR-PG-001", Kind::Spec, "`ssl_cert` and `ssl_key` go together"));
        }
        if address.database.is_empty() {
            address.database.clone_from(&address.user);
        }
        for (what, value) in [("host", &address.host), ("user", &address.user), ("database", &address.database)] {
            if value.contains('\0') {
                return Err(Error::new("WEIR-PG-001", Kind::Spec, format!("`{what}` contains a NUL character")));
            }
        }
        Ok(address)
    }
}

fn bad_url(why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-PG-001", Kind::Spec, "the connection `url` cannot be understood")
        .because(why)
        .hint("write it as postgresql://user:password@host:5432/database")
}

fn apply_url(address: &mut Address, text: &str) -> Result<()> {
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    let rest = text.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    if !(text.starts_with("postgresql://") || text.starts_with("postgres://")) {
        return Err(bad_url("it does not begin with postgresql://"));
    }
    if rest.split(['/', '?']).next().is_some_and(|authority| authority.contains(',')) {
        return Err(bad_url("several hosts in one url are not supported"));
    }
    // An empty host is legal here (`postgresql:///db`), not for a general URL.
    let url = url::Url::parse(text).map_err(bad_url)?;
    match url.host() {
        Some(url::Host::Domain(host)) if !host.is_empty() => address.host = decode(host)?,
        Some(url::Host::Ipv4(ip)) => address.host = ip.to_string(),
        Some(url::Host::Ipv6(ip)) => address.host = ip.to_string(),
        _ => {}
    }
    address.port = url.port().unwrap_or(address.port);
    if !url.username().is_empty() {
        address.user = decode(url.username())?;
    }
    if let Some(password) = url.password() {
        address.password = Some(Secret::new(decode(password)?));
    }
    let database = decode(url.path().trim_start_matches('/'))?;
    if !database.is_empty() {
        address.database = database;
    }
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "sslmode" => {
                address.ssl_mode = match value.replace('-', "_").as_str() {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" => SslMode::Require,
                    "verify_ca" => SslMode::VerifyCa,
                    "verify_full" => SslMode::VerifyFull,
                    other => return Err(bad_url(format!("unknown sslmode `{other}`"))),
                }
            }
            "ssl" if value == "true" => address.ssl_mode = SslMode::VerifyFull,
            "ssl" => {}
            "sslrootcert" => address.ssl_root_cert = Some(PathBuf::from(value.as_ref())),
            "sslcert" => address.ssl_cert = Some(PathBuf::from(value.as_ref())),
            "sslkey" => address.ssl_key = Some(Secret::new(value.as_ref())),
            "host" => address.host = value.into_owned(),
            "port" => address.port = value.parse().map_err(bad_url)?,
            "user" => address.user = value.into_owned(),
            "dbname" => address.database = value.into_owned(),
            "password" => address.password = Some(Secret::new(value)),
            "application_name" | "ApplicationName" => address.application_name = value.into_owned(),
            "connect_timeout" | "connectTimeout" => address.connect_timeout_secs = value.parse::<u64>().map_err(bad_url)?.max(1),
            other => return Err(bad_url(format!("unknown parameter `{other}`"))),
        }
    }
    Ok(())
}

/// `%40` → `@`.
fn decode(text: &str) -> Result<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
            out.push(hex.ok_or_else(|| bad_url("a % must be followed by two hex digits"))?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).map_err(|_| bad_url("a part is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<Address> {
        ConnectionOptions { url: Some(Secret::new(url)), ..Default::default() }.address(Path::new("/base"))
    }

    #[test]
    fn a_url_is_taken_apart_and_its_password_is_not_printed() {
        let found =
            address("jdbc:postgresql://us%40er:p%2Fw%3A@[::1]:5433/my%20db?sslmode=verify-ca&sslrootcert=ca.pem").unwrap();
        assert_eq!((found.host.as_str(), found.port), ("::1", 5433));
        assert_eq!((found.user.as_str(), found.database.as_str()), ("us@er", "my db"));
        assert_eq!(found.password.as_ref().unwrap().expose(), "p/w:");
        assert_eq!(found.ssl_mode, SslMode::VerifyCa);
        assert_eq!(found.ssl_root_cert.as_deref(), Some(Path::new("/base/ca.pem")));
        assert!(!format!("{found:?}").contains("p/w"));
    }

    #[test]
    fn certificates_are_paths_or_their_text() {
        let pem = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
        let options: ConnectionOptions =
            serde_json::from_value(serde_json::json!({"ssl_cert": "certs/me.pem", "ssl_key": pem, "ssl_root_cert": pem}))
                .unwrap();
        let found = options.address(Path::new("/base")).unwrap();
        assert_eq!(found.ssl_cert.as_deref(), Some(Path::new("/base/certs/me.pem")));
        assert_eq!(found.ssl_root_cert.as_deref(), Some(Path::new(pem)));
        assert_eq!(found.ssl_key.as_ref().map(Secret::expose), Some(pem));
        assert!(!format!("{:?}", found.ssl_key).contains("hunter2"));
    }

    #[test]
    fn options_win_over_the_url_and_the_database_defaults_to_the_user() {
        let options = ConnectionOptions {
            url: Some(Secret::new("postgresql://a@h/")),
            port: Some(9),
            user: Some("b".into()),
            ..Default::default()
        };
        let found = options.address(Path::new(".")).unwrap();
        assert_eq!((found.host.as_str(), found.port, found.user.as_str(), found.database.as_str()), ("h", 9, "b", "b"));
    }

    #[test]
    fn a_wrong_url_says_why_without_showing_it() {
        for (url, why) in [
            ("mysql://h/db", "postgresql://"),
            ("postgresql://u:secret@h/db?sslmode=maybe", "maybe"),
            ("postgresql://u:secret@a,b/db", "several hosts"),
            ("postgresql://u:secret@h/%zz", "hex"),
        ] {
            let error = address(url).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
