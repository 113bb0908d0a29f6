//! Folders named `key=value`: writing values into names and getting columns back out of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef};
use chrono::NaiveDate;
use weir_error::{Error, Kind, Result};

/// The folder of rows whose value is NULL, as Hive, Spark and DuckDB name it.
pub(crate) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// `key=value` with everything in the value percent-encoded that a file system, an object key or a URL could take
/// for something else. `None` is NULL.
pub(crate) fn segment(key: &str, value: Option<&str>) -> String {
    let mut text = encode(key);
    text.push('=');
    match value {
        None => text.push_str(NULL_PARTITION),
        // The text itself must not read back as NULL.
        Some(NULL_PARTITION) => text.push_str("%5F_HIVE_DEFAULT_PARTITION__"),
        Some(value) => text.push_str(&encode(value)),
    }
    text
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric()
            || matches!(character, '-' | '_' | '.')
            || !character.is_ascii() && !character.is_control()
        {
            encoded.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    encoded
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code =
            (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    // Somebody else's percent sign: then the text means itself.
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

/// The `key=value` folders of a relative path, outermost first. The file's own name does not count.
pub(crate) fn parse(relative: &str) -> Vec<(String, Option<String>)> {
    let folders = relative.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders
        .split('/')
        .filter_map(|folder| folder.split_once('='))
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (decode(key), (value != NULL_PARTITION).then(|| decode(value))))
        .collect()
}

/// Columns made from the folders of all files: `int64` when every value is a whole number in its shortest form (for `year`, `month`,
/// `day`, `hour` also with leading zeros), `date` when every value is one, else text. A declared type wins.
pub(crate) fn fields(files: &[Vec<(String, Option<String>)>], declared: &BTreeMap<String, DataType>) -> Result<Vec<FieldRef>> {
    let Some(first) = files.first() else { return Ok(vec![]) };
    let mut fields = vec![];
    for (key, _) in first {
        let mut values =
            files.iter().flat_map(|file| file.iter().filter(|(name, _)| name == key)).map(|(_, value)| value.as_deref());
        let data_type = match declared.get(key) {
            Some(data_type) => data_type.clone(),
            None => infer(key, &mut values),
        };
        fields.push(Arc::new(Field::new(key, data_type, true)));
    }
    Ok(fields)
}

fn infer(key: &str, values: &mut dyn Iterator<Item = Option<&str>>) -> DataType {
    let padded = ["year", "month", "day", "hour"].iter().any(|part| key == *part || key.ends_with(&format!("_{part}")));
    let (mut whole, mut date, mut any) = (true, true, false);
    for value in values.flatten() {
        any = true;
        whole &= value.parse::<i64>().is_ok_and(|number| {
            number.to_string() == value || padded && value.len() <= 4 && value.bytes().all(|byte| byte.is_ascii_digit())
        });
        date &= value.len() == 10 && NaiveDate::parse_from_str(value, "%Y-%m-%d").is_ok();
    }
    match (any, whole, date) {
        (true, true, _) => DataType::Int64,
        (true, _, true) => DataType::Date32,
        _ => DataType::Utf8,
    }
}

/// One folder's value as a column of one row, to be repeated.
pub(crate) fn value(field: &Field, text: Option<&str>, place: &str) -> Result<ArrayRef> {
    let Some(text) = text else { return Ok(new_null_array(field.data_type(), 1)) };
    let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&column, field.data_type(), &options).map_err(|error| {
        Error::new(
            "WEIR-FILE-020",
            Kind::Data,
            format!("the folder's value `{text}` is no {} for column `{}`", field.data_type(), field.name()),
        )
        .at(place)
        .caused_by(error)
        .hint("declare the column's type under `columns`, or set `partitioned: false`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_its_folder_name() {
        for value in ["DE", "a/b", "50%", "x=y", "", "köln", "..", NULL_PARTITION, "2026-01-31 10:00", "a\nb", "%41", "😀"] {
            let name = segment("k", Some(value));
            assert!(!name.contains('/') && !name.contains('\n'), "{name}");
            assert_eq!(parse(&format!("{name}/f.parquet")), [("k".to_owned(), Some(value.to_owned()))]);
        }
        assert_eq!(parse(&format!("{}/f.parquet", segment("k", None))), [("k".to_owned(), None)]);
    }

    #[test]
    fn types_are_inferred_only_when_every_value_survives() {
        let typed = |key: &str, values: &[&str]| infer(key, &mut values.iter().map(|value| Some(*value)));
        assert_eq!(typed("n", &["1", "20", "-3"]), DataType::Int64);
        assert_eq!(typed("zip", &["01", "20"]), DataType::Utf8);
        assert_eq!(typed("month", &["01", "12"]), DataType::Int64);
        assert_eq!(typed("d", &["2026-01-31"]), DataType::Date32);
        assert_eq!(typed("d", &["2026-02-31"]), DataType::Utf8);
    }
}
