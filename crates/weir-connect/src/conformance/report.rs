//! What the kit found, as data; maturity is computed from it and never typed by hand.

use std::fmt;

use serde::Serialize;

/// How much a failed check costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Rows could be lost, repeated or bent.
    Safety,
    /// A promise of the contract that does not endanger rows: good errors, bounds, limits.
    Comfort,
}

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "note")]
pub enum Outcome {
    /// It holds; the note says what was seen.
    Passed(String),
    /// It does not apply to this connector; the note says by which declaration.
    Skipped(String),
    /// It does not hold; the note says what was expected and what came.
    Failed(String),
}

/// One line of a [`Report`].
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The check, `sink_crash_after_flush`.
    pub name: &'static str,
    /// What a failure would cost.
    pub weight: Weight,
    /// How it ended.
    pub outcome: Outcome,
}

/// How far a connector may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Maturity {
    /// A safety check fails: do not trust it with data.
    Alpha,
    /// Every safety check holds, some other does not.
    Beta,
    /// Everything that applies holds.
    Stable,
}

/// Every check with its outcome, in the order of [`super::CHECKS`].
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The connector's name.
    pub connector: String,
    /// One line per check.
    pub lines: Vec<Line>,
}

impl Report {
    /// Stable if all applicable checks passed, beta if only comfort is missing, else alpha.
    /// A report in which nothing passed is alpha: skipping proves nothing.
    pub fn maturity(&self) -> Maturity {
        if !self.lines.iter().any(|line| matches!(line.outcome, Outcome::Passed(_))) {
            return Maturity::Alpha;
        }
        let mut worst = Maturity::Stable;
        for line in self.failures() {
            worst = worst.min(match line.weight {
                Weight::Safety => Maturity::Alpha,
                Weight::Comfort => Maturity::Beta,
            });
        }
        worst
    }

    /// The lines that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| matches!(line.outcome, Outcome::Failed(_)))
    }

    /// Outcome of one check; `None` if it was not run.
    pub fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.lines.iter().find(|line| line.name == name).map(|line| &line.outcome)
    }
}

impl fmt::Display for Report {
    /// A table: one line per check, then the verdict.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
        for line in &self.lines {
            let (word, note) = match &line.outcome {
                Outcome::Passed(note) => ("pass", note),
                Outcome::Skipped(note) => ("skip", note),
                Outcome::Failed(note) => ("FAIL", note),
            };
            writeln!(f, "{:width$}  {word}  {note}", line.name)?;
        }
        let passed = self.lines.iter().filter(|line| matches!(line.outcome, Outcome::Passed(_))).count();
        writeln!(
            f,
            "{}: {:?} ({passed} passed, {} failed, {} do not apply)",
            self.connector,
            self.maturity(),
            self.failures().count(),
            self.lines.len() - passed - self.failures().count()
        )
    }
}
