//! The queries that a real Flink answered (`crates/weir/tests/flink`), planned over tables in memory: what is wrong with SQL is seen here in seconds,
//! what is wrong with files and streams there.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::json::ReaderBuilder;
use regex::Regex;
use serde_json::{Map, Value};

use crate::bench::Bench;

fn data_type(word: &str) -> DataType {
    match word {
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "int64" => DataType::Int64,
        "float64" => DataType::Float64,
        "decimal(10,2)" => DataType::Decimal128(10, 2),
        "string" => DataType::Utf8,
        other => panic!("the cases have no {other}"),
    }
}

/// Numbers and times of one value are one text.
fn plain(cell: &str) -> String {
    if let Ok(time) = chrono::NaiveDateTime::parse_from_str(cell.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f") {
        return time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    }
    cell.parse::<f64>().map_or_else(|_| cell.to_string(), |number| number.to_string())
}

fn expected(folder: &Path, columns: &[String]) -> Vec<String> {
    let text = fs::read_to_string(folder.join("expected.ndjson")).unwrap();
    let row = |line: &str| {
        let row: Map<String, Value> = serde_json::from_str(line).unwrap();
        let cell = |name: &String| match &row[name] {
            Value::Null => "∅".into(),
            Value::String(text) => plain(text),
            other => plain(&other.to_string()),
        };
        columns.iter().map(cell).collect::<Vec<_>>().join("|")
    };
    let mut rows: Vec<String> = text.lines().map(row).collect();
    rows.sort();
    rows
}

async fn played(folder: &Path) -> (Vec<String>, Vec<String>) {
    let text = fs::read_to_string(folder.join("pipeline.yaml")).unwrap();
    let file = Regex::new(r"\{file: \{path: (\w+)\.ndjson, columns: \{(.*?)\}(, event_time: \{column: \w+\})?\}\}").unwrap();
    let column = Regex::new(r#"(\w+): (?:"([^"]+)"|(\w+))"#).unwrap();
    let mut bench = Bench::default();
    for table in file.captures_iter(&text) {
        let fields = column.captures_iter(&table[2]).map(|found| {
            let word = found.get(2).or(found.get(3)).unwrap().as_str();
            Field::new(&found[1], data_type(word), true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let rows = fs::read(folder.join(format!("{}.ndjson", &table[1]))).unwrap();
        let batches = ReaderBuilder::new(schema).build(Cursor::new(rows)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        bench = bench.batches(&table[1], batches, &[]);
    }
    let text = file.replace_all(&text, "{memory: {table: $1$3}}");
    let text = text.replace("file: {path: out, format: ndjson, write_mode: overwrite}", "memory: {table: out}");
    let plan = bench.plan(&text).await;
    let got = bench.run(&plan).await.remove("out").unwrap();
    let mut rows: Vec<String> = got.rows.iter().map(|row| row.split('|').map(plain).collect::<Vec<_>>().join("|")).collect();
    rows.sort();
    (rows, expected(folder, &got.columns))
}

#[tokio::test]
async fn the_queries_give_what_flink_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weir/tests/flink/cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 30, "{folders:?}");
    let mut wrong = Vec::new();
    for folder in &folders {
        let (got, flink) = played(folder).await;
        if got != flink || got.is_empty() {
            let name = folder.file_name().unwrap().display();
            wrong.push(format!("{name}\n  we\n    {}\n  Flink\n    {}", got.join("\n    "), flink.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), folders.len(), wrong.join("\n"));
}
