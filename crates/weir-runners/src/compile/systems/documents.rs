//! MongoDB.

use super::super::{Options, Text};
use super::Captured;

/// Collections and how to reach them.
#[derive(Debug, Clone)]
pub struct Documents {
    /// The address, with user and password in it.
    pub uri: Text,
    /// Servers with commas.
    pub hosts: Text,
    /// Settings of the connection, as in an address.
    pub settings: Option<Text>,
    /// Database.
    pub database: Text,
    /// User.
    pub user: Option<Text>,
    /// Password.
    pub password: Option<Text>,
    /// Where users are kept.
    pub auth_source: Option<Text>,
    /// TLS.
    pub tls: bool,
    /// Collections that are read, or the one that is written.
    pub collections: Vec<String>,
    /// A filter in JSON.
    pub filter: Option<Text>,
    /// A projection in JSON.
    pub projection: Option<Text>,
}

impl Documents {
    pub(super) fn read(options: &Options<'_>) -> Self {
        let user = options.text("user");
        let password = options.text("password");
        let hosts = options.text("hosts").unwrap_or_default();
        let settings = options.text("connection_options");
        let tls = options.flag("tls").unwrap_or(false);
        let auth_source = options.text("auth_source");
        let uri = options.address("url").unwrap_or_else(|| {
            let mut uri = Text::plain("mongodb://");
            if let Some((user, password)) = user.clone().zip(password.clone()) {
                uri = uri.then(user).then(":").then(password).then("@");
            }
            uri = uri.then(&hosts).then("/");
            let mut mark = "?";
            for (name, value) in [("authSource", auth_source.clone()), ("tls", tls.then(|| Text::plain("true")))] {
                if let Some(value) = value {
                    uri = uri.then(mark).then(name).then("=").then(value);
                    mark = "&";
                }
            }
            if let Some(settings) = &settings {
                uri = uri.then(mark).then(settings);
            }
            uri
        });
        let mut collections = options.words("collections");
        collections.extend(options.words("collection"));
        for option in ["ssl_root_cert", "ssl_cert"] {
            if options.value(option).is_some() {
                options.refuse(
                    Some(option),
                    "is compiled without files of certificates",
                    "the trust store of the engine's machine",
                );
            }
        }
        options.pass(&["columns", "schema", "json", "unknown_keys", "id", "transactions"]);
        Self {
            uri,
            hosts,
            settings,
            database: options.text("database").unwrap_or_default(),
            user,
            password,
            auth_source,
            tls,
            collections,
            filter: json(options, "filter"),
            projection: json(options, "projection"),
        }
    }
}

/// A map or a text, as JSON.
fn json(options: &Options<'_>, name: &str) -> Option<Text> {
    let value = options.value(name)?;
    match value.as_str() {
        Some(_) => options.text(name),
        None => Some(options.as_text(&value.to_string(), false, name)),
    }
}

/// Change streams.
#[derive(Debug, Clone)]
pub struct DocumentLog {
    /// The collections.
    pub documents: Documents,
    /// What is read.
    pub captured: Captured,
    /// Whole documents on updates: `update_lookup`, `when_available`, `required`, `none`.
    pub full_document: Option<String>,
}

impl DocumentLog {
    pub(super) fn read(options: &Options<'_>) -> Self {
        if options.value("start_at").is_some() {
            options.refuse(Some("start_at"), "is compiled without a time to begin at", "`snapshot: never` begins now");
        }
        options.refuse_unless(
            "on_drop",
            &serde_json::Value::String("error".into()),
            "has nothing for a dropped collection",
            "remove it",
        );
        Self {
            documents: Documents::read(options),
            captured: Captured::read(options),
            full_document: options.word("full_document"),
        }
    }
}
