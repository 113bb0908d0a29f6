//! Plans pipeline files over tables in memory and runs the programs as the engine does.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::util::display::array_value_to_string;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use weir_connect::{DeadLetter, Registry};
use weir_plan::{Aside, Flow, Plan, PlanFailure, Planner, Program, RuleCount, Unresolved, add_rules, vocabulary};
use weir_spec::{Diagnostic, Pipeline};

use crate::memory::{Memory, Table, Tables};

/// Tables and a planner over them.
#[derive(Default)]
pub struct Bench {
    tables: Tables,
}

/// What one sink got.
#[derive(Debug, Default)]
pub struct Got {
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    pub filtered: u64,
    pub dead: Vec<DeadLetter>,
    pub rules: Vec<RuleCount>,
}

impl Bench {
    /// Adds a table of one batch.
    pub fn table(self, name: &str, columns: Vec<(&str, ArrayRef)>) -> Self {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap();
        self.batches(name, vec![batch], &[])
    }

    pub fn batches(self, name: &str, batches: Vec<RecordBatch>, key: &[&str]) -> Self {
        let schema = batches[0].schema();
        let primary_key = key.iter().map(ToString::to_string).collect();
        self.tables.lock().unwrap().insert(name.into(), Table { batches, schema, primary_key });
        self
    }

    fn planner(&self) -> Planner {
        let mut registry = Registry::new();
        registry.add(Arc::new(Memory::new(self.tables.clone())));
        Planner { registry, resolve: Arc::new(Unresolved), base_dir: ".".into(), parallelism: 2 }
    }

    /// Parses the only pipeline of a text. Words that the planner judges are not an error here.
    pub fn pipeline(&self, text: &str) -> Pipeline {
        let registry = self.planner().registry;
        let parsed = weir_spec::parse(text, "pipeline.yaml", &vocabulary(&registry));
        let errors: Vec<&Diagnostic> = parsed.diagnostics.iter().filter(|d| d.severity == weir_spec::Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        parsed.pipelines.into_iter().next().unwrap()
    }

    /// The problems that the parser finds.
    pub fn misspelt(&self, text: &str) -> Vec<Diagnostic> {
        weir_spec::parse(text, "pipeline.yaml", &vocabulary(&self.planner().registry)).diagnostics
    }

    pub fn check(&self, text: &str) -> Vec<Diagnostic> {
        self.planner().check(&self.pipeline(text))
    }

    pub async fn try_plan(&self, text: &str) -> Result<Plan, PlanFailure> {
        self.planner().plan(Arc::new(self.pipeline(text))).await
    }

    pub async fn plan(&self, text: &str) -> Plan {
        self.try_plan(text).await.unwrap()
    }

    /// The diagnostics of a pipeline that cannot be planned, or must not run.
    pub async fn problems(&self, text: &str) -> Vec<Diagnostic> {
        match self.try_plan(text).await {
            Ok(_) => panic!("there is a plan"),
            Err(PlanFailure::Diagnostics(found) | PlanFailure::Refused(_, found)) => found,
            Err(PlanFailure::Error(error)) => panic!("{error:?}"),
        }
    }

    /// Plans `source → transforms → sink` over table `t`.
    pub async fn line(&self, transforms: &str) -> Plan {
        self.plan(&line(transforms)).await
    }

    /// Plans and runs it; gives what the sink got.
    pub async fn run_line(&self, transforms: &str) -> Got {
        let plan = self.line(transforms).await;
        let mut got = self.run(&plan).await;
        got.remove("sink").unwrap_or_else(|| got.into_values().next().unwrap())
    }

    /// Runs every flow.
    pub async fn run(&self, plan: &Plan) -> BTreeMap<String, Got> {
        let mut all = BTreeMap::new();
        for flow in &plan.flows {
            for (output, got) in flow.outputs.iter().zip(self.run_flow(flow).await) {
                all.insert(output.node.clone(), got);
            }
        }
        all
    }

    /// Runs the only flow of a plan, a relational one without a prepared input, which must fail; what it says.
    pub async fn failure(&self, plan: &Plan) -> String {
        let flow = &plan.flows[0];
        let Program::Relational(program) = &flow.program else { panic!("`{}` runs row by row", flow.name) };
        let context = SessionContext::new_with_config(weir_plan::sql::config().with_target_partitions(2));
        for input in &flow.inputs {
            let table = self.tables.lock().unwrap()[&input.stream.name].clone();
            let table = MemTable::try_new(table.schema, vec![table.batches]).unwrap();
            context.register_table(input.table.as_str(), Arc::new(table)).unwrap();
        }
        let frame = program.frames(&context).await.unwrap().remove(0);
        frame.collect().await.unwrap_err().strip_backtrace()
    }

    /// Runs `transform` over the inputs (table of the same name each); gives what the sink got.
    pub async fn run_over(&self, inputs: &[&str], transform: &str) -> Got {
        let plan = self.plan(&over(inputs, transform)).await;
        self.run(&plan).await.remove("out").unwrap()
    }

    pub async fn run_flow(&self, flow: &Flow) -> Vec<Got> {
        let tables: Vec<Table> =
            flow.inputs.iter().map(|input| self.tables.lock().unwrap()[&input.stream.name].clone()).collect();
        let mut all: Vec<Got> = flow
            .outputs
            .iter()
            .map(|output| Got { columns: output.schema.fields().iter().map(|f| f.name().clone()).collect(), ..Got::default() })
            .collect();
        match &flow.program {
            Program::RowLocal(program) => {
                for batch in &tables[0].batches {
                    for (index, output) in program.apply(batch).unwrap().into_iter().enumerate() {
                        assert_eq!(output.batch.schema(), flow.outputs[index].schema, "the batch has the planned schema");
                        let out = output.batch.num_rows() as u64 + output.filtered + output.dead.len() as u64;
                        assert_eq!(out, batch.num_rows() as u64, "rows reconcile");
                        all[index].rows.extend(rows(&output.batch));
                        all[index].filtered += output.filtered;
                        all[index].dead.extend(output.dead);
                        add_rules(&mut all[index].rules, &output.rules);
                    }
                }
            }
            Program::Relational(program) => {
                let aside = Arc::new(Aside::default());
                let config = weir_plan::sql::config().with_target_partitions(2).with_extension(aside.clone());
                let context = SessionContext::new_with_config(config);
                for (index, (input, table)) in flow.inputs.iter().zip(tables).enumerate() {
                    let (mut schema, mut batches) = (table.schema, table.batches);
                    if let Some((prepare, after)) = program.prepare(index) {
                        schema = after;
                        batches = batches
                            .iter()
                            .map(|batch| {
                                let output = prepare.apply(batch).unwrap().remove(0);
                                all[0].filtered += output.filtered;
                                all[0].dead.extend(output.dead);
                                add_rules(&mut all[0].rules, &output.rules);
                                output.batch
                            })
                            .collect();
                    }
                    let table = MemTable::try_new(schema, vec![batches]).unwrap();
                    context.register_table(input.table.as_str(), Arc::new(table)).unwrap();
                }
                for (index, frame) in program.frames(&context).await.unwrap().into_iter().enumerate() {
                    let batches = frame.collect().await.unwrap();
                    let Some(first) = batches.first() else { continue };
                    let whole = concat_batches(&first.schema(), &batches).unwrap();
                    let planned = &flow.outputs[index].schema;
                    for (field, real) in planned.fields().iter().zip(whole.schema().fields()) {
                        assert_eq!((field.name(), field.data_type()), (real.name(), real.data_type()));
                    }
                    let mut found = rows(&whole);
                    found.sort();
                    all[index].rows = found;
                }
                let (dead, rules) = aside.take();
                all[0].dead.extend(dead);
                add_rules(&mut all[0].rules, &rules);
            }
            Program::Keyed(_) => panic!("`{}` keeps state: `keyed` runs such flows", flow.name),
        }
        all
    }
}

/// A pipeline over table `t` with these transforms (YAML list, two spaces in).
pub fn line(transforms: &str) -> String {
    let mut text = "pipeline: p\nsource: {memory: {table: t}}\n".to_string();
    if !transforms.is_empty() {
        text.push_str("transforms:\n");
        for transform in transforms.lines() {
            text.push_str(&format!("  {transform}\n"));
        }
    }
    text + "sink: {memory: {table: out}}\n"
}

/// A pipeline with one transform over several tables.
pub fn over(inputs: &[&str], transform: &str) -> String {
    let sources: Vec<String> = inputs.iter().map(|name| format!("{name}: {{memory: {{table: {name}}}}}")).collect();
    format!(
        "pipeline: p\nsources: {{{}}}\ntransforms:\n  x: {{input: [{}], {transform}}}\nsinks: {{out: {{input: x, memory: {{table: out}}}}}}\n",
        sources.join(", "),
        inputs.join(", ")
    )
}

/// Rows as texts: values with a bar between, `∅` for NULL.
pub fn rows(batch: &RecordBatch) -> Vec<String> {
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| match column.is_null(row) {
                    true => "∅".into(),
                    false => array_value_to_string(column, row).unwrap(),
                })
                .collect();
            cells.join("|")
        })
        .collect()
}
