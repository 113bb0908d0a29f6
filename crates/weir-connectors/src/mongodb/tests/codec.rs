//! Bytes, text and columns.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use mongodb::bson::{Bson, DateTime, Decimal128, Document, Regex, Timestamp, doc, oid::ObjectId, serialize_to_vec};
use proptest::prelude::*;

use super::super::bson::{self, Value, Writer};
use super::super::extjson::{self, Form};
use super::super::kinds::{Kind, decimal};
use super::super::rows::{Rows, Shape, UnknownKeys};
use super::super::source::Sample;

fn bytes(document: &Document) -> Vec<u8> {
    serialize_to_vec(document).unwrap()
}

fn relaxed(document: &Document) -> String {
    let mut out = String::new();
    extjson::write(Value::Document(&bytes(document)), Form::Relaxed, &mut out).unwrap();
    out
}

/// One of every type, as the official library writes it.
fn every_type() -> Document {
    let id = ObjectId::from_bytes([0x65, 0x4f, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    doc! {
        "double": 1.5, "whole": 2.0, "nan": f64::NAN, "inf": f64::NEG_INFINITY, "string": "a\"\u{1}é", "doc": { "a": { "b": 1 } }, "array": [1, "x", null],
        "binary": mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 255] },
        "uuid": mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Uuid, bytes: vec![0x11; 16] },
        "old": mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::BinaryOld, bytes: vec![9] },
        "undefined": Bson::Undefined, "oid": id, "bool": true, "date": DateTime::from_millis(1_700_000_000_123), "early": DateTime::from_millis(-1), "null": Bson::Null,
        "regex": Regex { pattern: "^a/b".try_into().unwrap(), options: "im".try_into().unwrap() }, "code": Bson::JavaScriptCode("f()".into()), "symbol": Bson::Symbol("s".into()),
        "scoped": Bson::JavaScriptCodeWithScope(mongodb::bson::JavaScriptCodeWithScope { code: "g()".into(), scope: doc! { "x": 1 } }),
        "int": 7, "timestamp": Timestamp { time: 5, increment: 6 }, "long": 9_007_199_254_740_993_i64,
        "decimal": "1.50".parse::<Decimal128>().unwrap(), "decimal_nan": "NaN".parse::<Decimal128>().unwrap(), "min": Bson::MinKey, "max": Bson::MaxKey,
    }
}

#[test]
fn every_type_has_the_canonical_text_of_the_specification() {
    let text = extjson::canonical(&bytes(&every_type())).unwrap();
    for part in [
        r#""double":{"$numberDouble":"1.5"}"#,
        r#""whole":{"$numberDouble":"2.0"}"#,
        r#""nan":{"$numberDouble":"NaN"}"#,
        r#""inf":{"$numberDouble":"-Infinity"}"#,
        r#""string":"a\"\u0001é""#,
        r#""doc":{"a":{"b":{"$numberInt":"1"}}}"#,
        r#""array":[{"$numberInt":"1"},"x",null]"#,
        r#""binary":{"$binary":{"base64":"AQL/","subType":"00"}}"#,
        r#""old":{"$binary":{"base64":"CQ==","subType":"02"}}"#,
        r#""undefined":{"$undefined":true}"#,
        r#""oid":{"$oid":"654f00010203040506070809"}"#,
        r#""date":{"$date":{"$numberLong":"1700000000123"}}"#,
        r#""regex":{"$regularExpression":{"pattern":"^a/b","options":"im"}}"#,
        r#""scoped":{"$code":"g()","$scope":{"x":{"$numberInt":"1"}}}"#,
        r#""timestamp":{"$timestamp":{"t":5,"i":6}}"#,
        r#""long":{"$numberLong":"9007199254740993"}"#,
        r#""decimal":{"$numberDecimal":"1.50"}"#,
        r#""min":{"$minKey":1},"max":{"$maxKey":1}"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(extjson::document(&text).unwrap(), bytes(&every_type()), "and back, byte for byte");
}

#[test]
fn relaxed_text_has_numbers_and_dates_as_people_write_them() {
    let text = relaxed(
        &doc! { "i": 1, "l": 2_i64, "d": 1.0, "at": DateTime::from_millis(1_700_000_000_123), "early": DateTime::from_millis(-1), "nan": f64::NAN },
    );
    let expected = r#"{"i":1,"l":2,"d":1.0,"at":{"$date":"2023-11-14T22:13:20.123Z"},"early":{"$date":{"$numberLong":"-1"}},"nan":{"$numberDouble":"NaN"}}"#;
    assert_eq!(text, expected);
}

#[test]
fn our_bytes_are_those_of_the_official_library() {
    let original = every_type();
    let text = extjson::canonical(&bytes(&original)).unwrap();
    let read: Document = mongodb::bson::deserialize_from_slice(&extjson::document(&text).unwrap()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{original:?}"));
}

#[test]
fn damaged_documents_are_told_apart_from_each_other() {
    let good = bytes(&doc! { "name": "value", "inner": { "list": [1, 2] } });
    assert!(bson::check(&good).is_ok());
    for end in 0..good.len() {
        assert!(bson::check(&good[..end]).is_err(), "cut after {end} bytes");
    }
    let mut not_text = bytes(&doc! { "s": "ab" });
    let at = not_text.windows(2).position(|pair| pair == b"ab").unwrap();
    not_text[at] = 0xff;
    assert!(bson::check(&not_text).unwrap_err().0.contains("field `s`: a string is not UTF-8"));
    let mut deep = Writer::default().finish();
    for _ in 0..bson::DEPTH + 5 {
        let mut writer = Writer::default();
        writer.put("a", Value::Document(&deep)).unwrap();
        deep = writer.finish();
    }
    assert!(bson::check(&deep).unwrap_err().0.contains("nested deeper"));
    assert!(extjson::canonical(&deep).is_err());
}

fn infer(documents: &[Document]) -> Shape {
    let mut sample = Sample::default();
    documents.iter().for_each(|document| sample.see(&bytes(document)));
    Shape::new(sample.layout(&Default::default()), Form::Relaxed, UnknownKeys::Extra)
}

fn kinds(documents: &[Document]) -> Vec<(String, Kind)> {
    infer(documents).layout
}

#[test]
fn a_sample_gives_each_field_the_narrowest_type_that_holds_it_exactly() {
    let number = |text: &str| text.parse::<Decimal128>().unwrap();
    let seen = kinds(&[
        doc! { "_id": ObjectId::new(), "i": 1, "l": 1, "d": 1, "m": 1_i64, "price": number("12.50"), "odd": number("NaN"), "mixed": 1, "nothing": Bson::Null },
        doc! { "_id": ObjectId::new(), "l": 2_i64, "d": 0.5, "m": 0.5, "price": number("1E+3"), "odd": number("1"), "mixed": "x", "later": { "a": 1 } },
    ]);
    let of = |name: &str| seen.iter().find(|(found, _)| found == name).unwrap().1;
    assert_eq!(seen[0], ("_id".into(), Kind::ObjectId));
    assert_eq!((of("i"), of("l"), of("d")), (Kind::Int32, Kind::Int64, Kind::Double));
    // A double holds no 64-bit integer exactly.
    assert_eq!((of("m"), of("mixed"), of("nothing"), of("later")), (Kind::Json, Kind::Json, Kind::Json, Kind::Json));
    assert_eq!((of("price"), of("odd")), (Kind::Decimal(38, 1), Kind::DecimalText));
}

#[test]
fn keys_of_mixed_types_stay_different_texts() {
    let shape = Shape::document();
    let mut rows = Rows::new(Arc::new(Shape::document()));
    let id = ObjectId::from_bytes([1; 12]);
    let documents = [
        doc! { "_id": id },
        doc! { "_id": id.to_hex() },
        doc! { "_id": 1 },
        doc! { "_id": "1" },
        doc! { "_id": Bson::Null },
        doc! { "_id": { "a": 1, "b": 2 } },
    ];
    let stored: Vec<_> = documents.iter().map(bytes).collect();
    stored.iter().for_each(|document| rows.push(shape.row(document).unwrap()));
    let (batch, _) = rows.finish().unwrap();
    let keys: Vec<_> = batch.column(0).as_string::<i32>().iter().map(Option::unwrap).collect();
    let expected = [
        "010101010101010101010101",
        "\"010101010101010101010101\"",
        r#"{"$numberInt":"1"}"#,
        "\"1\"",
        "null",
        r#"{"a":{"$numberInt":"1"},"b":{"$numberInt":"2"}}"#,
    ];
    assert_eq!(keys, expected);
}

#[test]
fn what_does_not_fit_its_column_is_a_dead_letter_and_never_null() {
    let shape =
        infer(&[doc! { "_id": 1, "n": 1, "at": DateTime::from_millis(0), "price": "1.5".parse::<Decimal128>().unwrap() }]);
    let dead = |document: Document| shape.row(&bytes(&document)).unwrap_err().letter("orders", &bytes(&document));
    for (document, why) in [
        (doc! { "_id": 2, "n": "text" }, "field `n`: a value of type string does not fit a column of type Int32"),
        (doc! { "_id": 2, "n": 5_000_000_000_i64 }, "field `n`"),
        (doc! { "_id": 2, "at": DateTime::from_millis(i64::MAX) }, "outside of the years"),
        (doc! { "_id": 2, "price": "1.25".parse::<Decimal128>().unwrap() }, "more digits than decimal(38,1)"),
        (doc! { "_id": 2, "price": "-0".parse::<Decimal128>().unwrap() }, "no number of a decimal column"),
        (doc! { "_id": 2, "n": Bson::Undefined }, "type undefined"),
    ] {
        let letter = dead(document.clone());
        assert!(letter.reason.contains(why), "{}", letter.reason);
        assert_eq!((letter.code.as_str(), letter.place.as_str()), ("WEIR-MONGO-010", r#"orders, _id {"$numberInt":"2"}"#));
        assert_eq!(extjson::document(std::str::from_utf8(&letter.payload).unwrap()).unwrap(), bytes(&document));
    }
    let mut twice = Writer::default();
    twice.put("_id", Value::Int32(1)).unwrap();
    twice.put("n", Value::Int32(1)).unwrap();
    twice.put("n", Value::Int32(2)).unwrap();
    let twice = twice.finish();
    assert_eq!(shape.row(&twice).unwrap_err().why, "the document has two fields `n`");
    assert!(
        extjson::canonical(&twice).unwrap().ends_with(r#""n":{"$numberInt":"1"},"n":{"$numberInt":"2"}}"#),
        "as a whole it keeps both"
    );
}

#[test]
fn fields_without_a_column_are_kept_in_the_extra_one() {
    let documents = [doc! { "_id": 1, "n": 1 }, doc! { "n": 2, "_id": 2, "new": "x", "more": [1] }, doc! { "_id": 3 }];
    let shape = Arc::new(infer(&documents[..1]));
    let mut rows = Rows::new(shape.clone());
    let stored: Vec<_> = documents.iter().map(bytes).collect();
    stored.iter().for_each(|document| rows.push(shape.row(document).unwrap()));
    let (batch, absent) = rows.finish().unwrap();
    assert!(absent.iter().all(Option::is_none));
    let extra = batch.column_by_name("_extra").unwrap().as_string::<i32>();
    assert_eq!((extra.is_null(0), extra.value(1), extra.is_null(2)), (true, r#"{"new":"x","more":[1]}"#, true));
    assert!(batch.column_by_name("n").unwrap().is_null(2));
    let strict = Shape::new(shape.layout.clone(), Form::Relaxed, UnknownKeys::DeadLetter);
    assert_eq!(strict.row(&stored[1]).unwrap_err().code, "WEIR-MONGO-012");
}

#[test]
fn values_arrive_in_their_columns() {
    let document =
        doc! { "_id": 1, "l": 2_i64, "at": DateTime::from_millis(-1), "price": "-12.5".parse::<Decimal128>().unwrap(), "s": "é" };
    let shape = Arc::new(infer(std::slice::from_ref(&document)));
    let mut rows = Rows::new(shape.clone());
    let stored = bytes(&document);
    rows.push(shape.row(&stored).unwrap());
    let (batch, _) = rows.finish().unwrap();
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    assert_eq!(column("l").as_primitive::<Int64Type>().value(0), 2);
    assert_eq!(column("at").as_primitive::<TimestampMicrosecondType>().value(0), -1000);
    assert_eq!(column("price").as_primitive::<Decimal128Type>().value(0), -125);
    assert_eq!(column("s").as_string::<i32>().value(0), "é");
}

#[test]
fn decimals_are_numbers_only_where_arrow_holds_them() {
    let of = |text: &str| decimal(text.parse::<Decimal128>().unwrap().bytes());
    assert_eq!(
        (of("12.50"), of("1E+3"), of("-0.001"), of("0E-5")),
        (Some((125, 1)), Some((1000, 0)), Some((-1, 3)), Some((0, 0)))
    );
    assert_eq!((of("NaN"), of("Infinity"), of("-0"), of("1E+6000"), of("1E-6000")), (None, None, None, None, None));
    assert_eq!(of("9.999999999999999999999999999999999E+36"), Some((9_999_999_999_999_999_999_999_999_999_999_999_000, 0)));
}

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<f64>().prop_filter("one NaN", |value| !value.is_nan()).prop_map(Bson::Double),
        ".{0,8}".prop_map(Bson::String),
        (any::<u8>().prop_filter("old", |subtype| *subtype != 2), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(subtype, bytes)| Bson::Binary(mongodb::bson::Binary { subtype: subtype.into(), bytes })),
        Just(Bson::Undefined),
        any::<[u8; 12]>().prop_map(|id| Bson::ObjectId(ObjectId::from_bytes(id))),
        any::<bool>().prop_map(Bson::Boolean),
        any::<i64>().prop_map(|ms| Bson::DateTime(DateTime::from_millis(ms))),
        Just(Bson::Null),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        (any::<u32>(), any::<u32>()).prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        (any::<i64>(), -6000..6000_i32)
            .prop_map(|(digits, exponent)| Bson::Decimal128(format!("{digits}E{exponent}").parse().unwrap())),
        "[a-z]{0,5}".prop_map(Bson::Symbol),
        "[a-z()]{0,9}".prop_map(Bson::JavaScriptCode),
        Just(Bson::MinKey),
        Just(Bson::MaxKey),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Bson::Array),
            prop::collection::btree_map("[a-zé]{0,4}", inner, 0..5)
                .prop_map(|members| Bson::Document(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_text_comes_back_as_the_same_bytes(members in prop::collection::btree_map("[a-zé]{0,6}", value(), 0..6)) {
        let stored = bytes(&members.into_iter().collect());
        let text = extjson::canonical(&stored).unwrap();
        prop_assert_eq!(extjson::document(&text).unwrap(), stored);
    }

    #[test]
    fn hostile_bytes_are_errors_or_documents_and_never_a_panic(mut noise in prop::collection::vec(any::<u8>(), 0..200), fix in any::<bool>()) {
        if fix && noise.len() > 5 {
            let length = noise.len() as i32;
            noise[..4].copy_from_slice(&length.to_le_bytes());
            *noise.last_mut().unwrap() = 0;
        }
        let checked = bson::check(&noise);
        prop_assert_eq!(extjson::canonical(&noise).is_ok(), checked.is_ok());
        let _ = Shape::document().row(&noise);
        let mut sample = Sample::default();
        sample.see(&noise);
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_another_document(at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut stored = bytes(&every_type());
        let at = at.index(stored.len());
        stored[at] = with;
        if let Ok(text) = extjson::canonical(&stored) {
            let _ = extjson::document(&text);
        }
        let _ = Shape::document().row(&stored);
    }
}
