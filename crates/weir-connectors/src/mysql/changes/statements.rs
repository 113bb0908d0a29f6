//! The statements that bring staged changes into the target. Pure: text only.
//!
//! Staged rows carry the number of their group: rows of one group have the same columns and need the same statement. Nothing is ever written
//! to a column whose value is not known. Staged columns have names of their own, so that a column of the target may be renamed while
//! rows of the old shape wait.
//!
//! A row is found by its key alone. `ON DUPLICATE KEY UPDATE` takes any unique index for the key, and would write over the row of another key; so it
//! is used only where nothing but the key is unique, and where keys are equal only if they are the same. Else rows are updated, and those that
//! are missing inserted: then the server refuses what would be there twice.

use super::super::quote::{TableName, ident};
use crate::changes::groups::{Deed, Group};

/// The mark of soft deletes.
pub const DELETED: &str = "_deleted";
/// Number of the group of a staged row.
const GROUP: &str = "s._weir_g";

/// What a statement must report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Any number of rows.
    Any,
    /// Each of the group; otherwise some are not in the target.
    Present(u64),
    /// It found some of the group.
    Found,
    /// With those that were found, each of the group.
    Rest(u64),
}

/// A statement and what it must report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Text.
    pub sql: String,
    /// Its count.
    pub expect: Expect,
    /// Index of its group.
    pub group: usize,
}

/// What the statements are made of.
#[derive(Debug, Clone)]
pub struct Statements {
    /// The target.
    pub table: TableName,
    /// The session's table of staged changes.
    pub stage: TableName,
    /// Columns that are written, as the target calls them.
    pub columns: Vec<String>,
    /// Positions of the key in `columns`.
    pub keys: Vec<usize>,
    /// Which of `keys` may be equal at the server without being the same.
    pub loose: Vec<usize>,
    /// Nothing else has to be unique.
    pub only_key: bool,
    /// Columns that are NULL in a replaced row.
    pub others: Vec<String>,
    /// There is a column for the mark.
    pub soft: bool,
}

/// The name of a staged column.
pub fn staged(at: usize) -> String {
    format!("`_weir_{at}`")
}

/// Where the rows of the target wait that are put back.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The session's table.
    pub table: TableName,
    /// All columns that an INSERT may name.
    pub columns: Vec<String>,
}

impl Statements {
    fn is_key(&self, at: usize) -> bool {
        self.keys.contains(&at)
    }

    fn target(&self, at: usize) -> String {
        ident(&self.columns[at])
    }

    /// That a row of `one` has the key of the staged row.
    fn same(&self, one: &str) -> String {
        let equal = self.keys.iter().map(|at| format!("{one}.{} = s.{}", self.target(*at), staged(*at)));
        let identical =
            self.loose.iter().map(|at| format!("CAST({one}.{} AS BINARY) = CAST(s.{} AS BINARY)", self.target(*at), staged(*at)));
        equal.chain(identical).collect::<Vec<_>>().join(" AND ")
    }

    fn first_key(&self) -> String {
        self.keys.first().map(|at| self.target(*at)).unwrap_or_default()
    }

    fn present(&self, group: &Group) -> Vec<usize> {
        (0..self.columns.len()).filter(|at| !group.absent.get(*at).copied().unwrap_or(false)).collect()
    }

    fn mark(&self, deleted: bool) -> Option<(String, String)> {
        self.soft.then(|| (ident(DELETED), u8::from(deleted).to_string()))
    }

    /// Columns and expressions of an INSERT of staged rows.
    fn row(&self, present: &[usize], deleted: bool) -> (Vec<String>, Vec<String>) {
        present.iter().map(|at| (self.target(*at), format!("s.{}", staged(*at)))).chain(self.mark(deleted)).unzip()
    }

    /// Gives columns of the target their new names.
    pub fn rename(&mut self, renames: &[(String, String)]) {
        for name in self.columns.iter_mut().chain(&mut self.others) {
            if let Some((_, to)) = renames.iter().find(|(from, _)| from == name) {
                name.clone_from(to);
            }
        }
    }

    /// Whether a row goes in by one statement.
    pub fn at_once(&self) -> bool {
        self.only_key && self.loose.is_empty()
    }

    /// The statements that apply the groups, the first of which has this number: deletes, then updates, then what is new, so that values which must be
    /// unique are mostly free when they are taken.
    pub fn merge(&self, groups: &[Group], first: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for (group, _) in groups.iter().enumerate().filter(|(_, group)| group.fate == Deed::Delete) {
            let sql = format!(
                "DELETE t FROM {} AS s STRAIGHT_JOIN {} AS t ON {} WHERE {GROUP} = {}",
                self.stage.sql(),
                self.table.sql(),
                self.same("t"),
                first + group
            );
            steps.push(Step { sql, expect: Expect::Any, group });
        }
        for (at, group) in groups.iter().enumerate() {
            steps.extend(self.update(at, first + at, group));
        }
        for (at, group) in groups.iter().enumerate() {
            steps.extend(self.insert(at, first + at, group));
        }
        steps
    }

    fn update(&self, group: usize, number: usize, what: &Group) -> Option<Step> {
        let present = self.present(what);
        let (deleted, replaces) = match what.fate {
            Deed::Delete => return None,
            Deed::Put { .. } if self.at_once() => return None,
            Deed::Put { deleted } => (deleted, true),
            Deed::Change { deleted } => (deleted, false),
        };
        let mut sets: Vec<String> = present
            .iter()
            .filter(|at| !self.is_key(**at))
            .map(|at| format!("t.{} = s.{}", self.target(*at), staged(*at)))
            .collect();
        if replaces {
            let absent = (0..self.columns.len()).filter(|at| !present.contains(at));
            sets.extend(absent.map(|at| format!("t.{} = DEFAULT", self.target(at))));
        }
        sets.extend(self.others.iter().map(|column| format!("t.{} = NULL", ident(column))));
        sets.extend(self.mark(deleted).map(|(column, value)| format!("t.{column} = {value}")));
        if sets.is_empty() {
            // Nothing to change; but the row must be there.
            sets.push(format!("t.{0} = t.{0}", self.first_key()));
        }
        let sql = format!(
            "UPDATE {} AS s STRAIGHT_JOIN {} AS t ON {} SET {} WHERE {GROUP} = {number}",
            self.stage.sql(),
            self.table.sql(),
            self.same("t"),
            sets.join(", ")
        );
        let expect = if replaces || deleted { Expect::Found } else { Expect::Present(what.rows) };
        Some(Step { sql, expect, group })
    }

    fn insert(&self, group: usize, number: usize, what: &Group) -> Option<Step> {
        let deleted = match what.fate {
            Deed::Put { deleted } => deleted,
            Deed::Change { deleted: true } => true,
            _ => return None,
        };
        let present = self.present(what);
        let (list, values) = self.row(&present, deleted);
        let into = format!("INSERT INTO {} ({}) SELECT {}", self.table.sql(), list.join(", "), values.join(", "));
        if self.at_once() && matches!(what.fate, Deed::Put { .. }) {
            let mut sets: Vec<String> = present
                .iter()
                .filter(|at| !self.is_key(**at))
                .map(|at| format!("{} = s.{}", self.target(*at), staged(*at)))
                .collect();
            let absent = (0..self.columns.len()).filter(|at| !present.contains(at));
            sets.extend(absent.map(|at| format!("{} = DEFAULT", self.target(at))));
            sets.extend(self.others.iter().map(|column| format!("{} = NULL", ident(column))));
            sets.extend(self.mark(deleted).map(|(column, value)| format!("{column} = {value}")));
            if sets.is_empty() {
                sets.push(format!("{0} = {0}", self.first_key()));
            }
            let sql = format!(
                "{into} FROM {} AS s WHERE {GROUP} = {number} ON DUPLICATE KEY UPDATE {}",
                self.stage.sql(),
                sets.join(", ")
            );
            return Some(Step { sql, expect: Expect::Any, group });
        }
        let sql = format!(
            "{into} FROM {} AS s LEFT JOIN {} AS t ON {} WHERE {GROUP} = {number} AND t.{} IS NULL",
            self.stage.sql(),
            self.table.sql(),
            self.same("t"),
            self.first_key()
        );
        Some(Step { sql, expect: Expect::Rest(what.rows), group })
    }

    /// The same result by another way, so that a value that must be unique can go from one row to another: the rows of the target are copied aside
    /// and deleted, and all go in anew, each composed of what is staged and what was there.
    pub fn rewrite(&self, groups: &[Group], first: usize, whole: &Whole) -> Vec<Step> {
        let plain = |sql: String| Step { sql, expect: Expect::Any, group: 0 };
        let (table, stage, aside) = (self.table.sql(), self.stage.sql(), whole.table.sql());
        let numbers = format!("{GROUP} BETWEEN {first} AND {}", first + groups.len().saturating_sub(1));
        let names =
            |prefix: &str| whole.columns.iter().map(|column| format!("{prefix}{}", ident(column))).collect::<Vec<_>>().join(", ");
        let mut steps = vec![
            plain(format!("DELETE FROM {aside}")),
            plain(format!(
                "INSERT INTO {aside} ({}) SELECT {} FROM {stage} AS s STRAIGHT_JOIN {table} AS t ON {} WHERE {numbers}",
                names(""),
                names("t."),
                self.same("t")
            )),
            plain(format!("DELETE t FROM {stage} AS s STRAIGHT_JOIN {table} AS t ON {} WHERE {numbers}", self.same("t"))),
        ];
        let ours = |name: &str| (self.soft && name == DELETED) || self.columns.iter().any(|column| column == name);
        let kept: Vec<&String> = whole.columns.iter().filter(|name| !ours(name) && !self.others.contains(name)).collect();
        for (group, what) in groups.iter().enumerate() {
            let number = first + group;
            let present = self.present(what);
            let (deleted, replaces) = match what.fate {
                Deed::Delete => continue,
                Deed::Put { deleted } => (deleted, true),
                Deed::Change { deleted } => (deleted, false),
            };
            let (list, values) = self.row(&present, deleted);
            let (mut with, mut from) = (list.clone(), values.clone());
            let absent = (0..self.columns.len()).filter(|at| !replaces && !present.contains(at)).map(|at| &self.columns[at]);
            for column in absent.chain(kept.iter().copied()) {
                with.push(ident(column));
                from.push(format!("w.{}", ident(column)));
            }
            let join = |kind: &str, more: &str| {
                format!("FROM {stage} AS s {kind} {aside} AS w ON {} WHERE {GROUP} = {number}{more}", self.same("w"))
            };
            let sql =
                format!("INSERT INTO {table} ({}) SELECT {} {}", with.join(", "), from.join(", "), join("STRAIGHT_JOIN", ""));
            let expect = if replaces || deleted { Expect::Found } else { Expect::Present(what.rows) };
            steps.push(Step { sql, expect, group });
            if replaces || deleted {
                let alone = format!(" AND w.{} IS NULL", self.first_key());
                let sql = format!(
                    "INSERT INTO {table} ({}) SELECT {} {}",
                    list.join(", "),
                    values.join(", "),
                    join("LEFT JOIN", &alone)
                );
                steps.push(Step { sql, expect: Expect::Rest(what.rows), group });
            }
        }
        steps
    }

    /// Up to three keys of a group that are not in the target, as text.
    pub fn missing(&self, number: usize) -> String {
        let key: Vec<String> = self.keys.iter().map(|at| format!("CAST(s.{} AS CHAR)", staged(*at))).collect();
        format!(
            "SELECT CONCAT_WS(', ', {}) FROM {} AS s LEFT JOIN {} AS t ON {} WHERE {GROUP} = {number} AND t.{} IS NULL LIMIT 3",
            key.join(", "),
            self.stage.sql(),
            self.table.sql(),
            self.same("t"),
            self.first_key()
        )
    }

    /// Marks every row as deleted.
    pub fn mark_all(&self) -> String {
        format!("UPDATE {} SET {1} = 1 WHERE {1} IS NOT TRUE", self.table.sql(), ident(DELETED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(soft: bool, only_key: bool) -> Statements {
        Statements {
            table: TableName::new("d", "t"),
            stage: TableName::new("d", "stage"),
            columns: vec!["id".into(), "a".into(), "b".into()],
            keys: vec![0],
            loose: Vec::new(),
            only_key,
            others: Vec::new(),
            soft,
        }
    }

    fn group(fate: Deed, absent: [bool; 3]) -> Group {
        Group { fate, absent: absent.to_vec(), rows: 2 }
    }

    #[test]
    fn columns_without_a_value_are_named_by_no_statement_that_changes_a_row() {
        let groups = [group(Deed::Change { deleted: false }, [false, true, false])];
        for statements in [statements(false, true), statements(true, false)] {
            let steps = statements.merge(&groups, 7);
            assert_eq!((steps.len(), steps[0].expect), (1, Expect::Present(2)));
            assert!(!steps[0].sql.contains("`a`") && steps[0].sql.contains("t.`b` = s.`_weir_2`"), "{}", steps[0].sql);
        }
    }

    #[test]
    fn another_unique_index_is_never_taken_for_the_key() {
        let groups = [group(Deed::Put { deleted: false }, [false; 3]), group(Deed::Delete, [false; 3])];
        let only = statements(false, true).merge(&groups, 0);
        assert!(
            only.len() == 2 && only[0].sql.starts_with("DELETE t") && only[1].sql.contains("ON DUPLICATE KEY UPDATE `a` = "),
            "{only:?}"
        );
        let mut loose = statements(false, true);
        loose.loose = vec![0];
        for steps in [statements(false, false).merge(&groups, 0), loose.merge(&groups, 0)] {
            assert!(steps.len() == 3 && steps.iter().all(|step| !step.sql.contains("DUPLICATE")), "{steps:?}");
            assert_eq!((steps[1].expect, steps[2].expect), (Expect::Found, Expect::Rest(2)));
        }
    }
}
