//! What rules counted on its way to sinks (`input: checked.results`): what an epoch leaves for them, and what waits.
//!
//! Of a stream there is one row per rule and epoch. Of a batch, whose epochs mean nothing to anybody, one per rule and stream: its results
//! go when everything is committed, so all epochs are known.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use weir_error::Result;
use weir_plan::results::{KeptResult, ResultsSink, RuleFacts, RuleResult, add_samples, batch, schema};
use weir_plan::{Plan, RuleCount};
use weir_spec::model::Mode;

use crate::carrier::{Kept, Portion};
use crate::run::RunContext;
use crate::store::StateStore;

/// How the flows in the checkpoint begin; the sink follows. No stream is called so.
pub(crate) const FLOWS: &str = "$results.";

/// Which sinks want the results of which nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted(Vec<(String, Vec<String>)>);

impl Wanted {
    pub(crate) fn by(plan: &Plan) -> Self {
        let nodes = |sink: &ResultsSink| sink.rules.iter().map(|rule| rule.node.clone()).collect();
        Self(plan.results.iter().map(|sink| (sink.output.node.clone(), nodes(sink))).collect())
    }

    /// What an epoch with these counts leaves. Rules that met no row leave nothing.
    pub(crate) fn of(&self, counts: &[RuleCount]) -> Vec<RuleResult> {
        let of_sink = |(sink, nodes): &(String, Vec<String>)| {
            let met = counts.iter().filter(|count| count.checked > 0 && nodes.contains(&count.node));
            let result =
                |count: &RuleCount| RuleResult { sink: sink.clone(), count: count.clone(), samples: count.samples.clone() };
            met.map(result).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_sink).collect()
    }
}

/// The results of a run for one sink.
pub(crate) struct RuleResults {
    store: StateStore,
    pipeline: String,
    run_id: String,
    sink: String,
    rules: Vec<RuleFacts>,
    /// The run has an end: epochs are added up.
    whole: bool,
}

impl RuleResults {
    pub(crate) fn of(run: &RunContext, plan: &Plan, sink: &ResultsSink) -> Self {
        Self {
            store: run.store.clone(),
            pipeline: run.identity.pipeline.clone(),
            run_id: run.identity.run_id.clone(),
            sink: sink.output.node.clone(),
            rules: sink.rules.clone(),
            whole: plan.pipeline.mode != Mode::Streaming,
        }
    }

    async fn next(&self, after: i64) -> Result<Vec<KeptResult>> {
        self.store.rule_results(&self.pipeline, &self.run_id, &self.sink, after).await
    }
}

/// One for each rule of each flow, in the order in which they were met first. The number, time and epoch are the last ones.
#[derive(Default)]
struct Sums {
    places: BTreeMap<(String, String, String), usize>,
    sums: Vec<KeptResult>,
}

impl Sums {
    fn add(&mut self, kept: KeptResult) {
        let count = &kept.result.count;
        let key = (kept.flow.clone(), count.node.clone(), count.rule.clone());
        let Some(&at) = self.places.get(&key) else {
            self.places.insert(key, self.sums.len());
            self.sums.push(kept);
            return;
        };
        let sum = &mut self.sums[at];
        (sum.id, sum.at, sum.epoch) = (kept.id, kept.at, kept.epoch);
        sum.result.count.checked += count.checked;
        sum.result.count.failed += count.failed;
        add_samples(&mut sum.result.samples, &kept.result.samples);
    }
}

#[async_trait]
impl Kept for RuleResults {
    fn flow(&self) -> String {
        format!("{FLOWS}{}", self.sink)
    }

    fn split(&self) -> &'static str {
        "results"
    }

    fn what(&self) -> &'static str {
        "results of rules"
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    async fn after(&self, number: i64) -> Result<Option<Portion>> {
        let mut kept = self.next(number).await?;
        let Some(mut last) = kept.last().map(|kept| kept.id) else { return Ok(None) };
        if self.whole {
            let mut sums = Sums::default();
            while let Some(id) = kept.last().map(|kept| kept.id) {
                last = id;
                kept.into_iter().for_each(|kept| sums.add(kept));
                kept = self.next(last).await?;
            }
            kept = sums.sums;
        }
        let records = batch(&self.pipeline, &self.run_id, &self.rules, &kept)?;
        let source_bytes = records.get_array_memory_size() as u64;
        Ok(Some(Portion { records, last, source_bytes }))
    }

    async fn carried(&self, number: i64) -> Result<()> {
        self.store.rule_results_carried(&self.pipeline, &self.run_id, &self.sink, number).await
    }
}
