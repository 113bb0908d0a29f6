//! What each kind of rule is: a SQL expression that is true where a row breaks it, or a condition over aggregates.

use arrow::datatypes::DataType;
use datafusion::logical_expr::ExprSchemable;
use serde_json::Value;

use super::{Columns, Rule};
use crate::chain::quoted;
use crate::options::micros;
use crate::problem::{Problem, code};
use crate::program::check::Action;
use crate::sql::{Session, Table};
use crate::transforms::keys;
use crate::transforms::sql::has_reference;
use crate::types::show;

/// What a rule is read against.
pub(super) struct Reading<'a> {
    pub(super) session: &'a Session,
    /// The input that is checked.
    pub(super) first: &'a Table,
    /// Inputs that `foreign_key` looks into.
    pub(super) others: &'a [Table],
}

/// A rule about single rows.
pub(super) struct Written {
    /// True where a row breaks it. The input is called `i`.
    pub(super) broken: String,
    /// What must be joined to `i` for that: at most one row for each.
    pub(super) join: String,
    pub(super) shown: Vec<usize>,
    pub(super) expected: String,
}

/// What a rule is about.
pub(super) enum About {
    Row(Written),
    Whole { value: String, holds: String, expected: String, option: &'static str },
}

fn wrong(message: impl Into<String>, option: String) -> Problem {
    Problem::new(code::TRANSFORM_OPTIONS, message).option(option)
}

impl Rule {
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let kinds = [
            ("not_null", self.not_null.is_some()),
            ("unique", self.unique.is_some()),
            ("range", self.range.is_some()),
            ("regex", self.regex.is_some()),
            ("in_set", self.in_set.is_some()),
            ("freshness", self.freshness.is_some()),
            ("row_count", self.row_count.is_some()),
            ("foreign_key", self.foreign_key.is_some()),
            ("sql", self.sql.is_some()),
            ("aggregate", self.aggregate.is_some()),
        ];
        kinds.into_iter().filter(|(_, given)| *given).map(|(kind, _)| kind).collect()
    }

    pub(super) fn plain_name(&self) -> String {
        let kind = self.kinds().first().copied().unwrap_or("rule");
        match self.about().as_slice() {
            [] => kind.into(),
            columns => format!("{kind}_{}", columns.join("_")),
        }
    }

    /// The columns that it names; none of one in SQL, or about all rows.
    pub(super) fn about(&self) -> Vec<String> {
        match self {
            Self { not_null: Some(columns), .. } | Self { unique: Some(columns), .. } => columns.0.clone(),
            Self { range: Some(range), .. } => vec![range.column.clone()],
            Self { regex: Some(pattern), .. } => vec![pattern.column.clone()],
            Self { in_set: Some(set), .. } => vec![set.column.clone()],
            Self { freshness: Some(fresh), .. } => vec![fresh.column.clone()],
            Self { foreign_key: Some(key), .. } => vec![key.column.clone()],
            _ => Vec::new(),
        }
    }

    /// Whether it is a `foreign_key` into this input.
    pub(super) fn looks_into(&self, table: &Table) -> bool {
        let input = self.foreign_key.as_ref().and_then(|key| key.references.rsplit_once('.')).map(|(input, _)| input);
        input.is_some_and(|input| table.names.iter().any(|name| name == input))
    }

    /// What can be said without knowing any column.
    pub(super) fn check(&self, action: Action, place: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        match self.kinds().as_slice() {
            [] => {
                return vec![
                    wrong("a rule without a kind", place.into())
                        .expected("not_null, unique, range, regex, in_set, freshness, row_count, foreign_key, sql, aggregate"),
                ];
            }
            [_] => {}
            many => {
                return vec![
                    wrong(format!("a rule is of one kind, here are {}", many.join(", ")), place.into())
                        .help("write them as rules of their own"),
                ];
            }
        }
        if self.row_count.is_some() || self.aggregate.is_some() {
            if matches!(action, Action::Drop | Action::Quarantine) {
                problems.push(
                    wrong(
                        format!("no single row breaks this rule, so there is none to {}", action.word()),
                        format!("{place}/on_fail"),
                    )
                    .expected("warn, fail"),
                );
            }
            if self.max_failures.is_some() || self.max_fraction.is_some() {
                problems.push(wrong("a rule about all rows has no limit: it holds or not", format!("{place}/max_failures")));
            }
        }
        if self.max_fraction.is_some_and(|part| !(0.0..=1.0).contains(&part)) {
            problems.push(wrong("`max_fraction` is a part of all rows: 0 to 1", format!("{place}/max_fraction")));
        }
        let bounds = match self {
            Self { range: Some(range), .. } => Some((range.min.is_none() && range.max.is_none(), "range")),
            Self { row_count: Some(count), .. } => Some((count.min.is_none() && count.max.is_none(), "row_count")),
            Self { aggregate: Some(aggregate), .. } => Some((aggregate.min.is_none() && aggregate.max.is_none(), "aggregate")),
            _ => None,
        };
        if let Some((true, kind)) = bounds {
            problems.push(wrong(format!("`{kind}` needs `min`, `max` or both"), format!("{place}/{kind}")));
        }
        if let Some(pattern) = &self.regex
            && !has_reference(&pattern.pattern)
            && let Err(error) = regex::Regex::new(&pattern.pattern)
        {
            let why = error.to_string();
            let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
            problems.push(wrong(format!("this pattern cannot be read: {last}"), format!("{place}/regex/pattern")));
        }
        if let Some(fresh) = &self.freshness
            && !has_reference(&fresh.max_age)
            && micros(fresh.max_age.trim()).is_none()
        {
            problems.push(
                wrong(format!("`{}` is no duration", fresh.max_age), format!("{place}/freshness/max_age"))
                    .expected("`500ms`, `10s`, `5m`, `1h`, `1d`"),
            );
        }
        if self.in_set.as_ref().is_some_and(|set| set.values.is_empty()) {
            problems.push(wrong("no value is in an empty set", format!("{place}/in_set/values")));
        }
        problems
    }

    /// The rule over the columns that are there.
    pub(super) fn read(&self, reading: &Reading<'_>, place: &str) -> Result<About, Problem> {
        let about = self.write(reading, place)?;
        if let About::Row(written) = &about
            && written.join.is_empty()
        {
            // Alone, so that what is wrong with it is told at its own place.
            let kind = self.kinds().first().copied().unwrap_or_default();
            let name = reading.first.names.first().map(String::as_str).unwrap_or_default();
            let table = Table { names: reading.first.names.clone(), schema: reading.first.schema.clone(), time: None };
            reading
                .session
                .query(&format!("SELECT {} AS broken FROM {} AS i", written.broken, quoted(name)), &[table])
                .and_then(|planned| reading.session.analyze(planned.plan))
                .map_err(|error| Problem::query(&error, &format!("{place}/{kind}")))?;
        }
        Ok(about)
    }

    fn write(&self, reading: &Reading<'_>, place: &str) -> Result<About, Problem> {
        let row = |broken: String, shown: Vec<usize>, expected: String| {
            Ok(About::Row(Written { broken, join: String::new(), shown, expected }))
        };
        if let Some(columns) = &self.not_null {
            let at = reading.columns(columns, &format!("{place}/not_null"))?;
            let broken: Vec<String> = columns.0.iter().map(|name| format!("{} IS NULL", own(name))).collect();
            return row(broken.join(" OR "), at, "not NULL".into());
        }
        if let Some(columns) = &self.unique {
            let at = reading.columns(columns, &format!("{place}/unique"))?;
            let names: Vec<String> = columns.0.iter().map(|name| own(name)).collect();
            let whole: Vec<String> = names.iter().map(|name| format!("{name} IS NOT NULL")).collect();
            let over = format!("OVER (PARTITION BY {0} ORDER BY {0})", names.join(", "));
            // A row before or after it with the same key. Both windows look at neighbours only: the sort spills, nothing is kept.
            let broken =
                format!("{} AND (row_number() {over} > 1 OR lead({}) {over} IS NOT NULL)", whole.join(" AND "), names[0]);
            return row(broken, at, "in one row only".into());
        }
        if let Some(range) = &self.range {
            let (at, kind) = reading.column(&range.column, &format!("{place}/range/column"))?;
            let name = own(&range.column);
            let bound = |value: &Option<Value>, word: &str| {
                value.as_ref().map(|value| literal(value, &kind, &format!("{place}/range/{word}"))).transpose()
            };
            let (min, max) = (bound(&range.min, "min")?, bound(&range.max, "max")?);
            let sides: Vec<String> =
                min.iter().map(|min| format!("{name} < {min}")).chain(max.iter().map(|max| format!("{name} > {max}"))).collect();
            return row(sides.join(" OR "), vec![at], between(range.min.as_ref(), range.max.as_ref()));
        }
        if let Some(pattern) = &self.regex {
            let (at, kind) = reading.column(&pattern.column, &format!("{place}/regex/column"))?;
            if !matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
                let what = format!("`{}` is {}, and a pattern is about text", pattern.column, show(&kind));
                return Err(wrong(what, format!("{place}/regex/column")));
            }
            let broken = format!("regexp_like({}, {}) IS FALSE", own(&pattern.column), text(&pattern.pattern));
            return row(broken, vec![at], format!("like /{}/", pattern.pattern));
        }
        if let Some(set) = &self.in_set {
            let (at, kind) = reading.column(&set.column, &format!("{place}/in_set/column"))?;
            let values = set
                .values
                .iter()
                .map(|value| literal(value, &kind, &format!("{place}/in_set/values")))
                .collect::<Result<Vec<_>, _>>()?;
            let shown: Vec<String> = set.values.iter().map(plain).collect();
            return row(
                format!("{} NOT IN ({})", own(&set.column), values.join(", ")),
                vec![at],
                format!("one of {}", shown.join(", ")),
            );
        }
        if let Some(fresh) = &self.freshness {
            let (at, kind) = reading.column(&fresh.column, &format!("{place}/freshness/column"))?;
            if !matches!(kind, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64) {
                let what = format!("`{}` is {}, and freshness is about a date or a time", fresh.column, show(&kind));
                return Err(wrong(what, format!("{place}/freshness/column")).help("cast it first"));
            }
            let micros = micros(fresh.max_age.trim()).unwrap_or_default();
            let column = format!("CAST({} AS TIMESTAMP WITH TIME ZONE)", own(&fresh.column));
            let broken = format!("{column} < now() - INTERVAL '{micros} microseconds'");
            return row(broken, vec![at], format!("not older than {}", fresh.max_age));
        }
        if let Some(key) = &self.foreign_key {
            return self.written_key(reading, key, place);
        }
        if let Some(predicate) = &self.sql {
            let option = format!("{place}/sql");
            let schema = datafusion::common::DFSchema::try_from(reading.first.schema.clone());
            let kind = schema.and_then(|schema| reading.session.expression(predicate, &schema)?.get_type(&schema));
            let kind = kind.map_err(|error| Problem::query(&error, &option))?;
            if kind != DataType::Boolean {
                return Err(wrong(format!("a rule is true or false, and this is {}", show(&kind)), option)
                    .help("compare it: `length(name) > 2`"));
            }
            return row(format!("({predicate}) IS FALSE"), Vec::new(), predicate.trim().into());
        }
        if let Some(count) = &self.row_count {
            let (min, max) = (count.min.map(Value::from), count.max.map(Value::from));
            return whole("count(*)", min.as_ref(), max.as_ref(), "row_count");
        }
        match &self.aggregate {
            Some(aggregate) => whole(&aggregate.value, aggregate.min.as_ref(), aggregate.max.as_ref(), "aggregate"),
            None => Err(wrong("a rule without a kind", place.into())),
        }
    }

    fn written_key(&self, reading: &Reading<'_>, key: &super::ForeignKey, place: &str) -> Result<About, Problem> {
        let option = format!("{place}/foreign_key/references");
        let (at, kind) = reading.column(&key.column, &format!("{place}/foreign_key/column"))?;
        let inputs = || reading.others.iter().filter_map(|table| table.names.first()).map(String::as_str);
        let Some((input, column)) = key.references.rsplit_once('.') else {
            return Err(wrong(format!("`{}` is not `input.column`", key.references), option));
        };
        let Some(table) = reading.others.iter().find(|table| table.names.iter().any(|name| name == input)) else {
            let problem = wrong(format!("`{input}` is no other input of this node"), option).nearest(input, inputs());
            return Err(match inputs().next() {
                None => problem.help(format!("name it as a second input: `input: [.., {input}]`")),
                Some(_) => problem.expected(format!("inputs: {}", inputs().collect::<Vec<_>>().join(", "))),
            });
        };
        let Some((_, field)) = table.schema.column_with_name(column) else {
            let names: Vec<String> = table.schema.fields().iter().map(|field| field.name().clone()).collect();
            return Err(Problem::no_column(column, &option, &names));
        };
        keys::comparable((&key.column, &kind), (&key.references, field.data_type()))
            .map_err(|problem| problem.option(&option))?;
        // Each rule joins its own keys, under a name of its own.
        let alias = format!("r{}", place.rsplit('/').next().unwrap_or_default());
        let (name, column) = (quoted(input), quoted(column));
        Ok(About::Row(Written {
            broken: format!("{} IS NOT NULL AND {alias}.__weir_key IS NULL", own(&key.column)),
            join: format!(
                " LEFT JOIN (SELECT DISTINCT {column} AS __weir_key FROM {name} WHERE {column} IS NOT NULL) AS {alias} \
                 ON {} = {alias}.__weir_key",
                own(&key.column)
            ),
            shown: vec![at],
            expected: format!("a value of {}", key.references),
        }))
    }
}

impl Reading<'_> {
    fn column(&self, name: &str, option: &str) -> Result<(usize, DataType), Problem> {
        match self.first.schema.column_with_name(name) {
            Some((at, field)) => Ok((at, field.data_type().clone())),
            None => {
                let names: Vec<String> = self.first.schema.fields().iter().map(|field| field.name().clone()).collect();
                Err(Problem::no_column(name, option, &names))
            }
        }
    }

    fn columns(&self, columns: &Columns, option: &str) -> Result<Vec<usize>, Problem> {
        columns.0.iter().map(|name| self.column(name, option).map(|(at, _)| at)).collect()
    }
}

fn whole(value: &str, min: Option<&Value>, max: Option<&Value>, option: &'static str) -> Result<About, Problem> {
    let sides: Vec<String> = [min.map(|min| (">=", min)), max.map(|max| ("<=", max))]
        .into_iter()
        .flatten()
        .map(|(operator, bound)| format!("({value}) {operator} {}", plain_literal(bound)))
        .collect();
    Ok(About::Whole { value: value.into(), holds: sides.join(" AND "), expected: between(min, max), option })
}

/// A column of the input that is checked.
fn own(name: &str) -> String {
    format!("i.{}", quoted(name))
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

fn plain_literal(value: &Value) -> String {
    match value {
        Value::String(value) => text(value),
        other => other.to_string(),
    }
}

/// A value as SQL beside a column of this type, so that the comparison is the column's own.
fn literal(value: &Value, kind: &DataType, option: &str) -> Result<String, Problem> {
    let textual = matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match value {
        Value::Number(number) if kind.is_numeric() => Ok(number.to_string()),
        Value::Number(number) if textual => Ok(text(&number.to_string())),
        Value::String(value) if kind.is_numeric() => match value.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(value.trim().into()),
            _ => Err(wrong(format!("`{value}` is no number, and the column is {}", show(kind)), option.into())),
        },
        Value::String(value) if !matches!(kind, DataType::Boolean) => Ok(text(value)),
        Value::Bool(truth) if matches!(kind, DataType::Boolean) => Ok(truth.to_string()),
        other => Err(wrong(format!("`{}` does not compare with {}", plain(other), show(kind)), option.into())),
    }
}

fn between(min: Option<&Value>, max: Option<&Value>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{} to {}", plain(min), plain(max)),
        (Some(min), None) => format!("at least {}", plain(min)),
        (None, Some(max)) => format!("at most {}", plain(max)),
        (None, None) => String::new(),
    }
}
