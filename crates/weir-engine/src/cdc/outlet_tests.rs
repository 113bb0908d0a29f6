//! Batches through outlets whose programs are written by hand.

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use weir_connect::fidelity::COLUMN_ID;
use weir_connect::{OnLoss, SchemaChangePolicy, WriteMode};
use weir_plan::Replanned;

use super::*;

/// Columns `id`, `n`, `body`: n > 0 passes, and `id`, `body` as `text`, and `len` computed from `body` and `n`, come out.
struct Program {
    input: SchemaRef,
    mixed: bool,
}

fn field(name: &str, data_type: DataType, number: &str) -> Field {
    Field::new(name, data_type, name != "id").with_metadata([(COLUMN_ID.to_owned(), number.to_owned())].into())
}

fn schema(body: &str) -> SchemaRef {
    let id = field("id", DataType::Int64, "1").with_nullable(false);
    Arc::new(Schema::new(vec![id, field("n", DataType::Int64, "2"), field(body, DataType::Utf8, "3")]))
}

fn output(input: &SchemaRef) -> SchemaRef {
    let renamed = if input.field(2).name() == "body" { "text" } else { input.field(2).name() };
    let text = input.field(2).clone().with_name(renamed);
    Arc::new(Schema::new(vec![input.field(0).clone(), text, Field::new("shout", DataType::Utf8, true)]))
}

impl RowProgram for Program {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        assert!(batch.schema().fields().iter().all(|field| field.is_nullable()));
        let n = batch.column(1).as_primitive::<Int64Type>();
        // 99 cannot be computed.
        let keep: BooleanArray = n.iter().map(|n| Some(n.is_some_and(|n| n > 0 && n != 99))).collect();
        let left = filter_record_batch(batch, &keep).map_err(broken)?;
        let shout: StringArray = left.column(2).as_string::<i32>().iter().map(|text| text.map(str::to_uppercase)).collect();
        let columns: Vec<ArrayRef> = vec![left.column(0).clone(), left.column(2).clone(), Arc::new(shout)];
        let batch = RecordBatch::try_new(nullable(&output(&self.input)), columns).map_err(broken)?;
        let letter = |_| DeadLetter {
            stream: "t".into(),
            code: "C".into(),
            reason: "99".into(),
            place: "p".into(),
            payload: vec![],
            media_type: "application/json".into(),
        };
        let dead: Vec<DeadLetter> = n.iter().filter(|n| *n == Some(99)).map(letter).collect();
        let filtered = (n.len() - batch.num_rows() - dead.len()) as u64;
        Ok(vec![RowOutput { batch, filtered, dead, kept: vec![Arc::new(keep)], rules: vec![] }])
    }

    fn ways(&self, _: usize) -> Option<Vec<OutputWay>> {
        let same = |at| ColumnWay { same: Some(at), from: [at].into() };
        let from = if self.mixed { [1, 2].into() } else { [2].into() };
        let columns = vec![same(0), same(2), ColumnWay { same: None, from }];
        Some(vec![OutputWay { columns, filters: [1].into(), filtered: true }])
    }
}

struct Planner {
    mixed: bool,
}

impl Replan for Planner {
    fn replan(&self, stream: &StreamInfo) -> Result<Replanned> {
        let program = Program { input: stream.schema.clone(), mixed: self.mixed };
        Ok(Replanned { program: Arc::new(program), outputs: vec![(output(&stream.schema), vec!["id".into()])] })
    }
}

/// Transforms that fit nothing.
struct Misfit;

impl Replan for Misfit {
    fn replan(&self, _: &StreamInfo) -> Result<Replanned> {
        Err(Error::new("WEIR-CHANGE-002", Kind::Schema, "they do not fit"))
    }
}

fn maker(mixed: bool, deletes: DeleteMode) -> Maker {
    Maker {
        replan: Some(Arc::new(Planner { mixed })),
        stream: StreamInfo {
            name: "t".into(),
            schema: schema("body"),
            primary_key: vec!["id".into()],
            estimated_rows: None,
            estimated_bytes: None,
            reading: String::new(),
        },
        output: 0,
        metadata: Vec::new(),
        key: None,
        deletes,
        gates: [].into(),
    }
}

fn shape(body: &str) -> Shape {
    Shape { schema: schema(body), key: vec!["id".into()] }
}

/// (operation, id, n, body); `None` = not in the log. Every change is a transaction of its own, at the position of its id.
fn batch(lines: &[(Op, i64, Option<i64>, Option<&str>)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(lines.iter().map(|line| Some(line.1)).collect::<Int64Array>()),
        Arc::new(lines.iter().map(|line| line.2).collect::<Int64Array>()),
        Arc::new(lines.iter().map(|line| line.3).collect::<StringArray>()),
    ];
    let marks = lines.iter().enumerate().map(|(at, line)| TransactionMark {
        end: at + 1,
        position: line.1.to_string().into(),
        id: None,
        committed_at_us: line.1 * 10,
    });
    ChangeBatch {
        stream: "t".into(),
        ops: lines.iter().map(|line| line.0).collect(),
        rows: RecordBatch::try_new(nullable(&schema("body")), columns).unwrap(),
        absent: vec![
            None,
            Some(lines.iter().map(|line| line.2.is_none()).collect()),
            Some(lines.iter().map(|line| line.3.is_none()).collect()),
        ],
        before: None,
        transactions: marks.collect(),
        source_bytes: 1,
    }
}

/// What the target gets, a text per row: `?` = absent.
fn told(sent: &Sent) -> Vec<String> {
    let Some(batch) = &sent.batch else { return Vec::new() };
    assert_eq!(batch.transactions.last().unwrap().end, batch.ops.len());
    let cell = |column: usize, row: usize| {
        let values = batch.rows.column(column);
        if is_set(batch.absent[column].as_ref(), row) {
            assert!(values.is_null(row), "what is not known is NULL");
            return "?".to_owned();
        }
        arrow::util::display::array_value_to_string(values, row).unwrap()
    };
    (0..batch.ops.len())
        .map(|row| {
            let cells: Vec<String> = (0..batch.rows.num_columns()).map(|column| cell(column, row)).collect();
            let mark = batch.transactions.iter().find(|mark| row < mark.end).unwrap();
            format!("{} {} @{}", batch.ops[row], cells.join(" "), mark.position)
        })
        .collect()
}

#[test]
fn the_target_stays_equal_to_the_filtered_source() {
    let outlet = maker(false, DeleteMode::Hard).outlet(&shape("body")).unwrap();
    let sent = outlet
        .send(&batch(&[
            (Op::Create, 1, Some(5), Some("a")),
            (Op::Create, 2, Some(-5), Some("b")),
            (Op::Read, 3, Some(-5), Some("c")),
            (Op::Delete, 4, None, None),
            (Op::Update, 5, Some(-1), Some("e")),
            (Op::Update, 6, Some(99), Some("f")),
            (Op::Update, 7, Some(7), None),
            (Op::Delete, 8, Some(-8), Some("h")),
        ]))
        .unwrap();
    assert_eq!(told(&sent), ["c 1 a A @1", "d 4 ? ? @4", "d 5 ? ? @5", "u 7 ? ? @7", "d 8 h ? @8"]);
    assert_eq!((sent.written, sent.filtered, sent.dead.len()), (4, 3, 1));
    assert_eq!(sent.dead[0].media_type, "text/plain", "NULL for what is not known must not come back as a row");

    let nothing = outlet.send(&batch(&[(Op::Create, 2, Some(-5), Some("b"))])).unwrap();
    assert!(nothing.batch.is_none() && nothing.filtered == 1);
    // Without deletes, and with nothing else.
    let sent = outlet.send(&batch(&[(Op::Create, 1, Some(5), Some("a"))])).unwrap();
    assert_eq!(told(&sent), ["c 1 a A @1"]);
    let sent = outlet.send(&batch(&[(Op::Delete, 1, None, None)])).unwrap();
    assert_eq!(told(&sent), ["d 1 ? ? @1"]);
}

#[test]
fn what_the_log_leaves_out_is_never_computed_with() {
    let outlet = maker(false, DeleteMode::Hard).outlet(&shape("body")).unwrap();
    let error = outlet.send(&batch(&[(Op::Update, 1, None, Some("a"))])).err().unwrap();
    assert_eq!(error.code(), "WEIR-CHANGE-004");
    assert!(error.what().contains("a filter needs `n`") && error.advice().unwrap().contains("REPLICA IDENTITY FULL"));

    let mixed = maker(true, DeleteMode::Hard).outlet(&shape("body")).unwrap();
    let error = mixed.send(&batch(&[(Op::Update, 1, Some(1), None)])).err().unwrap();
    assert!(error.what().contains("an expression needs `body`"), "{error}");
    // A row that does not pass needs no expression.
    let sent = mixed.send(&batch(&[(Op::Update, 1, Some(-1), None)])).unwrap();
    assert_eq!(told(&sent), ["d 1 ? ? @1"]);

    // Where a row stays after it was filtered out, what it lacks may have changed meanwhile.
    for deletes in [DeleteMode::Soft, DeleteMode::Ignore] {
        let outlet = maker(false, deletes).outlet(&shape("body")).unwrap();
        let error = outlet.send(&batch(&[(Op::Update, 1, Some(1), None)])).err().unwrap();
        assert_eq!(error.code(), "WEIR-CHANGE-004");
        assert!(outlet.send(&batch(&[(Op::Update, 1, Some(1), Some("a"))])).is_ok());
    }
}

#[test]
fn columns_about_changes_follow_those_of_the_stream() {
    let all = MetadataColumn::ALL.to_vec();
    let plain = Maker { replan: None, metadata: all, ..maker(false, DeleteMode::Hard) };
    let outlet = plain.outlet(&shape("body")).unwrap();
    let sent = outlet.send(&batch(&[(Op::Create, 1, Some(5), None), (Op::Delete, 2, None, None)])).unwrap();
    let rows = ["c 1 5 ? c 1970-01-01T00:00:00.000010Z 1 @1".to_owned(), "d 2 ? ? d 1970-01-01T00:00:00.000020Z 2 @2".to_owned()];
    assert_eq!(told(&sent), rows);
    assert_eq!(sent.batch.unwrap().rows.schema().fields().len(), outlet.schema.fields().len());
    let taken = Shape { schema: Arc::new(Schema::new(vec![Field::new("_op", DataType::Int64, true)])), key: vec![] };
    assert_eq!(plain.outlet(&taken).err().unwrap().code(), "WEIR-CHANGE-001");
}

#[test]
fn a_change_of_the_shape_is_told_as_the_target_sees_it() {
    let maker = maker(false, DeleteMode::Hard);
    let (old, new) = (maker.outlet(&shape("body")).unwrap(), maker.outlet(&shape("content")).unwrap());
    let change = SchemaChange {
        stream: "t".into(),
        schema: schema("content"),
        key: vec!["id".into()],
        renamed: vec![("body".into(), "content".into())],
        statement: None,
    };
    let seen = old.becomes(&new, &change).unwrap();
    assert_eq!(seen.renamed, [("text".to_owned(), "content".to_owned())]);
    assert_eq!(seen.schema, new.schema);
    assert!(old.becomes(&maker.outlet(&shape("body")).unwrap(), &change).is_none());
    // Transforms that were changed since: what the target has is known by the checkpoint.
    let saved = old.saved().unwrap();
    let misfit = Maker { replan: Some(Arc::new(Misfit)), ..self::maker(false, DeleteMode::Hard) };
    assert!(misfit.outlet_or_saved(&shape("body"), &Value::Null).is_err());
    let closed = misfit.outlet_or_saved(&shape("body"), &saved).unwrap();
    assert_eq!((&closed.schema, &closed.key), (&old.schema, &old.key));
    assert_eq!(closed.becomes(&new, &change).unwrap(), seen);
    let error = closed.send(&batch(&[(Op::Create, 1, Some(5), Some("a"))])).err().unwrap();
    assert_eq!(error.code(), "WEIR-CHANGE-003");
    // Rows of another shape do not go through by the place of their columns.
    let error = new.send(&batch(&[(Op::Create, 1, Some(5), Some("a"))])).err().unwrap();
    assert_eq!(error.code(), "WEIR-CHANGE-003");
}

#[test]
fn an_output_without_a_program_passes_as_it_is() {
    let output = |metadata: Vec<MetadataColumn>| {
        let schema = with_metadata(&schema("body"), &metadata).unwrap();
        (schema, metadata)
    };
    for (schema_out, metadata) in [output(vec![]), output(MetadataColumn::ALL.to_vec())] {
        let plain = Maker { replan: None, metadata: metadata.clone(), ..maker(false, DeleteMode::Hard) };
        let told = plain.told(&FlowOutput {
            node: "sink".into(),
            connector: "x".into(),
            sink: Arc::new(Nowhere),
            stream: "t".into(),
            schema: schema_out,
            write_mode: WriteMode::Upsert,
            key: vec!["id".into()],
            on_schema_change: SchemaChangePolicy::Evolve,
            on_loss: OnLoss::default(),
            deletes: DeleteMode::Hard,
            metadata,
        });
        assert_eq!(told, shape("body"), "what is added here is no column of the stream");
    }
}

struct Nowhere;

#[async_trait::async_trait]
impl weir_connect::Sink for Nowhere {
    fn capabilities(&self, _: WriteMode) -> weir_connect::SinkCapabilities {
        weir_connect::SinkCapabilities {
            commit: weir_connect::CommitKind::Append,
            commit_note: String::new(),
            write_modes: Vec::new(),
        }
    }
    fn sink_type(&self, _: &Field) -> weir_connect::SinkType {
        weir_connect::SinkType::exact("x")
    }
    fn place(&self, stream: &str) -> String {
        stream.into()
    }
    async fn preview(&self, _: &weir_connect::StreamTarget) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn prepare(&self, _: weir_connect::StreamTarget) -> Result<Box<dyn weir_connect::StreamSink>> {
        Err(Error::internal("nothing is written"))
    }
}
