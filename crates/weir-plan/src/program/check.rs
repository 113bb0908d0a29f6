//! The rules of a `data_quality` node, judged batch by batch.
//!
//! A query before this step computes one truth value per rule and row: whether the row breaks the rule. Here it is decided what
//! becomes of the row, and every rule is counted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use weir_error::{Error, Kind, Result};

use crate::model::RuleCount;
use crate::program::expectation::Expectation;
use crate::results::{MOST_SAMPLES, add_samples, sample};

/// The code of a dead letter that a rule made.
pub(crate) const QUARANTINED: &str = "WEIR-QUALITY-001";
/// The code of the error when a rule fails the run.
const FAILED: &str = "WEIR-QUALITY-002";

/// What happens to a row that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// It goes on; the rule counts it.
    Warn,
    /// It is taken out, and counts as filtered.
    Drop,
    /// It becomes a dead letter.
    Quarantine,
    /// The run fails.
    Fail,
}

impl Action {
    /// The word in the spec.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Drop => "drop",
            Self::Quarantine => "quarantine",
            Self::Fail => "fail",
        }
    }
}

/// How many rows may break a rule before the run fails, whatever the action is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) failures: Option<u64>,
    pub(crate) fraction: Option<f64>,
}

impl Limits {
    pub(crate) fn any(self) -> bool {
        self.failures.is_some() || self.fraction.is_some()
    }
}

/// One rule about rows.
#[derive(Debug)]
pub(crate) struct RowRule {
    pub(crate) name: String,
    /// The input's column that is true where the row breaks the rule.
    pub(crate) flag: usize,
    /// Columns whose values the reason shows.
    pub(crate) shown: Vec<usize>,
    /// What should have been: `at least 0`.
    pub(crate) expected: String,
    pub(crate) action: Action,
    pub(crate) limits: Limits,
}

/// All rules of a node.
#[derive(Debug)]
pub(crate) struct Check {
    node: String,
    pub(crate) rules: Vec<RowRule>,
    /// Rules about all rows together.
    pub(crate) whole: Vec<Expectation>,
    /// The columns that go on: the first ones of the input, without the flags.
    schema: SchemaRef,
}

/// What the rules say about a batch.
pub(crate) struct Judged {
    /// Rows that go on; `None` = all. Without NULLs.
    pub(crate) kept: Option<BooleanArray>,
    pub(crate) filtered: u64,
    /// Rows for the dead letters with the reason, ascending.
    pub(crate) dead: Vec<(usize, String)>,
    /// One for each row rule, in order.
    pub(crate) counts: Vec<RuleCount>,
    /// The first row that breaks each rule, in words.
    first: Vec<Option<String>>,
}

impl Check {
    pub(crate) fn new(node: &str, rules: Vec<RowRule>, whole: Vec<Expectation>, schema: SchemaRef) -> Self {
        Self { node: node.into(), rules, whole, schema }
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether one row can decide about all others, so that nothing may be committed before the last was seen.
    pub(crate) fn decides_together(&self) -> bool {
        !self.whole.is_empty() || self.rules.iter().any(|rule| rule.action == Action::Fail || rule.limits.any())
    }

    /// Whether the end of the stream must be seen, which a log does not have.
    pub(crate) fn needs_the_end(&self) -> bool {
        !self.whole.is_empty() || self.rules.iter().any(|rule| rule.limits.any())
    }

    /// The batch's columns without the flags.
    pub(crate) fn columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        batch.columns()[..self.schema.fields().len()].to_vec()
    }

    /// Judges a batch. No rule fails the run here: see [`Self::refuse_at_once`] and [`Tally`].
    pub(crate) fn judge(&self, batch: &RecordBatch) -> Result<Judged> {
        let rows = batch.num_rows();
        let mut worst: Vec<Option<Action>> = vec![None; rows];
        let mut reasons: Vec<(usize, String)> = Vec::new();
        let (mut counts, mut first) = (Vec::with_capacity(self.rules.len()), Vec::with_capacity(self.rules.len()));
        for rule in &self.rules {
            let flags = batch.column(rule.flag).as_boolean_opt();
            let flags = flags.ok_or_else(|| Error::internal("a rule gave something other than truth values"))?;
            let broken: Vec<usize> = (0..rows).filter(|&row| flags.is_valid(row) && flags.value(row)).collect();
            first.push(broken.first().map(|&row| self.told(rule, batch, row)));
            for &row in &broken {
                worst[row] = worst[row].max(Some(rule.action));
                if rule.action == Action::Quarantine {
                    reasons.push((row, self.told(rule, batch, row)));
                }
            }
            counts.push(RuleCount {
                node: self.node.clone(),
                rule: rule.name.clone(),
                action: rule.action.word().into(),
                checked: rows as u64,
                failed: broken.len() as u64,
                samples: self.samples(rule, batch, &broken),
            });
        }
        let out = |row: &usize| matches!(worst[*row], Some(Action::Drop | Action::Quarantine));
        let filtered = worst.iter().filter(|worst| **worst == Some(Action::Drop)).count() as u64;
        let kept = (0..rows).any(|row| out(&row)).then(|| (0..rows).map(|row| Some(!out(&row))).collect());
        reasons.sort_by_key(|(row, _)| *row);
        let mut dead: Vec<(usize, String)> = Vec::new();
        for (row, reason) in reasons.into_iter().filter(|(row, _)| worst[*row] == Some(Action::Quarantine)) {
            match dead.last_mut() {
                Some((last, told)) if *last == row => {
                    told.push_str("; ");
                    told.push_str(&reason);
                }
                _ => dead.push((row, reason)),
            }
        }
        Ok(Judged { kept, filtered, dead, counts, first })
    }

    fn samples(&self, rule: &RowRule, batch: &RecordBatch, broken: &[usize]) -> Vec<String> {
        let mut samples = Vec::new();
        for &row in broken.iter().take(MOST_SAMPLES) {
            add_samples(&mut samples, sample(batch, &rule.shown, row).as_slice());
        }
        samples
    }

    fn told(&self, rule: &RowRule, batch: &RecordBatch, row: usize) -> String {
        let shown: Vec<String> = rule
            .shown
            .iter()
            .map(|&at| {
                let column = batch.column(at);
                let value = match column.is_null(row) {
                    true => "NULL".into(),
                    false => format!("`{}`", array_value_to_string(column, row).unwrap_or_default()),
                };
                format!("{} is {value}", batch.schema_ref().field(at).name())
            })
            .collect();
        match shown.is_empty() {
            true => format!("rule `{}`: {}", rule.name, rule.expected),
            false => format!("rule `{}`: {}; expected: {}", rule.name, shown.join(", "), rule.expected),
        }
    }

    /// Row by row, without an end (`mode: cdc`): a rule that fails the run does so at its first row.
    pub(crate) fn refuse_at_once(&self, judged: &Judged) -> Result<()> {
        for (rule, reason) in self.rules.iter().zip(&judged.first) {
            if let (Action::Fail, Some(reason)) = (rule.action, reason) {
                return Err(refused(&self.node, reason));
            }
        }
        Ok(())
    }

    /// The columns of the rows that go on.
    pub(crate) fn passed(&self, batch: &RecordBatch, judged: &Judged) -> Result<RecordBatch, ArrowError> {
        let mut columns = self.columns(batch);
        let mut rows = batch.num_rows();
        if let Some(kept) = &judged.kept {
            rows = kept.true_count();
            columns = columns.iter().map(|column| filter(column, kept)).collect::<Result<_, _>>()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

fn refused(node: &str, reason: &str) -> Error {
    Error::new(FAILED, Kind::Data, "a data quality rule fails the run")
        .at(format!("node `{node}`"))
        .because(reason)
        .hint("nothing of this run is committed; correct the data, or give the rule another `on_fail` or limit")
}

/// The counts of one pass over all rows, and the limits held against them.
pub(crate) struct Tally {
    check: Arc<Check>,
    rules: Vec<(RuleCount, Option<String>)>,
}

impl Tally {
    pub(crate) fn new(check: Arc<Check>) -> Self {
        let count = |rule: &RowRule| {
            let (node, name, action) = (check.node.clone(), rule.name.clone(), rule.action.word().into());
            (RuleCount { node, rule: name, action, checked: 0, failed: 0, samples: Vec::new() }, None)
        };
        let rules = check.rules.iter().map(count).collect();
        Self { check, rules }
    }

    /// Adds a batch; an error as soon as a count is over its limit.
    pub(crate) fn add(&mut self, judged: &Judged) -> Result<()> {
        for ((rule, (count, reason)), (more, first)) in
            self.check.rules.iter().zip(&mut self.rules).zip(judged.counts.iter().zip(&judged.first))
        {
            count.checked += more.checked;
            count.failed += more.failed;
            if reason.is_none() {
                reason.clone_from(first);
            }
            let most = match (rule.action, rule.limits) {
                (Action::Fail, limits) if !limits.any() => Some(0),
                (_, limits) => limits.failures,
            };
            if let (Some(most), Some(reason)) = (most.filter(|most| count.failed > *most), reason.as_ref()) {
                let told = match most {
                    0 => reason.clone(),
                    most => format!("more than {most} rows break it; the first: {reason}"),
                };
                return Err(refused(&self.check.node, &told));
            }
        }
        Ok(())
    }

    /// The end: fractions are known now.
    pub(crate) fn finish(&self) -> Result<()> {
        for (rule, (count, reason)) in self.check.rules.iter().zip(&self.rules) {
            let (Some(most), Some(reason)) = (rule.limits.fraction, reason) else { continue };
            // Exact for counts below 2^53, and a fraction is a decision of people.
            if count.failed as f64 > most * count.checked as f64 {
                let told = format!(
                    "{} of {} rows break it, more than the fraction {most}; the first: {reason}",
                    count.failed, count.checked
                );
                return Err(refused(&self.check.node, &told));
            }
        }
        Ok(())
    }
}

/// A rule about all rows that does not hold.
pub(crate) fn whole_refused(node: &str, reason: &str) -> Error {
    refused(node, reason)
}
