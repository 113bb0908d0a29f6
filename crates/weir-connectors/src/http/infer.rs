//! The schema of an endpoint, from a sample of its records. What the sample says is fixed for the run: a later record that does not fit is
//! a dead letter, never a change of type.
//!
//! A column of integers and floats is float64 if every integer survives that. Integers beyond 64 bits are decimal(38,0). Everything
//! mixed, unknown (only NULL so far), or with more digits than a double holds is JSON text: any later value fits it.

use super::json::{Json, JsonValue};
use super::number::{Digits, exact_f64, written_as_integer};
use super::types::ColumnType;

/// What was seen at one place of the records.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    bools: bool,
    texts: bool,
    integers: bool,
    fractions: bool,
    beyond_i64: bool,
    beyond_decimal: bool,
    beyond_double: bool,
    items: Option<Box<Seen>>,
    members: Option<Members>,
}

/// What was seen in objects: keys in the order of their first sight.
#[derive(Debug, Default, Clone)]
pub struct Members {
    list: Vec<(String, Seen)>,
}

impl Members {
    /// Takes an object's members in.
    pub fn see(&mut self, members: &[(std::borrow::Cow<'_, str>, Json<'_>)]) {
        for (index, (key, value)) in members.iter().enumerate() {
            // Records mostly have their keys in the same order, so the guess is right and wide records stay cheap.
            let place = match self.list.get(index) {
                Some((name, _)) if name == key => index,
                _ => self.list.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
                    self.list.push((key.to_string(), Seen::default()));
                    self.list.len() - 1
                }),
            };
            self.list[place].1.see(value);
        }
    }

    /// Drops keys that were only ever NULL where other records have an object, whose members are columns of their own.
    pub fn drop_absent_objects(&mut self, separator: &str) {
        let names: Vec<String> = self.list.iter().map(|(name, _)| name.clone()).collect();
        self.list.retain(|(name, seen)| {
            let prefix = format!("{name}{separator}");
            seen.something() || !names.iter().any(|other| other.starts_with(&prefix))
        });
    }

    /// The columns that hold all that was seen; declared types win, declared columns that were not seen come last.
    pub fn columns(&self, declared: &[(String, ColumnType)]) -> Vec<(String, ColumnType)> {
        let mut columns: Vec<(String, ColumnType)> = self
            .list
            .iter()
            .map(|(name, seen)| {
                let declared = declared.iter().find(|(declared, _)| declared == name).map(|(_, column)| column.clone());
                (name.clone(), declared.unwrap_or_else(|| seen.column()))
            })
            .collect();
        for (name, column) in declared {
            if !self.list.iter().any(|(seen, _)| seen == name) {
                columns.push((name.clone(), column.clone()));
            }
        }
        columns
    }
}

impl Seen {
    fn see(&mut self, json: &Json<'_>) {
        match &json.value {
            JsonValue::Null => {}
            JsonValue::Bool(_) => self.bools = true,
            JsonValue::Text(_) => self.texts = true,
            JsonValue::Number(text) => {
                let integer = written_as_integer(text);
                if integer {
                    self.integers = true;
                    if text.parse::<i64>().is_err() {
                        self.beyond_i64 = true;
                        self.beyond_decimal |= Digits::of(text).integer().is_none();
                    }
                } else {
                    self.fractions = true;
                }
                self.beyond_double |= exact_f64(text).is_none();
            }
            JsonValue::List(items) => {
                let seen = self.items.get_or_insert_with(Box::default);
                for item in items {
                    seen.see(item);
                }
            }
            JsonValue::Object(members) => self.members.get_or_insert_with(Members::default).see(members),
        }
    }

    fn something(&self) -> bool {
        self.bools || self.texts || self.integers || self.fractions || self.items.is_some() || self.members.is_some()
    }

    fn column(&self) -> ColumnType {
        let numbers = self.integers || self.fractions;
        let kinds = [self.bools, self.texts, numbers, self.items.is_some(), self.members.is_some()];
        if kinds.iter().filter(|seen| **seen).count() != 1 {
            return ColumnType::Json;
        }
        if self.bools {
            return ColumnType::Bool;
        }
        if self.texts {
            return ColumnType::Text;
        }
        if let Some(items) = &self.items {
            return match items.column() {
                ColumnType::Json => ColumnType::Json,
                item => ColumnType::List(Box::new(item)),
            };
        }
        if let Some(members) = &self.members {
            // An object that was always empty says nothing about its keys.
            return if members.list.is_empty() { ColumnType::Json } else { ColumnType::Struct(members.columns(&[])) };
        }
        match (self.fractions, self.beyond_i64) {
            (false, false) => ColumnType::Int(64),
            (false, true) if !self.beyond_decimal => ColumnType::Decimal(38, 0),
            (true, _) if !self.beyond_double => ColumnType::Float64,
            _ => ColumnType::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    fn inferred(records: &[&str]) -> Vec<String> {
        let mut members = Members::default();
        for record in records {
            let JsonValue::Object(object) = parse(record).unwrap().value else { panic!() };
            members.see(&object);
        }
        members.columns(&[]).iter().map(|(name, column)| format!("{name}: {column}")).collect()
    }

    #[test]
    fn integers_widen_to_floats_and_never_past_them() {
        assert_eq!(inferred(&[r#"{"a": 1}"#, r#"{"a": null}"#]), ["a: int64"]);
        assert_eq!(inferred(&[r#"{"a": 1}"#, r#"{"a": 1.5}"#]), ["a: float64"]);
        assert_eq!(inferred(&[r#"{"a": 9007199254740993}"#, r#"{"a": 1.5}"#]), ["a: json"]);
        assert_eq!(inferred(&[r#"{"a": 18446744073709551616}"#, r#"{"a": 1}"#]), ["a: decimal(38,0)"]);
        assert_eq!(inferred(&[r#"{"a": 0.12345678901234567890}"#]), ["a: json"]);
        assert_eq!(inferred(&[&format!("{{\"a\": {}}}", "9".repeat(39))]), ["a: json"]);
    }

    #[test]
    fn what_is_mixed_or_unknown_is_json_text() {
        assert_eq!(
            inferred(&[r#"{"a": 1, "b": null, "c": [], "d": {}}"#, r#"{"a": "x"}"#]),
            ["a: json", "b: json", "c: json", "d: json"]
        );
        assert_eq!(inferred(&[r#"{"a": [1, "x"]}"#]), ["a: json"]);
        assert_eq!(inferred(&[r#"{"a": {"b": 1}}"#, r#"{"a": [1]}"#]), ["a: json"]);
    }

    #[test]
    fn nested_shapes_grow_together() {
        let records = [r#"{"o": {"x": 1}, "l": [{"y": 1}]}"#, r#"{"o": {"z": "t"}, "l": [{"y": 1.5, "w": true}, null]}"#];
        assert_eq!(inferred(&records), ["o: struct<x: int64, z: text>", "l: list<struct<y: float64, w: bool>>"]);
    }

    #[test]
    fn declared_types_win_and_unseen_columns_follow() {
        let mut members = Members::default();
        let JsonValue::Object(object) = parse(r#"{"a": 1, "b": "x"}"#).unwrap().value else { panic!() };
        members.see(&object);
        let declared = [("c".to_owned(), ColumnType::Date), ("a".to_owned(), ColumnType::Decimal(10, 2))];
        let columns: Vec<_> = members.columns(&declared).iter().map(|(name, column)| format!("{name}: {column}")).collect();
        assert_eq!(columns, ["a: decimal(10,2)", "b: text", "c: date"]);
    }
}
