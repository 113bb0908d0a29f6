//! `weir query`: SQL over the lake and over any connection of a pipeline file.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use arrow::array::RecordBatch;
use serde_json::json;
use weir_error::{Error, Kind, Result};
use weir_query::lake::{self, LakeTable};
use weir_query::{QuerySession, TableName};

use crate::cli::{self, Output, Query};
use crate::commands::Context;
use crate::outcome::{Failure, Outcome};
use crate::planning::{Opened, cores};
use crate::process::block_on;
use crate::show::{number, rows};

/// The connector that reads a lake's folders.
const LAKE_CONNECTOR: &str = "file";

pub fn execute(args: &Query, context: &Context) -> Outcome {
    let output = if args.json { Output::Json } else { args.output };
    let opened = match &args.file {
        Some(file) => {
            let file = cli::File { file: file.clone(), pipeline: args.pipeline.clone() };
            Some(crate::planning::open(&file, false, context)?)
        }
        None => None,
    };
    block_on(async {
        let started = Instant::now();
        let session = QuerySession::new(args.max_memory, cores())?;
        let tables = Tables { session: &session, lake: &args.lake, opened: opened.as_ref() };
        tables.register_for(&args.sql).await?;
        let mut answer = session.sql(&args.sql).await?;
        let shown = match output {
            Output::Table => table(&mut answer).await?,
            Output::Csv => csv(&mut answer).await?,
            Output::Json => json_lines(&mut answer).await?,
        };
        if output == Output::Table {
            writeln!(std::io::stderr(), "({}, {})", number::rows(shown), number::time(started.elapsed()))?;
        }
        if session.broken_records() > 0 {
            let broken = number::counted(session.broken_records(), "record", "records");
            writeln!(
                std::io::stderr(),
                "{} {broken} could not be decoded and are not in this result",
                context.err.yellow("warning:")
            )?;
        }
        Ok(0)
    })
}

/// Rows that a printed table holds at most: it must be in memory to be aligned.
const TABLE_ROWS: usize = 10_000;

async fn table(answer: &mut weir_query::Answer) -> Result<u64, Failure> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let (mut kept, mut all) = (0, 0);
    while let Some(batch) = answer.next().await? {
        all += batch.num_rows();
        if kept < TABLE_ROWS {
            let batch = batch.slice(0, batch.num_rows().min(TABLE_ROWS - kept));
            kept += batch.num_rows();
            batches.push(batch);
        }
    }
    write!(std::io::stdout(), "{}", rows::table(&answer.schema, &batches)?)?;
    if all > kept {
        let more = number::rows((all - kept) as u64);
        writeln!(std::io::stderr(), "{more} more are not shown; --output csv or json prints all")?;
    }
    Ok(all as u64)
}

async fn csv(answer: &mut weir_query::Answer) -> Result<u64, Failure> {
    let mut writer = rows::CsvRows::new(std::io::stdout().lock(), &answer.schema)?;
    let mut all = 0;
    while let Some(batch) = answer.next().await? {
        all += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    Ok(all)
}

async fn json_lines(answer: &mut weir_query::Answer) -> Result<u64, Failure> {
    let mut all = 0;
    while let Some(batch) = answer.next().await? {
        all += batch.num_rows() as u64;
        rows::json_lines(std::io::stdout().lock(), &batch)?;
    }
    Ok(all)
}

/// Everything that could be a table. Only what a query names is opened.
struct Tables<'a> {
    session: &'a QuerySession,
    lake: &'a Path,
    opened: Option<&'a Opened>,
}

impl Tables<'_> {
    async fn register_for(&self, sql: &str) -> Result<()> {
        let wanted = self.session.tables_of(sql)?;
        let in_lake = if self.lake.is_dir() { lake::tables(self.lake)? } else { Vec::new() };
        // `SHOW TABLES` and the information schema see the whole lake.
        let everything = wanted.iter().any(|name| name.first() == "information_schema");
        for table in &in_lake {
            let name = TableName::new(&table.name);
            if everything || wanted.contains(&name) {
                self.register_lake(&name, table).await?;
            }
        }
        for name in &wanted {
            let known = everything || in_lake.iter().any(|table| TableName::new(&table.name) == *name);
            if !known && !self.register_from_file(name).await? {
                return Err(self.unknown(name, &in_lake));
            }
        }
        Ok(())
    }

    async fn register_lake(&self, name: &TableName, table: &LakeTable) -> Result<()> {
        let registry = match self.opened {
            Some(opened) => opened.registry.clone(),
            None => weir_connectors::registry::registry(),
        };
        let connector = registry.get(LAKE_CONNECTOR).ok_or_else(|| {
            Error::new("WEIR-QUERY-011", Kind::Unsupported, "this build cannot read a lake")
                .because(format!("it has no `{LAKE_CONNECTOR}` connector"))
        })?;
        let path = table.path.canonicalize().map_err(|error| Error::from(error).at(table.path.display().to_string()))?;
        let context = weir_connect::SourceContext {
            connection: json!({}),
            options: json!({"path": path}),
            on_loss: weir_connect::OnLoss::default(),
            parallelism: cores(),
            base_dir: path.clone(),
        };
        let source = connector.source(context).await?;
        if let Some(stream) = source.streams().await?.into_iter().next() {
            self.session.register(name, source.clone(), stream)?;
        }
        Ok(())
    }

    /// A connection's stream (`crm.public.orders`), or a source of the pipeline (`flights`, `flights.stream`).
    async fn register_from_file(&self, name: &TableName) -> Result<bool> {
        let Some(opened) = self.opened else { return Ok(false) };
        let Some((source, stream)) = opened.table(name).await? else { return Ok(false) };
        self.session.register(name, source, stream)?;
        Ok(true)
    }

    fn unknown(&self, name: &TableName, in_lake: &[LakeTable]) -> Error {
        let mut known: Vec<String> = in_lake.iter().map(|table| TableName::new(&table.name).to_string()).collect();
        if let Some(opened) = self.opened {
            known.extend(opened.table_names());
        }
        let error = Error::new("WEIR-QUERY-006", Kind::Spec, format!("there is no table `{name}`"));
        let lake = self.lake.display();
        if !known.is_empty() {
            error.hint(format!("tables here: {}", known.join(", ")))
        } else if self.opened.is_none() {
            error
                .because(format!("no lake was found in {lake}"))
                .hint("run a pipeline that writes one, name its folder with --lake, or a pipeline file with --file")
        } else {
            error
        }
    }
}
