//! `split`: one stream into several.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Builder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Transform;
use super::sql::has_reference;
use super::values::{Named, literal};
use crate::chain::{Chain, OWN};
use crate::problem::{Problem, code};
use crate::program::require::unkept;
use crate::sql::parse_expression;

/// The transform, from its short or its long form.
#[derive(Debug)]
pub(crate) struct Split {
    routes: Routes,
    unmatched: Unmatched,
    /// Written as a list, not as a map.
    listed: bool,
}

#[derive(Debug)]
enum Routes {
    /// The first predicate that is true.
    Where(Vec<(String, String)>),
    /// The value of a column.
    By(String, Named),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Unmatched {
    Error,
    DeadLetter,
    Drop,
    /// To a route of this name.
    Route(String),
}

/// Sends each row one way: to the first route whose predicate is true. What reads a route names it: `input: routed.eu`; a sink that reads
/// the node itself gets every route, each as a stream of its own, `{stream}_{route}`.
///
/// In short: `split: {eu: "region = 'EU'", rest: default}`. A row that no route takes goes to the route that is `default`; without one
/// the run ends, unless `unmatched` says what becomes of it. NULL is not true, as everywhere in SQL.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Written {
    /// Routes in order: a row goes to the first whose predicate is true.
    routes: Vec<Route>,
    /// Instead of `routes`: the column whose value decides.
    by: Option<String>,
    /// With `by`: the values, a list or a map route → value (or values).
    values: Named,
    /// A row that no route takes: `error` (if absent) ends the run, `dead_letter` sets it aside, `drop` leaves it out; any other word is
    /// the name of a route for it.
    unmatched: Option<String>,
}

/// One route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// Its name.
    name: String,
    /// A SQL predicate over the columns of the input.
    r#where: String,
}

const OPTIONS: [&str; 4] = ["routes", "by", "values", "unmatched"];
const DEFAULT: &str = "default";

impl<'de> Deserialize<'de> for Split {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Value::Object(mut map) = Value::deserialize(deserializer)? else {
            return Err(D::Error::custom("routes are expected"));
        };
        let short: Vec<String> = map.keys().filter(|key| !OPTIONS.contains(&key.as_str())).cloned().collect();
        let mut routes: Vec<(String, String)> = Vec::new();
        let mut otherwise = None;
        for name in short {
            match map.shift_remove(&name) {
                Some(Value::String(word)) if word == DEFAULT => {
                    if let Some(first) = otherwise.replace(name.clone()) {
                        return Err(D::Error::custom(format!("`{first}` and `{name}` are both the default")));
                    }
                }
                Some(Value::String(predicate)) => routes.push((name, predicate)),
                _ => return Err(D::Error::custom(format!("route `{name}` is a predicate, or `default`"))),
            }
        }
        let written: Written = serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?;
        if !written.routes.is_empty() && !routes.is_empty() {
            return Err(D::Error::custom("routes are written either under `routes` or as a map, not both"));
        }
        let listed = !written.routes.is_empty();
        routes.extend(written.routes.into_iter().map(|route| (route.name, route.r#where)));
        let routes = match written.by {
            Some(_) if !routes.is_empty() => return Err(D::Error::custom("`by` and predicates cannot be mixed")),
            Some(column) => Routes::By(column, written.values),
            None if !written.values.0.is_empty() => {
                return Err(D::Error::custom("`values` needs `by`: the column that has them"));
            }
            None => Routes::Where(routes),
        };
        let unmatched = match (otherwise, written.unmatched.as_deref()) {
            (Some(name), None) => Unmatched::Route(name),
            (Some(_), Some(_)) => return Err(D::Error::custom("a `default` route and `unmatched` say the same thing twice")),
            (None, None | Some("error")) => Unmatched::Error,
            (None, Some("dead_letter")) => Unmatched::DeadLetter,
            (None, Some("drop")) => Unmatched::Drop,
            (None, Some(name)) => Unmatched::Route(name.into()),
        };
        Ok(Self { routes, unmatched, listed })
    }
}

impl JsonSchema for Split {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Split".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.root_schema_for::<Written>().to_value();
        if let Some(map) = schema.as_object_mut() {
            map.insert("additionalProperties".into(), serde_json::json!({"type": "string"}));
            map.insert("title".into(), "Split".into());
            map.shift_remove("$schema");
        }
        Schema::try_from(schema).unwrap_or_else(|_| json_schema!({"type": "object"}))
    }
}

impl Split {
    fn names(&self) -> Vec<String> {
        match &self.routes {
            Routes::Where(routes) => routes.iter().map(|(name, _)| name.clone()).collect(),
            Routes::By(_, values) => values.names().cloned().collect(),
        }
    }

    /// Where the predicate of a route stands.
    fn place(&self, index: usize, name: &str) -> String {
        if self.listed { format!("routes/{index}/where") } else { name.to_string() }
    }

    fn predicates(
        &self,
        session: &crate::sql::Session,
        input: &datafusion::logical_expr::LogicalPlan,
    ) -> std::result::Result<Vec<Expr>, Problem> {
        match &self.routes {
            Routes::Where(routes) => routes
                .iter()
                .enumerate()
                .map(|(index, (name, predicate))| {
                    let built = session.expression(predicate, input.schema());
                    built.map_err(|error| Problem::query(&error, &self.place(index, name)))
                })
                .collect(),
            Routes::By(column, values) => {
                let columns = input.schema().columns();
                let Some(at) = columns.iter().position(|known| known.name == *column) else {
                    let names: Vec<String> = columns.into_iter().map(|column| column.name).collect();
                    return Err(Problem::no_column(column, "by", &names));
                };
                let data_type = input.schema().field(at).data_type().clone();
                let one = |written: &Vec<String>| {
                    let literals = written.iter().map(|text| Ok(lit(literal(text, &data_type, "values")?)));
                    let literals = literals.collect::<std::result::Result<Vec<Expr>, Problem>>()?;
                    Ok(Expr::Column(columns[at].clone()).in_list(literals, false))
                };
                values.0.iter().map(|(_, written)| one(written)).collect()
            }
        }
    }
}

impl Transform for Split {
    fn outputs(&self) -> Vec<String> {
        let mut names = self.names();
        if let Unmatched::Route(name) = &self.unmatched
            && !names.contains(name)
        {
            names.push(name.clone());
        }
        names
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = match &self.routes {
            Routes::By(_, values) => values.check("values"),
            Routes::Where(routes) => {
                let parsed = routes.iter().enumerate().filter(|(_, (_, predicate))| !has_reference(predicate));
                parsed
                    .filter_map(|(index, (name, predicate))| {
                        let error = parse_expression(predicate).err()?;
                        Some(Problem::query(&error, &self.place(index, name)))
                    })
                    .collect()
            }
        };
        let names = self.names();
        if names.is_empty() {
            problems.push(
                Problem::new(code::TRANSFORM_OPTIONS, "there is no route")
                    .help("`split: {eu: \"region = 'EU'\", rest: default}`, or `by: region` with `values: [EU, US]`"),
            );
        }
        for (index, name) in names.iter().enumerate() {
            if matches!(self.routes, Routes::Where(_)) && names[..index].contains(name) {
                problems.push(Problem::new(code::TRANSFORM_OPTIONS, format!("two routes are called `{name}`")).option("routes"));
            }
            if name.is_empty() || name.contains('.') {
                let problem = Problem::new(code::TRANSFORM_OPTIONS, format!("a route cannot be called `{name}`"));
                problems.push(problem.option("routes").help("`values: {name: value}` gives a value another name"));
            }
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let route = format!("{OWN}route");
        let mut wrong = None;
        let names = self.names();
        let built = chain.plan(|session, input| {
            let predicates = self.predicates(session, &input).unwrap_or_else(|problem| {
                wrong = Some(problem);
                Vec::new()
            });
            let function = FirstTrue {
                unmatched: self.unmatched.clone(),
                routes: names.len(),
                signature: Signature::variadic_any(Volatility::Immutable),
            };
            // With nothing to choose among the problem is told already; the plan is not used.
            let arguments = if predicates.is_empty() { vec![lit(true)] } else { predicates };
            let chosen = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), arguments));
            let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
            columns.push(chosen.alias(&route));
            LogicalPlanBuilder::from(input).project(columns)?.build()
        });
        if let Some(problem) = wrong {
            return problems.push(problem);
        }
        if let Err(error) = built {
            return problems.push(Problem::query(&error, "routes"));
        }
        for (index, name) in self.outputs().iter().enumerate() {
            let built = chain.port(name, |_, input| {
                let columns = input.schema().columns();
                let (chosen, kept): (Vec<Column>, Vec<Column>) = columns.into_iter().partition(|column| column.name == route);
                let to_rest = matches!(&self.unmatched, Unmatched::Route(rest) if rest == name);
                let own = index < names.len();
                let chosen = || Expr::Column(chosen.first().cloned().unwrap_or_else(|| Column::from_name(route.clone())));
                let this = lit(i32::try_from(index).unwrap_or(i32::MAX));
                let predicate = match (own, to_rest) {
                    (true, true) => chosen().eq(this).or(chosen().is_null()),
                    (true, false) => chosen().eq(this),
                    (false, _) => chosen().is_null(),
                };
                let columns = kept.into_iter().map(Expr::Column).collect::<Vec<_>>();
                LogicalPlanBuilder::from(input).filter(predicate)?.project(columns)?.build()
            });
            if let Err(error) = built {
                problems.push(Problem::query(&error, "routes"));
            }
        }
    }
}

/// The place of the first argument that is true; NULL if none is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FirstTrue {
    unmatched: Unmatched,
    routes: usize,
    signature: Signature,
}

impl ScalarUDFImpl for FirstTrue {
    fn name(&self) -> &str {
        "__weir_route"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let Some(other) = args.arg_fields.iter().find(|field| !matches!(field.data_type(), DataType::Boolean | DataType::Null))
        {
            return datafusion::common::plan_err!(
                "a predicate is true or false, and `{}` is {}",
                other.name(),
                other.data_type()
            );
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Int32, true)))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        const NOWHERE: &str = "no route takes the row";
        let predicates = args
            .args
            .iter()
            .map(|value| Ok(arrow::compute::cast(&value.to_array(args.number_rows)?, &DataType::Boolean)?))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let mut chosen = Int32Builder::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let is_true = |array: &ArrayRef| array.is_valid(row) && array.as_boolean().value(row);
            match predicates.iter().position(is_true) {
                Some(at) => chosen.append_value(i32::try_from(at).unwrap_or(i32::MAX)),
                None => match self.unmatched {
                    Unmatched::Error => {
                        return Err(unkept(format!(
                            "{NOWHERE}: add a `default` route, or say `unmatched: dead_letter` or `drop`"
                        )));
                    }
                    Unmatched::DeadLetter => return exec_err!("{NOWHERE}"),
                    Unmatched::Drop | Unmatched::Route(_) => chosen.append_null(),
                },
            }
        }
        Ok(ColumnarValue::Array(Arc::new(chosen.finish())))
    }
}
