//! Two folders of files as two bags of rows: what is in one and not in the other, and how often.

use std::path::PathBuf;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use serde::Serialize;
use serde_json::{Map, Value, json};
use weir_connect::{OnLoss, Registry, SourceContext};
use weir_error::{Error, Kind, Result};
use weir_query::{QuerySession, TableName};

use crate::planning::cores;
use crate::show::{number, rows};

/// What is different.
#[derive(Debug, Default, Serialize)]
pub struct Difference {
    /// Columns that only the first has.
    pub missing_columns: Vec<String>,
    /// Columns that only the second has.
    pub more_columns: Vec<String>,
    /// Columns that are something else in the second: a number where the first has a moment.
    pub other_columns: Vec<String>,
    /// Rows that only the first has.
    pub missing_rows: u64,
    /// Rows that only the second has.
    pub more_rows: u64,
    /// Some of them; values that look personal are masked.
    pub shown: Vec<Row>,
}

/// A row that one side has more often than the other.
#[derive(Debug, Serialize)]
pub struct Row {
    /// So often more; negative: less.
    pub first_has_more: i64,
    /// Its values as texts.
    pub values: Map<String, Value>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        let columns = [&self.missing_columns, &self.more_columns, &self.other_columns];
        columns.iter().all(|columns| columns.is_empty()) && self.missing_rows == 0 && self.more_rows == 0
    }

    /// For people.
    pub fn lines(&self, first: &str, second: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for (of, columns) in [(first, &self.missing_columns), (second, &self.more_columns)] {
            if !columns.is_empty() {
                lines.push(format!("only {of} has the columns {}", columns.join(", ")));
            }
        }
        if !self.other_columns.is_empty() {
            lines.push(format!("{second} has something else in the columns {}", self.other_columns.join(", ")));
        }
        for (of, count) in [(first, self.missing_rows), (second, self.more_rows)] {
            if count > 0 {
                lines.push(format!("only {of} has {}", number::rows(count)));
            }
        }
        for row in &self.shown {
            let (of, times) = if row.first_has_more > 0 { (first, row.first_has_more) } else { (second, -row.first_has_more) };
            let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
            lines.push(format!("{of}{times}: {}", Value::Object(row.values.clone())));
        }
        lines
    }
}

/// The two, as tables of one session.
pub struct Bags {
    session: QuerySession,
    /// `None`: that side has no rows, and engines that write no rows write no file, or one without columns.
    schemas: [Option<SchemaRef>; 2],
    rows: [u64; 2],
}

impl Bags {
    /// Opens the files of two folders. A folder without a file, or without a row in its files, has no rows and no columns.
    pub async fn open(registry: &Registry, folders: [PathBuf; 2], format: &Value, max_memory: usize) -> Result<Self> {
        let session = QuerySession::new(max_memory, cores())?;
        let connector = registry.get(super::FILES).ok_or_else(|| Error::internal("this build reads no files"))?;
        let (mut schemas, mut rows) = ([None, None], [0, 0]);
        for (index, folder) in folders.iter().enumerate() {
            let context = SourceContext {
                connection: json!({}),
                options: json!({"path": folder.display().to_string(), "format": format, "partitioned": false}),
                on_loss: OnLoss::default(),
                parallelism: cores(),
                base_dir: folder.clone(),
            };
            let source = connector.source(context).await?;
            let stream = match source.streams().await {
                Ok(streams) => streams.into_iter().next(),
                Err(error) if error.kind() == Kind::NotFound => None,
                Err(error) => return Err(error),
            };
            let Some(stream) = stream else { continue };
            let schema = stream.schema.clone();
            session.register(&TableName::bare(&format!("side{index}")), source, stream)?;
            rows[index] = count(&session, index).await?;
            schemas[index] = (rows[index] > 0).then_some(schema);
        }
        Ok(Self { session, schemas, rows })
    }

    /// Rows of the second, and what is different; at most `list` rows are shown.
    pub async fn compare(&self, list: usize) -> Result<(u64, Difference)> {
        let only = |a: &SchemaRef, b: &SchemaRef| {
            a.fields().iter().filter(|field| b.field_with_name(field.name()).is_err()).map(|field| field.name().clone()).collect()
        };
        let mut difference = Difference::default();
        if let [Some(first), Some(second)] = &self.schemas {
            (difference.missing_columns, difference.more_columns) = (only(first, second), only(second, first));
            difference.other_columns = others(first, second);
        }
        if let Some(query) = self.query() {
            let mut answer = self.session.sql(&query).await?;
            while let Some(batch) = answer.next().await? {
                self.take(&batch, list, &mut difference)?;
            }
        }
        if self.session.broken_records() > 0 {
            return Err(Error::new("WEIR-CLI-089", Kind::Data, "what an engine wrote cannot be read back")
                .because(format!("{} cannot be decoded", number::counted(self.session.broken_records(), "record", "records"))));
        }
        Ok((self.rows[1], difference))
    }

    /// Every distinct row that the sides have unequally often, as texts, and how much more often the first has it. `None`: there are no rows.
    fn query(&self) -> Option<String> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let sides: Vec<(usize, &SchemaRef)> =
            self.schemas.iter().enumerate().filter_map(|(side, schema)| Some((side, schema.as_ref()?))).collect();
        let (_, first) = sides.first()?;
        let in_all = |name: &str| sides.iter().all(|(_, schema)| schema.field_with_name(name).is_ok());
        let common: Vec<_> = first.fields().iter().filter(|field| in_all(field.name())).collect();
        let select = |(side, schema): &(usize, &SchemaRef)| {
            let columns = common.iter().map(|field| {
                let (name, wanted) = (quoted(field.name()), field.data_type());
                let same = schema.field_with_name(field.name()).is_ok_and(|mine| mine.data_type() == wanted);
                let mut value =
                    if same { name.clone() } else { format!("arrow_cast({name}, '{}')", wanted.to_string().replace('\'', "''")) };
                if wanted.is_floating() {
                    // Minus nought is nought.
                    value = format!("CASE WHEN abs({value}) = 0 THEN abs({value}) ELSE {value} END");
                }
                // CASE forgets what a field says beside its type; the two sides need not say the same.
                format!("CASE WHEN {name} IS NULL THEN NULL ELSE CAST({value} AS VARCHAR) END AS {name}, ")
            });
            let sign = if *side == 0 { "1" } else { "-1" };
            format!("SELECT {}CAST({sign} AS BIGINT) AS \"weir n\" FROM side{side}", columns.collect::<String>())
        };
        let group = common.iter().map(|field| quoted(field.name())).collect::<Vec<_>>().join(", ");
        let (columns, grouped) =
            if group.is_empty() { (String::new(), String::new()) } else { (format!("{group}, "), format!("GROUP BY {group}")) };
        let all = sides.iter().map(select).collect::<Vec<_>>().join(" UNION ALL ");
        Some(format!("SELECT {columns}sum(\"weir n\") AS \"weir more\" FROM ({all}) {grouped} HAVING sum(\"weir n\") <> 0"))
    }

    fn take(&self, batch: &RecordBatch, list: usize, difference: &mut Difference) -> Result<()> {
        let last = batch.num_columns() - 1;
        let counts = batch.column(last).as_primitive::<Int64Type>().clone();
        let columns: Vec<usize> = (0..last).collect();
        let arrow = |error: arrow::error::ArrowError| Error::internal("rows of the comparison").caused_by(error);
        let (masked, _) = rows::mask(&batch.project(&columns).map_err(arrow)?)?;
        for row in 0..batch.num_rows() {
            let more = counts.value(row);
            match more > 0 {
                true => difference.missing_rows += more.unsigned_abs(),
                false => difference.more_rows += more.unsigned_abs(),
            }
            if difference.shown.len() < list {
                let schema = masked.schema();
                let values = schema.fields().iter().zip(masked.columns()).map(|(field, column)| {
                    let text = arrow::util::display::array_value_to_string(column, row).map_err(arrow)?;
                    Ok((field.name().clone(), if column.is_null(row) { Value::Null } else { text.into() }))
                });
                difference.shown.push(Row { first_has_more: more, values: values.collect::<Result<_>>()? });
            }
        }
        Ok(())
    }
}

/// Columns of both that no spelling makes the same: a moment is no number, though Arrow would cast one to the other.
fn others(first: &SchemaRef, second: &SchemaRef) -> Vec<String> {
    let moment = |data_type: &DataType| data_type.is_temporal();
    let number = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    let differs = |a: &DataType, b: &DataType| moment(a) && number(b) || number(a) && moment(b);
    let each = first
        .fields()
        .iter()
        .filter(|field| second.field_with_name(field.name()).is_ok_and(|other| differs(field.data_type(), other.data_type())));
    each.map(|field| field.name().clone()).collect()
}

async fn count(session: &QuerySession, side: usize) -> Result<u64> {
    let mut answer = session.sql(&format!("SELECT count(*) FROM side{side}")).await?;
    let batch = answer.next().await?.ok_or_else(|| Error::internal("a count gave no row"))?;
    Ok(u64::try_from(batch.column(0).as_primitive::<Int64Type>().value(0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn compared(first: &str, second: &str) -> (u64, Difference) {
        let dir = tempfile::tempdir().unwrap();
        let folders = [("a", first), ("b", second)].map(|(name, text)| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            // As engines write: several files without an ending, and marks that are no data.
            let (head, tail) = text.split_at(text.find('\n').map_or(0, |at| at + 1));
            std::fs::write(folder.join("part-0"), head).unwrap();
            std::fs::write(folder.join("part-1"), tail).unwrap();
            std::fs::write(folder.join("_SUCCESS"), "").unwrap();
            folder
        });
        let registry = weir_connectors::registry::registry();
        Bags::open(&registry, folders, &json!("ndjson"), 64 << 20).await.unwrap().compare(10).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_are_counted_and_their_order_and_spelling_mean_nothing() {
        let (rows, difference) = compared(
            "{\"id\": 1, \"a\": 1.5, \"t\": \"x\"}\n{\"id\": 2, \"a\": 2.0, \"t\": null}\n{\"id\": 2, \"a\": 2.0, \"t\": null}\n",
            "{\"t\": null, \"a\": 2, \"id\": 2}\n{\"id\": 1, \"a\": 1.50, \"t\": \"x\"}\n{\"id\": 2, \"a\": 2}\n",
        )
        .await;
        assert!(rows == 3 && difference.is_none(), "{difference:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_missing_doubled_or_changed_is_told() {
        let (_, difference) = compared(
            "{\"id\": 1, \"t\": \"x\"}\n{\"id\": 2, \"t\": \"y\"}\n{\"id\": 3, \"t\": \"z\"}\n",
            "{\"id\": 1, \"t\": \"x\"}\n{\"id\": 1, \"t\": \"x\"}\n{\"id\": 3, \"t\": \"Z\"}\n",
        )
        .await;
        assert_eq!((difference.missing_rows, difference.more_rows), (2, 2));
        let mut lines = difference.lines("native", "flink");
        lines.sort();
        let rows = [
            "flink: {\"id\":\"1\",\"t\":\"x\"}",
            "flink: {\"id\":\"3\",\"t\":\"Z\"}",
            "native: {\"id\":\"2\",\"t\":\"y\"}",
            "native: {\"id\":\"3\",\"t\":\"z\"}",
        ];
        assert_eq!(lines[..4], rows);
        assert_eq!(lines[4..], ["only flink has 2 rows", "only native has 2 rows"]);
        let (_, difference) =
            compared("{\"id\": 1, \"a\": 1}\n{\"id\": 2, \"a\": 1}\n", "{\"id\": 1, \"b\": 1}\n{\"id\": 2, \"b\": 1}\n").await;
        assert_eq!((difference.missing_columns, difference.more_columns), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(difference.missing_rows + difference.more_rows, 0, "the columns that both have are equal");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_rows_are_no_rows_whether_there_is_a_file_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str, text: Option<&str>| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            if let Some(text) = text {
                std::fs::write(folder.join("part-0"), text).unwrap();
            }
            folder
        };
        let (nothing, empty) = (folder("nothing", None), folder("empty", Some("")));
        let rows = folder("rows", Some("{\"id\": 1, \"x\": -0.0}\n"));
        let registry = weir_connectors::registry::registry();
        let compared = async |a: &PathBuf, b: &PathBuf| {
            Bags::open(&registry, [a.clone(), b.clone()], &json!("ndjson"), 64 << 20).await.unwrap().compare(10).await.unwrap()
        };
        for side in [&nothing, &empty] {
            let (count, difference) = compared(&nothing, side).await;
            assert!(count == 0 && difference.is_none(), "{difference:?}");
            assert_eq!(compared(side, &rows).await.1.more_rows, 1);
            assert_eq!(compared(&rows, side).await.1.missing_rows, 1);
        }
        let positive = folder("positive", Some("{\"id\": 1, \"x\": 0.0}\n"));
        assert!(compared(&rows, &positive).await.1.is_none(), "minus nought is nought");
    }
}
