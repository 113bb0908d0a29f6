//! The words for types in `columns` of a source, all that any connector takes: the words of the spec, the usual spellings of SQL, types
//! within types. MongoDB has some of its own. Held against the connectors' own reading by `every_word_means_what_it_means_natively`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use weir_plan::TypeWord;

/// What a source of that kind gives in a column that is declared so; `None`: that is no type, which is said when the pipeline is checked.
pub(super) fn declared_type(kind: &str, word: &str) -> Option<DataType> {
    let word = word.trim().to_ascii_lowercase();
    if kind.starts_with("mongo")
        && let Some(own) = of_documents(&word)
    {
        return Some(own);
    }
    parse(&word)
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn of_documents(word: &str) -> Option<DataType> {
    match word {
        "object_id" | "objectid" | "uuid" | "key" | "decimal" => Some(DataType::Utf8),
        "date" | "timestamp" => Some(instant()),
        _ => None,
    }
}

/// What stands in brackets behind one of the names, if nothing stands behind the brackets.
fn within<'a>(word: &'a str, names: &[&str], brackets: (char, char)) -> Option<&'a str> {
    let (name, rest) = word.split_once(brackets.0)?;
    names.contains(&name.trim()).then(|| rest.trim_end().strip_suffix(brackets.1)).flatten().map(str::trim)
}

fn parse(word: &str) -> Option<DataType> {
    let list = within(word, &["list", "array"], ('(', ')')).or_else(|| within(word, &["list"], ('<', '>')));
    if let Some(item) = list {
        return Some(DataType::List(Arc::new(Field::new("item", parse(item)?, true))));
    }
    if let Some(members) = within(word, &["struct"], ('<', '>')) {
        let each: Option<Fields> = outside_brackets(members)
            .into_iter()
            .map(|member| {
                let (name, word) = member.split_once(':')?;
                Some(Field::new(name.trim(), parse(word.trim())?, true))
            })
            .collect();
        return each.map(DataType::Struct);
    }
    if let Some(digits) = within(word, &["decimal", "numeric"], ('(', ')')).filter(|digits| !digits.contains(',')) {
        return TypeWord::parse(&format!("decimal({digits},0)")).ok().map(|word| word.data_type);
    }
    if let Some(unit) = within(word, &["time"], ('(', ')')) {
        return match unit {
            "s" | "0" => Some(DataType::Time32(TimeUnit::Second)),
            "ms" | "3" => Some(DataType::Time32(TimeUnit::Millisecond)),
            "us" | "6" => Some(DataType::Time64(TimeUnit::Microsecond)),
            "ns" | "9" => Some(DataType::Time64(TimeUnit::Nanosecond)),
            _ => None,
        };
    }
    let (name, arguments) = word.split_once('(').map_or((word, ""), |(name, _)| (name.trim(), &word[name.len()..]));
    let name = match name {
        "tinyint" => "int8",
        "smallint" => "int16",
        "int" | "integer" => "int32",
        "bigint" | "long" => "int64",
        "real" => "float32",
        "float" | "double precision" => "float64",
        "utf8" | "varchar" | "char" | "string" | "text" => return Some(DataType::Utf8),
        "bytes" | "bytea" => "binary",
        "date32" => "date",
        "datetime" => "timestamp",
        "timestamp_tz" => "timestamptz",
        "epoch_secs" | "epoch_ms" if arguments.is_empty() => return Some(instant()),
        other => other,
    };
    let arguments = match arguments {
        "(0)" => "(s)",
        "(3)" => "(ms)",
        "(6)" => "(us)",
        "(9)" => "(ns)",
        other => other,
    };
    TypeWord::parse(&format!("{name}{arguments}")).ok().map(|word| word.data_type)
}

/// Splits at the commas that no brackets are around.
fn outside_brackets(members: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    members
        .split(move |c| {
            match c {
                '<' | '(' => depth += 1,
                '>' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_means_what_it_means_natively() {
        let words = "bool boolean int8 tinyint int16 smallint int32 int integer int64 bigint long uint8 uint16 uint32 uint64 float32 real \
                     float64 double float string text utf8 varchar char binary bytes bytea date date32 time timestamp datetime timestamptz \
                     timestamp_tz time(s) time(3) time(us) time(9) timestamp(0) timestamp(ms) timestamp(6) timestamp(ns) timestamptz(s) \
                     timestamptz(3) decimal(15,2) numeric(40,2) decimal(9) list(bigint) array(list(int)) list(decimal(9,2)) varchar(20) BIGINT";
        for word in words.split(' ').chain(["double precision", "decimal(15, 2)", " list( int64 ) "]) {
            assert_eq!(declared_type("file", word), weir_formats::declared_type(word).ok(), "{word}");
        }
        for word in [
            "",
            "money",
            "decimal",
            "decimal(2,3)",
            "int64(3)",
            "timestamp(x)",
            "list(int64",
            "list(money)",
            "list(int)x",
            "time(4)",
        ] {
            assert_eq!((declared_type("kafka", word), weir_formats::declared_type(word).ok()), (None, None), "{word}");
        }
    }

    #[test]
    fn types_of_apis_and_of_documents() {
        assert_eq!(declared_type("http", "epoch_ms"), Some(instant()));
        assert_eq!(declared_type("http", "json"), Some(DataType::Utf8));
        let DataType::Struct(members) = declared_type("http", "struct<n: bigint, p: decimal(9,2), t: list<text>>").unwrap()
        else {
            panic!("no struct")
        };
        let types: Vec<DataType> = members.iter().map(|member| member.data_type().clone()).collect();
        let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        assert_eq!(types, [DataType::Int64, DataType::Decimal128(9, 2), texts]);
        assert_eq!((declared_type("mongodb", "date"), declared_type("file", "date")), (Some(instant()), Some(DataType::Date32)));
        assert_eq!(declared_type("mongodb", "long"), Some(DataType::Int64));
    }
}
