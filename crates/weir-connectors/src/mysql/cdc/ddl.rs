//! What a statement of the log does to tables, as far as it matters to who follows rows: no grammar of SQL, only the words that say which
//! tables are meant. What the columns are afterwards comes from the log's own table maps, not from here.

use super::super::quote::TableName;

/// One thing that a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The columns may be others; these are the same under a new name.
    Altered {
        /// Which.
        table: TableName,
        /// Old and new.
        renamed: Vec<(String, String)>,
        /// These are new, and rows that were there before have this in them.
        added: Vec<(String, Fill)>,
    },
    /// Made. `anew`: whatever was there is gone.
    Created {
        /// Which.
        table: TableName,
        /// `CREATE OR REPLACE`.
        anew: bool,
    },
    /// Gone.
    Dropped(TableName),
    /// All tables of a database are gone.
    DatabaseDropped(String),
    /// Emptied.
    Truncated(TableName),
    /// Rows came or went that the log does not have: partitions dropped or exchanged, tablespaces imported.
    Refilled(TableName),
    /// The rows of one table are another's now.
    Renamed {
        /// The name before.
        from: TableName,
        /// The name since.
        to: TableName,
    },
    /// Rows were changed by a statement, not by their images; it may be about any of these.
    Changed(Vec<TableName>),
}

/// What rows have in a column that is newer than they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// Nothing.
    Null,
    /// The default of the statement.
    Value(String),
    /// The type's own default: the column may not be NULL, and the statement says no default.
    Implicit,
    /// Something computed.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// Bare, as it was written.
    Word(String),
    /// In quotes that may be those of a name.
    Quoted(String),
    /// `'text'`.
    Text(String),
    Sign(char),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if first == '#'
            || (rest.starts_with("--") && rest[2..].chars().next().is_none_or(|c| c.is_whitespace() || c.is_control()))
        {
            rest = rest.find('\n').map_or("", |at| &rest[at + 1..]);
        } else if let Some(inside) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
            // Such comments are read by servers of a version and later ones, as this one was.
            rest = inside.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(after) = rest.strip_prefix("*/") {
            rest = after;
        } else if let Some(inside) = rest.strip_prefix("/*") {
            rest = inside.find("*/").map_or("", |at| &inside[at + 2..]);
        } else if matches!(first, '`' | '"' | '\'') {
            let (text, after) = quoted(&rest[1..], first);
            out.push(if first == '\'' { Token::Text(text) } else { Token::Quoted(text) });
            rest = after;
        } else if first.is_alphanumeric() || matches!(first, '_' | '$') || !first.is_ascii() {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii())).unwrap_or(rest.len());
            out.push(Token::Word(rest[..end].to_string()));
            rest = &rest[end..];
        } else {
            out.push(Token::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// The text up to the quote that ends it, and what follows.
fn quoted(rest: &str, quote: char) -> (String, &str) {
    let mut text = String::new();
    let mut characters = rest.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote != '`' {
            text.extend(characters.next().map(|(_, escaped)| escaped));
        } else if character == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
                text.push(quote);
            } else {
                return (text, &rest[at + 1..]);
            }
        } else {
            text.push(character);
        }
    }
    (text, "")
}

/// Reads tokens one after another.
struct Reader<'a> {
    tokens: &'a [Token],
    database: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.first().is_some_and(|token| token.is(word));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn take_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.take(word))
    }

    fn sign(&mut self, sign: char) -> bool {
        let found = self.tokens.first() == Some(&Token::Sign(sign));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn part(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        let text = match first {
            Token::Word(text) | Token::Quoted(text) => text.clone(),
            Token::Text(_) | Token::Sign(_) => return None,
        };
        self.tokens = rest;
        Some(text)
    }

    fn name(&mut self) -> Option<TableName> {
        // `.t` is a table of the current database.
        self.sign('.');
        let first = self.part()?;
        if self.sign('.') {
            return Some(TableName::new(first, self.part()?));
        }
        Some(TableName::new(self.database, first))
    }

    fn if_exists(&mut self) {
        if self.take("IF") {
            self.take("NOT");
            self.take("EXISTS");
        }
    }

    /// MariaDB's `WAIT 5` and `NOWAIT`.
    fn waiting(&mut self) {
        if self.take("WAIT") {
            self.part();
        } else {
            self.take("NOWAIT");
        }
    }

    fn names(&mut self) -> Vec<TableName> {
        let mut names = Vec::new();
        loop {
            names.extend(self.name());
            if !self.sign(',') {
                return names;
            }
        }
    }
}

/// The parts of a list that commas outside brackets divide.
fn items(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    let divides = |token: &Token| {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *token == Token::Sign(',')
    };
    tokens.split(divides).collect()
}

/// What rows have in a column that is defined like that.
fn fill(definition: &[Token]) -> Fill {
    let mut depth = 0_usize;
    let mut words = Vec::new();
    for (at, token) in definition.iter().enumerate() {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth = depth.saturating_sub(1),
            _ if depth == 0 => words.push(at),
            _ => {}
        }
    }
    let has = |word: &str| words.iter().any(|at| definition[*at].is(word));
    let Some(default) = words.iter().find(|at| definition[**at].is("DEFAULT")) else {
        let computed = ["AS", "GENERATED", "AUTO_INCREMENT", "SERIAL"].iter().any(|word| has(word));
        // Old servers give the first one the time of the statement.
        let computed = computed || definition.first().is_some_and(|token| token.is("TIMESTAMP"));
        return match has("NOT") || has("PRIMARY") {
            _ if computed => Fill::Unknown,
            true => Fill::Implicit,
            false => Fill::Null,
        };
    };
    let number = |tokens: &[Token]| {
        let part = |token: &Token| match token {
            Token::Word(text) if text.starts_with(|c: char| c.is_ascii_digit()) => Some(text.clone()),
            Token::Sign('.') => Some(".".to_string()),
            _ => None,
        };
        let text: String = tokens.iter().map_while(part).collect();
        // `1e5` is what nobody writes as a default.
        if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_alphabetic()) { Fill::Unknown } else { Fill::Value(text) }
    };
    match definition.get(default + 1..).unwrap_or_default() {
        [Token::Text(text) | Token::Quoted(text), ..] => Fill::Value(text.clone()),
        [Token::Word(set), Token::Text(text), ..] if set.starts_with('_') => Fill::Value(text.clone()),
        [word, ..] if word.is("NULL") => Fill::Null,
        [word, ..] if word.is("TRUE") => Fill::Value("1".into()),
        [word, ..] if word.is("FALSE") => Fill::Value("0".into()),
        [Token::Sign('-'), rest @ ..] => match number(rest) {
            Fill::Value(text) => Fill::Value(format!("-{text}")),
            other => other,
        },
        [Token::Sign('+'), rest @ ..] | rest => number(rest),
    }
}

fn altered(table: TableName, reader: &Reader<'_>, out: &mut Vec<Effect>) {
    let (mut renamed, mut added) = (Vec::new(), Vec::new());
    let mut moves = None;
    let mut refilled = false;
    for item in items(reader.tokens) {
        let mut item = Reader { tokens: item, database: reader.database };
        if item.take("RENAME") {
            if item.take_any(&["INDEX", "KEY"]) {
                continue;
            }
            if item.take("COLUMN") {
                item.if_exists();
                if let (Some(old), true, Some(new)) = (item.part(), item.take("TO"), item.part()) {
                    renamed.push((old, new));
                }
            } else {
                let _ = item.take_any(&["TO", "AS"]) || item.sign('=');
                moves = item.name();
            }
        } else if item.take("ADD") {
            let indexes = [
                "INDEX",
                "KEY",
                "UNIQUE",
                "PRIMARY",
                "FULLTEXT",
                "SPATIAL",
                "CONSTRAINT",
                "FOREIGN",
                "CHECK",
                "PARTITION",
                "PERIOD",
                "SYSTEM",
            ];
            if !item.take("COLUMN") && item.take_any(&indexes) {
                continue;
            }
            item.if_exists();
            let definitions = match item.tokens {
                [Token::Sign('('), inside @ .., Token::Sign(')')] => items(inside),
                all => vec![all],
            };
            for definition in definitions {
                let mut one = Reader { tokens: definition, database: reader.database };
                if let Some(name) = one.part() {
                    added.push((name, fill(one.tokens)));
                }
            }
        } else if item.take("CHANGE") {
            item.take("COLUMN");
            item.if_exists();
            if let (Some(old), Some(new)) = (item.part(), item.part())
                && old != new
            {
                renamed.push((old, new));
            }
        } else if item.take_any(&["DROP", "TRUNCATE", "IMPORT", "DISCARD"]) {
            refilled |= item.take_any(&["PARTITION", "SUBPARTITION", "TABLESPACE"]);
        } else if item.take("EXCHANGE") || item.take("CONVERT") {
            // CONVERT TO CHARACTER SET moves no rows, CONVERT PARTITION p TO TABLE t and CONVERT TABLE t TO PARTITION do.
            let other = item.tokens.iter().position(|token| token.is("TABLE"));
            if let Some(at) = other {
                refilled = true;
                let mut other = Reader { tokens: &item.tokens[at + 1..], database: reader.database };
                out.extend(other.name().map(Effect::Refilled));
            }
        }
    }
    if refilled {
        out.push(Effect::Refilled(table.clone()));
    }
    out.push(Effect::Altered { table: table.clone(), renamed, added });
    if let Some(to) = moves {
        out.push(Effect::Renamed { from: table, to });
    }
}

/// What a statement does, when run in this database.
pub fn effects(sql: &str, database: &str) -> Vec<Effect> {
    let tokens = tokens(sql);
    let mut reader = Reader { tokens: &tokens, database };
    let mut out = Vec::new();
    if reader.take("ALTER") {
        while reader.take_any(&["ONLINE", "OFFLINE", "IGNORE"]) {}
        if reader.take("TABLE") {
            reader.if_exists();
            if let Some(table) = reader.name() {
                reader.waiting();
                altered(table, &reader, &mut out);
            }
        }
    } else if reader.take("RENAME") {
        if reader.take_any(&["TABLE", "TABLES"]) {
            reader.if_exists();
            while let Some(from) = reader.name() {
                reader.waiting();
                if !reader.take("TO") {
                    break;
                }
                let Some(to) = reader.name() else { break };
                out.push(Effect::Renamed { from, to });
                if !reader.sign(',') {
                    break;
                }
            }
        }
    } else if reader.take("TRUNCATE") {
        reader.take("TABLE");
        out.extend(reader.name().map(Effect::Truncated));
    } else if reader.take("DROP") {
        if reader.take_any(&["TABLE", "TABLES"]) {
            reader.if_exists();
            out.extend(reader.names().into_iter().map(Effect::Dropped));
        } else if reader.take_any(&["DATABASE", "SCHEMA"]) {
            reader.if_exists();
            out.extend(reader.part().map(Effect::DatabaseDropped));
        }
    } else if reader.take("CREATE") {
        let anew = reader.take("OR") && reader.take("REPLACE");
        if reader.take("TABLE") {
            reader.if_exists();
            out.extend(reader.name().map(|table| Effect::Created { table, anew }));
        }
    } else if reader.take_any(&["INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "WITH", "CALL"]) {
        let mut names = Vec::new();
        while !reader.tokens.is_empty() {
            match reader.name() {
                Some(name) => names.push(name),
                None => reader.tokens = reader.tokens.get(1..).unwrap_or_default(),
            }
        }
        out.push(Effect::Changed(names));
    }
    out
}

/// Whether a statement that makes a table is only the beginning of its transaction: rows follow.
pub fn goes_on(sql: &str) -> bool {
    let tokens = tokens(sql);
    matches!(tokens.as_slice(), [.., start, transaction] if start.is("START") && transaction.is("TRANSACTION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(database: &str, table: &str) -> TableName {
        TableName::new(database, table)
    }

    fn altered(table: &str, renamed: &[(&str, &str)]) -> Effect {
        let renamed = renamed.iter().map(|(old, new)| (old.to_string(), new.to_string())).collect();
        Effect::Altered { table: t("d", table), renamed, added: Vec::new() }
    }

    #[test]
    fn statements_are_understood_through_comments_and_quotes() {
        let d = |table: &str| t("d", table);
        for (sql, expected) in [
            ("ALTER TABLE t ADD INDEX x (a), COMMENT 'RENAME COLUMN a TO b'", vec![altered("t", &[])]),
            (
                "/* x */ alter online ignore table `d`.`t` rename column `a` to b, CHANGE c `d,e` int",
                vec![altered("t", &[("a", "b"), ("c", "d,e")])],
            ),
            ("ALTER TABLE t CHANGE COLUMN a a bigint -- note\n, RENAME INDEX i TO j", vec![altered("t", &[])]),
            (
                "ALTER TABLE IF EXISTS t WAIT 5 RENAME TO e.u",
                vec![altered("t", &[]), Effect::Renamed { from: d("t"), to: t("e", "u") }],
            ),
            (
                "RENAME TABLE `a``b` TO b, c TO `x.y`.d # end",
                vec![Effect::Renamed { from: d("a`b"), to: d("b") }, Effect::Renamed { from: d("c"), to: t("x.y", "d") }],
            ),
            ("TRUNCATE TABLE `t`", vec![Effect::Truncated(d("t"))]),
            ("truncate e . t", vec![Effect::Truncated(t("e", "t"))]),
            (
                "DROP TABLE IF EXISTS `a`, e.b /* generated by server */",
                vec![Effect::Dropped(d("a")), Effect::Dropped(t("e", "b"))],
            ),
            ("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`", vec![]),
            ("DROP TEMPORARY TABLE t", vec![]),
            ("CREATE TEMPORARY TABLE t (a int)", vec![]),
            ("CREATE TABLE IF NOT EXISTS t (a int)", vec![Effect::Created { table: d("t"), anew: false }]),
            ("CREATE OR REPLACE TABLE t (a int)", vec![Effect::Created { table: d("t"), anew: true }]),
            ("DROP DATABASE IF EXISTS `d`", vec![Effect::DatabaseDropped("d".into())]),
            ("ALTER TABLE t DROP PARTITION p0", vec![Effect::Refilled(d("t")), altered("t", &[])]),
            ("ALTER TABLE t DROP COLUMN p0", vec![altered("t", &[])]),
            (
                "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u",
                vec![Effect::Refilled(d("u")), Effect::Refilled(d("t")), altered("t", &[])],
            ),
            ("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4", vec![altered("t", &[])]),
            ("CREATE INDEX i ON t (a)", vec![]),
            ("GRANT SELECT ON d.t TO u", vec![]),
        ] {
            assert_eq!(effects(sql, "d"), expected, "{sql}");
        }
    }

    #[test]
    fn a_new_column_says_what_older_rows_have_in_it() {
        let value = |text: &str| Fill::Value(text.into());
        for (definition, expected) in [
            ("x int", Fill::Null),
            ("COLUMN IF NOT EXISTS x int NOT NULL AFTER a", Fill::Implicit),
            ("x decimal(5,2) NOT NULL DEFAULT -1.50", value("-1.50")),
            ("x varchar(9) CHARACTER SET latin1 DEFAULT 'it\\'s, ''so''' NOT NULL", value("it's, 'so'")),
            ("x int DEFAULT NULL COMMENT 'DEFAULT 7'", Fill::Null),
            ("x bool DEFAULT true", value("1")),
            ("x datetime DEFAULT CURRENT_TIMESTAMP", Fill::Unknown),
            ("x timestamp", Fill::Unknown),
            ("x int AS (a + 1) VIRTUAL", Fill::Unknown),
            ("x char(36) DEFAULT (uuid())", Fill::Unknown),
            ("x bit(3) DEFAULT b'101'", Fill::Unknown),
            ("x enum('NOT', 'b')", Fill::Null),
        ] {
            let effects = effects(&format!("ALTER TABLE t ADD {definition}, ADD UNIQUE KEY (a)"), "d");
            let Effect::Altered { added, .. } = &effects[0] else { panic!("{effects:?}") };
            assert_eq!(*added, [("x".to_string(), expected)], "{definition}");
        }
        let effects = effects("ALTER TABLE t ADD (a int, b int DEFAULT 2)", "d");
        let Effect::Altered { added, .. } = &effects[0] else { panic!("{effects:?}") };
        assert_eq!(*added, [("a".to_string(), Fill::Null), ("b".to_string(), value("2"))]);
    }

    #[test]
    fn a_statement_that_changes_rows_names_its_tables() {
        let Effect::Changed(names) = effects("INSERT INTO `t` SELECT 'x', u.a FROM u", "d").remove(0) else { panic!() };
        assert!(names.contains(&t("d", "t")) && names.contains(&t("d", "u")));
        assert!(goes_on("CREATE TABLE `t` (`a` int) START TRANSACTION"));
        assert!(!goes_on("CREATE TABLE `t` (`a` int) COMMENT='START TRANSACTION'"));
    }

    #[test]
    fn statements_that_are_cut_anywhere_are_no_panic() {
        let sql = "ALTER TABLE `ä`.`b` /*! ADD */ CHANGE `c` \"d\" enum('x','it''s\\'') -- ü";
        for end in (0..=sql.len()).filter(|end| sql.is_char_boundary(*end)) {
            effects(&sql[..end], "d");
        }
    }
}
