//! Differences of JSON values (`binlog_row_value_options = PARTIAL_JSON`): the value before, changed, and printed.

use super::super::wire::Reader;
use super::json::{self, Container};

/// The server nests no deeper than 100.
const DEPTH: usize = 128;

/// A value, with its scalars where they lie.
#[derive(Debug, Clone)]
enum Node<'a> {
    Object(Vec<(Vec<u8>, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Scalar(u8, &'a [u8]),
}

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Leg {
    Member(Vec<u8>),
    Element(usize),
}

/// The text of `before` (binary JSON) after the differences. `None` if they do not fit.
pub(super) fn print(before: &[u8], differences: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (kind, rest) = before.split_first()?;
    let mut root = read(*kind, rest, &mut { before.len() }, 0)?;
    let mut reader = Reader(differences);
    while !reader.0.is_empty() {
        let operation = reader.byte()?;
        let legs = path(reader.text()?)?;
        let value = match operation {
            2 => None,
            _ => {
                let bytes = reader.text()?;
                let (kind, rest) = bytes.split_first()?;
                Some(read(*kind, rest, &mut { bytes.len() }, 0)?)
            }
        };
        match (operation, value) {
            (0, Some(value)) => *seek(&mut root, &legs)? = value,
            (1, Some(value)) => {
                let (last, parents) = legs.split_last()?;
                match (seek(&mut root, parents)?, last) {
                    (Node::Array(elements), Leg::Element(at)) => {
                        let at = (*at).min(elements.len());
                        elements.insert(at, value);
                    }
                    (Node::Object(members), Leg::Member(key)) => {
                        // The server's order: short keys first, then by bytes.
                        let at = members.binary_search_by(|(known, _)| (known.len(), known).cmp(&(key.len(), key)));
                        members.insert(at.err()?, (key.clone(), value));
                    }
                    _ => return None,
                }
            }
            (2, None) => {
                let (last, parents) = legs.split_last()?;
                match (seek(&mut root, parents)?, last) {
                    (Node::Array(elements), Leg::Element(at)) if *at < elements.len() => drop(elements.remove(*at)),
                    (Node::Object(members), Leg::Member(key)) => {
                        let at = members.iter().position(|(known, _)| known == key)?;
                        members.remove(at);
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    // Values may share bytes where somebody made them to do harm: no honest text is this much longer than its form.
    let limit = 64 + 16 * (before.len() + differences.len());
    write(&root, out, limit)
}

fn read<'a>(kind: u8, bytes: &'a [u8], left: &mut usize, depth: usize) -> Option<Node<'a>> {
    if !json::is_container(kind) {
        return Some(Node::Scalar(kind, bytes));
    }
    if depth == DEPTH {
        return None;
    }
    let container = Container::open(kind, bytes)?;
    let entry = |at: usize, left: &mut usize| {
        let (kind, bytes) = container.value(at)?;
        *left = left.checked_sub(3)?;
        read(kind, bytes, left, depth + 1)
    };
    if container.object {
        let members = (0..container.count).map(|at| {
            let key = container.key(at)?;
            *left = left.checked_sub(key.len())?;
            Some((key.to_vec(), entry(at, left)?))
        });
        members.collect::<Option<_>>().map(Node::Object)
    } else {
        (0..container.count).map(|at| entry(at, left)).collect::<Option<_>>().map(Node::Array)
    }
}

fn write(node: &Node<'_>, out: &mut Vec<u8>, limit: usize) -> Option<()> {
    match node {
        Node::Scalar(kind, bytes) => {
            json::scalar(*kind, bytes, out)?;
            (out.len() <= limit).then_some(())
        }
        Node::Array(elements) => {
            out.push(b'[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                write(element, out, limit)?;
            }
            out.push(b']');
            Some(())
        }
        Node::Object(members) => {
            out.push(b'{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                json::quote(key, out);
                out.extend_from_slice(b": ");
                write(value, out, limit)?;
            }
            out.push(b'}');
            Some(())
        }
    }
}

fn seek<'n, 'a>(root: &'n mut Node<'a>, legs: &[Leg]) -> Option<&'n mut Node<'a>> {
    let mut node = root;
    for leg in legs {
        node = match (node, leg) {
            (Node::Array(elements), Leg::Element(at)) => elements.get_mut(*at)?,
            (Node::Object(members), Leg::Member(key)) => &mut members.iter_mut().find(|(known, _)| known == key)?.1,
            _ => return None,
        };
    }
    Some(node)
}

/// `$.a[3]."b c"`.
fn path(text: &[u8]) -> Option<Vec<Leg>> {
    let mut rest = std::str::from_utf8(text).ok()?.strip_prefix('$')?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (number, after) = after.split_once(']')?;
            legs.push(Leg::Element(number.trim().parse().ok()?));
            rest = after;
        } else if let Some(after) = rest.strip_prefix(".\"") {
            let mut escaped = false;
            let end = after.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            })?;
            let key: String = serde_json::from_str(&format!("\"{}\"", &after[..end])).ok()?;
            legs.push(Leg::Member(key.into_bytes()));
            rest = &after[end + 1..];
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            legs.push(Leg::Member(after.get(..end).filter(|key| !key.is_empty())?.as_bytes().to_vec()));
            rest = &after[end..];
        }
    }
    Some(legs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_quotes_and_numbers_are_read() {
        let legs = path(br#"$.a[12]."b \"c\\"[0]"#).unwrap();
        let member = |text: &str| Leg::Member(text.as_bytes().to_vec());
        assert_eq!(legs, [member("a"), Leg::Element(12), member("b \"c\\"), Leg::Element(0)]);
        assert_eq!(path(b"$").unwrap(), []);
        for bad in [&b"a"[..], b"$.", b"$[x]", b"$.\"a", b"$[1"] {
            assert!(path(bad).is_none());
        }
    }
}
