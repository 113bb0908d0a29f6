//! Every folder of `seams` is a pipeline and where it is (`state.json`); `TARGET.txt` is what each target makes that begins there, and
//! `start.json` the places in the words of each engine. `WEIR_REWRITE=1` writes what is made now.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_runners::compile::{Job, compile};
use weir_runners::seam::{State, begin};
use weir_spec::Engine;

use super::{parse, registry, shown, targets};

fn compare(path: &Path, now: &str, failures: &mut Vec<String>) {
    let before = fs::read_to_string(path).unwrap_or_default();
    if now != before && std::env::var_os("WEIR_REWRITE").is_some() {
        fs::write(path, now).unwrap();
    } else if now != before {
        failures.push(format!("--- {} says\n{before}\nbut now it is\n{now}", path.display()));
    }
}

#[test]
fn every_target_begins_where_the_state_says_or_refuses() {
    let registry = registry();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/seams");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut failures = Vec::new();
    for folder in &folders {
        let text = fs::read_to_string(folder.join("pipeline.yaml")).unwrap();
        let pipeline = parse(&text, &registry).unwrap();
        let state = State::parse(&fs::read_to_string(folder.join("state.json")).unwrap(), "state.json").unwrap();
        for (name, target, format) in targets().into_iter().filter(|(name, ..)| !name.ends_with("-json") || name == "flink-json")
        {
            let streams = declared(&pipeline);
            let told = match begin::begin(&pipeline, &registry, &streams, &state, target) {
                Err(error) => format!("{error}\n"),
                Ok(begun) => {
                    let job = Job { pipeline: &begun, registry: &registry, streams, format };
                    let made = compile(&job, target).map(|mut made| {
                        begin::attach(&mut made, &begun, &state);
                        made
                    });
                    shown(&made, &text)
                }
            };
            compare(&folder.join(format!("{name}.txt")), &told, &mut failures);
        }
        let words = |engine: Engine| match begin::options(&pipeline, &state, engine) {
            Ok(options) => (engine.word().to_owned(), options),
            Err(error) => (engine.word().to_owned(), json!({"refused": error.to_string()})),
        };
        let all: Value = Engine::ALL.into_iter().skip(1).map(words).collect::<serde_json::Map<_, _>>().into();
        compare(&folder.join("start.json"), &format!("{all:#}\n"), &mut failures);
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert!(folders.len() >= 4, "only {} seams", folders.len());
}

/// What `--connect` would say, from the columns that the file declares.
fn declared(pipeline: &weir_spec::Pipeline) -> BTreeMap<String, Vec<weir_connect::StreamInfo>> {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("updated_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ]);
    let stream = weir_connect::StreamInfo {
        name: "public.orders".into(),
        schema: schema.into(),
        primary_key: vec!["id".into()],
        estimated_rows: None,
        estimated_bytes: None,
        reading: String::new(),
    };
    let sources = pipeline.of(weir_spec::Role::Source).filter(|node| node.kind == "postgres");
    sources.map(|node| (node.name.clone(), vec![stream.clone()])).collect()
}
