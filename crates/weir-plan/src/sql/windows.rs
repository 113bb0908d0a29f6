//! The window functions of SQL as Flink writes them: `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTES))`, HOP, CUMULATE and SESSION
//! (the page "Windowing table-valued functions" of Flink's documentation).
//!
//! The parser has no word for `TABLE t` as an argument, nor for `PARTITION BY` after it: in the arguments of these functions they are written
//! as a call before it parses, token for token in their places, so the positions in its messages are those of the query. What the functions
//! give is not here: `transforms::windowed`.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::common::{Column, SchemaError, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    self, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Query, Spanned, TableAlias, TableFactor, UnaryOperator, Value, VisitMut, VisitorMut, WindowType,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Word};

use crate::transforms::windowed;
use crate::transforms::windowed::Shape;

/// The call that stands for `TABLE t`.
const TABLE: &str = "__weir_table";

/// A window function.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Its arguments in order; the last may be left out if it is the offset.
    arguments: &'static [&'static str],
    usage: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "TUMBLE",
        arguments: &["DATA", "TIMECOL", "SIZE", "OFFSET"],
        usage: "TUMBLE(TABLE t, DESCRIPTOR(time), size [, offset])",
    },
    Kind {
        name: "HOP",
        arguments: &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
        usage: "HOP(TABLE t, DESCRIPTOR(time), slide, size [, offset])",
    },
    Kind {
        name: "CUMULATE",
        arguments: &["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"],
        usage: "CUMULATE(TABLE t, DESCRIPTOR(time), step, size [, offset])",
    },
    Kind {
        name: "SESSION",
        arguments: &["DATA", "TIMECOL", "GAP"],
        usage: "SESSION(TABLE t [PARTITION BY (key, …)], DESCRIPTOR(time), gap)",
    },
];

fn kind(name: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
}

/// The tokens of a query, with `TABLE t PARTITION BY k` in the arguments of window functions as a call.
pub(super) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>> {
    let all = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(ParserError::from)?;
    let tokens: Vec<TokenWithSpan> = all.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).cloned().collect();
    if !tokens.windows(2).any(|pair| is_window(&pair[0].token) && pair[1].token == Token::LParen) {
        return Ok(all);
    }
    let (mut rewritten, mut at, mut windows) = (Vec::with_capacity(tokens.len()), 0, Vec::new());
    while let Some(token) = tokens.get(at) {
        match &token.token {
            Token::LParen => windows.push(at > 0 && is_window(&tokens[at - 1].token)),
            Token::RParen => _ = windows.pop(),
            _ => {}
        }
        let argument = at > 0 && matches!(tokens[at - 1].token, Token::LParen | Token::Comma | Token::RArrow);
        let table = windows.last() == Some(&true) && argument && is_word(token, Keyword::TABLE);
        at = match table && matches!(tokens.get(at + 1), Some(TokenWithSpan { token: Token::Word(_), .. })) {
            true => table_argument(&tokens, at, &mut rewritten),
            false => {
                rewritten.push(token.clone());
                at + 1
            }
        };
    }
    Ok(rewritten)
}

fn is_window(token: &Token) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if kind(value).is_some())
}

fn is_word(token: &TokenWithSpan, keyword: Keyword) -> bool {
    matches!(&token.token, Token::Word(word) if word.keyword == keyword)
}

/// Writes the `TABLE t [PARTITION BY …]` that begins at `at` as `__weir_table(t) [OVER (PARTITION BY …)]`; where it ends.
fn table_argument(tokens: &[TokenWithSpan], at: usize, rewritten: &mut Vec<TokenWithSpan>) -> usize {
    let new = |token: Token, span: Span| TokenWithSpan { token, span };
    let is = |at: usize, wanted: &Token| tokens.get(at).is_some_and(|token| token.token == *wanted);
    let word = |at: usize| matches!(tokens.get(at), Some(TokenWithSpan { token: Token::Word(_), .. }));
    let keyword = |at: usize, keyword: Keyword| tokens.get(at).is_some_and(|token| is_word(token, keyword));
    let span = tokens[at].span;
    rewritten.push(new(Token::make_word(TABLE, None), span));
    rewritten.push(new(Token::LParen, span));
    let mut next = at + 1;
    rewritten.push(tokens[next].clone());
    while is(next + 1, &Token::Period) && word(next + 2) {
        rewritten.extend_from_slice(&tokens[next + 1..next + 3]);
        next += 2;
    }
    rewritten.push(new(Token::RParen, tokens[next].span));
    next += 1;
    if !(keyword(next, Keyword::PARTITION) && keyword(next + 1, Keyword::BY)) {
        return next;
    }
    let span = tokens[next].span;
    rewritten.push(new(Token::make_keyword("OVER"), span));
    rewritten.push(new(Token::LParen, span));
    rewritten.extend_from_slice(&tokens[next..next + 2]);
    next += 2;
    if is(next, &Token::LParen) {
        next += 1;
        while next < tokens.len() && !is(next, &Token::RParen) {
            rewritten.push(tokens[next].clone());
            next += 1;
        }
        next += 1;
    } else if word(next) {
        rewritten.push(tokens[next].clone());
        next += 1;
        // Without brackets a key is a word alone; what follows it is the next argument: `DESCRIPTOR(…)` or `GAP => …`.
        while is(next, &Token::Comma) && word(next + 1) && (is(next + 2, &Token::Comma) || is(next + 2, &Token::RParen)) {
            rewritten.extend_from_slice(&tokens[next..next + 2]);
            next += 2;
        }
    }
    rewritten.push(new(Token::RParen, tokens[next.min(tokens.len()) - 1].span));
    next
}

/// Plans the window functions among the tables of a query.
#[derive(Debug)]
pub(super) struct WindowFunctions;

impl RelationPlanner for WindowFunctions {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let Some((call, alias)) = Call::of(&relation) else { return Ok(RelationPlanning::Original(Box::new(relation))) };
        let plan = call.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// A call as it is written.
struct Call {
    kind: Kind,
    name: ObjectName,
    place: Span,
    arguments: Vec<FunctionArg>,
}

impl Call {
    fn of(relation: &TableFactor) -> Option<(Self, Option<TableAlias>)> {
        let (name, arguments, alias) = match relation {
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => match &function.args {
                FunctionArguments::List(list) => (&function.name, list.args.clone(), alias),
                _ => return None,
            },
            TableFactor::Table { name, args: Some(arguments), alias, .. } => (name, arguments.args.clone(), alias),
            _ => return None,
        };
        let word = single(name)?;
        Some((Self { kind: kind(&word.value)?, place: word.span, name: name.clone(), arguments }, alias.clone()))
    }

    fn plan(self, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let Self { kind, place, .. } = self;
        let mut given = self.given()?.into_iter();
        let mut next = || given.next().flatten();
        let Some(data) = next() else { return wrong(place, format!("{} has no table: {}", kind.name, kind.usage)) };
        let (input, partition) = table(data, kind, place, context)?;
        let Some(time) = next() else { return wrong(place, format!("{} has no DESCRIPTOR(time): {}", kind.name, kind.usage)) };
        let time = column(&descriptor(time, kind)?, &input, context)?;
        let mut span = |required: bool| match (next(), required) {
            (Some(expr), _) => {
                let place = expr.span();
                micros(&expr).or_else(|told| wrong(place, told))
            }
            (None, false) => Ok(0),
            (None, true) => wrong(place, format!("{} lacks an interval: {}", kind.name, kind.usage)),
        };
        let (shape, offset) = match kind.name {
            "TUMBLE" => {
                let size = span(true)?;
                (Shape::Hop { size, step: size }, span(false)?)
            }
            "HOP" => {
                let (step, size) = (span(true)?, span(true)?);
                (Shape::Hop { size, step }, span(false)?)
            }
            "CUMULATE" => {
                let (step, size) = (span(true)?, span(true)?);
                (Shape::Cumulate { size, step }, span(false)?)
            }
            _ => (Shape::Session { gap: span(true)? }, 0),
        };
        let keys: Vec<Column> = partition.iter().map(|key| column(key, &input, &mut *context)).collect::<Result<_>>()?;
        match windowed::checked(shape, kind.name).and_then(|()| windowed::fits(&input, shape, offset, &time)) {
            Ok((shape, offset)) => windowed::table(input, shape, offset, &time, &keys),
            Err(told) => wrong(place, told),
        }
    }

    /// The arguments in their order; those that were not given are `None`.
    fn given(&self) -> Result<Vec<Option<Expr>>> {
        let Kind { name, arguments, usage } = self.kind;
        let mut given: Vec<Option<Expr>> = vec![None; arguments.len()];
        let mut named = false;
        for (index, argument) in self.arguments.iter().enumerate() {
            let (at, arg, place) = match argument {
                FunctionArg::Named { name: word, arg, .. } => {
                    named = true;
                    let at = arguments.iter().position(|known| known.eq_ignore_ascii_case(&word.value));
                    let Some(at) = at else {
                        return wrong(word.span, format!("{name} has no argument `{word}`; it has {}", arguments.join(", ")));
                    };
                    (at, arg, word.span)
                }
                FunctionArg::Unnamed(arg) if !named => (index, arg, argument.span()),
                _ => return wrong(self.place, format!("after a named argument all are named: {usage}")),
            };
            let FunctionArgExpr::Expr(expr) = arg else { return wrong(self.place, format!("`{arg}` is no argument of {usage}")) };
            match given.get_mut(at) {
                Some(slot) if slot.is_none() => *slot = Some(expr.clone()),
                Some(_) => return wrong(place, format!("{} is given twice", arguments[at])),
                None => return wrong(place, format!("{name} has too many arguments: {usage}")),
            }
        }
        Ok(given)
    }
}

/// Writes the tables of window functions as queries of their own (`TABLE t` as `(SELECT * FROM t)`): whoever looks in a statement for the tables that
/// it names, as a session with a catalogue does before it plans, finds them there.
pub(super) fn name_tables(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => _ = statement.visit(&mut NameTables),
        Statement::Explain(explain) => name_tables(&mut explain.statement),
        _ => {}
    }
}

struct NameTables;

impl VisitorMut for NameTables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        if let Some((Call { name, mut arguments, .. }, alias)) = Call::of(relation) {
            arguments.iter_mut().for_each(name_table);
            let list = FunctionArgumentList { duplicate_treatment: None, args: arguments, clauses: Vec::new() };
            let expr = Expr::Function(Function {
                name,
                uses_odbc_syntax: false,
                parameters: FunctionArguments::None,
                args: FunctionArguments::List(list),
                filter: None,
                null_treatment: None,
                over: None,
                within_group: Vec::new(),
            });
            // In `TABLE( )` the function is not taken for a table of its name.
            *relation = TableFactor::TableFunction { expr, alias };
        }
        ControlFlow::Continue(())
    }
}

fn name_table(argument: &mut FunctionArg) {
    let (FunctionArg::Unnamed(arg) | FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. }) = argument;
    let FunctionArgExpr::Expr(Expr::Function(function)) = arg else { return };
    let name = argument_of(function, TABLE).and_then(name_of);
    if let (Some(name), FunctionArguments::List(list)) = (name, &mut function.args)
        && let Some(query) = all_of(&name)
    {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(Box::new(query))))];
    }
}

/// `SELECT * FROM name`.
fn all_of(name: &ObjectName) -> Option<Query> {
    let text = format!("SELECT * FROM {name}");
    let parsed = DFParserBuilder::new(text.as_str())
        .with_dialect(&GenericDialect {})
        .build()
        .ok()?
        .parse_statements()
        .ok()?
        .pop_front()?;
    match parsed {
        Statement::Statement(statement) => match *statement {
            ast::Statement::Query(query) => Some(*query),
            _ => None,
        },
        _ => None,
    }
}

fn name_of(expr: &Expr) -> Option<ObjectName> {
    match expr {
        Expr::Identifier(word) => Some(ObjectName::from(vec![word.clone()])),
        Expr::CompoundIdentifier(words) => Some(ObjectName::from(words.clone())),
        _ => None,
    }
}

/// The name, if it is one word.
fn single(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

/// The only argument of a call of a function of this name.
fn argument_of<'a>(function: &'a Function, name: &str) -> Option<&'a Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => {
            single(&function.name).filter(|word| word.value.eq_ignore_ascii_case(name)).map(|_| expr)
        }
        _ => None,
    }
}

fn named(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// The rows that get windows, and the keys that have sessions of their own.
fn table(data: Expr, kind: Kind, place: Span, context: &mut dyn RelationPlannerContext) -> Result<(LogicalPlan, Vec<Ident>)> {
    let function = match data {
        Expr::Subquery(subquery) => {
            let derived = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
            return Ok((context.plan(derived)?, Vec::new()));
        }
        Expr::Function(function) => function,
        other => return wrong(place, format!("`{other}` is no table: write `TABLE {other}`")),
    };
    let relation = match argument_of(&function, TABLE) {
        Some(Expr::Subquery(subquery)) => {
            TableFactor::Derived { lateral: false, subquery: subquery.clone(), alias: None, sample: None }
        }
        other => match other.and_then(name_of) {
            Some(name) => named(name),
            None => return wrong(place, format!("the first argument is a table: {}", kind.usage)),
        },
    };
    let mut keys = Vec::new();
    if let Some(WindowType::WindowSpec(partition)) = &function.over {
        if kind.name != "SESSION" {
            return wrong(place, format!("{} has the same windows for all keys: PARTITION BY is for SESSION", kind.name));
        }
        for key in &partition.partition_by {
            let Expr::Identifier(word) = key else { return wrong(place, format!("PARTITION BY names columns: `{key}` is none")) };
            keys.push(word.clone());
        }
    }
    Ok((context.plan(relation)?, keys))
}

/// The name in `DESCRIPTOR(name)`.
fn descriptor(time: Expr, kind: Kind) -> Result<Ident> {
    let place = time.span();
    match &time {
        Expr::Function(function) => match argument_of(function, "DESCRIPTOR") {
            Some(Expr::Identifier(word)) => Ok(word.clone()),
            Some(other) => wrong(place, format!("DESCRIPTOR names one column of the table: `{other}` is none")),
            None => wrong(place, format!("the time is one column, DESCRIPTOR(time): {}", kind.usage)),
        },
        other => wrong(place, format!("the time is written DESCRIPTOR({other}): {}", kind.usage)),
    }
}

/// A column of the table; the error is the one of every name in a query that is not there.
fn column(word: &Ident, input: &LogicalPlan, context: &mut dyn RelationPlannerContext) -> Result<Column> {
    let name = context.normalize_ident(word.clone());
    let columns = input.schema().columns();
    match columns.iter().filter(|column| column.name == name).collect::<Vec<_>>().as_slice() {
        [column] => Ok((*column).clone()),
        [] => {
            let missing = SchemaError::FieldNotFound { field: Box::new(Column::from_name(name)), valid_fields: columns.clone() };
            Err(DataFusionError::SchemaError(Box::new(missing), Box::new(None)))
        }
        _ => wrong(word.span, format!("several columns are called `{name}`")),
    }
}

/// An error at a place of the query, which is told as the parser tells it.
fn wrong<T>(place: Span, message: impl Display) -> Result<T> {
    match place.start.line {
        0 => plan_err!("{message}"),
        line => plan_err!("{message}; at Line: {line}, Column: {}", place.start.column),
    }
}

/// The fields of an interval, from the largest, in microseconds.
const FIELDS: [i64; 4] = [86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000];

/// How long an interval is. Months have no length.
fn micros(expr: &Expr) -> std::result::Result<i64, String> {
    let interval = match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            return micros(expr)?.checked_neg().ok_or_else(|| "the interval is too long".into());
        }
        Expr::Nested(inner) => return micros(inner),
        Expr::Interval(interval) => interval,
        other => return Err(format!("`{other}` is no interval: write INTERVAL '10' MINUTES")),
    };
    let text = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => text.trim(),
            other => return Err(format!("{other} is no length of time")),
        },
        other => return Err(format!("`{other}` is no length of time: it is a literal")),
    };
    let unit = |field: &Option<DateTimeField>| match field {
        Some(DateTimeField::Day | DateTimeField::Days) => Ok(0),
        Some(DateTimeField::Hour | DateTimeField::Hours) => Ok(1),
        Some(DateTimeField::Minute | DateTimeField::Minutes) => Ok(2),
        Some(DateTimeField::Second | DateTimeField::Seconds) => Ok(3),
        Some(DateTimeField::Year | DateTimeField::Years | DateTimeField::Month | DateTimeField::Months) => {
            Err(format!("`{interval}` has no fixed length: a window is of days, hours, minutes and seconds"))
        }
        Some(other) => Err(format!("a window is of days, hours, minutes and seconds, not of {other}")),
        None => Err(format!("`{interval}` lacks its unit: INTERVAL '10' MINUTES")),
    };
    let first = unit(&interval.leading_field)?;
    let last = if interval.last_field.is_some() { unit(&interval.last_field)? } else { first };
    let no = || format!("`{interval}` cannot be read");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let parts: Vec<&str> = digits.split([' ', ':']).collect();
    if last < first || parts.len() != last - first + 1 {
        return Err(no());
    }
    let mut total = 0i64;
    for (part, field) in parts.into_iter().zip(first..) {
        let (whole, fraction) = match part.split_once('.') {
            Some((whole, fraction)) if field == 3 && (1..=6).contains(&fraction.len()) => (whole, fraction),
            Some(_) => return Err(no()),
            None => (part, ""),
        };
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse::<i64>().map_err(|_| no()),
            false => Err(no()),
        };
        let fraction = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<6}"))? };
        let span = number(whole)?.checked_mul(FIELDS[field]).and_then(|span| span.checked_add(fraction));
        total = span.and_then(|span| total.checked_add(span)).ok_or_else(no)?;
    }
    Ok(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sql: &str) -> String {
        let tokens = tokens(sql).unwrap();
        let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
        words.map(|token| token.token.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_table_argument_becomes_a_call_and_nothing_else_changes() {
        for (sql, expected) in [
            ("TABLE t", "TABLE t"),
            ("f(TABLE t)", "f ( TABLE t )"),
            ("TABLE(tumble(TABLE a.b, x))", "TABLE ( tumble ( __weir_table ( a . b ) , x ) )"),
            ("HOP(DATA => TABLE \"T\", x)", "HOP ( DATA => __weir_table ( \"T\" ) , x )"),
            (
                "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(x), g)",
                "SESSION ( __weir_table ( t ) OVER ( PARTITION BY k ) , DESCRIPTOR ( x ) , g )",
            ),
            ("SESSION(TABLE t PARTITION BY (k, j), d)", "SESSION ( __weir_table ( t ) OVER ( PARTITION BY k , j ) , d )"),
            (
                "SESSION(TABLE t PARTITION BY k, j, DESCRIPTOR(x))",
                "SESSION ( __weir_table ( t ) OVER ( PARTITION BY k , j ) , DESCRIPTOR ( x ) )",
            ),
            ("SESSION(TABLE t PARTITION BY k, GAP => g)", "SESSION ( __weir_table ( t ) OVER ( PARTITION BY k ) , GAP => g )"),
            ("SESSION(TABLE t PARTITION BY (k", "SESSION ( __weir_table ( t ) OVER ( PARTITION BY k )"),
            ("SESSION(TABLE t PARTITION BY", "SESSION ( __weir_table ( t ) OVER ( PARTITION BY )"),
        ] {
            assert_eq!(text(sql), expected, "{sql}");
        }
    }

    fn interval(sql: &str) -> std::result::Result<i64, String> {
        let expr = DFParserBuilder::new(sql).build().unwrap().parse_into_expr().unwrap();
        micros(&expr.expr)
    }

    #[test]
    fn intervals_are_microseconds() {
        for (sql, expected) in [
            ("INTERVAL '10' MINUTES", 600_000_000),
            ("INTERVAL '10' minute", 600_000_000),
            ("INTERVAL 3 HOURS", 10_800_000_000),
            ("INTERVAL '-16' MINUTE", -960_000_000),
            ("-INTERVAL '1' DAY", -86_400_000_000),
            ("INTERVAL '1.5' SECOND", 1_500_000),
            ("INTERVAL '0.000001' SECOND", 1),
            ("INTERVAL '1:30' HOUR TO MINUTE", 5_400_000_000),
            ("INTERVAL '1 02:03:04.5' DAY TO SECOND", 93_784_500_000),
        ] {
            assert_eq!(interval(sql), Ok(expected), "{sql}");
        }
        for sql in [
            "INTERVAL '1-2' YEAR TO MONTH",
            "INTERVAL '1' MONTH",
            "INTERVAL '10 minutes'",
            "INTERVAL '1.5' HOUR",
            "INTERVAL '1 2' DAY TO SECOND",
            "INTERVAL '99999999999999' DAY",
            "INTERVAL 'x' DAY",
            "INTERVAL '' DAY",
            "10",
        ] {
            assert!(interval(sql).is_err(), "{sql}: {:?}", interval(sql));
        }
    }
}
