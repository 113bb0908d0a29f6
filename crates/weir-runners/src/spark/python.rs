//! Python, written down.

use serde_json::Value;

use crate::compile::systems::EventTime;
use crate::compile::{Compiling, Piece, Text, identifier};

/// A literal of Python: what JSON writes for a text is one too.
pub(super) fn string(text: &str) -> String {
    Value::String(text.into()).to_string()
}

/// A text, with its variables from the environment.
pub(super) fn expression(compiling: &Compiling<'_>, text: &Text) -> String {
    let part = |piece: &Piece| match piece {
        Piece::Plain(plain) => string(plain),
        Piece::Variable(name) => match compiling.default_of(name) {
            Some(default) => format!("os.environ.get({}, {})", string(name), string(&default)),
            None => format!("os.environ[{}]", string(name)),
        },
    };
    match text.0.as_slice() {
        [] => "\"\"".into(),
        pieces => pieces.iter().map(part).collect::<Vec<_>>().join(" + "),
    }
}

/// A name of Python for a view.
pub(super) fn name(view: &str) -> String {
    const TAKEN: [&str; 12] = ["spark", "os", "from", "import", "in", "is", "for", "if", "or", "and", "not", "lambda"];
    let name = identifier(view);
    if TAKEN.contains(&name.as_str()) { format!("{name}_") } else { name }
}

/// A chain of calls, one a line.
pub(super) struct Chain {
    start: String,
    calls: Vec<String>,
}

impl Chain {
    pub(super) fn new(start: impl Into<String>) -> Self {
        Self { start: start.into(), calls: Vec::new() }
    }
    pub(super) fn call(&mut self, call: impl Into<String>) -> &mut Self {
        self.calls.push(call.into());
        self
    }
    pub(super) fn option(&mut self, name: &str, value: &str) -> &mut Self {
        self.call(format!("option({}, {value})", string(name)))
    }
    pub(super) fn text(&self) -> String {
        let calls: String = self.calls.iter().map(|call| format!("\n    .{call}")).collect();
        format!("(\n    {}{calls}\n)", self.start)
    }
}

/// The program.
pub(super) struct Program {
    app: String,
    configs: Vec<(String, String)>,
    packages: Vec<&'static str>,
    body: Vec<String>,
}

impl Program {
    pub(super) fn new(app: &str) -> Self {
        let mut program = Self { app: app.into(), configs: Vec::new(), packages: Vec::new(), body: Vec::new() };
        program.config("spark.sql.session.timeZone", "\"UTC\"");
        program.config("spark.sql.ansi.enabled", "\"true\"");
        // Every row is read whole: a value that is wrong is an error even where a condition leaves its row out, and rows that are read are counted as read.
        for format in ["csv", "json"] {
            program.config(&format!("spark.sql.{format}.filterPushdown.enabled"), "\"false\"");
        }
        program.config("spark.sql.csv.parser.columnPruning.enabled", "\"false\"");
        program
    }

    /// A setting of the session; the value is Python.
    pub(super) fn config(&mut self, name: &str, value: &str) {
        if !self.configs.iter().any(|(known, _)| known == name) {
            self.configs.push((name.into(), value.into()));
        }
    }

    /// What the program needs beside Spark itself, by Maven's coordinates.
    pub(super) fn package(&mut self, package: &'static str) {
        if !self.packages.contains(&package) {
            self.packages.push(package);
        }
    }

    pub(super) fn packages(&self) -> &[&'static str] {
        &self.packages
    }

    pub(super) fn line(&mut self, line: impl Into<String>) {
        self.body.push(line.into());
    }

    /// A view of a query.
    pub(super) fn view(&mut self, view: &str, sql: &str, time: Option<&EventTime>) {
        let mut chain = Chain::new(format!("spark.sql({})", string(sql)));
        if let Some(time) = time {
            chain.call(watermark(time));
        }
        self.frame(view, &chain);
    }

    /// A data frame under the name of its view.
    pub(super) fn frame(&mut self, view: &str, chain: &Chain) {
        self.line(format!("{} = {}\n{0}.createOrReplaceTempView({})", name(view), chain.text(), string(view)));
    }

    pub(super) fn text(&self) -> String {
        let mut session = Chain::new(format!("SparkSession.builder.appName({})", string(&self.app)));
        for (name, value) in &self.configs {
            session.call(format!("config({}, {value})", string(name)));
        }
        session.call("getOrCreate()");
        let body = self.body.join("\n\n");
        let whole = format!("spark = {}\n\n{body}\n", session.text());
        let mut imports = Vec::new();
        if whole.contains("os.environ") {
            imports.push("import os\n".to_string());
        }
        imports.push("from pyspark.sql import SparkSession".to_string());
        let functions: Vec<&str> =
            ["col", "from_json", "struct", "to_json"].into_iter().filter(|name| whole.contains(&format!("F.{name}("))).collect();
        if !functions.is_empty() {
            imports.push("from pyspark.sql import functions as F".to_string());
        }
        format!("{}\n\n{whole}", imports.join("\n"))
    }
}

/// `withWatermark`.
pub(super) fn watermark(time: &EventTime) -> String {
    format!("withWatermark({}, {})", string(&time.column), string(&format!("{} milliseconds", time.max_lateness_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_its_quotes() {
        assert_eq!(string("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
        assert_eq!(name("from"), "from_");
    }
}
