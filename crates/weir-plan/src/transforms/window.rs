//! `window`: aggregates over spans of event time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimeUnit};
use datafusion::common::{Column, DataFusionError, exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::explode::taken;
use super::part::part;
use super::sql::has_reference;
use super::{Transform, several};
use crate::chain::{Chain, OWN, quoted};
use crate::options::micros;
use crate::problem::{Problem, code};
use crate::program::require::unkept;
use crate::sql::parse_expression;
use crate::types::show;

/// Aggregates the rows of each window of time, and of each `group_by` in it. Windows are half open, `[window_start, window_end)`, and
/// counted from 1970-01-01T00:00:00 (UTC) and `offset`, as Flink's TUMBLE, HOP, SESSION and CUMULATE have them. The result has
/// `window_start`, `window_end`, the columns of `group_by` and those of `select`; windows without rows are not there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// Windows of this size, one after another.
    #[serde(default)]
    #[schemars(extend("x-weir-format" = "duration", "x-weir-aliases" = ["tumbling"]))]
    tumble: Option<String>,
    /// Windows of a size that begin every `slide`; a row is in several of them.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["sliding", "slide"]))]
    hop: Option<Hop>,
    /// Windows that end when nothing came for so long. Rows exactly so far apart are in one window.
    #[serde(default)]
    #[schemars(extend("x-weir-format" = "duration", "x-weir-aliases" = ["session_gap"]))]
    session: Option<String>,
    /// Windows that begin together and grow by `step` up to `size`.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["cumulative"]))]
    cumulate: Option<Cumulate>,
    /// The column with the time of each row: a timestamp.
    #[schemars(extend("x-weir-aliases" = ["time_column", "event_time"]))]
    on: String,
    /// Moves the beginnings of windows; not for sessions.
    #[serde(default)]
    #[schemars(extend("x-weir-format" = "duration"))]
    offset: Option<String>,
    /// Columns whose values have windows of their own.
    #[serde(default)]
    group_by: Vec<String>,
    /// New column → aggregate in SQL: `revenue: sum(amount)`.
    select: Map<String, Value>,
    /// A row without a time: `error` (if absent) ends the run, `drop` leaves it out.
    #[serde(default)]
    nulls: Nulls,
    /// `mode: streaming`: for how many milliseconds of event time a closed window takes rows that come late, and is given out again, corrected. A sink
    /// with a key takes that as an upsert. Not for sessions.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["allowed_lateness"]))]
    allowed_lateness_ms: u32,
}

/// A sliding window.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hop {
    /// How long each is: a multiple of `slide`.
    #[schemars(extend("x-weir-format" = "duration"))]
    size: String,
    /// How far their beginnings are apart.
    #[schemars(extend("x-weir-format" = "duration"))]
    slide: String,
}

/// A growing window.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cumulate {
    /// How long the longest is: a multiple of `step`.
    #[schemars(extend("x-weir-format" = "duration"))]
    size: String,
    /// How much longer each is than the one before.
    #[schemars(extend("x-weir-format" = "duration"))]
    step: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Nulls {
    #[default]
    Error,
    Drop,
}

/// Durations in one unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// `step` is the distance of beginnings; a tumbling window has `step == size`.
    Hop {
        size: i64,
        step: i64,
    },
    Cumulate {
        size: i64,
        step: i64,
    },
    Session {
        gap: i64,
    },
}

pub(super) const START: &str = "window_start";
pub(super) const END: &str = "window_end";
/// The output for rows that came too late.
const LATE: &str = "late";
/// A row in more windows than this is a mistake of the pipeline.
pub(super) const MOST_WINDOWS: i64 = 100_000;

impl Window {
    /// The one kind of window, in microseconds.
    fn shape(&self) -> std::result::Result<Shape, Problem> {
        let wrong = |message: String, option: &str| Problem::new(code::TRANSFORM_OPTIONS, message).option(option);
        let span = |text: &str, option: &str| match micros(text) {
            Some(span) if span > 0 => Ok(span),
            _ => Err(wrong(format!("`{text}` is no time a window can have"), option)
                .expected("a duration such as 500ms, 5s, 10m, 1h, 1d")),
        };
        let multiple = |size: i64, step: i64, whole: &str, part: &str, option: &str| match size % step {
            0 if size / step > MOST_WINDOWS => Err(wrong(format!("every row would be in {} windows", size / step), option)),
            0 => Ok(()),
            _ => Err(wrong(format!("`{whole}` is no multiple of `{part}`"), option)),
        };
        let mut kinds = Vec::new();
        if let Some(size) = &self.tumble {
            kinds.push(span(size, "tumble").map(|size| Shape::Hop { size, step: size }));
        }
        if let Some(Hop { size, slide }) = &self.hop {
            let shape = || {
                let (long, step) = (span(size, "hop/size")?, span(slide, "hop/slide")?);
                multiple(long, step, size, slide, "hop/size").map(|()| Shape::Hop { size: long, step })
            };
            kinds.push(shape());
        }
        if let Some(gap) = &self.session {
            kinds.push(span(gap, "session").map(|gap| Shape::Session { gap }));
        }
        if let Some(Cumulate { size, step }) = &self.cumulate {
            let shape = || {
                let (long, short) = (span(size, "cumulate/size")?, span(step, "cumulate/step")?);
                multiple(long, short, size, step, "cumulate/size").map(|()| Shape::Cumulate { size: long, step: short })
            };
            kinds.push(shape());
        }
        match kinds.len() {
            1 => kinds.remove(0),
            0 => Err(wrong("there is no window".into(), "on").expected("one of tumble, hop, session, cumulate")),
            _ => Err(wrong("a window is of one kind".into(), "on").expected("one of tumble, hop, session, cumulate")),
        }
    }

    fn offset(&self) -> std::result::Result<i64, Problem> {
        let Some(text) = &self.offset else { return Ok(0) };
        let wrong = |message: &str| Problem::new(code::TRANSFORM_OPTIONS, message).option("offset");
        if self.session.is_some() {
            return Err(wrong("sessions begin with their rows: there is nothing to move"));
        }
        micros(text).ok_or_else(|| wrong("this is no duration").expected("a duration such as 500ms, 5s, 10m, 1h, 1d"))
    }

    fn select(&self) -> std::result::Result<Vec<(&String, &str)>, Problem> {
        if let Some((name, _)) = self.select.iter().find(|(_, value)| !value.is_string()) {
            let message = format!("`{name}` is an aggregate in SQL, as text");
            return Err(Problem::new(code::TRANSFORM_OPTIONS, message).option(format!("select/{name}")));
        }
        Ok(self.select.iter().filter_map(|(name, value)| Some((name, value.as_str()?))).collect())
    }
}

/// How many microseconds a unit has, or how many units a microsecond has.
pub(super) fn in_unit(span: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => (span % 1_000_000 == 0).then_some(span / 1_000_000),
        TimeUnit::Millisecond => (span % 1_000 == 0).then_some(span / 1_000),
        TimeUnit::Microsecond => Some(span),
        TimeUnit::Nanosecond => span.checked_mul(1_000),
    }
}

impl Shape {
    pub(super) fn in_unit(self, unit: TimeUnit) -> Option<Self> {
        let of = |span| in_unit(span, unit);
        Some(match self {
            Self::Hop { size, step } => Self::Hop { size: of(size)?, step: of(step)? },
            Self::Cumulate { size, step } => Self::Cumulate { size: of(size)?, step: of(step)? },
            Self::Session { gap } => Self::Session { gap: of(gap)? },
        })
    }

    /// The windows of one moment, earliest beginning first and shortest first; `None`: beyond the range of the type.
    pub(crate) fn windows(self, at: i64, offset: i64, found: &mut Vec<(i64, i64)>) -> Option<()> {
        let floor = |step: i64| at.checked_sub(at.checked_sub(offset)?.rem_euclid(step));
        match self {
            Self::Hop { size, step } => {
                let last = floor(step)?;
                let mut start = last.checked_sub(size - step)?;
                while start <= last {
                    found.push((start, start.checked_add(size)?));
                    start = start.checked_add(step)?;
                }
            }
            Self::Cumulate { size, step } => {
                let start = floor(size)?;
                let mut length = (at.checked_sub(start)? / step + 1).checked_mul(step)?;
                while length <= size {
                    found.push((start, start.checked_add(length)?));
                    length += step;
                }
            }
            Self::Session { gap } => found.push((at, at.checked_add(gap)?)),
        }
        Some(())
    }
}

impl Transform for Window {
    fn side_outputs(&self) -> Vec<String> {
        vec![LATE.into()]
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.shape().err().into_iter().chain(self.offset().err()).collect();
        if self.session.is_some() && self.allowed_lateness_ms > 0 {
            let message = "a late row could bring sessions together that were given out already: they take no corrections";
            problems.push(Problem::new(code::TRANSFORM_OPTIONS, message).option("allowed_lateness_ms"));
        }
        match self.select() {
            Err(problem) => problems.push(problem),
            Ok(select) => {
                for (name, aggregate) in select {
                    let option = format!("select/{name}");
                    if !has_reference(aggregate)
                        && let Err(error) = parse_expression(aggregate)
                    {
                        problems.push(Problem::query(&error, &option));
                    }
                    if [START, END].contains(&name.as_str()) || self.group_by.contains(name) {
                        problems.push(taken(name, &option));
                    }
                }
            }
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let (shape, offset, select) = match (self.shape(), self.offset(), self.select()) {
            (Ok(shape), Ok(offset), Ok(select)) => (shape, offset, select),
            _ => return,
        };
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let before = problems.len();
        for (index, name) in self.group_by.iter().enumerate() {
            if !names.contains(name) {
                problems.push(Problem::no_column(name, &format!("group_by/{index}"), &names));
            }
        }
        let Some((at, field)) = schema.column_with_name(&self.on) else {
            return problems.push(Problem::no_column(&self.on, "on", &names));
        };
        let DataType::Timestamp(unit, _) = field.data_type() else {
            let message = format!("`{}` is {}, no timestamp", self.on, show(field.data_type()));
            let problem = Problem::new(code::TRANSFORM_OPTIONS, message).option("on");
            return problems.push(problem.help("`cast` it to `timestamp` or `timestamptz` first"));
        };
        let (Some(shape), Some(offset)) = (shape.in_unit(*unit), in_unit(offset, *unit)) else {
            let message = format!("`{}` has no such fractions: it is {}", self.on, show(field.data_type()));
            return problems.push(Problem::new(code::TRANSFORM_OPTIONS, message).option("on"));
        };
        if problems.len() > before {
            return;
        }
        let assign = Assign {
            shape,
            offset,
            nulls: self.nulls,
            lateness: i64::from(self.allowed_lateness_ms) * 1_000,
            slices: false,
            signature: signature(1),
        };
        let lowered = chain.late_port(LATE, 0).and_then(|()| match shape {
            Shape::Session { gap } if chain.streaming() => self.kept_session(chain, assign, gap, at, &select),
            Shape::Session { gap } => self.session(chain, assign, gap, at, &select),
            Shape::Hop { .. } | Shape::Cumulate { .. } => self.fixed(chain, assign, at, &select),
        });
        if let Err(error) = lowered {
            problems.push(Problem::query(&error, "select"));
        }
    }
}

pub(super) fn signature(arguments: usize) -> Signature {
    Signature::any(arguments, Volatility::Immutable)
}

pub(super) fn call(function: impl ScalarUDFImpl + 'static, arguments: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), arguments))
}

impl Window {
    /// Windows that do not depend on other rows: each row gets its own, then they are grouped.
    fn fixed(&self, chain: &mut Chain<'_>, assign: Assign, at: usize, select: &[(&String, &str)]) -> Result<()> {
        let (start, end) = (format!("{OWN}start"), format!("{OWN}end"));
        let names: Vec<String> = chain.schema().fields().iter().map(|field| field.name().clone()).collect();
        if assign.one() {
            chain.plan(|_, input| {
                let columns = input.schema().columns();
                let window = call(assign, vec![Expr::Column(columns[at].clone())]);
                let mut after: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
                after.push(part(window.clone(), "start").alias(&start));
                after.push(part(window, "end").alias(&end));
                LogicalPlanBuilder::from(input).project(after)?.build()
            })?;
        } else {
            let list = |columns: &[Column]| call(assign, vec![Expr::Column(columns[at].clone())]);
            several::lower(chain, list, &names, &[(start.clone(), "start"), (end.clone(), "end")])?;
        }
        let group: Vec<String> = self.group_by.iter().map(|name| quoted(name)).collect();
        let list = |first: Vec<String>, last: Vec<String>| [first, group.clone(), last].concat().join(", ");
        let columns = list(vec![format!("{start} AS {START}"), format!("{end} AS {END}")], aggregates(select));
        let grouping = list(vec![start.clone(), end], Vec::new());
        // A row that was left out for its NULL has no window.
        chain.query(&format!("SELECT {columns} FROM input WHERE {start} IS NOT NULL GROUP BY {grouping}"))
    }

    /// Sessions: a row is the first of one if the row before it is too far away. Equal times are one moment.
    fn session(&self, chain: &mut Chain<'_>, assign: Assign, gap: i64, at: usize, select: &[(&String, &str)]) -> Result<()> {
        let own = |name: &str| format!("{OWN}{name}");
        let (time, before, first, number) = (own("time"), own("before"), own("first"), own("number"));
        let group: Vec<String> = self.group_by.iter().map(|name| quoted(name)).collect();
        let partition = if group.is_empty() { String::new() } else { format!("PARTITION BY {} ", group.join(", ")) };
        let end = Assign { nulls: Nulls::Drop, ..assign.clone() };
        chain.plan(|_, input| {
            let columns = input.schema().columns();
            let window = call(assign, vec![Expr::Column(columns[at].clone())]);
            let mut after: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
            after.push(part(window, "start").alias(&time));
            LogicalPlanBuilder::from(input).project(after)?.build()
        })?;
        chain.query(&format!(
            "SELECT *, lag({time}) OVER ({partition}ORDER BY {time}) AS {before} FROM input WHERE {time} IS NOT NULL"
        ))?;
        chain.plan(|_, input| {
            let columns = input.schema().columns();
            let of =
                |name: &str| columns.iter().filter(|column| column.name == name).cloned().map(Expr::Column).collect::<Vec<_>>();
            let apart = call(Apart { gap, signature: signature(2) }, [of(&before), of(&time)].concat());
            let mut after: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
            after.push(apart.alias(&first));
            LogicalPlanBuilder::from(input).project(after)?.build()
        })?;
        // The frame is by value, so rows of one time get one number whichever of them is the first.
        chain.query(&format!(
            "SELECT *, sum({first}) OVER ({partition}ORDER BY {time} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS {number} FROM input"
        ))?;
        self.sessions(chain, &time, &number, end, select)
    }

    /// Sessions of a stream: the operator brings rows together, and only has to know the time of each.
    fn kept_session(&self, chain: &mut Chain<'_>, assign: Assign, gap: i64, at: usize, select: &[(&String, &str)]) -> Result<()> {
        let (time, number) = (format!("{OWN}time"), format!("{OWN}number"));
        let end = Assign { nulls: Nulls::Drop, shape: Shape::Session { gap }, ..assign.clone() };
        chain.plan(|_, input| {
            let columns = input.schema().columns();
            let window = call(assign, vec![Expr::Column(columns[at].clone())]);
            let mut after: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
            after.push(part(window.clone(), "start").alias(&time));
            after.push(part(window, "start").alias(&number));
            LogicalPlanBuilder::from(input).project(after)?.build()
        })?;
        self.sessions(chain, &time, &number, end, select)
    }

    /// One row for each session, whose rows have one number.
    fn sessions(&self, chain: &mut Chain<'_>, time: &str, number: &str, end: Assign, select: &[(&String, &str)]) -> Result<()> {
        let group: Vec<String> = self.group_by.iter().map(|name| quoted(name)).collect();
        let (from, to) = (format!("{OWN}from"), format!("{OWN}to"));
        let list = |first: Vec<String>, last: Vec<String>| [first, group.clone(), last].concat().join(", ");
        let columns = list(vec![format!("min({time}) AS {from}"), format!("max({time}) AS {to}")], aggregates(select));
        let grouping = list(Vec::new(), vec![number.to_string()]);
        chain.query(&format!("SELECT {columns} FROM input WHERE {time} IS NOT NULL GROUP BY {grouping}"))?;
        chain.plan(|_, input| {
            let columns = input.schema().columns();
            let mut after = Vec::new();
            for column in columns {
                let name = column.name.clone();
                let expr = Expr::Column(column);
                after.push(match name {
                    name if name == from => expr.alias(START),
                    name if name == to => part(call(end.clone(), vec![expr]), "end").alias(END),
                    _ => expr,
                });
            }
            LogicalPlanBuilder::from(input).project(after)?.build()
        })
    }
}

fn aggregates(select: &[(&String, &str)]) -> Vec<String> {
    select.iter().map(|(name, aggregate)| format!("{aggregate} AS {}", quoted(name))).collect()
}

/// The windows of a time: a struct if there is always one, else a list of structs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Assign {
    pub(crate) shape: Shape,
    pub(crate) offset: i64,
    pub(super) nulls: Nulls,
    /// For how many microseconds a closed window takes corrections.
    pub(crate) lateness: i64,
    /// For a stream: in the place of the windows the one slice of them that has the time. The operator knows which windows have it.
    pub(super) slices: bool,
    pub(super) signature: Signature,
}

impl Assign {
    pub(super) fn one(&self) -> bool {
        if self.slices {
            return true;
        }
        match self.shape {
            Shape::Hop { size, step } => size == step,
            Shape::Cumulate { .. } => false,
            Shape::Session { .. } => true,
        }
    }

    /// The slice in the place of the windows.
    pub(crate) fn sliced(&self) -> Self {
        Self { slices: true, ..self.clone() }
    }

    /// The one window, or slice, of each time; NULL for NULL.
    fn ones(&self, moments: &Int64Array) -> Result<(Int64Array, Int64Array)> {
        if self.nulls == Nulls::Error && moments.null_count() > 0 {
            return Err(timeless());
        }
        let start = |at: i64| match self.shape {
            Shape::Hop { step, .. } | Shape::Cumulate { step, .. } => {
                at.checked_sub(at.checked_sub(self.offset)?.rem_euclid(step))
            }
            Shape::Session { .. } => Some(at),
        };
        let (Shape::Hop { step: length, .. } | Shape::Cumulate { step: length, .. } | Shape::Session { gap: length }) =
            self.shape;
        let starts = moments.try_unary::<_, Int64Type, _>(|at| start(at).ok_or_else(beyond))?;
        let ends = starts.try_unary::<_, Int64Type, _>(|start| start.checked_add(length).ok_or_else(beyond))?;
        Ok((starts, ends))
    }
}

fn timeless() -> DataFusionError {
    unkept("a row has no time: filter such rows out before, or say `nulls: drop` in a `window`")
}

fn beyond() -> DataFusionError {
    exec_datafusion_err!("the window of a time is beyond the range of its type")
}

fn fields(time: &DataType) -> Vec<Field> {
    vec![Field::new("start", time.clone(), true), Field::new("end", time.clone(), true)]
}

/// The numbers behind timestamps of any unit.
pub(super) fn numbers(array: &ArrayRef) -> Result<Int64Array> {
    Ok(arrow::compute::cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

pub(crate) fn times(numbers: PrimitiveArray<Int64Type>, time: &DataType) -> Result<ArrayRef> {
    let data = numbers.into_data().into_builder().data_type(time.clone()).build()?;
    Ok(arrow::array::make_array(data))
}

impl ScalarUDFImpl for Assign {
    fn name(&self) -> &str {
        "__weir_windows"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let fields = fields(&types[0]);
        Ok(if self.one() { DataType::Struct(Fields::from(fields)) } else { several::list_of(fields) })
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let moments = numbers(&array)?;
        let time = array.data_type();
        if self.one() {
            let (starts, ends) = self.ones(&moments)?;
            let parts = vec![times(starts, time)?, times(ends, time)?];
            let windows = StructArray::try_new_with_length(Fields::from(fields(time)), parts, None, moments.len())?;
            return Ok(ColumnarValue::Array(Arc::new(windows)));
        }
        let (mut windows, mut lengths) = (Vec::new(), Vec::with_capacity(moments.len()));
        let (mut starts, mut ends): (Vec<Option<i64>>, Vec<Option<i64>>) = (Vec::new(), Vec::new());
        for row in 0..moments.len() {
            if moments.is_null(row) {
                if self.nulls == Nulls::Error {
                    return Err(timeless());
                }
                lengths.push(0);
                continue;
            }
            windows.clear();
            self.shape.windows(moments.value(row), self.offset, &mut windows).ok_or_else(beyond)?;
            lengths.push(windows.len());
            starts.extend(windows.iter().map(|(start, _)| Some(*start)));
            ends.extend(windows.iter().map(|(_, end)| Some(*end)));
        }
        let parts = vec![times(Int64Array::from(starts), time)?, times(Int64Array::from(ends), time)?];
        Ok(ColumnarValue::Array(several::build(fields(time), parts, &lengths)?))
    }
}

/// 1 where the second time is more than `gap` after the first, or there is no first; else 0.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Apart {
    pub(super) gap: i64,
    pub(super) signature: Signature,
}

impl ScalarUDFImpl for Apart {
    fn name(&self) -> &str {
        "__weir_apart"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [before, at] = args.args.as_slice() else { return exec_err!("two times are expected") };
        let (before, at) = (numbers(&before.to_array(args.number_rows)?)?, numbers(&at.to_array(args.number_rows)?)?);
        let apart = (0..at.len()).map(|row| {
            let near = before.is_valid(row) && at.value(row).checked_sub(before.value(row)).is_some_and(|span| span <= self.gap);
            i64::from(!near)
        });
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from_iter_values(apart))))
    }
}
