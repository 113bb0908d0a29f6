//! The statements that bring staged changes into the target. Pure: text only.
//!
//! Staged rows carry the number of their group: rows of one group have the same columns and need the same statement. Nothing is ever written
//! to a column whose value is not known.

use super::super::quote::{ident, literal};
use crate::changes::groups::{Deed, Group};

/// The session's table of staged changes.
pub const STAGE: &str = "pg_temp._weir_changes";
/// Its column with the number of the group.
pub const GROUP: &str = "_weir_group";
/// Rows as they shall be, when a second way is needed.
const WHOLE: &str = "pg_temp._weir_whole";
/// The mark of soft deletes.
pub const DELETED: &str = "_deleted";

/// How many rows a statement must report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Any number.
    Any,
    /// Each of the group; otherwise a trigger left some out.
    All(u64),
    /// Each of the group; otherwise some are not in the target.
    Present(u64),
    /// None is left.
    None,
}

/// A statement and what it must report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Text.
    pub sql: String,
    /// Its count.
    pub expect: Expect,
    /// Number of its group.
    pub group: usize,
}

/// What the statements are made of; names are quoted.
#[derive(Debug, Clone, Default)]
pub struct Statements {
    /// The target.
    pub table: String,
    /// Columns that are written.
    pub columns: Vec<String>,
    /// Positions of the key in `columns`.
    pub keys: Vec<usize>,
    /// Columns that a replaced row gets the default of.
    pub others: Vec<String>,
    /// There is a column for the mark.
    pub soft: bool,
    /// All columns that an INSERT may name.
    pub insertable: Vec<String>,
    /// A trigger may keep rows from being deleted.
    pub watch_deletes: bool,
}

impl Statements {
    fn key(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|at| self.columns[*at].as_str())
    }

    fn is_key(&self, at: usize) -> bool {
        self.keys.contains(&at)
    }

    fn same(&self, table: &str) -> String {
        self.key().map(|key| format!("{table}.{key} = s.{key}")).collect::<Vec<_>>().join(" AND ")
    }

    /// Makes the table of staged changes anew.
    pub fn stage(&self) -> String {
        format!(
            "DROP TABLE IF EXISTS {STAGE}; CREATE TEMP TABLE {} ON COMMIT DELETE ROWS AS SELECT {}, NULL::bigint AS {} FROM {} WITH NO DATA",
            STAGE.trim_start_matches("pg_temp."),
            self.columns.join(", "),
            ident(GROUP),
            self.table
        )
    }

    /// The COPY into it.
    pub fn copy(&self, text: bool) -> String {
        let format = if text { "text" } else { "binary" };
        format!("COPY {STAGE} ({}, {}) FROM STDIN (FORMAT {format})", self.columns.join(", "), ident(GROUP))
    }

    /// The statements that apply the groups, deletes first.
    pub fn merge(&self, groups: &[Group]) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, group) in groups.iter().enumerate().filter(|(_, group)| group.fate == Deed::Delete) {
            self.delete(number, group, &mut steps);
        }
        for (number, group) in groups.iter().enumerate() {
            self.write(number, group, &self.table, &mut steps);
        }
        steps
    }

    fn delete(&self, number: usize, group: &Group, steps: &mut Vec<Step>) {
        let (table, group_is) = (&self.table, format!("s.{} = {number}", ident(GROUP)));
        steps.push(Step {
            sql: format!("DELETE FROM {table} AS t USING {STAGE} AS s WHERE {} AND {group_is}", self.same("t")),
            expect: Expect::Any,
            group: number,
        });
        if self.watch_deletes && group.rows > 0 {
            steps.push(Step {
                sql: format!("SELECT 1 FROM {table} AS t JOIN {STAGE} AS s ON {} WHERE {group_is} LIMIT 1", self.same("t")),
                expect: Expect::None,
                group: number,
            });
        }
    }

    fn write(&self, number: usize, group: &Group, into: &str, steps: &mut Vec<Step>) {
        let group_is = format!("s.{} = {number}", ident(GROUP));
        let present: Vec<usize> = (0..self.columns.len()).filter(|at| !group.absent.get(*at).copied().unwrap_or(false)).collect();
        let named = |columns: &[usize]| columns.iter().map(|at| self.columns[*at].clone()).collect::<Vec<_>>();
        let mark = |deleted: bool| self.soft.then(|| (ident(DELETED), deleted.to_string()));
        match group.fate {
            Deed::Delete => {}
            Deed::Put { deleted } => {
                let (mut list, mut values) = (named(&present), named(&present));
                let key = self.key().collect::<Vec<_>>().join(", ");
                let mut sets: Vec<String> = present
                    .iter()
                    .filter(|at| !self.is_key(**at))
                    .map(|at| format!("{0} = EXCLUDED.{0}", self.columns[*at]))
                    .collect();
                let absent = (0..self.columns.len()).filter(|at| !present.contains(at)).map(|at| &self.columns[at]);
                sets.extend(absent.chain(&self.others).map(|column| format!("{column} = DEFAULT")));
                if let Some((column, value)) = mark(deleted) {
                    sets.push(format!("{column} = EXCLUDED.{column}"));
                    list.push(column);
                    values.push(value);
                }
                let (action, expect) = match sets.is_empty() {
                    true => ("NOTHING".to_string(), Expect::Any),
                    false => (format!("UPDATE SET {}", sets.join(", ")), Expect::All(group.rows)),
                };
                let sql = format!(
                    "INSERT INTO {into} ({}) SELECT {} FROM {STAGE} AS s WHERE {group_is} ON CONFLICT ({key}) DO {action}",
                    list.join(", "),
                    values.join(", ")
                );
                steps.push(Step { sql, expect, group: number });
            }
            Deed::Change { deleted } => {
                let mut sets: Vec<String> =
                    present.iter().filter(|at| !self.is_key(**at)).map(|at| format!("{0} = s.{0}", self.columns[*at])).collect();
                sets.extend(self.others.iter().map(|column| format!("{column} = DEFAULT")));
                sets.extend(mark(deleted).map(|(column, value)| format!("{column} = {value}")));
                if sets.is_empty() {
                    // Nothing to change; but the row must be there.
                    sets.extend(self.key().map(|key| format!("{key} = s.{key}")));
                }
                steps.push(Step {
                    sql: format!(
                        "UPDATE {into} AS t SET {} FROM {STAGE} AS s WHERE {} AND {group_is}",
                        sets.join(", "),
                        self.same("t")
                    ),
                    expect: if deleted { Expect::Any } else { Expect::Present(group.rows) },
                    group: number,
                });
                if let (true, Some((column, value))) = (deleted, mark(deleted)) {
                    let list = named(&present).join(", ");
                    steps.push(Step {
                        sql: format!(
                            "INSERT INTO {into} ({list}, {column}) SELECT {list}, {value} FROM {STAGE} AS s WHERE {group_is} \
                             AND NOT EXISTS (SELECT FROM {into} AS t WHERE {})",
                            self.same("t")
                        ),
                        expect: Expect::Any,
                        group: number,
                    });
                }
            }
        }
    }

    /// The same result by another way: the rows are composed aside, then those of the target are deleted and put back in one statement, so that a
    /// value that must be unique can go from one row to another.
    pub fn rewrite(&self, groups: &[Group]) -> Vec<Step> {
        let step = |sql: String| Step { sql, expect: Expect::Any, group: 0 };
        let key = self.key().collect::<Vec<_>>().join(", ");
        let (table, all) = (&self.table, self.insertable.join(", "));
        let old = self.insertable.iter().map(|column| format!("t.{column}")).collect::<Vec<_>>().join(", ");
        let mut steps = vec![
            step(format!("DROP TABLE IF EXISTS {WHOLE}")),
            step(format!(
                "CREATE TEMP TABLE {} (LIKE {table} INCLUDING DEFAULTS INCLUDING GENERATED) ON COMMIT DROP",
                WHOLE.trim_start_matches("pg_temp.")
            )),
            step(format!("CREATE UNIQUE INDEX ON {WHOLE} ({key})")),
        ];
        let deleted: Vec<String> = groups
            .iter()
            .enumerate()
            .filter(|(_, group)| group.fate == Deed::Delete)
            .map(|(number, _)| format!(" AND s.{} <> {number}", ident(GROUP)))
            .collect();
        steps.push(step(format!(
            "INSERT INTO {WHOLE} ({all}) SELECT {old} FROM {table} AS t JOIN {STAGE} AS s ON {}{}",
            self.same("t"),
            deleted.concat()
        )));
        for (number, group) in groups.iter().enumerate() {
            self.write(number, group, WHOLE, &mut steps);
        }
        steps.push(step(format!(
            "WITH gone AS (DELETE FROM {table} AS t USING {STAGE} AS s WHERE {} RETURNING 1) \
             INSERT INTO {table} ({all}) OVERRIDING SYSTEM VALUE SELECT {all} FROM {WHOLE} WHERE (SELECT count(*) FROM gone) >= 0",
            self.same("t")
        )));
        steps.push(step(format!("DROP TABLE {WHOLE}")));
        steps
    }

    /// Up to three keys of a group that are not in the target, as text.
    pub fn missing(&self, group: usize) -> String {
        let key = self.key().map(|key| format!("s.{key}")).collect::<Vec<_>>().join(", ");
        format!(
            "SELECT ROW({key})::text, count(*) OVER () FROM {STAGE} AS s WHERE s.{} = {group} \
             AND NOT EXISTS (SELECT FROM {} AS t WHERE {}) LIMIT 3",
            ident(GROUP),
            self.table,
            self.same("t")
        )
    }

    /// Marks every row as deleted.
    pub fn mark_all(&self) -> String {
        format!("UPDATE {} SET {1} = true WHERE {1} IS NOT TRUE", self.table, ident(DELETED))
    }
}

/// Everything about the target that decides how it is written, in one row.
pub fn facts(oid: u32, key: &[String]) -> String {
    let mut key: Vec<&str> = key.iter().map(String::as_str).collect();
    key.sort_unstable();
    let tree = format!("(SELECT {oid}::oid AS oid UNION SELECT relid::oid FROM pg_partition_tree({oid}::oid::regclass))");
    format!(
        "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid IN (SELECT oid FROM {tree} x) AND (i.indisunique OR i.indisexclusion) \
           AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR {joined} IS DISTINCT FROM \
             (SELECT string_agg(a.attname::text, chr(1) ORDER BY a.attname::text COLLATE \"C\") FROM unnest(i.indkey::int2[]) k(attnum) \
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum))), \
         EXISTS (SELECT FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM {tree} x) AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 11 = 11), \
         has_table_privilege({oid}::oid, 'TRUNCATE'), \
         EXISTS (SELECT FROM pg_constraint WHERE confrelid = {oid}::oid AND conrelid <> {oid}::oid AND contype = 'f'), \
         row_security_active({oid}::oid), \
         (SELECT string_agg(conrelid::regclass || ' (' || conname || ')', ', ' ORDER BY conname) FROM pg_constraint \
           WHERE confrelid = {oid}::oid AND contype = 'f' AND confdeltype IN ('c', 'n', 'd')), \
         (SELECT string_agg(attname::text, chr(1) ORDER BY attnum) FROM pg_attribute WHERE attrelid = {oid}::oid AND attnum > 0 \
           AND NOT attisdropped AND attgenerated = '')",
        joined = literal(&key.join("\u{1}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(soft: bool, others: &[&str]) -> Statements {
        Statements {
            table: "t".into(),
            columns: vec!["\"id\"".into(), "\"a\"".into(), "\"b\"".into()],
            keys: vec![0],
            others: others.iter().map(|name| name.to_string()).collect(),
            soft,
            ..Statements::default()
        }
    }

    fn group(fate: Deed, absent: [bool; 3]) -> Group {
        Group { fate, absent: absent.to_vec(), rows: 2 }
    }

    #[test]
    fn columns_without_a_value_are_named_by_no_statement_that_changes_a_row() {
        let groups = [group(Deed::Change { deleted: false }, [false, true, false])];
        for statements in [statements(false, &[]), statements(true, &["x"])] {
            let steps = statements.merge(&groups);
            assert_eq!((steps.len(), steps[0].expect), (1, Expect::Present(2)));
            assert!(!steps[0].sql.contains("\"a\"") && steps[0].sql.contains("\"b\" = s.\"b\""), "{}", steps[0].sql);
        }
    }

    #[test]
    fn deletes_come_before_what_may_take_their_place() {
        let groups = [group(Deed::Put { deleted: false }, [false; 3]), group(Deed::Delete, [false; 3])];
        let steps = statements(false, &[]).merge(&groups);
        assert!(steps[0].sql.starts_with("DELETE") && steps[0].sql.ends_with("= 1"), "{}", steps[0].sql);
        assert!(steps[1].sql.starts_with("INSERT") && steps[1].sql.contains("= 0 ON CONFLICT (\"id\")"), "{}", steps[1].sql);
    }
}
