//! Secrets on their way out: an artefact says `${NAME}`, and an engine that cannot look into an environment itself is given the value. The text with
//! the values is sent and never kept.

use std::collections::BTreeMap;

use weir_error::Secret;

/// How a value is written where the placeholder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// Inside of a JSON string.
    Json,
    /// Inside of a SQL string: quotes are doubled.
    Sql,
}

/// The text with the values in it. Only `${NAME}` whose name has a value is a placeholder: engines have their own words of that shape (`${now}`).
pub fn fill(text: &str, values: &BTreeMap<String, Secret>, quoting: Quoting) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        match after.split_once('}').and_then(|(name, behind)| Some((values.get(name)?, behind))) {
            Some((value, behind)) => {
                weir_error::veil::remember(value.expose());
                out.push_str(&quoted(value.expose(), quoting));
                rest = behind;
            }
            None => {
                out.push_str("${");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn quoted(value: &str, quoting: Quoting) -> String {
    match quoting {
        Quoting::Sql => value.replace('\'', "''"),
        Quoting::Json => {
            let whole = serde_json::Value::String(value.to_owned()).to_string();
            whole.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_where_they_stand() {
        let values = BTreeMap::from([("PW".to_owned(), Secret::new("it's \"${PW}\" \\"))]);
        assert_eq!(fill("'${PW}'", &values, Quoting::Sql), "'it''s \"${PW}\" \\'", "a value is not looked into");
        let json = fill(r#"{"a": "${PW}"}"#, &values, Quoting::Json);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["a"], "it's \"${PW}\" \\");
        let others = "${OTHER} ${now} ${ $ { ${";
        assert_eq!(fill(others, &values, Quoting::Sql), others);
        assert_eq!(fill("${ ${PW}", &BTreeMap::from([("PW".into(), Secret::new("x"))]), Quoting::Sql), "${ x");
    }
}
