//! Changes that are folded into rows, without files around them.

use std::io::BufWriter;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
use weir_connect::verify::{Comparison, Form};

use super::state::folded;

type Told<'a> = (&'a str, i64, Option<i64>, Option<&'a str>, &'a [&'a str]);

/// `(op, seq, id, value, absent)` → `(id, form of the value, seq)`.
fn fold(changes: &[Told<'_>], bits: u8) -> Vec<(String, Option<String>, i64)> {
    let comparison = Comparison {
        columns: vec![("id".into(), Form::Number), ("v".into(), Form::Number)],
        key: vec![0],
        keyed: true,
        carried: Vec::new(),
    };
    let mut parts: Vec<_> = (0..1_usize << bits).map(|_| BufWriter::new(tempfile::tempfile().unwrap())).collect();
    let mut absent = ListBuilder::new(StringBuilder::new());
    for (.., names) in changes {
        names.iter().for_each(|name| absent.values().append_value(name));
        absent.append(!names.is_empty());
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(changes.iter().map(|change| change.2).collect::<Int64Array>())),
        ("v", Arc::new(changes.iter().map(|change| change.3).collect::<StringArray>())),
        ("_op", Arc::new(changes.iter().map(|change| Some(change.0)).collect::<StringArray>())),
        ("_seq", Arc::new(changes.iter().map(|change| Some(change.1)).collect::<Int64Array>())),
        ("_absent", Arc::new(absent.finish())),
    ];
    assert!(columns.iter().all(|(_, column)| column.len() == changes.len()));
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap();
    let mut found: Vec<_> = folded(&rows, &comparison, bits, &mut parts)
        .unwrap()
        .into_iter()
        .map(|(key, forms, seq)| (key.values[0].clone().unwrap(), forms[1].clone(), seq))
        .collect();
    found.sort();
    found
}

#[test]
fn the_last_change_of_a_key_is_its_row_wherever_it_stands() {
    let changes: [Told<'_>; 7] = [
        ("u", 5, Some(1), Some("50"), &[]),
        ("r", 1, Some(1), Some("10"), &[]),
        ("c", 2, Some(2), Some("20"), &[]),
        ("d", 6, Some(2), None, &["v"]),
        ("c", 7, Some(3), None, &[]),
        ("d", 3, Some(4), None, &[]),
        ("c", 4, Some(4), Some("40"), &[]),
    ];
    for bits in [0, 3] {
        let row = |id: &str, value: Option<&str>, seq| (id.to_owned(), value.map(str::to_owned), seq);
        assert_eq!(fold(&changes, bits), [row("1", Some("50"), 5), row("3", None, 7), row("4", Some("40"), 4)]);
    }
}

#[test]
fn a_value_that_the_log_left_out_is_that_of_the_change_before() {
    let changes: [Told<'_>; 4] = [
        ("r", 1, Some(1), Some("10"), &[]),
        ("u", 2, Some(1), None, &["v"]),
        ("u", 3, Some(1), None, &["v"]),
        ("u", 4, Some(2), None, &["v"]),
    ];
    let found = fold(&changes, 0);
    assert_eq!(found[0], ("1".into(), Some("10".into()), 3));
    // Nobody knows it: it is like nothing else.
    assert_eq!(found[1], ("2".into(), Some("absent".into()), 4));
}

#[test]
fn nothing_is_left_from_before_a_table_was_emptied() {
    let changes: [Told<'_>; 4] = [
        ("r", 1, Some(1), Some("1"), &[]),
        ("t", 3, None, None, &[]),
        ("c", 4, Some(2), Some("2"), &[]),
        ("r", 2, Some(2), Some("9"), &[]),
    ];
    assert_eq!(fold(&changes, 1), [("2".into(), Some("2".into()), 4)]);
}
