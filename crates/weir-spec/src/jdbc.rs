//! `jdbc` connections: the URL says which system is meant, and carries what the connector wants as options.

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::model::Span;
use crate::options::schema::{Part, property};
use crate::problems::{Path, Problems, short};
use crate::tree::{Entry, Tree, Value};
use crate::vocabulary::Vocabulary;

/// What a JDBC URL says.
#[derive(Debug, PartialEq)]
struct Url {
    scheme: String,
    host: Option<String>,
    port: Option<String>,
    database: Option<String>,
    parameters: Vec<(String, String)>,
}

/// Replaces `url` and `driver` by the options of the system behind the URL; returns its name. Without a usable URL
/// everything stays as it is, under the name `jdbc`.
pub(crate) fn rewrite(
    entries: Vec<Entry>,
    vocabulary: &dyn Vocabulary,
    problems: &mut Problems,
    path: &Path,
) -> (String, Vec<Entry>) {
    let Some(place) = entries.iter().position(|entry| entry.key == "url") else {
        let span = entries.first().map(|entry| entry.key_span);
        problems.push(
            Diagnostic::error(codes::MISSING_OPTION, "`jdbc` needs `url`")
                .at(&path.key("url").dotted, span)
                .expected("a URL such as jdbc:postgresql://host:5432/database")
                .help("or name the system itself as the connector"),
        );
        return ("jdbc".into(), entries);
    };
    let at = entries[place].value.span;
    let url = match parse(entries[place].value.as_text().unwrap_or_default()) {
        Ok(url) => url,
        Err(why) => {
            problems.push(
                Diagnostic::error(codes::JDBC_URL, format!("this JDBC URL cannot be used: {why}"))
                    .at(&path.key("url").dotted, Some(at))
                    .expected("a URL such as jdbc:postgresql://host:5432/database")
                    .help("or name the system itself as the connector and give `host`, `port`, `database`"),
            );
            return ("jdbc".into(), entries);
        }
    };
    let words = vocabulary.connector(&url.scheme);
    let kind = words.as_ref().map_or_else(|| url.scheme.clone(), |words| words.canonical.clone());
    let knows = |name: &str| {
        words.as_ref().map(|words| {
            let own = [&words.source, &words.sink].into_iter().flatten().map(Part::root);
            let parts: Vec<Part<'_>> = own.chain([Part::root(&words.connection)]).collect();
            property(&parts, name).map(|(canonical, _)| canonical)
        })
    };
    // An option given by itself wins over the same one in the URL, under whichever spelling it is given.
    let canonical = |name: &str| knows(name).flatten().unwrap_or_else(|| name.to_string());
    let given: Vec<String> = entries.iter().map(|entry| canonical(&entry.key)).collect();
    let url_only = knows("host") == Some(None) && knows("url").flatten().is_some();
    let mut added: Vec<Entry> = Vec::new();
    let add = |added: &mut Vec<Entry>, name: &str, value: Tree| {
        if !given.contains(&canonical(name)) && !added.iter().any(|entry| entry.key == name) {
            added.push(Entry::new(name, entries[place].key_span, value));
        }
    };
    if url_only {
        let host = url.host.as_deref().unwrap_or_default();
        let port = url.port.as_deref().map(|port| format!(":{port}")).unwrap_or_default();
        let database = url.database.as_deref().unwrap_or_default();
        added.push(Entry::new(
            "url",
            entries[place].key_span,
            Tree::text(format!("{}://{host}{port}/{database}", url.scheme), at),
        ));
    } else {
        if let Some(host) = &url.host {
            add(&mut added, "host", Tree::text(host, at));
        }
        if let Some(port) = &url.port {
            add(
                &mut added,
                "port",
                port.parse::<u64>().map_or_else(|_| Tree::text(port, at), |n| Tree { value: Value::Number(n.into()), span: at }),
            );
        }
        if let Some(database) = &url.database {
            add(&mut added, "database", Tree::text(database, at));
        }
    }
    for (name, value) in &url.parameters {
        match (name.as_str(), knows(name)) {
            ("user" | "password", _) => add(&mut added, name, Tree::text(value, at)),
            (_, None | Some(Some(_))) => add(&mut added, name, typed(value, at)),
            // What is left out here would be sent in the clear there.
            (_, Some(None)) if ["ssl", "tls", "encrypt", "certificate"].iter().any(|word| name.to_lowercase().contains(word)) => {
                problems.push(
                    Diagnostic::error(
                        codes::JDBC_URL,
                        format!("`{}` of this JDBC URL has no counterpart in `{kind}`", short(name)),
                    )
                    .at(&path.key("url").dotted, Some(at))
                    .label("says how the connection is secured")
                    .help(format!(
                        "take it out of the URL and set the option of `{kind}` that says the same: weir connectors {kind}"
                    )),
                );
            }
            (_, Some(None)) => problems.push(
                Diagnostic::warning(codes::IGNORED, format!("`{kind}` has no use for `{}` of the JDBC URL", short(name)))
                    .at(&path.key("url").dotted, Some(at))
                    .label("left out"),
            ),
        }
    }
    let mut out = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if index == place {
            out.append(&mut added);
        } else if entry.key == "driver" {
            problems.push(
                Diagnostic::warning(codes::DRIVER, "`driver` is not needed and is left out")
                    .at(&path.key("driver").dotted, Some(entry.key_span))
                    .label("Weir speaks to the database itself")
                    .help("remove it"),
            );
        } else {
            out.push(entry.clone());
        }
    }
    (kind, out)
}

fn typed(text: &str, span: Span) -> Tree {
    let value = match (text, text.parse::<u64>()) {
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        (_, Ok(n)) if n.to_string() == text => Value::Number(n.into()),
        _ => Value::Text { text: text.into(), plain: false },
    };
    Tree { value, span }
}

fn parse(text: &str) -> Result<Url, String> {
    let rest = text.strip_prefix("jdbc:").unwrap_or(text);
    let (scheme, rest) = rest.split_once(':').ok_or("it names no system")?;
    if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err("it names no system".into());
    }
    let scheme = scheme.to_lowercase();
    // oracle:thin:@//host:1521/service and @host:1521:sid
    let rest = if scheme == "oracle" {
        let rest = rest.split_once('@').map_or(rest, |(_, after)| after);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        match rest.rsplit_once(':') {
            Some((host, sid)) if host.contains(':') && !rest.contains('/') => format!("{host}/{sid}"),
            _ => rest.to_string(),
        }
    } else {
        rest.strip_prefix("//").ok_or_else(|| format!("`//` should follow `{scheme}:`"))?.to_string()
    };
    let (place, query) = match rest.find(['?', ';']) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest.as_str(), ""),
    };
    let (authority, database) = place.split_once('/').map_or((place, None), |(host, database)| (host, Some(database)));
    let (login, address) = authority.rsplit_once('@').map_or((None, authority), |(login, address)| (Some(login), address));
    if address.contains(',') {
        return Err("it names several hosts".into());
    }
    let (host, port) = match last_colon(address) {
        Some(at) => (&address[..at], Some(&address[at + 1..])),
        None => (address, None),
    };
    let mut url = Url {
        scheme,
        host: Some(host.trim_matches(['[', ']'])).filter(|host| !host.is_empty()).map(Into::into),
        port: port.filter(|port| !port.is_empty()).map(Into::into),
        database: database.filter(|name| !name.is_empty()).map(decoded),
        parameters: Vec::new(),
    };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        url.parameters.push(("user".into(), decoded(user)));
        url.parameters.extend(password.map(|password| ("password".to_string(), decoded(password))));
    }
    for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        match name.to_lowercase().as_str() {
            "databasename" | "database" => url.database = Some(decoded(value)),
            "user" | "username" => url.parameters.push(("user".into(), decoded(value))),
            "password" => url.parameters.push(("password".into(), decoded(value))),
            _ => url.parameters.push((name.into(), decoded(value))),
        }
    }
    Ok(url)
}

/// The colon before the port: not one of an IPv6 address, not one inside of `${HOST:-db}`.
fn last_colon(address: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut found = None;
    for (at, character) in address.char_indices() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => found = Some(at),
            _ => {}
        }
    }
    found
}

/// `%41` as `A`; anything that is no such escape stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code =
            (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, String, String, usize) {
        let url = parse(text).unwrap();
        let or = |part: Option<String>| part.unwrap_or_default();
        (url.scheme, or(url.host), or(url.port), or(url.database), url.parameters.len())
    }

    #[test]
    fn the_usual_systems_are_understood() {
        let is = |a: &str, b: &str, c: &str, d: &str, n: usize| (a.to_string(), b.to_string(), c.to_string(), d.to_string(), n);
        assert_eq!(read("jdbc:mysql://mysql:3306/mydb"), is("mysql", "mysql", "3306", "mydb", 0));
        assert_eq!(read("jdbc:postgresql://db/crm?user=a&password=b%40c&ssl=true"), is("postgresql", "db", "", "crm", 3));
        assert_eq!(read("jdbc:sqlserver://h:1433;databaseName=x;user=u"), is("sqlserver", "h", "1433", "x", 1));
        assert_eq!(read("jdbc:oracle:thin:@//h:1521/svc"), is("oracle", "h", "1521", "svc", 0));
        assert_eq!(read("jdbc:oracle:thin:@h:1521:sid"), is("oracle", "h", "1521", "sid", 0));
        assert_eq!(
            read("jdbc:postgresql://${HOST:-db}:${PORT:-5432}/x"),
            is("postgresql", "${HOST:-db}", "${PORT:-5432}", "x", 0)
        );
        assert_eq!(read("jdbc:postgresql://[::1]:5432/x"), is("postgresql", "::1", "5432", "x", 0));
        assert_eq!(parse("jdbc:mysql://u:p%2Fw@h/d").unwrap().parameters[1].1, "p/w");
    }

    #[test]
    fn what_cannot_be_understood_says_why() {
        for wrong in ["", "${URL}", "jdbc:", "jdbc:mysql:h", "jdbc:postgresql://a:1,b:2/x", "jdbc"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
