//! Joins with the versions of a table as Flink writes them (the page "Joins" of its documentation, event time temporal join):
//! `a JOIN v FOR SYSTEM_TIME AS OF a.ts ON a.k = v.k`.
//!
//! The parser has no such words: before it parses, `v FOR SYSTEM_TIME AS OF a.ts` is written as a call, token for token in their places,
//! and after it the call becomes the table with its versions (`transforms::as_of`), and the join asks for the one that is valid. The key is
//! what the condition holds to be equal, the time of a version the event time of the table.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::common::{TableReference, plan_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, Ident, JoinConstraint, JoinOperator, ObjectName,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::{Table, position};
use crate::transforms::{UNTIL, as_of};

/// The call that stands for a table as of a time.
const AS_OF: &str = "__weir_as_of";

/// An error at a place of the query, told as the parser tells it.
fn wrong(place: Span, message: impl Display) -> DataFusionError {
    match place.start.line {
        0 => plan_datafusion_err!("{message}"),
        line => plan_datafusion_err!("{message}; at Line: {line}, Column: {}", place.start.column),
    }
}

fn is(token: Option<&TokenWithSpan>, text: &str) -> bool {
    let Some(Token::Word(word)) = token.map(|token| &token.token) else { return false };
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text)
}

fn is_word(token: Option<&TokenWithSpan>) -> bool {
    matches!(token, Some(TokenWithSpan { token: Token::Word(_), .. }))
}

fn is_period(token: Option<&TokenWithSpan>) -> bool {
    matches!(token, Some(TokenWithSpan { token: Token::Period, .. }))
}

/// The tokens of a query, with each table as of a time as a call.
pub(super) fn tokens(all: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let plain: Vec<TokenWithSpan> = all.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).cloned().collect();
    let begins =
        |at: usize| ["FOR", "SYSTEM_TIME", "AS", "OF"].iter().enumerate().all(|(offset, word)| is(plain.get(at + offset), word));
    if !(0..plain.len()).any(begins) {
        return Ok(all);
    }
    let (mut rewritten, mut at): (Vec<TokenWithSpan>, usize) = (Vec::with_capacity(plain.len()), 0);
    while let Some(token) = plain.get(at) {
        if !begins(at) {
            rewritten.push(token.clone());
            at += 1;
            continue;
        }
        let place = token.span;
        let mut from = rewritten.len();
        if is_word(rewritten.last()) {
            from -= 1;
            while from >= 2 && is_period(rewritten.get(from - 1)) && is_word(rewritten.get(from - 2)) {
                from -= 2;
            }
        }
        let name = rewritten.split_off(from);
        let mut to = at + 4;
        if name.is_empty() || !is_word(plain.get(to)) {
            return Err(wrong(place, "a table has versions: JOIN versions FOR SYSTEM_TIME AS OF rows.time ON …"));
        }
        to += 1;
        while is_period(plain.get(to)) && is_word(plain.get(to + 1)) {
            to += 2;
        }
        let ends =
            |token: &TokenWithSpan| matches!(token.token, Token::Word(_) | Token::RParen | Token::Comma | Token::SemiColon);
        if !plain.get(to).is_none_or(ends) {
            return Err(wrong(place, "FOR SYSTEM_TIME AS OF names a column: the event time of a row, as it is"));
        }
        let new = |token: Token| TokenWithSpan { token, span: place };
        rewritten.extend([new(Token::make_word(AS_OF, None)), new(Token::LParen)]);
        rewritten.extend(name);
        rewritten.push(new(Token::Comma));
        rewritten.extend_from_slice(&plain[at + 4..to]);
        rewritten.push(new(Token::RParen));
        at = to;
    }
    Ok(rewritten)
}

/// Writes the calls out as tables with versions; whether there are any.
pub(super) fn rewrite(statement: &mut Statement, tables: &[Table]) -> Result<bool> {
    let Statement::Statement(statement) = statement else { return Ok(false) };
    let mut rewriting = Rewriting { tables, count: 0, failed: None };
    let _: ControlFlow<()> = statement.visit(&mut rewriting);
    match rewriting.failed {
        Some(error) => Err(error),
        None => Ok(rewriting.count > 0),
    }
}

struct Rewriting<'a> {
    tables: &'a [Table],
    count: usize,
    failed: Option<DataFusionError>,
}

/// A table as of a time.
struct Call {
    place: Span,
    name: Vec<Ident>,
    time: Expr,
    /// What it is called in the query.
    alias: Ident,
}

impl Call {
    fn of(relation: &TableFactor) -> Option<Self> {
        let TableFactor::Table { name: ObjectName(parts), args: Some(arguments), alias, .. } = relation else { return None };
        let [part] = parts.as_slice() else { return None };
        let word = part.as_ident().filter(|word| word.value == AS_OF)?;
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(table)), FunctionArg::Unnamed(FunctionArgExpr::Expr(time))] =
            arguments.args.as_slice()
        else {
            return None;
        };
        let name = match table {
            Expr::Identifier(word) => vec![word.clone()],
            Expr::CompoundIdentifier(words) => words.clone(),
            _ => return None,
        };
        let alias = alias.as_ref().map(|alias| alias.name.clone()).or_else(|| name.last().cloned())?;
        Some(Self { place: word.span, name, time: time.clone(), alias })
    }
}

impl VisitorMut for Rewriting<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        match self.select(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// What is left behind no JOIN.
    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        match Call::of(relation) {
            None => ControlFlow::Continue(()),
            Some(call) => {
                self.failed = Some(wrong(call.place, "FOR SYSTEM_TIME AS OF stands behind the table of a JOIN … ON"));
                ControlFlow::Break(())
            }
        }
    }
}

impl Rewriting<'_> {
    fn select(&mut self, select: &mut Select) -> Result<()> {
        let mut added: Vec<(Ident, String)> = Vec::new();
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            let Some(call) = Call::of(&join.relation) else { continue };
            let on = match &mut join.join_operator {
                JoinOperator::Join(JoinConstraint::On(on))
                | JoinOperator::Inner(JoinConstraint::On(on))
                | JoinOperator::Left(JoinConstraint::On(on))
                | JoinOperator::LeftOuter(JoinConstraint::On(on)) => on,
                _ => return Err(wrong(call.place, "a join with versions is JOIN … ON or LEFT JOIN … ON")),
            };
            self.count += 1;
            let until = format!("{UNTIL}_{}", self.count);
            let (relation, condition) = self.written(&call, on, &until)?;
            let whole = |expr: Expr| Box::new(Expr::Nested(Box::new(expr)));
            let before = std::mem::replace(on, Expr::Value(ast::Value::Null.into()));
            *on = Expr::BinaryOp { left: whole(before), op: BinaryOperator::And, right: whole(condition) };
            join.relation = relation;
            added.push((call.alias, until));
        }
        if !added.is_empty() {
            hide(&mut select.projection, &added);
        }
        Ok(())
    }

    /// The table with its versions, and what makes one of them valid.
    fn written(&self, call: &Call, on: &Expr, until: &str) -> Result<(TableFactor, Expr)> {
        let name = call.name.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
        let words: Vec<String> = call.name.iter().map(|word| word.value.clone()).collect();
        let reference = match words.as_slice() {
            [table] => TableReference::bare(table.as_str()),
            [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
            [catalog, schema, table] => TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()),
            _ => return Err(wrong(call.place, format!("`{name}` is no table"))),
        };
        let Some(table) = position(&reference, self.tables).map(|at| &self.tables[at]) else {
            return Err(wrong(call.place, format!("`{name}` is no input: versions are those of an input, by its event time")));
        };
        let Some(time) = &table.time else {
            let told = format!(
                "it is not said which column is the time of the versions of `{name}`: `event_time` on its source, or a `watermark` before"
            );
            return Err(wrong(call.place, told));
        };
        let mut keys = Vec::new();
        equal(on, &call.alias, &mut keys);
        let columns = table.schema.fields();
        let keys: Vec<String> = keys
            .into_iter()
            .filter_map(|key| {
                let exact = columns.iter().find(|field| *field.name() == key);
                exact
                    .or_else(|| columns.iter().find(|field| field.name().eq_ignore_ascii_case(&key)))
                    .map(|field| field.name().clone())
            })
            .collect();
        if keys.is_empty() {
            let told =
                format!("versions are found by a key: ON … = {}.key, the columns with the names of their tables", call.alias);
            return Err(wrong(call.place, told));
        }
        let alias = call.alias.to_string();
        let mut condition = as_of::valid(&alias, time, until, &call.time.to_string());
        if let Some(not_deleted) = as_of::not_deleted(&alias, &table.schema) {
            condition = format!("{condition} AND {not_deleted}");
        }
        let inner = as_of::versions(&name, &keys, time, until);
        let relation = relation(&format!("SELECT 1 FROM ({inner}) AS {alias}"))?;
        let condition = DFParserBuilder::new(condition.as_str()).with_dialect(&GenericDialect {}).build()?.parse_into_expr()?;
        Ok((relation, condition.expr))
    }
}

/// The only relation of a query.
fn relation(sql: &str) -> Result<TableFactor> {
    let mut statements = DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).build()?.parse_statements()?;
    if let Some(Statement::Statement(statement)) = statements.pop_front()
        && let ast::Statement::Query(query) = *statement
        && let SetExpr::Select(select) = *query.body
        && let Some(from) = select.from.into_iter().next()
    {
        return Ok(from.relation);
    }
    Err(plan_datafusion_err!("versions that are no query"))
}

/// The columns of a table that a condition holds to be equal to something.
fn equal(on: &Expr, alias: &Ident, keys: &mut Vec<String>) {
    let column = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(words) => match words.as_slice() {
            [table, column] if table.value.eq_ignore_ascii_case(&alias.value) => Some(column.value.clone()),
            _ => None,
        },
        _ => None,
    };
    match on {
        Expr::Nested(inner) => equal(inner, alias, keys),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            equal(left, alias, keys);
            equal(right, alias, keys);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match (column(left), column(right)) {
            (Some(key), None) if !matches!(right.as_ref(), Expr::Value(_)) => keys.push(key),
            (None, Some(key)) if !matches!(left.as_ref(), Expr::Value(_)) => keys.push(key),
            _ => {}
        },
        _ => {}
    }
}

/// `*` does not give the columns that were added.
fn hide(projection: &mut [SelectItem], added: &[(Ident, String)]) {
    let exclude = |options: &mut WildcardAdditionalOptions, names: Vec<&String>| {
        let mut all = match options.opt_exclude.take() {
            Some(ExcludeSelectItem::Single(name)) => vec![name],
            Some(ExcludeSelectItem::Multiple(names)) => names,
            None => Vec::new(),
        };
        all.extend(names.into_iter().map(|name| ObjectName::from(vec![Ident::with_quote('"', name)])));
        options.opt_exclude = (!all.is_empty()).then_some(ExcludeSelectItem::Multiple(all));
    };
    for item in projection {
        match item {
            SelectItem::Wildcard(options) => exclude(options, added.iter().map(|(_, until)| until).collect()),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let of = |(alias, _): &&(Ident, String)| name.to_string().eq_ignore_ascii_case(&alias.to_string());
                exclude(options, added.iter().filter(of).map(|(_, until)| until).collect());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn text(sql: &str) -> Result<String> {
        let all = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap();
        let tokens = tokens(all)?;
        let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
        Ok(words.map(|token| token.token.to_string()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_table_as_of_a_time_becomes_a_call_and_nothing_else_changes() {
        for (sql, expected) in [
            ("SELECT substring(a FOR 2) FROM t", "SELECT substring ( a FOR 2 ) FROM t"),
            ("a JOIN v FOR SYSTEM_TIME AS OF a.t ON x", "a JOIN __weir_as_of ( v , a . t ) ON x"),
            ("a left join s.\"V\" for system_time as of t as r on x", "a left join __weir_as_of ( s . \"V\" , t ) as r on x"),
        ] {
            assert_eq!(text(sql).unwrap(), expected, "{sql}");
        }
        for sql in [
            "a JOIN v FOR SYSTEM_TIME AS OF a.t - INTERVAL '1' DAY ON x",
            "FOR SYSTEM_TIME AS OF t",
            "v FOR SYSTEM_TIME AS OF 'x' ON",
        ] {
            assert!(text(sql).is_err(), "{sql}");
        }
    }
}
