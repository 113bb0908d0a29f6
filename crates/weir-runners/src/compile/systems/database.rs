//! PostgreSQL, MySQL and MariaDB: tables, queries, and the log of changes.

use serde_json::Value;

use super::super::{Options, Text};

/// Whose words a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

/// A connection to a database and what is read or written there.
#[derive(Debug, Clone)]
pub struct Database {
    /// Whose words it speaks.
    pub family: Family,
    /// Written as `mariadb`.
    pub mariadb: bool,
    /// Server.
    pub host: Text,
    /// Port.
    pub port: Text,
    /// Database.
    pub database: Text,
    /// User.
    pub user: Text,
    /// Password, if there is one.
    pub password: Option<Text>,
    /// `disable`, `prefer`, `require`, `verify_ca`, `verify_full`.
    pub ssl_mode: Option<String>,
    /// The file with the certificates to trust.
    pub ssl_root_cert: Option<Text>,
    /// Tables that are read (globs among them), qualified as the engine needs it; or the one that is written.
    pub tables: Vec<String>,
    /// The query that is read instead.
    pub query: Option<Text>,
    /// `create: never`.
    pub never_creates: bool,
}

impl Database {
    pub(super) fn read(options: &Options<'_>, family: Family) -> Self {
        let mut login = Login::read(options, family);
        let schema = options.word("schema");
        let mut tables = options.words("tables");
        tables.extend(options.words("table"));
        let tables = tables
            .into_iter()
            .flat_map(|list| list.split(',').map(|table| table.trim().to_string()).collect::<Vec<_>>())
            .map(|table| qualified(family, schema.as_deref(), &table))
            .collect();
        let query = options.text("query");
        options.pass(&["name"]);
        options.refuse_unless("apply_row_security", &Value::Bool(false), "sets no row security", "the native engine");
        for option in ["ssl_cert", "ssl_key"] {
            if options.value(option).is_some() {
                options.refuse(
                    Some(option),
                    "is given no client certificate by this compiler",
                    "a user with a password, or the native engine",
                );
            }
        }
        if let Some(empty) = [(&login.host, "host"), (&login.database, "database")].iter().find(|(text, _)| text.0.is_empty()) {
            options.refuse(Some(empty.1), format!("needs `{}`", empty.1), "give it, or a `url` that holds it");
        }
        Self {
            family,
            mariadb: options.node().kind.starts_with("mariadb"),
            host: std::mem::take(&mut login.host),
            port: std::mem::take(&mut login.port),
            database: std::mem::take(&mut login.database),
            user: std::mem::take(&mut login.user),
            password: login.password,
            ssl_mode: login.ssl_mode,
            ssl_root_cert: options.text("ssl_root_cert"),
            tables,
            query,
            never_creates: options.word("create").as_deref() == Some("never"),
        }
    }

    /// The address as Java's drivers write it, without user and password.
    pub fn jdbc_url(&self) -> Text {
        let scheme = match self.family {
            Family::Postgres => "jdbc:postgresql://",
            Family::Mysql => "jdbc:mysql://",
        };
        let url = Text::plain(scheme).then(&self.host).then(":").then(&self.port).then("/").then(&self.database);
        let mode = match (self.family, self.ssl_mode.as_deref()) {
            (_, None) => return url,
            (Family::Postgres, Some(mode)) => format!("?sslmode={}", mode.replace('_', "-")),
            (Family::Mysql, Some(mode)) => format!(
                "?sslMode={}",
                match mode {
                    "disable" => "DISABLED",
                    "prefer" => "PREFERRED",
                    "require" => "REQUIRED",
                    "verify_ca" => "VERIFY_CA",
                    _ => "VERIFY_IDENTITY",
                }
            ),
        };
        url.then(mode)
    }

    /// The class of Java's driver.
    pub fn driver(&self) -> &'static str {
        match self.family {
            Family::Postgres => "org.postgresql.Driver",
            Family::Mysql => "com.mysql.cj.jdbc.Driver",
        }
    }

    /// A table's name in quotes.
    pub fn quoted(&self, table: &str) -> String {
        let quote = match self.family {
            Family::Postgres => '"',
            Family::Mysql => '`',
        };
        let part = |part: &str| format!("{quote}{}{quote}", part.replace(quote, &format!("{quote}{quote}")));
        table.split('.').map(part).collect::<Vec<_>>().join(".")
    }
}

/// PostgreSQL's tables are told with their schema, `public` unless it is written.
fn qualified(family: Family, schema: Option<&str>, table: &str) -> String {
    match (family, table.contains('.')) {
        (Family::Postgres, false) => format!("{}.{table}", schema.unwrap_or("public")),
        _ => table.to_string(),
    }
}

#[derive(Default)]
struct Login {
    host: Text,
    port: Text,
    database: Text,
    user: Text,
    password: Option<Text>,
    ssl_mode: Option<String>,
}

impl Login {
    /// From `url`, or from its parts.
    fn read(options: &Options<'_>, family: Family) -> Self {
        let mut login = Self::default();
        if let Some(Value::String(url)) = options.value("url") {
            login.take_url(options, url);
        }
        let given = |name: &str, place: &mut Text| {
            if let Some(text) = options.text(name) {
                *place = text;
            }
        };
        given("host", &mut login.host);
        given("port", &mut login.port);
        given("database", &mut login.database);
        given("user", &mut login.user);
        if login.port.0.is_empty() {
            login.port = Text::plain(if family == Family::Postgres { "5432" } else { "3306" });
        }
        login.password = options.text("password").or(login.password);
        login.ssl_mode = options.word("ssl_mode").or(login.ssl_mode);
        login
    }

    fn take_url(&mut self, options: &Options<'_>, url: &str) {
        let Some((_, rest)) = url.split_once("://") else {
            options.refuse(
                Some("url"),
                "needs the parts of the address, and they are in one variable",
                "give `host`, `database`, `user` and `password`",
            );
            return;
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (server, database) = place.split_once('/').unwrap_or((place, ""));
        if server.contains(',') {
            options.refuse(Some("url"), "takes one server", "name the one that is primary");
        }
        let (host, port) = server.rsplit_once(':').filter(|(_, port)| !port.contains('}')).unwrap_or((server, ""));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        self.host = options.as_text(host, false, "url");
        self.port = options.as_text(port, false, "url");
        self.database = options.as_text(&decoded(database), false, "url");
        self.user = options.as_text(&decoded(user), false, "url");
        self.password = password.map(|password| options.as_text(&decoded(password), true, "password"));
        for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            match name {
                "sslmode" | "ssl-mode" | "ssl_mode" => self.ssl_mode = Some(value.to_lowercase().replace('-', "_")),
                "connect_timeout" | "application_name" => {}
                _ => options.refuse(Some("url"), format!("is not told what `{name}` in an address means"), "remove it"),
            }
        }
    }
}

/// Percent-encoded bytes of a part of an address; references are left as they are.
fn decoded(part: &str) -> String {
    if part.contains("${") || part.contains("{{") {
        return part.to_string();
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = |at: usize| more.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (*first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &more[2..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| part.to_string())
}

/// Where the log of changes is read from at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captured {
    /// What is there, then the changes.
    SnapshotThenChanges,
    /// Changes only.
    Changes,
    /// What is there, and no changes.
    SnapshotOnly,
}

impl Captured {
    pub(super) fn read(options: &Options<'_>) -> Self {
        match options.word("snapshot").as_deref() {
            Some("never") => Self::Changes,
            Some("only") => Self::SnapshotOnly,
            _ => Self::SnapshotThenChanges,
        }
    }
}

/// A place in MySQL's log to begin at.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Transactions that are known.
    pub gtid: Option<String>,
    /// File and position in it.
    pub file: Option<(String, u64)>,
}

/// The log of a database.
#[derive(Debug, Clone)]
pub struct Log {
    /// The database.
    pub database: Database,
    /// PostgreSQL's slot.
    pub slot: Option<String>,
    /// PostgreSQL's publication.
    pub publication: Option<String>,
    /// PostgreSQL: the slot is one that follows a failover.
    pub failover: bool,
    /// MySQL: our number among its replicas.
    pub server_id: Option<u64>,
    /// What is read.
    pub captured: Captured,
    /// MySQL: where to begin.
    pub start: Option<Start>,
    /// Table → the rows of the snapshot, in SQL.
    pub snapshot_where: Vec<(String, Text)>,
}

impl Log {
    pub(super) fn read(options: &Options<'_>, family: Family) -> Self {
        let database = Database::read(options, family);
        let start = options.value("start").map(|start| Start {
            gtid: start.get("gtid").and_then(Value::as_str).map(Into::into),
            file: start
                .get("file")
                .and_then(Value::as_str)
                .map(|file| (file.to_string(), start.get("position").and_then(Value::as_u64).unwrap_or(4))),
        });
        if options.value("messages").is_some() {
            options.refuse(Some("messages"), "is given no logical messages by this compiler", "the native engine");
        }
        Self {
            database,
            slot: options.word("slot"),
            publication: options.word("publication"),
            failover: options.flag("failover").unwrap_or(false),
            server_id: options.number("server_id"),
            captured: Captured::read(options),
            start,
            snapshot_where: options.map("snapshot_where"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn addresses_are_decoded_and_references_in_them_are_not() {
        assert_eq!(decoded("p%40ss%2Fw%C3%A9"), "p@ss/wé");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("${PW}%40"), "${PW}%40");
    }
}
