//! Lists to rows, structs to columns, columns to rows and back: every value is where it belongs, and none is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Decimal128Array, Int32Array, Int64Array, ListArray, ListBuilder, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Int64Type};
use proptest::prelude::*;
use weir_plan::Program;

use crate::bench::Bench;

fn ints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn lists(values: Vec<Option<Vec<Option<i64>>>>) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(values))
}

fn carts() -> Bench {
    let items = lists(vec![Some(vec![Some(7), None, Some(9)]), Some(vec![]), None, Some(vec![Some(1)])]);
    Bench::default().table("t", vec![("id", ints(vec![Some(1), Some(2), Some(3), Some(4)])), ("items", items)])
}

#[tokio::test]
async fn every_element_has_its_row_and_a_row_without_elements_stays() {
    let got = carts().run_line("- explode: {column: items, as: item, position: at}").await;
    assert_eq!(got.columns, ["id", "item", "at"]);
    assert_eq!(got.rows, ["1|7|0", "1|9|2", "1|∅|1", "2|∅|∅", "3|∅|∅", "4|1|0"]);
    assert_eq!(carts().run_line("- explode: items").await.columns, ["id", "items"]);
}

#[tokio::test]
async fn without_outer_a_row_without_elements_is_gone() {
    let got = carts().run_line("- explode: {column: items, outer: false}").await;
    assert_eq!(got.rows, ["1|7", "1|9", "1|∅", "4|1"]);
}

#[tokio::test]
async fn an_exploded_column_comes_from_its_list_and_the_others_from_themselves() {
    let plan = carts().line("- explode: {column: items, as: item, position: at}").await;
    let from: Vec<&[String]> = plan.columns.iter().map(|column| column.from.as_slice()).collect();
    assert_eq!(from, [["source.t.id".to_string()], ["source.t.items".to_string()], ["source.t.items".to_string()]]);
    let Program::Relational(program) = &plan.flows[0].program else { panic!() };
    assert!(program.reason().contains("several rows for one"), "{}", program.reason());
    assert_eq!(plan.columns[1].source, "(explode)");
}

#[tokio::test]
async fn a_list_in_json_text_gives_its_elements_as_they_are_written() {
    let bench = Bench::default()
        .table("t", vec![("j", texts(vec![Some("[1.10, {\"a\": [2]}, null, \"x\"]"), Some("[]"), None, Some("null")]))]);
    let got = bench.run_line("- explode: {column: j, position: at}").await;
    assert_eq!(got.rows, ["\"x\"|3", "1.10|0", "{\"a\": [2]}|1", "∅|2", "∅|∅", "∅|∅", "∅|∅"]);
    for (wrong, told) in [("{}", "no list"), ("[1,", "no JSON"), ("7", "no list")] {
        let bench = Bench::default().table("t", vec![("j", texts(vec![Some(wrong)]))]);
        let plan = bench.line("- explode: j").await;
        let failure = bench.failure(&plan).await;
        assert!(failure.contains(told), "{wrong}: {failure}");
    }
}

#[tokio::test]
async fn what_cannot_be_exploded_or_flattened_is_told_with_its_place() {
    for (transform, told) in [
        ("- explode: id", "`id` is int64, no list"),
        ("- explode: item", "no column `item`"),
        ("- explode: {column: items, as: id}", "two columns would be called `id`"),
        ("- explode: {column: items, position: items}", "two columns would be called `items`"),
        ("- flatten: {columns: [items]}", "`items` is list<int64>, no struct"),
        ("- flatten: {columns: [nothing]}", "no column `nothing`"),
        ("- unpivot: {columns: [id, items]}", "one column cannot hold both"),
        ("- unpivot: {columns: [id], name: items}", "two columns would be called `items`"),
        ("- unpivot: {columns: [id, id]}", "twice"),
        ("- unpivot: {columns: [id], type: int}", "`int` is no type"),
        ("- pivot: {column: id, values: [x], value: items}", "`x` is no value of the column, which is int64"),
        ("- pivot: {column: idd, values: [1], value: items}", "no column `idd`"),
        ("- pivot: {column: id, values: [1, 1], value: items}", "twice"),
    ] {
        let found = carts().problems(&crate::bench::line(transform)).await;
        assert!(found.iter().any(|problem| problem.message.contains(told)), "{transform}: {found:#?}");
        assert!(found.iter().all(|problem| problem.span.is_some()), "{transform}: {found:#?}");
    }
}

/// A struct column whose second row is NULL over values that are not.
fn nested() -> Bench {
    let inner = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("zip", DataType::Utf8, true)),
        texts(vec![Some("01"), Some("x"), None]),
    )]));
    let fields = vec![Field::new("city", DataType::Utf8, true), Field::new("more", inner.data_type().clone(), true)];
    let parts: Vec<ArrayRef> = vec![texts(vec![Some("Rome"), Some("hidden"), None]), inner];
    let address = StructArray::try_new(fields.into(), parts, Some(NullBuffer::from(vec![true, false, true]))).unwrap();
    Bench::default().table("t", vec![("id", ints(vec![Some(1), Some(2), Some(3)])), ("address", Arc::new(address) as ArrayRef)])
}

#[tokio::test]
async fn the_parts_of_a_struct_become_columns_and_those_of_a_null_are_null() {
    let bench = nested();
    let plan = bench.line("- flatten: {}").await;
    assert!(matches!(plan.flows[0].program, Program::RowLocal(_)));
    let got = bench.run(&plan).await.remove("sink").unwrap();
    assert_eq!(got.columns, ["id", "address_city", "address_more_zip"]);
    assert_eq!(got.rows, ["1|Rome|01", "2|∅|∅", "3|∅|∅"]);
    assert_eq!(plan.columns[2].from, ["source.t.address"]);
    let one = bench.run_line("- flatten: {separator: ., depth: 1}").await;
    assert_eq!(one.columns, ["id", "address.city", "address.more"]);
}

#[tokio::test]
async fn two_parts_that_would_have_one_name_are_told() {
    let address = StructArray::from(vec![(Arc::new(Field::new("city", DataType::Int64, true)), ints(vec![Some(1)]))]);
    let bench = Bench::default().table("t", vec![("a", Arc::new(address) as ArrayRef), ("a_city", ints(vec![Some(1)]))]);
    let found = bench.problems(&crate::bench::line("- flatten: {}")).await;
    assert!(found[0].message.contains("two columns would be called `a_city`"), "{found:#?}");
    assert_eq!(bench.run_line("- flatten: {separator: __}").await.columns, ["a__city", "a_city"]);
}

#[tokio::test]
async fn columns_become_rows_with_their_names_and_null_is_a_value() {
    let bench = Bench::default().table(
        "t",
        vec![("id", ints(vec![Some(1), Some(2)])), ("jan", ints(vec![Some(10), None])), ("feb", ints(vec![Some(20), Some(40)]))],
    );
    let got = bench.run_line("- unpivot: {columns: [jan, feb], name: month, value: amount}").await;
    assert_eq!(got.columns, ["id", "month", "amount"]);
    assert_eq!(got.rows, ["1|feb|20", "1|jan|10", "2|feb|40", "2|jan|∅"]);
    let got = bench.run_line("- unpivot: {columns: [jan, feb], nulls: drop}").await;
    assert_eq!((got.columns, got.rows.len()), (vec!["id".to_string(), "name".into(), "value".into()], 3));
    let plan = bench.line("- unpivot: {columns: [jan, feb]}").await;
    assert_eq!(plan.columns[2].from, ["source.t.feb", "source.t.jan"]);
}

#[tokio::test]
async fn unlike_columns_get_the_type_that_is_asked_for_value_by_value() {
    let bench =
        Bench::default().table("t", vec![("a", ints(vec![Some(1), Some(2)])), ("b", texts(vec![Some("2.5"), Some("x")]))]);
    let got = bench.run_line("- unpivot: {columns: [a, b], type: \"decimal(5,2)\"}").await;
    assert_eq!(got.rows, ["a|1.00", "b|2.50"]);
    assert_eq!((got.dead.len(), got.dead[0].reason.as_str()), (1, "b: `x` is no decimal128(5,2)"));
}

fn sales() -> Bench {
    let amounts = Decimal128Array::from(vec![Some(150), Some(25), None, Some(1)]).with_precision_and_scale(5, 2).unwrap();
    Bench::default().table(
        "t",
        vec![
            ("who", texts(vec![Some("ada"), Some("ada"), Some("bob"), None])),
            ("month", texts(vec![Some("jan"), Some("feb"), Some("jan"), Some("it's")])),
            ("amount", Arc::new(amounts) as ArrayRef),
        ],
    )
}

#[tokio::test]
async fn declared_values_become_columns() {
    let got = sales().run_line("- pivot: {group_by: [who], column: month, values: [feb, jan, \"it's\"], value: amount}").await;
    assert_eq!(got.columns, ["who", "feb", "jan", "it's"]);
    assert_eq!(got.rows, ["ada|0.25|1.50|∅", "bob|∅|∅|∅", "∅|∅|∅|0.01"]);
    let got = sales()
        .run_line("- pivot: {column: month, values: {winter: [jan, feb]}, value: amount, aggregate: sum, other: rest}")
        .await;
    assert_eq!((got.columns, got.rows), (vec!["winter".to_string(), "rest".into()], vec!["1.75|0.01".to_string()]));
    let got = sales()
        .run_line("- pivot: {group_by: [who], column: month, values: [jan], value: amount, aggregate: count, undeclared: drop}")
        .await;
    assert_eq!(got.rows, ["ada|1", "bob|0", "∅|0"]);
}

#[tokio::test]
async fn a_value_that_is_not_declared_and_a_second_row_for_a_cell_end_the_run() {
    let bench = sales();
    let plan = bench.line("- pivot: {group_by: [who], column: month, values: [feb, jan], value: amount}").await;
    let told = bench.failure(&plan).await;
    assert!(told.contains("not declared in `values`: it's"), "{told}");
    let plan = bench.line("- pivot: {column: month, values: {a: [jan, feb]}, value: amount, undeclared: drop}").await;
    let told = bench.failure(&plan).await;
    assert!(told.contains("more than one row for `a`"), "{told}");
    let nothing = Bench::default().table("t", vec![("m", ints(vec![None])), ("v", ints(vec![Some(1)]))]);
    let plan = nothing.line("- pivot: {column: m, values: [1], value: v}").await;
    assert!(nothing.failure(&plan).await.contains("NULL"));
}

#[tokio::test]
async fn a_pivot_by_numbers_has_their_texts_as_names() {
    let bench = Bench::default()
        .table("t", vec![("y", Arc::new(Int32Array::from(vec![2024, 2025])) as ArrayRef), ("v", ints(vec![Some(1), Some(2)]))]);
    let got = bench.run_line("- pivot: {column: y, values: [2024, 2025, 2026], value: v}").await;
    assert_eq!((got.columns, got.rows), (vec!["2024".to_string(), "2025".into(), "2026".into()], vec!["1|2|∅".to_string()]));
}

#[tokio::test]
async fn empty_inputs_stay_empty() {
    let empty = ListArray::try_new(
        Arc::new(Field::new("item", DataType::Int64, true)),
        OffsetBuffer::from_lengths([]),
        ints(vec![]),
        None,
    )
    .unwrap();
    let lists = Bench::default().table("t", vec![("l", Arc::new(empty) as ArrayRef)]);
    assert!(lists.run_line("- explode: l").await.rows.is_empty());
    let bench = Bench::default().table("t", vec![("n", ints(vec![])), ("m", ints(vec![]))]);
    for transform in
        ["- unpivot: {columns: [n, m]}", "- pivot: {group_by: [n], column: m, values: [1], value: n}", "- flatten: {}"]
    {
        assert!(bench.run_line(transform).await.rows.is_empty(), "{transform}");
    }
}

#[tokio::test]
async fn lists_of_texts_and_of_structs_are_exploded_too() {
    let mut builder = ListBuilder::new(StringBuilder::new());
    builder.values().append_value("x");
    builder.values().append_value("y");
    builder.append(true);
    let items = StructArray::from(vec![(Arc::new(Field::new("sku", DataType::Int64, true)), ints(vec![Some(5), Some(6)]))]);
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let list = ListArray::try_new(field, OffsetBuffer::from_lengths([2]), Arc::new(items), None).unwrap();
    let bench =
        Bench::default().table("t", vec![("a", Arc::new(builder.finish()) as ArrayRef), ("b", Arc::new(list) as ArrayRef)]);
    let got = bench.run_line("- explode: {column: b, as: line}\n- flatten: {columns: [line]}\n- explode: a").await;
    assert_eq!(
        (got.columns, got.rows),
        (vec!["line_sku".to_string(), "a".into()], vec!["5|x".to_string(), "5|y".into(), "6|x".into(), "6|y".into()])
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn explode_gives_what_a_loop_gives(values in prop::collection::vec(prop::option::of(prop::collection::vec(prop::option::of(0i64..5), 0..4)), 0..20), outer: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ids = ints((0..values.len() as i64).map(Some).collect());
        let bench = Bench::default().table("t", vec![("id", ids), ("l", lists(values.clone()))]);
        let got = runtime.block_on(bench.run_line(&format!("- explode: {{column: l, position: p, outer: {outer}}}")));
        let mut expected = Vec::new();
        for (id, list) in values.iter().enumerate() {
            let list = list.clone().unwrap_or_default();
            if list.is_empty() && outer {
                expected.push(format!("{id}|∅|∅"));
            }
            expected.extend(list.iter().enumerate().map(|(at, n)| format!("{id}|{}|{at}", n.map_or("∅".into(), |n| n.to_string()))));
        }
        expected.sort();
        prop_assert_eq!(got.rows, expected);
    }

    #[test]
    fn what_is_unpivoted_and_pivoted_is_what_it_was(rows in prop::collection::vec(prop::array::uniform3(prop::option::of(0i64..9)), 0..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let column = |at: usize| ints(rows.iter().map(|row| row[at]).collect());
        let ids = ints((0..rows.len() as i64).map(Some).collect());
        let bench = Bench::default().table("t", vec![("id", ids), ("a", column(0)), ("b", column(1)), ("c", column(2))]);
        let got = runtime.block_on(bench.run_line("- unpivot: {columns: [a, b, c]}\n- pivot: {group_by: [id], column: name, values: [a, b, c], value: value}"));
        let shown = |n: Option<i64>| n.map_or("∅".to_string(), |n| n.to_string());
        let mut expected: Vec<String> = rows.iter().enumerate().map(|(id, row)| format!("{id}|{}|{}|{}", shown(row[0]), shown(row[1]), shown(row[2]))).collect();
        expected.sort();
        prop_assert_eq!(got.rows, expected);
    }

    #[test]
    fn pivoted_sums_are_those_of_a_loop(rows in prop::collection::vec((0i64..3, prop::option::of(0i64..5), prop::option::of(-9i64..9)), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bench = Bench::default().table("t", vec![
            ("k", ints(rows.iter().map(|row| Some(row.0)).collect())),
            ("p", ints(rows.iter().map(|row| row.1).collect())),
            ("v", ints(rows.iter().map(|row| row.2).collect())),
        ]);
        let got = runtime.block_on(bench.run_line("- pivot: {group_by: [k], column: p, values: [0, 1], value: v, aggregate: sum, other: rest}"));
        let mut cells: BTreeMap<i64, [Option<i64>; 3]> = BTreeMap::new();
        for (k, p, v) in &rows {
            let cell = &mut cells.entry(*k).or_default()[match p { Some(0) => 0, Some(1) => 1, _ => 2 }];
            if let Some(v) = v {
                *cell = Some(cell.unwrap_or(0) + v);
            }
        }
        let shown = |n: &Option<i64>| n.map_or("∅".to_string(), |n| n.to_string());
        let expected: Vec<String> = cells.iter().map(|(k, row)| format!("{k}|{}", row.iter().map(shown).collect::<Vec<_>>().join("|"))).collect();
        prop_assert_eq!(got.rows, expected);
    }
}

#[tokio::test]
async fn a_query_may_take_parts_of_what_it_unnests() {
    let items = StructArray::from(vec![(Arc::new(Field::new("sku", DataType::Int64, true)), ints(vec![Some(5), Some(6)]))]);
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let list = ListArray::try_new(field, OffsetBuffer::from_lengths([2]), Arc::new(items), None).unwrap();
    let bench = Bench::default().table("t", vec![("b", Arc::new(list) as ArrayRef)]);
    assert_eq!(
        bench.run_line("- sql: \"SELECT e['sku'] AS sku FROM (SELECT unnest(b) AS e FROM input)\"").await.rows,
        ["5", "6"]
    );
}
