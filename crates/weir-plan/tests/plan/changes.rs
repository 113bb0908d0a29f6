//! `mode: cdc`: transforms row by row, keys that must survive them, columns about changes, and plans for other shapes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use weir_connect::StreamInfo;
use weir_plan::{ColumnWay, MetadataColumn, Program};
use weir_spec::{Diagnostic, JournalPolicy, Keep, WhenFull, to_native_yaml};

use crate::bench::{Bench, line};

fn bench() -> Bench {
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let texts = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text, text])) };
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("city", DataType::Utf8, true),
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![ints, texts("n"), texts("c")]).unwrap();
    let plain = RecordBatch::try_from_iter([("_op", texts("x"))]).unwrap();
    Bench::default().batches("t", vec![batch], &["id"]).batches("ops", vec![plain], &["_op"])
}

fn cdc(transforms: &str, sink: &str) -> String {
    let line = line(transforms).replace("{table: t}", "{table: t, log: true}");
    format!("mode: cdc\n{}", line.replace("{table: out}", &format!("{{table: out, changes: true{sink}}}")))
}

fn told(found: &[Diagnostic]) -> Vec<(&str, &str)> {
    found.iter().map(|problem| (problem.code.as_str(), problem.message.as_str())).collect()
}

#[tokio::test]
async fn rows_as_they_are_need_no_program() {
    let plan = bench().plan(&cdc("", "")).await;
    assert!(plan.flows[0].replan.is_none());
    let two = "pipeline: p\nmode: cdc\nsource: {memory: {table: t, log: true}}\nsinks:\n  a: {memory: {table: a, changes: true}}\n  b: {memory: {table: b, changes: true}}\n";
    assert!(bench().plan(two).await.flows[0].replan.is_none(), "nor do two sinks");
}

#[tokio::test]
async fn transforms_of_single_rows_say_what_their_columns_are_made_of() {
    let transforms = "- filter: city <> 'x' OR name = 'y'\n- field_mapper: {rename: {id: key}}\n- mask: {columns: {name: redact}}\n- sql: SELECT key, name, city || name AS both, city FROM input";
    let plan = bench().plan(&cdc(transforms, "")).await;
    let flow = &plan.flows[0];
    assert_eq!(flow.outputs[0].key, ["key"]);
    let Program::RowLocal(program) = &flow.program else { panic!() };
    let way = &program.ways(3).unwrap()[0];
    let made = |same: Option<usize>, from: &[usize]| ColumnWay { same, from: from.iter().copied().collect() };
    assert_eq!(way.columns, [made(Some(0), &[0]), made(None, &[1]), made(None, &[1, 2]), made(Some(2), &[2])]);
    assert_eq!((way.filtered, &way.filters), (true, &BTreeSet::from([1, 2])));
}

#[tokio::test]
async fn a_cast_and_a_dropped_column_are_seen_too() {
    let plan = bench().plan(&cdc("- cast: {columns: {name: int64}}\n- field_mapper: {drop: [city]}", "")).await;
    let Program::RowLocal(program) = &plan.flows[0].program else { panic!() };
    let way = &program.ways(3).unwrap()[0];
    let same: Vec<Option<usize>> = way.columns.iter().map(|column| column.same).collect();
    assert_eq!((same, way.filtered), (vec![Some(0), None], false));
}

#[tokio::test]
async fn the_key_of_changes_must_arrive_as_the_source_has_it() {
    for transform in
        ["- field_mapper: {drop: [id]}", "- cast: {columns: {id: text}}", "- sql: SELECT id + 1 AS id, name FROM input"]
    {
        let found = bench().problems(&cdc(transform, "")).await;
        assert_eq!(
            told(&found),
            [("WEIR-PLAN-008", "key column `id` does not arrive at sink `sink` as the source has it")],
            "{transform}"
        );
    }
    let found = bench().problems(&cdc("- mask: {columns: {name: redact}}", ", key: [name]")).await;
    assert_eq!(told(&found), [("WEIR-PLAN-008", "key column `name` does not arrive at sink `sink` as the source has it")]);
    // In other modes a key may be made.
    let batch =
        line("- mask: {columns: {name: redact}}").replace("{table: out}", "{table: out, write_mode: upsert, key: [name]}");
    bench().plan(&batch).await;
}

#[tokio::test]
async fn what_sees_rows_together_has_no_place_among_changes() {
    let found = bench().problems(&cdc("- sql: SELECT id, count(*) AS n FROM input GROUP BY id", "")).await;
    let [("WEIR-PLAN-005", message)] = told(&found)[..] else { panic!("{found:?}") };
    assert!(message.contains("`sql`") && message.contains("an aggregate"), "{message}");
}

#[tokio::test]
async fn columns_about_changes_are_planned_and_their_names_must_be_free() {
    let plan = bench().plan(&cdc("", ", metadata_columns: [position, op]")).await;
    let output = &plan.flows[0].outputs[0];
    assert_eq!(output.metadata, [MetadataColumn::Op, MetadataColumn::Position]);
    let names: Vec<&str> = output.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name", "city", "_op", "_position"]);
    let reports: Vec<(&str, &str)> =
        plan.columns.iter().map(|report| (report.column.as_str(), report.sink_type.as_str())).collect();
    assert_eq!(reports[3..], [("_op", "utf8"), ("_position", "utf8")]);

    let found = bench().check(&line("").replace("{table: out}", "{table: out, metadata_columns: [op]}"));
    assert_eq!(told(&found).iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["WEIR-PLAN-021"]);
    let taken = cdc("", ", metadata_columns: [op, source_ts]").replace("{table: t,", "{table: ops,");
    let found = bench().problems(&taken).await;
    let [("WEIR-PLAN-021", message)] = told(&found)[..] else { panic!("{found:?}") };
    assert!(message.contains("a column `_op`"), "{message}");
}

#[tokio::test]
async fn transforms_are_planned_anew_for_another_shape_or_say_which_does_not_fit() {
    let transforms = "- filter: name <> 'x'\n- field_mapper: {drop: [city]}";
    let plan = bench().plan(&cdc(transforms, ", metadata_columns: [op]")).await;
    let replan = plan.flows[0].replan.as_ref().unwrap();
    let stream = |columns: &[(&str, bool)]| {
        let fields: Vec<Field> = columns.iter().map(|(name, nullable)| Field::new(*name, DataType::Utf8, *nullable)).collect();
        StreamInfo {
            schema: Arc::new(Schema::new(fields)),
            primary_key: vec!["id".into()],
            ..plan.flows[0].inputs[0].stream.clone()
        }
    };
    let wider = replan.replan(&stream(&[("id", false), ("name", false), ("city", true), ("zip", true)])).unwrap();
    let (schema, key) = &wider.outputs[0];
    let shown: Vec<(&str, bool)> = schema.fields().iter().map(|field| (field.name().as_str(), field.is_nullable())).collect();
    assert_eq!(shown, [("id", false), ("name", false), ("zip", true), ("_op", true)]);
    assert_eq!(key, &["id"]);
    // A value that the log leaves out of a column that is never NULL goes through.
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("1"), Some("2")])),
        Arc::new(StringArray::from(vec![Some("x"), Some("y")])),
        Arc::new(StringArray::from(vec![None::<&str>, None])),
        Arc::new(StringArray::from(vec![None::<&str>, None])),
    ];
    let fields: Vec<Field> = ["id", "name", "city", "zip"].map(|name| Field::new(name, DataType::Utf8, true)).into();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let done = wider.program.apply(&batch).unwrap().remove(0);
    assert_eq!((done.batch.num_rows(), done.filtered), (1, 1));

    let error = replan.replan(&stream(&[("id", false), ("title", false), ("city", true)])).err().unwrap();
    assert_eq!(error.code(), "WEIR-CHANGE-002");
    assert!(error.why().unwrap().contains("filter") && error.why().unwrap().contains("no column `name`"), "{error}");
}

#[test]
fn a_journal_has_a_limit_and_says_what_happens_there_and_what_it_keeps() {
    let journal = |written: &str| format!("{}journal: {written}\n", cdc("", ""));
    let read = |written: &str| bench().pipeline(&journal(written));
    assert_eq!(bench().pipeline(&cdc("", "")).journal, None);
    assert_eq!(read("{}").journal, Some(JournalPolicy::default()));
    for (written, max_bytes, when_full, keep) in [
        ("{max_bytes: 2GiB}", 2 << 30, WhenFull::Wait, None),
        ("{max_bytes: 5000000, when_full: fail, keep: 24h}", 5_000_000, WhenFull::Fail, Some(Keep::Ms(86_400_000))),
        ("{keep: 5GB}", 10 << 30, WhenFull::Wait, Some(Keep::Bytes(5_000_000_000))),
    ] {
        let pipeline = read(written);
        assert_eq!(pipeline.journal, Some(JournalPolicy { max_bytes, when_full, keep, ..JournalPolicy::default() }), "{written}");
        let again = bench().pipeline(&to_native_yaml(&pipeline));
        assert_eq!(again.journal, pipeline.journal, "{}", to_native_yaml(&pipeline));
    }
    let elsewhere = read("{path: 's3://lake/journals', connection: store}");
    let policy = elsewhere.journal.clone().unwrap();
    assert_eq!((policy.path.as_deref(), policy.connection.as_deref()), (Some("s3://lake/journals"), Some("store")));
    assert_eq!(bench().pipeline(&to_native_yaml(&elsewhere)).journal, elsewhere.journal);
    for (written, code, suggestion) in [
        ("{path: journals}", "WEIR-SPEC-013", None),
        ("{path: 's3://'}", "WEIR-SPEC-013", None),
        ("{max_bytes: 5KiB}", "WEIR-SPEC-023", None),
        ("{max_bytes: 5gib}", "WEIR-SPEC-018", Some("5GiB")),
        ("{when_full: fial}", "WEIR-SPEC-022", Some("fail")),
        ("{keep: 24hours}", "WEIR-SPEC-018", Some("24h")),
        ("{max_byte: 1GiB}", "WEIR-SPEC-011", Some("max_bytes")),
        ("10GiB", "WEIR-SPEC-013", None),
    ] {
        let found = bench().misspelt(&journal(written));
        let [problem] = found.as_slice() else { panic!("{written}: {found:?}") };
        assert_eq!((problem.code.as_str(), problem.suggestion.as_deref()), (code, suggestion), "{written}");
    }
}

#[tokio::test]
async fn a_split_of_changes_says_what_decides_where_a_row_goes() {
    let text = "pipeline: p\nmode: cdc\nsources: {s: {memory: {table: t, log: true}}}\n\
                transforms: {routed: {input: s, split: {x: \"city = 'x'\", y: \"name = 'y'\", rest: default}}}\n\
                sinks:\n  a: {input: routed.x, memory: {table: a, changes: true}}\n  b: {input: [routed.y, routed.rest], memory: {table: \"b_{stream}\", changes: true}}\n";
    let plan = bench().plan(text).await;
    let flow = &plan.flows[0];
    let names: Vec<(&str, &[String])> =
        flow.outputs.iter().map(|output| (output.stream.as_str(), output.key.as_slice())).collect();
    let key = ["id".to_string()];
    assert_eq!(names, [("t", &key[..]), ("t_y", &key[..]), ("t_rest", &key[..])]);
    let Program::RowLocal(program) = &flow.program else { panic!() };
    for way in program.ways(3).unwrap() {
        let same: Vec<Option<usize>> = way.columns.iter().map(|column| column.same).collect();
        assert_eq!((same, way.filtered, &way.filters), (vec![Some(0), Some(1), Some(2)], true, &BTreeSet::from([1, 2])));
    }
    assert!(flow.replan.is_some());
}

#[tokio::test]
async fn what_makes_several_rows_of_one_has_no_place_among_changes() {
    let found = bench().problems(&cdc("- unpivot: {columns: [name, city]}", "")).await;
    assert!(found[0].message.contains("no place for `unpivot`"), "{found:#?}");
}
