//! What holds for every file: parsing ends without a panic, conversion loses nothing, the seeds' examples parse, the
//! editor schema is whole.

#![allow(clippy::unwrap_used)]

mod vocabulary;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use vocabulary::Words;
use weir_spec::{Diagnostic, Parsed, Pipeline, Role, check_words, parse, render, schema, to_native_yaml};

fn seed(name: &str) -> Parsed {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(name);
    let parsed = parse(&fs::read_to_string(path).unwrap(), name, &Words);
    let errors: Vec<&Diagnostic> = parsed.diagnostics.iter().filter(|found| found.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(parsed.pipelines.len(), 1);
    parsed
}

fn codes(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().map(|found| found.code.as_str()).collect()
}

/// Names of what the pipeline needs and this build lacks.
fn lacking(pipeline: &Pipeline) -> Vec<String> {
    check_words(pipeline, &Words).into_iter().map(|found| found.message).collect()
}

#[test]
fn the_job_with_comments_parses_as_written_and_becomes_native() {
    let parsed = seed("000_mysql_to_lake.json");
    let pipeline = &parsed.pipelines[0];
    assert_eq!(pipeline.name, "mysql_to_data_lake_sync");
    assert_eq!(pipeline.schedule.as_ref().unwrap().cron, "0 */6 * * *");
    let source = pipeline.node("source").unwrap();
    assert_eq!(source.kind, "mysql");
    assert_eq!(source.options["host"], "mysql");
    assert_eq!(source.options["query"], "SELECT * FROM customers WHERE updated_at > '${last_run_time}'");
    assert_eq!(pipeline.node("sink").unwrap().options["path"], "bronze/mysql/customers");
    assert_eq!(pipeline.alerts[0].above, 0.05);
    assert_eq!(lacking(pipeline), ["there is no connector `mysql` in this build"]);
    assert!(codes(&parsed.diagnostics).contains(&"WEIR-SPEC-050"));
}

#[test]
fn the_other_jobs_keep_every_option_of_connectors_that_do_not_exist() {
    let cdc = seed("000_postgres_cdc_to_pulsar.json");
    let source = cdc.pipelines[0].node("source").unwrap();
    assert_eq!(source.kind, "postgres-cdc");
    assert_eq!(source.options["slot.name"], "platformq_cdc");
    assert_eq!(cdc.pipelines[0].node("sink").unwrap().options["table_or_topic"], "postgres-cdc-events");
    let stream = seed("000_pulsar_to_elasticsearch.json");
    assert_eq!(stream.pipelines[0].checkpoint_interval_ms, Some(5000));
    assert_eq!(stream.pipelines[0].node("field_mapper").unwrap().options["rename"]["user_id"], "userId");
}

#[test]
fn the_validate_body_has_no_name_and_several_sinks() {
    let parsed = seed("000_validate_body.json");
    let pipeline = &parsed.pipelines[0];
    assert_eq!(pipeline.of(Role::Sink).map(|node| node.name.as_str()).collect::<Vec<_>>(), ["minio", "clickhouse"]);
    assert!(pipeline.of(Role::Sink).all(|sink| sink.inputs[0].node == "filter"));
    assert_eq!(pipeline.node("source").unwrap().options["table"], "public.orders");
}

#[test]
fn the_unified_specs_parse() {
    let ticks = seed("002_realtime_analytics.yaml");
    let pipeline = &ticks.pipelines[0];
    assert_eq!(pipeline.tenant.as_deref(), Some("trading-platform"));
    assert_eq!(pipeline.labels["owner"], "trading-team@company.com");
    assert_eq!(pipeline.node("sink").unwrap().options["topic"], "processed-ticks");
    let polygon = seed("001_provider_snippet.yaml");
    assert_eq!(polygon.pipelines[0].credentials_ref.as_deref(), Some("vault://polygon-api/credentials"));
    assert_eq!(lacking(&polygon.pipelines[0]), ["there is no connector `iceberg` in this build"]);
}

fn same(pipeline: &Pipeline) {
    let yaml = to_native_yaml(pipeline);
    let again = parse(&yaml, "again.yaml", &Words);
    let errors: Vec<&Diagnostic> = again.diagnostics.iter().filter(|found| found.is_error()).collect();
    assert!(errors.is_empty(), "{yaml}\n{errors:#?}");
    assert_eq!(again.pipelines.len(), 1, "{yaml}");
    // Places differ, of course.
    assert_eq!(serde_json::to_value(&again.pipelines[0]).unwrap(), serde_json::to_value(pipeline).unwrap(), "{yaml}");
    assert_eq!(to_native_yaml(&again.pipelines[0]), yaml);
}

#[test]
fn every_good_case_and_seed_reads_back_from_its_native_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(root.join("tests/seeds")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for folder in fs::read_dir(root.join("../../tests/cases/spec")).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.join("expected.json").exists() {
            files.extend(
                ["pipeline.yaml", "pipeline.json"].map(|name| folder.join(name)).into_iter().filter(|file| file.exists()),
            );
        }
    }
    assert!(files.len() > 15);
    for file in files {
        for pipeline in parse(&fs::read_to_string(&file).unwrap(), "x", &Words).pipelines {
            same(&pipeline);
        }
    }
}

#[test]
fn native_yaml_is_what_a_person_would_write() {
    let text = "pipeline: a\nsource: {file: {path: a.csv, csv: {header: true}}}\ntransforms: [{filter: a > 1}, {filter: {where: \"b = 'x'\"}}, {sql: \"SELECT 1\\nFROM input\\n\"}]\nsink: {s3: {path: \"x/{stream}\", partition_by: [year, month]}}\nschedule: 0 6 * * *\n";
    let parsed = parse(text, "a.yaml", &Words);
    assert_eq!(codes(&parsed.diagnostics), Vec::<&str>::new());
    assert_eq!(
        to_native_yaml(&parsed.pipelines[0]),
        r#"pipeline: a
schedule: "0 6 * * *"
source:
  file:
    path: a.csv
    csv:
      header: true
transforms:
  - filter:
      where: a > 1
  - filter:
      where: "b = 'x'"
  - sql:
      query: |
        SELECT 1
        FROM input
sink:
  s3:
    path: "x/{stream}"
    partition_by: [year, month]
"#
    );
}

#[test]
fn places_are_kept_by_pointer_into_the_native_form() {
    let text = "{\n \"source\": {\"connector_type\": \"postgres\", \"connection_params\": {\"hostname\": \"db\", \"database\": \"x\"}, \"table_or_topic\": \"t\"},\n \"sink\": {\"connector_type\": \"file\", \"table_or_topic\": \"out\"}}";
    let pipeline = &parse(text, "a.json", &Words).pipelines[0];
    assert_eq!(pipeline.node_paths["sink"], "/sink");
    let at = |pointer: &str| &text[pipeline.spans[pointer].start..pipeline.spans[pointer].end];
    assert_eq!(at("/source/postgres/host"), "\"db\"");
    assert_eq!(at("/source/postgres/table"), "\"t\"");
    assert_eq!(at("/sink/file/path"), "\"out\"");
}

#[test]
fn diagnostics_are_data_with_line_and_column() {
    let parsed = parse("pipeline: a\nsource: {file: {path: a.csv}}\nsink: {s3: {fromat: csv, path: x}}\n", "a.yaml", &Words);
    let found = render::json(&parsed.diagnostics);
    for (key, value) in [
        ("code", json!("WEIR-SPEC-014")),
        ("severity", json!("error")),
        ("file", json!("a.yaml")),
        ("line", json!(3)),
        ("column", json!(13)),
        ("path", json!("sink.s3.fromat")),
        ("suggestion", json!("format")),
    ] {
        assert_eq!(found[0][key], value, "{key}");
    }
}

#[test]
fn a_secret_is_never_repeated() {
    let text = "pipeline: a\nsource: {postgres: {host: db, database: x, table: t, password: [hunter2], port: '1'}}\ntransforms: [{mask: {columns: [a], how: hash, salt: hunter2}}]\nsink: {http: {base_url: 'https://u:hunter2@x', path: p, auth: {type: bearer, token: hunter2}, headers: {X-Api-Key: hunter2}}}\nconnections: {c: {kafka: {sasl.password: hunter2}}}\n";
    let parsed = parse(text, "a.yaml", &Words);
    assert!(codes(&parsed.diagnostics).iter().filter(|code| **code == "WEIR-SPEC-040").count() >= 5, "{:?}", parsed.diagnostics);
    assert!(!render::json(&parsed.diagnostics).to_string().contains("hunter2"));
    assert!(!render::terminal(&parsed.diagnostics, text, false).contains("hunter2"));
}

#[test]
fn the_editor_schema_has_no_loose_ends() {
    let schema = schema(&Words);
    let mut references = Vec::new();
    collect(&schema, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(schema.pointer(pointer).is_some(), "{reference}");
    }
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let s3 = &schema["$defs"]["sink.s3"]["properties"];
    assert_eq!(s3["path"]["description"], "Folder to write to.");
    assert_eq!(s3["access_key_id"]["deprecated"], true);
    assert!(schema["$defs"]["transform"]["properties"]["mask"].is_object());
    assert!(schema["$defs"]["source"]["properties"]["minio"].is_object());
}

fn collect(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(target) if key == "$ref" => out.push(target.into()),
                    _ => collect(value, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        _ => {}
    }
}

#[test]
fn thousands_of_nodes_are_linked_without_deep_recursion() {
    let mut text = String::from("pipeline: a\nsource: {file: {path: a}}\nsink: {file: {path: b}}\ntransforms:\n");
    for _ in 0..10_000 {
        text.push_str("  - {filter: a}\n");
    }
    let parsed = parse(&text, "a.yaml", &Words);
    assert_eq!(parsed.diagnostics, []);
    assert_eq!(parsed.pipelines[0].nodes[10_000].name, "filter_10000");
}

#[test]
fn a_file_of_nothing_but_mistakes_is_answered_soon_and_briefly() {
    let mut options = String::from("pipeline: a\nsource: {file: {path: a}}\nsink:\n  file:\n    path: b\n");
    let mut nodes = String::from("pipeline: a\nsource: {file: {path: a}}\nsink: {file: {path: b}}\ntransforms:\n");
    for n in 0..20_000 {
        options.push_str(&format!("    formt{n}: 1\n"));
        nodes.push_str(&format!("  - {{filter: a, input: filtre_{n}}}\n"));
    }
    for text in [options, nodes] {
        let found = parse(&text, "a.yaml", &Words).diagnostics;
        assert_eq!(found.len(), 501);
        assert!(found[500].message.contains("more than 500"));
    }
}

/// The text without anything that begins a reference: half a reference is no pipeline file.
fn literal(mut text: String) -> String {
    for mark in ["${", "{{", "vault://"] {
        while text.contains(mark) {
            text = text.replace(mark, "");
        }
    }
    // Taking one out may have made another.
    if ["${", "{{"].iter().any(|mark| text.contains(mark)) { literal(text) } else { text }
}

/// Text that a YAML writer gets wrong: indicators, lookalikes of other types, line ends, invisible characters.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(literal),
        prop::sample::select(vec![
            "yes",
            "null",
            "~",
            "1",
            "1.0",
            "0x1F",
            "007",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "'",
            "\"",
            "|",
            ">",
            "{",
            "[",
            "]",
            ", ",
            " a",
            "a ",
            "a\n",
            "\na",
            "a\n\nb",
            "a\n b\n",
            " a\nb",
            "a\r\nb",
            "a\tb",
            "\t",
            "...",
            "---",
            "2024-01-01",
            "\u{feff}a",
            "\u{2028}",
            "\u{85}",
            "é",
            "😀",
            "a:",
            "?",
            "? a",
            ".5",
            "1e5",
            "+1",
            "-1",
            ".inf",
            "<<",
            "=",
        ])
        .prop_map(str::to_string),
        "[ -~\n]{0,60}".prop_map(literal),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e12..1e12f64).prop_map(|n| json!((n * 1000.0).round() / 1000.0)),
        awkward().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(awkward(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn pipelines() -> impl Strategy<Value = Pipeline> {
    let options = prop::collection::btree_map("[a-z]{1,8}", value(), 0..4).prop_map(|map: BTreeMap<String, Value>| {
        let mut map = map;
        for key in ["connection", "path", "table", "index", "topic", "prefix"] {
            map.remove(key);
        }
        json!(map)
    });
    let name = prop::option::of(prop::sample::select(vec!["source", "sink", "enrich", "enrich_2", "x", "y"]));
    (prop::collection::vec((options, name), 2..6), prop::option::of(awkward()), any::<bool>(), prop::option::of(1..100usize))
        .prop_map(|(parts, description, graph, parallelism)| {
            let last = parts.len() - 1;
            let mut nodes = Vec::new();
            let mut taken: Vec<String> = Vec::new();
            for (at, (options, name)) in parts.into_iter().enumerate() {
                let (role, kind) = match at {
                    0 => (Role::Source, "kafka"),
                    at if at == last => (Role::Sink, "kafka"),
                    _ => (Role::Transform, "enrich"),
                };
                let mut name = name.map_or_else(|| format!("n{at}"), str::to_string);
                while taken.contains(&name) {
                    name.push('x');
                }
                let upstream = if graph && at == last && last > 1 { 1 } else { at.saturating_sub(1) };
                let inputs = if at == 0 { vec![] } else { vec![weir_spec::Input { node: taken[upstream].clone(), port: None }] };
                taken.push(name.clone());
                nodes.push(weir_spec::Node { name, role, kind: kind.into(), inputs, options });
            }
            let mut pipeline = parse("pipeline: p\nsource: {kafka: {}}\nsink: {kafka: {}}", "p", &Words).pipelines.remove(0);
            pipeline.nodes = nodes;
            pipeline.description = description;
            pipeline.parallelism = parallelism;
            pipeline
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_pipeline_reads_back_from_its_native_form(pipeline in pipelines()) {
        let yaml = to_native_yaml(&pipeline);
        let again = parse(&yaml, "again.yaml", &Words);
        let bad: Vec<&Diagnostic> = again.diagnostics.iter().filter(|found| found.is_error() && found.code != "WEIR-SPEC-033").collect();
        prop_assert!(bad.is_empty(), "{yaml}\n{bad:?}");
        prop_assert_eq!(serde_json::to_value(&again.pipelines[0]).unwrap(), serde_json::to_value(&pipeline).unwrap(), "{}", yaml);
    }

    #[test]
    fn any_text_parses_without_a_panic(text in any::<String>()) {
        let parsed = parse(&text, "any", &Words);
        render::terminal(&parsed.diagnostics, &text, false);
    }

    #[test]
    fn any_bytes_parse_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let parsed = parse(&text, "any", &Words);
        render::terminal(&parsed.diagnostics, &text, true);
    }

    #[test]
    fn anything_made_of_yaml_parses_without_a_panic(text in r#"([\[\]{},:&*!|>'"%@`#?\-\n\t ab~$]|pipeline|source|sink|: |\n  |- |\$\{|---\n|//){0,60}"#) {
        let parsed = parse(&text, "any", &Words);
        render::terminal(&parsed.diagnostics, &text, false);
    }

    #[test]
    fn a_damaged_pipeline_parses_without_a_panic(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), noise in "[\\[\\]{}:,\"'\n\\-#&*a0 ]{0,4}") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut text = fs::read_to_string(which.get(&files)).unwrap();
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        text.insert_str(*cut.get(&places), &noise);
        let parsed = parse(&text, "any", &Words);
        for pipeline in &parsed.pipelines {
            check_words(pipeline, &Words);
            to_native_yaml(pipeline);
        }
        render::terminal(&parsed.diagnostics, &text, false);
    }
}
