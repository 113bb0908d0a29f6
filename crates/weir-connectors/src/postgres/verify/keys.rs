//! Rows by their keys: the condition of a statement, with the keys as bound parameters. Pure: no I/O.

use weir_connect::verify::Key;

use super::super::quote::ident;
use super::forms::array;

/// How the rows of given keys are found.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Quoted name and type of each column of the key; empty without a key.
    pub columns: Vec<(String, String)>,
    /// Hash of the key.
    pub digest: String,
}

impl Keys {
    /// Of these columns: name and type without modifiers.
    pub fn new(columns: Vec<(&str, &str)>, digest: &str) -> Self {
        let columns = columns.into_iter().map(|(name, cast)| (ident(name), cast.to_string())).collect();
        Self { columns, digest: digest.into() }
    }

    /// Parameters: one array per column.
    pub fn parameters(&self, keys: &[Key]) -> Vec<String> {
        let value = |key: &'_ Key, at: usize| key.values.get(at).cloned().flatten();
        (0..self.columns.len())
            .map(|at| {
                let column: Vec<Option<String>> = keys.iter().map(|key| value(key, at)).collect();
                array(column.iter().map(Option::as_deref))
            })
            .collect()
    }

    fn given(&self) -> String {
        let arrays: Vec<String> = (1..=self.columns.len()).map(|at| format!("${at}::text[]")).collect();
        let names: Vec<String> = (0..self.columns.len()).map(|at| format!("u{at}")).collect();
        format!("unnest({}) AS u({})", arrays.join(", "), names.join(", "))
    }

    /// A statement that fails unless the other side's keys are values of this side's types.
    pub fn probe(&self) -> String {
        let casts: Vec<String> =
            self.columns.iter().enumerate().map(|(at, (_, cast))| format!("count(u.u{at}::{cast})")).collect();
        format!("SELECT {} FROM {}", casts.join(", "), self.given())
    }

    /// The condition on the table `t`. By the columns (an index can be used) if they are `valid` here, else by the hash.
    pub fn condition(&self, keys: &[Key], valid: bool) -> (String, Vec<String>) {
        if self.columns.is_empty() || !valid {
            let digests: Vec<String> = keys.iter().map(|key| format!("{:032x}", key.digest)).collect();
            return (format!("{} = ANY($1::text[])", self.digest), vec![array(digests.iter().map(|text| Some(text.as_str())))]);
        }
        let pairs = self.columns.iter().enumerate().map(|(at, (name, cast))| (format!("t.{name}"), format!("u.u{at}::{cast}")));
        let (ours, theirs): (Vec<String>, Vec<String>) = pairs.unzip();
        let sql = if keys.iter().any(|key| key.values.iter().any(Option::is_none)) {
            let same: Vec<String> =
                ours.iter().zip(&theirs).map(|(ours, theirs)| format!("{ours} IS NOT DISTINCT FROM {theirs}")).collect();
            format!("EXISTS (SELECT FROM {} WHERE {})", self.given(), same.join(" AND "))
        } else {
            format!("({}) IN (SELECT {} FROM {})", ours.join(", "), theirs.join(", "), self.given())
        };
        (sql, self.parameters(keys))
    }
}
