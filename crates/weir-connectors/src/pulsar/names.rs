//! Names of topics: `persistent://tenant/namespace/topic`, its short forms, and patterns over them. Pure.

use std::fmt;

use regex::Regex;
use weir_connect::Result;

use super::errors::wrong;

const FULL: &str = "`persistent://tenant/namespace/topic`, or its last part alone";

/// A persistent topic, as a whole: without a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// `tenant/namespace`.
    pub namespace: String,
    /// The last part.
    pub local: String,
}

impl Topic {
    /// A full name, `tenant/namespace/topic`, or the last part alone, which is in `namespace`.
    pub fn parse(name: &str, namespace: &str) -> Result<Self> {
        if name.starts_with("non-persistent://") {
            return Err(wrong(
                format!("`{name}` is not persistent"),
                "its messages are kept nowhere, so none could be read again; use a persistent topic",
            ));
        }
        let rest = name.strip_prefix("persistent://").unwrap_or(name);
        let parts: Vec<&str> = rest.splitn(3, '/').collect();
        let (namespace, local) = match parts.as_slice() {
            [local] if rest.len() == name.len() => (namespace.to_owned(), *local),
            [tenant, space, local] if !tenant.is_empty() && !space.is_empty() => (format!("{tenant}/{space}"), *local),
            _ => return Err(wrong(format!("`{name}` is no name of a topic"), FULL)),
        };
        if local.is_empty() || local.contains('/') || name.contains(char::is_whitespace) {
            return Err(wrong(format!("`{name}` is no name of a topic"), FULL));
        }
        Ok(Self { namespace, local: local.to_owned() })
    }

    /// The name of its stream: the last part in the connection's own namespace, else with tenant and namespace.
    pub fn stream(&self, namespace: &str) -> String {
        if self.namespace == namespace { self.local.clone() } else { format!("{}/{}", self.namespace, self.local) }
    }

    /// One of its partitions; `None`: it has none.
    pub fn partition(&self, partition: Option<u32>) -> String {
        match partition {
            None => self.to_string(),
            Some(number) => format!("{self}-partition-{number}"),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persistent://{}/{}", self.namespace, self.local)
    }
}

/// Name and partition out of what a broker lists.
pub fn without_partition(name: &str) -> (&str, Option<u32>) {
    match name.rsplit_once("-partition-") {
        Some((whole, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            (whole, number.parse().ok())
        }
        _ => (name, None),
    }
}

/// Where a pattern looks.
#[derive(Debug)]
pub struct Pattern {
    /// The tenant; `None`: the connection's own namespace.
    pub tenant: Option<String>,
    /// The namespace by name.
    pub namespace: Option<String>,
    /// Namespaces of the tenant, if they are a pattern too.
    pub namespaces: Option<Regex>,
    /// The last part.
    pub topics: Regex,
}

/// A pattern for whole names.
pub fn whole(pattern: &str) -> Result<Pattern> {
    let regex = |text: &str| {
        Regex::new(&format!("^(?:{text})$")).map_err(|error| {
            wrong("`topic_pattern` is no regular expression", "for example `persistent://tenant/namespace/orders-.*`")
                .because(error)
        })
    };
    let Some(rest) = pattern.strip_prefix("persistent://") else {
        return Ok(Pattern { tenant: None, namespace: None, namespaces: None, topics: regex(pattern)? });
    };
    let mut parts = rest.splitn(3, '/');
    let (Some(tenant), Some(namespace), Some(topics)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong("`topic_pattern` lacks a part", "`persistent://tenant/namespace/orders-.*`"));
    };
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_=:.".contains(c));
    if tenant.is_empty() || !plain(tenant) {
        return Err(wrong("the tenant of `topic_pattern` is no name", "only the namespace and the topic can be patterns"));
    }
    let named = plain(namespace);
    Ok(Pattern {
        tenant: Some(tenant.to_owned()),
        namespace: named.then(|| namespace.to_owned()),
        namespaces: if named { None } else { Some(regex(namespace)?) },
        topics: regex(topics)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_in_the_connections_namespace() {
        let of = |name: &str| Topic::parse(name, "a/b").map(|topic| topic.to_string()).ok();
        assert_eq!(of("orders").as_deref(), Some("persistent://a/b/orders"));
        assert_eq!(of("x/y/orders").as_deref(), Some("persistent://x/y/orders"));
        assert_eq!(of("persistent://x/y/orders").as_deref(), Some("persistent://x/y/orders"));
        for bad in ["", "x/orders", "persistent://orders", "persistent://x/y/", "non-persistent://x/y/z", "or ders", "a/b/c/d"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        let topic = Topic::parse("orders", "a/b").unwrap();
        assert_eq!((topic.stream("a/b"), topic.stream("c/d")), ("orders".to_owned(), "a/b/orders".to_owned()));
        assert_eq!(Topic::parse(&topic.stream("c/d"), "c/d").unwrap(), topic);
    }

    #[test]
    fn a_partition_is_known_by_the_end_of_its_name() {
        assert_eq!(without_partition("persistent://a/b/c-partition-12"), ("persistent://a/b/c", Some(12)));
        assert_eq!(without_partition("c-partition-x"), ("c-partition-x", None));
        assert_eq!(without_partition("c"), ("c", None));
    }

    #[test]
    fn patterns_match_whole_names() {
        let pattern = whole("persistent://platformq/.*/digital-asset-created-events").unwrap();
        assert_eq!((pattern.tenant.as_deref(), pattern.namespace.as_deref()), (Some("platformq"), None));
        assert!(pattern.namespaces.unwrap().is_match("acme"));
        assert!(!pattern.topics.is_match("xdigital-asset-created-events"));
        let plain = whole("persistent://a/b/orders-.*").unwrap();
        assert_eq!(plain.namespace.as_deref(), Some("b"));
        for bad in ["(", "persistent://a/b", "persistent://.*/b/c"] {
            assert_eq!(whole(bad).unwrap_err().code(), "WEIR-PULSAR-001", "{bad}");
        }
    }
}
