//! SQL as our planner reads it, written for another engine. Word by word: what is not known to mean the same there is refused, not
//! guessed.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

/// Whose SQL is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Flink SQL.
    Flink,
    /// Spark SQL.
    Spark,
    /// The `Sql` transform of SeaTunnel.
    SeaTunnel,
}

/// A query or expression in another dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The text.
    pub sql: String,
    /// How its results may differ.
    pub notes: Vec<String>,
    /// Whether rows of several places meet: `JOIN`, or a comma in `FROM`.
    pub joins: bool,
    /// Whether rows are seen together: aggregates, `GROUP BY`, `DISTINCT`, `ORDER BY`, `OVER`.
    pub together: bool,
}

/// A table's spellings in the query, and what it is called on the engine.
pub type Names = [(Vec<String>, String)];

impl Dialect {
    fn title(self) -> &'static str {
        match self {
            Self::Flink => "Flink",
            Self::Spark => "Spark",
            Self::SeaTunnel => "SeaTunnel's Sql transform",
        }
    }

    /// A name in the quotes of the engine; SeaTunnel's parser takes names bare.
    pub fn name(self, name: &str) -> String {
        let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match self {
            Self::SeaTunnel if bare => name.to_string(),
            _ => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// A text literal.
    pub fn literal(self, text: &str) -> String {
        let text = if self == Self::Spark { text.replace('\\', "\\\\") } else { text.to_string() };
        format!("'{}'", text.replace('\'', "''"))
    }

    /// The function of that name there, or why there is none.
    fn function(self, name: &str) -> Result<&'static str, ()> {
        let known = FUNCTIONS.iter().find(|(ours, ..)| *ours == name).ok_or(())?;
        let theirs = match self {
            Self::Flink => known.1,
            Self::Spark => known.2,
            Self::SeaTunnel => known.3,
        };
        if theirs.is_empty() { Err(()) } else { Ok(theirs) }
    }

    /// A type word of `CAST`.
    fn type_word(self, word: &str) -> Option<&'static str> {
        let (flink, spark, seatunnel) = match word {
            "text" | "string" | "varchar" => ("STRING", "STRING", "STRING"),
            "bool" | "boolean" => ("BOOLEAN", "BOOLEAN", ""),
            "tinyint" | "int8" => ("TINYINT", "TINYINT", ""),
            "smallint" | "int2" | "int16" => ("SMALLINT", "SMALLINT", ""),
            "int" | "integer" | "int4" | "int32" => ("INT", "INT", "INT"),
            "bigint" | "int64" => ("BIGINT", "BIGINT", "BIGINT"),
            "real" | "float4" => ("FLOAT", "FLOAT", "FLOAT"),
            "double" | "float" | "float8" | "float64" => ("DOUBLE", "DOUBLE", "DOUBLE"),
            "decimal" | "numeric" => ("DECIMAL", "DECIMAL", "DECIMAL"),
            "date" => ("DATE", "DATE", "DATE"),
            "timestamp" => ("TIMESTAMP(6)", "TIMESTAMP_NTZ", "TIMESTAMP"),
            "timestamptz" => ("TIMESTAMP_LTZ(6)", "TIMESTAMP", ""),
            "bytea" | "binary" => ("BYTES", "BINARY", "BYTES"),
            _ => return None,
        };
        let word = match self {
            Self::Flink => flink,
            Self::Spark => spark,
            Self::SeaTunnel => seatunnel,
        };
        (!word.is_empty()).then_some(word)
    }

    /// Writes a query or an expression for the engine.
    ///
    /// # Errors
    /// What is not known to mean the same there, one sentence.
    pub fn translate(self, sql: &str, tables: &Names, columns: &[String]) -> Result<Translated, String> {
        let tokens =
            Tokenizer::new(&GenericDialect {}, sql).tokenize().map_err(|error| format!("this SQL cannot be read: {error}"))?;
        // A name that the query itself gives may be a word of the engine's SQL, like a column's.
        let mut names = columns.to_vec();
        names.extend(aliases(&tokens));
        Translation {
            dialect: self,
            tables,
            columns: names,
            tokens,
            at: 0,
            brackets: Vec::new(),
            out: String::new(),
            notes: Vec::new(),
            joins: false,
            together: false,
        }
        .run()
    }
}

/// Our name → Flink's, Spark's, SeaTunnel's; empty: it has none that is known to be the same.
const FUNCTIONS: &[(&str, &str, &str, &str)] = &[
    ("abs", "ABS", "abs", "ABS"),
    ("avg", "AVG", "avg", ""),
    ("btrim", "TRIM", "trim", ""),
    ("ceil", "CEIL", "ceil", ""),
    ("char_length", "CHAR_LENGTH", "char_length", "CHAR_LENGTH"),
    ("character_length", "CHAR_LENGTH", "char_length", "CHAR_LENGTH"),
    ("coalesce", "COALESCE", "coalesce", "COALESCE"),
    ("concat", "", "", ""),
    ("count", "COUNT", "count", ""),
    ("cumulate", "CUMULATE", "", ""),
    ("current_timestamp", "CURRENT_TIMESTAMP", "current_timestamp", "CURRENT_TIMESTAMP"),
    ("dense_rank", "DENSE_RANK", "dense_rank", ""),
    ("descriptor", "DESCRIPTOR", "", ""),
    ("exp", "EXP", "exp", "EXP"),
    ("floor", "FLOOR", "floor", ""),
    ("greatest", "", "greatest", ""),
    ("hop", "HOP", "", ""),
    ("lag", "LAG", "lag", ""),
    ("lead", "LEAD", "lead", ""),
    ("least", "", "least", ""),
    ("left", "LEFT", "left", "LEFT"),
    ("length", "CHAR_LENGTH", "char_length", "CHAR_LENGTH"),
    ("ln", "LN", "ln", "LN"),
    ("lower", "LOWER", "lower", "LOWER"),
    ("max", "MAX", "max", ""),
    ("min", "MIN", "min", ""),
    ("mod", "MOD", "mod", "MOD"),
    ("now", "CURRENT_TIMESTAMP", "current_timestamp", "CURRENT_TIMESTAMP"),
    ("nullif", "NULLIF", "nullif", ""),
    ("power", "POWER", "power", "POWER"),
    ("rank", "RANK", "rank", ""),
    ("replace", "REPLACE", "replace", "REPLACE"),
    ("reverse", "REVERSE", "reverse", ""),
    ("right", "RIGHT", "right", "RIGHT"),
    ("round", "ROUND", "round", "ROUND"),
    ("row_number", "ROW_NUMBER", "row_number", ""),
    ("session", "SESSION", "", ""),
    ("sqrt", "SQRT", "sqrt", "SQRT"),
    ("substr", "SUBSTRING", "substring", ""),
    ("substring", "SUBSTRING", "substring", ""),
    ("sum", "SUM", "sum", ""),
    ("trim", "TRIM", "trim", "TRIM"),
    ("tumble", "TUMBLE", "", ""),
    ("upper", "UPPER", "upper", "UPPER"),
];

/// Words before a bracket that call nothing.
const NO_CALLS: &[Keyword] = &[
    Keyword::IN,
    Keyword::AND,
    Keyword::OR,
    Keyword::NOT,
    Keyword::WHERE,
    Keyword::ON,
    Keyword::FROM,
    Keyword::JOIN,
    Keyword::SELECT,
    Keyword::AS,
    Keyword::OVER,
    Keyword::VALUES,
    Keyword::EXISTS,
    Keyword::WHEN,
    Keyword::THEN,
    Keyword::ELSE,
    Keyword::CASE,
    Keyword::USING,
    Keyword::BY,
    Keyword::HAVING,
    Keyword::UNION,
    Keyword::ALL,
    Keyword::DISTINCT,
    Keyword::BETWEEN,
    Keyword::LIKE,
    Keyword::IS,
    Keyword::FILTER,
    Keyword::TABLE,
    Keyword::SETS,
    Keyword::ROLLUP,
    Keyword::CUBE,
    Keyword::INTERSECT,
    Keyword::EXCEPT,
    Keyword::LIMIT,
    Keyword::WITH,
    Keyword::PARTITION,
];

struct Translation<'a> {
    dialect: Dialect,
    tables: &'a Names,
    columns: Vec<String>,
    tokens: Vec<Token>,
    at: usize,
    /// What each open bracket is.
    brackets: Vec<Bracket>,
    out: String,
    notes: Vec<String>,
    joins: bool,
    together: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Plain,
    /// Of `CAST(… AS type)`.
    Cast,
    /// Of `EXTRACT`, `TRIM`, `SUBSTRING`: words within belong to the function.
    Words,
}

impl Translation<'_> {
    fn run(mut self) -> Result<Translated, String> {
        while let Some(token) = self.tokens.get(self.at).cloned() {
            match &token {
                Token::Word(word) => self.word(word)?,
                Token::LParen => {
                    self.brackets.push(Bracket::Plain);
                    self.push("(");
                }
                Token::RParen => {
                    self.brackets.pop();
                    self.push(")");
                }
                Token::DoubleColon => return Err("`::` has no counterpart: write CAST(… AS …)".into()),
                Token::SingleQuotedString(text) => {
                    let literal = self.dialect.literal(text);
                    self.push(&literal);
                }
                Token::Whitespace(_) => {
                    if !self.out.ends_with([' ', '(']) && !self.out.is_empty() {
                        self.out.push(' ');
                    }
                }
                Token::Comma
                | Token::Period
                | Token::Eq
                | Token::Neq
                | Token::Lt
                | Token::Gt
                | Token::LtEq
                | Token::GtEq
                | Token::Plus
                | Token::Minus
                | Token::Mul
                | Token::Mod
                | Token::Number(..)
                | Token::RArrow => self.push(&token.to_string()),
                Token::Div => {
                    self.note("`/` of two whole numbers is a whole number natively, and as the engine has it there: cast one side to be sure");
                    self.push("/");
                }
                Token::StringConcat => self.push("||"),
                Token::SemiColon => {}
                other => return Err(format!("`{other}` is not known to mean the same in {}", self.dialect.title())),
            }
            self.at += 1;
        }
        let sql = self.out.trim().to_string();
        if self.together && sql.to_uppercase().contains("ORDER BY") && !sql.to_uppercase().contains("NULLS ") {
            self.note(
                "ORDER BY without NULLS FIRST or NULLS LAST: NULL is last natively when ascending, and first on the engine",
            );
        }
        Ok(Translated { sql, notes: self.notes, joins: self.joins, together: self.together })
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_string());
        }
    }

    /// The token so many steps on, past blanks.
    fn ahead(&self, steps: usize) -> Option<&Token> {
        self.tokens.get(self.at + 1..)?.iter().filter(|token| !matches!(token, Token::Whitespace(_))).nth(steps)
    }

    /// The token before, past blanks.
    fn before(&self) -> Option<&Token> {
        self.tokens.get(..self.at)?.iter().rev().find(|token| !matches!(token, Token::Whitespace(_)))
    }

    fn after_keyword(&self, keywords: &[Keyword]) -> bool {
        matches!(self.before(), Some(Token::Word(word)) if keywords.contains(&word.keyword))
    }

    fn word(&mut self, word: &Word) -> Result<(), String> {
        let quoted = word.quote_style.is_some();
        let called = matches!(self.ahead(0), Some(Token::LParen)) && !quoted && !NO_CALLS.contains(&word.keyword);
        let lower = word.value.to_lowercase();
        let after_dot = matches!(self.before(), Some(Token::Period));
        if !after_dot && self.table(word) {
            return Ok(());
        }
        if !quoted && !after_dot {
            match word.keyword {
                Keyword::JOIN => self.joins = true,
                Keyword::GROUP | Keyword::DISTINCT | Keyword::OVER | Keyword::ORDER | Keyword::LIMIT => self.together = true,
                Keyword::ILIKE | Keyword::SIMILAR | Keyword::QUALIFY | Keyword::LATERAL | Keyword::UNNEST | Keyword::AT => {
                    return Err(format!("`{}` is not known to mean the same in {}", word.value, self.dialect.title()));
                }
                _ => {}
            }
        }
        if self.brackets.last() == Some(&Bracket::Cast) && self.after_keyword(&[Keyword::AS]) && !quoted {
            return self.cast_type(&lower);
        }
        if called && !self.columns.iter().any(|column| column == &word.value && matches!(self.before(), Some(Token::Period))) {
            return self.call(word, &lower);
        }
        let column = self.columns.iter().any(|column| if quoted { *column == word.value } else { *column == lower });
        // `DATE '2026-01-01'`: the word belongs to the text behind it.
        let of_literal = matches!(self.ahead(0), Some(Token::SingleQuotedString(_)));
        if quoted {
            let name = self.dialect.name(&word.value);
            self.push(&name);
        } else if column && !of_literal && word.keyword != Keyword::NoKeyword {
            let name = self.dialect.name(&lower);
            self.push(&name);
        } else if word.keyword == Keyword::NoKeyword {
            self.push(&lower);
        } else {
            if matches!(word.keyword, Keyword::CURRENT_TIMESTAMP) {
                self.moment();
            }
            self.push(&word.value);
        }
        Ok(())
    }

    fn moment(&mut self) {
        self.note("the current time is one moment for a run natively; on the engine it is that of the row or of the job");
    }

    /// `CAST(x AS word)`: the type, with whatever follows in brackets.
    fn cast_type(&mut self, word: &str) -> Result<(), String> {
        let Some(theirs) = self.dialect.type_word(word) else {
            return Err(format!("the type `{word}` has no counterpart in {}", self.dialect.title()));
        };
        if word == "double" && matches!(self.ahead(0), Some(Token::Word(next)) if next.value.eq_ignore_ascii_case("precision")) {
            while !matches!(self.tokens.get(self.at), Some(Token::Word(next)) if next.value.eq_ignore_ascii_case("precision")) {
                self.at += 1;
            }
        }
        self.push(theirs);
        self.note("CAST: a value that does not fit is an error or a dead letter natively; the engine may round it or cut it");
        Ok(())
    }

    fn call(&mut self, word: &Word, lower: &str) -> Result<(), String> {
        let bracket = match word.keyword {
            Keyword::CAST | Keyword::TRY_CAST => {
                if word.keyword == Keyword::TRY_CAST && self.dialect == Dialect::SeaTunnel {
                    return Err("TRY_CAST is not in SeaTunnel's Sql transform".into());
                }
                self.push(&word.value.to_uppercase());
                Some(Bracket::Cast)
            }
            Keyword::EXTRACT if self.dialect != Dialect::SeaTunnel => {
                self.push("EXTRACT");
                Some(Bracket::Words)
            }
            _ => None,
        };
        if let Some(bracket) = bracket {
            return self.open(bracket);
        }
        let Ok(theirs) = self.dialect.function(lower) else {
            return Err(format!("the function `{}` is not known to give the same in {}", word.value, self.dialect.title()));
        };
        if matches!(lower, "count" | "sum" | "min" | "max" | "avg") {
            self.together = true;
        }
        match lower {
            "avg" => self.note("AVG of whole numbers is a floating point number natively; Flink cuts it to a whole number"),
            "sum" => self.note("a SUM that does not fit ends the run natively; on the engine it may wrap around or be NULL"),
            "ceil" | "floor" if self.dialect == Dialect::Spark => self.note("CEIL and FLOOR of a floating point number are whole numbers in Spark"),
            "round" => self.note(
                "ROUND of a floating point number: the engine takes the digits that are shown, so 1.005 becomes 1.01 and natively 1.0",
            ),
            _ => {}
        }
        if matches!(lower, "now" | "current_timestamp") {
            self.moment();
            if self.dialect != Dialect::Spark {
                // Without brackets there.
                self.push(theirs);
                while !matches!(self.tokens.get(self.at), Some(Token::RParen) | None) {
                    self.at += 1;
                }
                return Ok(());
            }
        }
        self.push(theirs);
        self.open(Bracket::Plain)
    }

    /// Moves on to the bracket behind a name and opens it.
    fn open(&mut self, bracket: Bracket) -> Result<(), String> {
        while !matches!(self.tokens.get(self.at), Some(Token::LParen) | None) {
            self.at += 1;
        }
        self.brackets.push(bracket);
        self.push("(");
        Ok(())
    }

    /// A table's name, behind `FROM`, `JOIN`, `TABLE` or before a dot: whether it was one.
    fn table(&mut self, word: &Word) -> bool {
        let named =
            self.after_keyword(&[Keyword::FROM, Keyword::JOIN, Keyword::TABLE]) && self.brackets.last() != Some(&Bracket::Words);
        let qualifies = matches!(self.ahead(0), Some(Token::Period));
        let listed = matches!(self.before(), Some(Token::Comma)) && self.in_from();
        if !named && !qualifies && !listed {
            return false;
        }
        // The longest dotted name that is a table.
        let mut parts = vec![(self.at, folded(word))];
        let mut at = self.at;
        while let (Some(Token::Period), Some(Token::Word(next))) = (self.tokens.get(at + 1), self.tokens.get(at + 2)) {
            parts.push((at + 2, folded(next)));
            at += 2;
        }
        for length in (1..=parts.len()).rev() {
            let name = parts[..length].iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(".");
            let known = self.tables.iter().find(|(names, _)| names.iter().any(|known| known.eq_ignore_ascii_case(&name)));
            if let Some((_, view)) = known {
                let view = self.dialect.name(view);
                self.push(&view);
                self.at = parts[length - 1].0;
                if listed {
                    self.joins = true;
                }
                return true;
            }
        }
        false
    }

    /// Whether a comma here separates tables: the last clause that began at this depth is `FROM`.
    fn in_from(&self) -> bool {
        let mut depth = 0;
        for token in self.tokens[..self.at].iter().rev() {
            match token {
                Token::RParen => depth += 1,
                Token::LParen if depth == 0 => return false,
                Token::LParen => depth -= 1,
                Token::Word(word) if depth == 0 => match word.keyword {
                    Keyword::FROM => return true,
                    Keyword::SELECT | Keyword::WHERE | Keyword::ON | Keyword::BY | Keyword::HAVING => return false,
                    _ => {}
                },
                _ => {}
            }
        }
        false
    }
}

/// Names behind `AS` that a query gives to its columns and tables; types of `CAST` among them do no harm.
fn aliases(tokens: &[Token]) -> Vec<String> {
    let words: Vec<&Word> = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .map(|token| if let Token::Word(word) = token { Some(word) } else { None })
        .collect::<Vec<_>>()
        .windows(2)
        .filter_map(|pair| pair[0].filter(|word| word.keyword == Keyword::AS && word.quote_style.is_none()).and(pair[1]))
        .collect();
    words.into_iter().filter(|word| word.quote_style.is_none()).map(folded).collect()
}

fn folded(word: &Word) -> String {
    if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flink(sql: &str) -> Result<String, String> {
        let tables = [(vec!["input".to_string(), "public.orders".to_string()], "orders".to_string())];
        Dialect::Flink.translate(sql, &tables, &["date".to_string(), "amount".to_string()]).map(|done| done.sql)
    }

    #[test]
    fn names_are_folded_quoted_and_replaced() {
        assert_eq!(flink("SELECT Amount, \"Date\" FROM input").unwrap(), "SELECT amount, `Date` FROM `orders`");
        assert_eq!(
            flink("SELECT date FROM public.orders WHERE date > DATE '2026-01-01'").unwrap(),
            "SELECT `date` FROM `orders` WHERE `date` > DATE '2026-01-01'"
        );
        assert_eq!(flink("SELECT input.amount FROM input").unwrap(), "SELECT `orders`.amount FROM `orders`");
    }

    #[test]
    fn functions_and_types_have_the_engine_s_names_or_are_refused() {
        assert_eq!(
            flink("SELECT length(a), CAST(b AS text), now() FROM input").unwrap(),
            "SELECT CHAR_LENGTH(a), CAST(b AS STRING), CURRENT_TIMESTAMP FROM `orders`"
        );
        assert!(flink("SELECT date_trunc('day', a) FROM input").unwrap_err().contains("date_trunc"));
        assert!(flink("SELECT a::int FROM input").unwrap_err().contains("CAST"));
        assert!(flink("SELECT a ~ 'x' FROM input").is_err());
    }

    #[test]
    fn windows_keep_their_arguments() {
        let sql = "SELECT window_start, SUM(amount) AS s FROM TABLE(TUMBLE(TABLE input, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start";
        assert_eq!(
            flink(sql).unwrap(),
            "SELECT window_start, SUM(amount) AS s FROM TABLE(TUMBLE(TABLE `orders`, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY window_start"
        );
    }

    #[test]
    fn what_sees_rows_together_is_known() {
        let done = |sql: &str| Dialect::Spark.translate(sql, &[], &[]).unwrap();
        assert!(done("SELECT a FROM x JOIN y ON x.i = y.i").joins);
        assert!(done("SELECT sum(a) FROM x").together && !done("SELECT a FROM x").together);
    }
}
