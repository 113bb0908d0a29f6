//! What SeaTunnel's `Sql` transform makes of SQL, as release 2.3.4 has it: an evaluator of its own, in which NULL is unequal to everything, numbers are compared and decimals computed as
//! floating point numbers, and patterns are regular expressions. What can be said so that it means the same is rewritten; the rest is refused.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

/// Digits that a floating point number of 64 bits keeps of every number.
const EXACT_DIGITS: u8 = 15;

/// SQL that means there what ours means here, and how its results may differ all the same. `inputs`: the columns that it may name.
///
/// # Errors
/// What it does otherwise, one sentence with what to write instead.
pub fn adapt(sql: &str, inputs: &[SchemaRef]) -> Result<(String, Vec<String>), String> {
    let all = Tokenizer::new(&GenericDialect {}, sql).tokenize().map_err(|error| format!("this SQL cannot be read: {error}"))?;
    let places: Vec<usize> = (0..all.len()).filter(|at| !matches!(all[*at], Token::Whitespace(_))).collect();
    let tokens: Vec<&Token> = places.iter().map(|at| &all[*at]).collect();
    let mut reading = Reading { tokens, inputs, notes: Vec::new() };
    // What is written before and behind each token.
    let mut around = vec![(String::new(), String::new()); all.len()];
    for at in 0..places.len() {
        reading.check(at)?;
        if *reading.tokens[at] == Token::Neq {
            let (from, to, guards) = reading.unequal(at)?;
            around[places[from]].0.push_str(&format!("({guards}"));
            around[places[to]].1.push(')');
        }
    }
    let written = all.iter().zip(&around).map(|(token, (before, behind))| format!("{before}{token}{behind}")).collect();
    Ok((written, reading.notes))
}

struct Reading<'a> {
    /// Without blanks.
    tokens: Vec<&'a Token>,
    inputs: &'a [SchemaRef],
    notes: Vec<String>,
}

impl<'a> Reading<'a> {
    fn at(&self, at: usize) -> Option<&'a Token> {
        self.tokens.get(at).copied()
    }

    fn before(&self, at: usize) -> Option<&'a Token> {
        self.at(at.checked_sub(1)?)
    }

    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    fn check(&mut self, at: usize) -> Result<(), String> {
        match self.tokens[at] {
            Token::StringConcat => Err("`||` leaves a NULL out there: `CASE WHEN a IS NULL …`, or another engine".into()),
            Token::SingleQuotedString(text) if text.contains(['\'', '\\']) => {
                Err("it keeps the second of two quotes in a text, and reads backslashes".into())
            }
            Token::Plus | Token::Minus | Token::Div | Token::Mod => self.computed(at),
            // `*` alone is all columns.
            Token::Mul if matches!(self.before(at), Some(Token::Word(_) | Token::RParen | Token::Number(..))) => {
                if keyword(self.before(at)) == Some(Keyword::SELECT) { Ok(()) } else { self.computed(at) }
            }
            Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => {
                self.compared(at);
                Ok(())
            }
            Token::Word(word) => self.word(at, word),
            _ => Ok(()),
        }
    }

    fn word(&mut self, at: usize, word: &Word) -> Result<(), String> {
        if let Some(quote) = word.quote_style {
            let plain = word.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let why =
                || format!("it takes no names in quotes, and {quote}{}{quote} needs them: rename the column before", word.value);
            return if plain { Ok(()) } else { Err(why()) };
        }
        let next = self.at(at + 1);
        match word.keyword {
            Keyword::BETWEEN => Err("it has no BETWEEN: write `a >= x AND a <= y`".into()),
            Keyword::NOT => {
                let part = matches!(keyword(next), Some(Keyword::IN | Keyword::LIKE | Keyword::NULL));
                if part || keyword(self.before(at)) == Some(Keyword::IS) {
                    Ok(())
                } else {
                    Err("it has no NOT before a condition: turn the condition round".into())
                }
            }
            Keyword::IS => {
                let null = match keyword(next) {
                    Some(Keyword::NOT) => keyword(self.at(at + 2)) == Some(Keyword::NULL),
                    other => other == Some(Keyword::NULL),
                };
                if null { Ok(()) } else { Err("behind IS it knows NULL and NOT NULL only".into()) }
            }
            Keyword::DATE | Keyword::TIMESTAMP | Keyword::TIME | Keyword::INTERVAL
                if matches!(next, Some(Token::SingleQuotedString(_))) =>
            {
                Err(format!(
                    "it has no literals of {}: compare in another engine, or in the source's query",
                    word.value.to_uppercase()
                ))
            }
            Keyword::IN => {
                self.compared(at);
                let mut list = self.tokens[at..].iter().take_while(|token| ***token != Token::RParen);
                if list.any(|token| keyword(Some(*token)) == Some(Keyword::NULL)) {
                    return Err("NULL equals NULL in its lists: leave it out, or write `OR a IS NULL`".into());
                }
                Ok(())
            }
            Keyword::LIKE => self.pattern(next),
            _ if matches!(next, Some(Token::LParen)) => self.call(at, word),
            _ => Ok(()),
        }
    }

    fn call(&mut self, at: usize, word: &Word) -> Result<(), String> {
        match word.value.to_lowercase().as_str() {
            "round" if self.tokens[at..=self.closing(at + 1)].iter().any(|token| self.is_decimal(token)) => Err(DECIMALS.into()),
            "length" | "char_length" | "character_length" | "left" | "right" => {
                self.note("letters are counted in units of UTF-16 there: one beyond the first 65,536, an emoji, counts twice");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Patterns become regular expressions, of which only the first and the last sign are translated.
    fn pattern(&mut self, pattern: Option<&Token>) -> Result<(), String> {
        let why = "of a pattern it knows `%` and `_` at the two ends, and every other sign may be one of a regular expression";
        let Some(Token::SingleQuotedString(pattern)) = pattern else { return Err(why.into()) };
        let core = pattern.strip_prefix(['%', '_']).unwrap_or(pattern);
        let core = core.strip_suffix(['%', '_']).unwrap_or(core);
        let plain = |c: char| c.is_alphanumeric() || " -,:;@#/=&~!\"".contains(c);
        if core.is_empty() || !core.chars().all(plain) {
            return Err(why.into());
        }
        self.note("`%` does not reach over the end of a line there");
        Ok(())
    }

    /// Operands of a computation: a column beside the sign, or one in brackets beside it.
    fn computed(&self, at: usize) -> Result<(), String> {
        let (left, right) = (self.opening(at.saturating_sub(1)), self.closing((at + 1).min(self.tokens.len() - 1)));
        let decimal = self.tokens[left..=right].iter().any(|token| self.is_decimal(token));
        if decimal { Err(DECIMALS.into()) } else { Ok(()) }
    }

    /// Numbers that a floating point number does not hold are compared as one all the same.
    fn compared(&mut self, at: usize) {
        let (left, right) = (self.opening(at.saturating_sub(1)), self.closing((at + 1).min(self.tokens.len() - 1)));
        if self.tokens[left..=right].iter().any(|token| self.is_wide(token)) {
            self.note("numbers are compared as floating point numbers there: above 2^53, and with more than 15 digits, neighbours are equal");
        }
    }

    /// `a <> b` is true there if `a` is NULL: both are asked for before. Where the operands begin and end, and what is asked.
    fn unequal(&self, at: usize) -> Result<(usize, usize, String), String> {
        let why = || "NULL is unequal to everything there: compare a column with a value".to_owned();
        let column =
            |token: &Token| matches!(token, Token::Word(word) if word.quote_style.is_some() || self.is_column(&word.value));
        let value = |token: &Token| matches!(token, Token::Number(..) | Token::SingleQuotedString(_));
        let Some(left) = self.before(at).filter(|token| column(token)) else { return Err(why()) };
        let mut from = at - 1;
        let mut guarded = left.to_string();
        if let (Some(Token::Period), Some(Token::Word(table))) =
            (from.checked_sub(1).and_then(|p| self.at(p)), from.checked_sub(2).and_then(|p| self.at(p)))
        {
            guarded = format!("{table}.{guarded}");
            from -= 2;
        }
        let minus = self.at(at + 1) == Some(&Token::Minus);
        let to = at + 1 + usize::from(minus);
        let right = self.at(to).filter(|token| value(token) || (!minus && column(token))).ok_or_else(why)?;
        let ends = |token: Option<&Token>, words: &[Keyword], brackets: &[Token]| match token {
            None => true,
            Some(Token::Word(word)) => words.contains(&word.keyword) && word.quote_style.is_none(),
            Some(other) => brackets.contains(other),
        };
        let begins = ends(
            from.checked_sub(1).and_then(|p| self.at(p)),
            &[Keyword::WHERE, Keyword::AND, Keyword::OR, Keyword::WHEN],
            &[Token::LParen],
        );
        let stops = ends(self.at(to + 1), &[Keyword::AND, Keyword::OR, Keyword::THEN], &[Token::RParen, Token::SemiColon]);
        if !begins || !stops {
            return Err(why());
        }
        let other = if column(right) { format!("{right} IS NOT NULL AND ") } else { String::new() };
        Ok((from, to, format!("{guarded} IS NOT NULL AND {other}")))
    }

    /// Of a bracket that closes here the place of the one that opens; of anything else its own.
    fn opening(&self, at: usize) -> usize {
        let mut depth = 0;
        for place in (0..=at).rev() {
            match self.tokens[place] {
                Token::RParen => depth += 1,
                Token::LParen if depth > 0 => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return place;
            }
        }
        0
    }

    /// Of a bracket that opens here, or behind a name here, the place of the one that closes; of anything else its own.
    fn closing(&self, at: usize) -> usize {
        let called = matches!(self.at(at), Some(Token::Word(_))) && self.at(at + 1) == Some(&Token::LParen);
        let mut depth = 0;
        for place in at + usize::from(called)..self.tokens.len() {
            match self.tokens[place] {
                Token::LParen => depth += 1,
                Token::RParen if depth > 0 => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return place;
            }
        }
        self.tokens.len() - 1
    }

    fn types(&self, token: &Token) -> impl Iterator<Item = &DataType> {
        let name = match token {
            Token::Word(word) if word.quote_style.is_some() => word.value.clone(),
            Token::Word(word) => word.value.to_lowercase(),
            _ => String::new(),
        };
        self.inputs.iter().filter_map(move |schema| schema.field_with_name(&name).ok().map(|field| field.data_type()))
    }

    fn is_column(&self, name: &str) -> bool {
        let lower = name.to_lowercase();
        self.inputs.is_empty() || self.inputs.iter().any(|schema| schema.field_with_name(&lower).is_ok())
    }

    fn is_decimal(&self, token: &Token) -> bool {
        self.types(token).any(|data_type| matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..)))
    }

    fn is_wide(&self, token: &Token) -> bool {
        self.types(token).any(|data_type| match data_type {
            DataType::Int64 | DataType::UInt64 => true,
            DataType::Decimal128(precision, _) | DataType::Decimal256(precision, _) => *precision > EXACT_DIGITS,
            _ => false,
        })
    }
}

const DECIMALS: &str = "decimals are computed as floating point numbers there";

fn keyword(token: Option<&Token>) -> Option<Keyword> {
    match token {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn adapted(sql: &str) -> Result<String, String> {
        let fields = [("a", DataType::Int64), ("t", DataType::Utf8), ("p", DataType::Decimal128(12, 2))];
        let schema = Schema::new(fields.map(|(name, word)| Field::new(name, word, true)).to_vec());
        adapt(sql, &[Arc::new(schema)]).map(|(sql, _)| sql)
    }

    #[test]
    fn null_is_unequal_to_nothing() {
        assert_eq!(adapted("a <> 9 OR t != 'x'").unwrap(), "(a IS NOT NULL AND a <> 9) OR (t IS NOT NULL AND t <> 'x')");
        assert_eq!(adapted("SELECT a FROM i WHERE i.a <> -1").unwrap(), "SELECT a FROM i WHERE (i.a IS NOT NULL AND i.a <> -1)");
        assert_eq!(adapted("a <> p").unwrap(), "(a IS NOT NULL AND p IS NOT NULL AND a <> p)");
        assert!(adapted("upper(t) <> 'X'").is_err() && adapted("a <> 1 + a").is_err() && adapted("a + a <> 1").is_err());
    }

    #[test]
    fn what_means_something_else_is_refused() {
        for sql in [
            "a BETWEEN 1 AND 2",
            "NOT (a = 1)",
            "t || 'x' = 'y'",
            "t = 'it''s'",
            "t LIKE 'a.b%'",
            "t LIKE 'a%b'",
            "a IN (1, NULL)",
            "(a > 1) IS TRUE",
            "p * 2 > 1",
            "a > 1 + abs(p)",
            "(p) / 2 > a",
            "round(p, 1) = 1",
            "\"two words\" = 1",
            "t > DATE '2026-01-01'",
        ] {
            assert!(adapted(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn what_means_the_same_stays_as_it_is() {
        for sql in [
            "t LIKE 'gr%' AND a NOT IN (1, 2)",
            "t NOT LIKE '%x%'",
            "a IS NOT NULL",
            "SELECT *, a * 2 AS b FROM input WHERE p > 5",
            "SELECT count(*) FROM input",
            "CASE WHEN a >= 5 THEN 'high' ELSE t END = 'x'",
        ] {
            assert_eq!(adapted(sql).unwrap(), sql);
        }
    }

    #[test]
    fn what_is_not_exact_is_noted() {
        let notes =
            |sql: &str, word: DataType| adapt(sql, &[Arc::new(Schema::new(vec![Field::new("a", word, true)]))]).unwrap().1;
        assert_eq!(notes("a = 1", DataType::Int64).len(), 1);
        assert_eq!(notes("a = 1", DataType::Int32).len(), 0);
        assert_eq!(notes("length(a) > 1 AND a LIKE 'x%'", DataType::Utf8).len(), 2);
    }
}
