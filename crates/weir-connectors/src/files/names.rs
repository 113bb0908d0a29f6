//! Names of folders and files: the placeholders of a path, when a run began, plain names for anything.

use chrono::{DateTime, Utc};
use weir_error::{Error, Kind, Result};

use super::hive;

/// The placeholders of a path.
pub(crate) fn fill(path: &str, stream: &str, started: DateTime<Utc>, pipeline: &str) -> Result<String> {
    // A name must stay one folder and never climb.
    let folder = |name: &str| match name.trim_start_matches('.') {
        "" => "_".to_owned(),
        name => hive::segment("", Some(name)).trim_start_matches('=').to_owned(),
    };
    let (space, table) = stream.rsplit_once('.').unwrap_or(("", stream));
    let filled = path
        .replace("{stream}", &folder(stream))
        .replace("{schema}", &folder(space))
        .replace("{table}", &folder(table))
        .replace("{connector}", &folder(pipeline))
        .replace("{date}", &started.format("%Y-%m-%d").to_string())
        .replace("{tenant}", "default");
    match filled.find('{') {
        None => Ok(filled),
        Some(at) => Err(Error::new("WEIR-FILE-056", Kind::Spec, format!("`{}` is no placeholder", &filled[at..]))
            .hint("placeholders are {stream}, {schema}, {table}, {connector}, {date} and {tenant}; with {message-id} also {year}, {month}, {day} and {hour}")),
    }
}

/// When the run began, from an id that carries the time (UUID version 7, ULID).
pub(crate) fn run_time(run: &str) -> Option<DateTime<Utc>> {
    if let Ok(id) = uuid::Uuid::parse_str(run) {
        let (secs, nanos) = id.get_timestamp()?.to_unix();
        return DateTime::from_timestamp(i64::try_from(secs).ok()?, nanos);
    }
    const CROCKFORD: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    if run.len() != 26 {
        return None;
    }
    let mut millis: i64 = 0;
    for character in run.chars().take(10) {
        millis = millis.checked_mul(32)?.checked_add(CROCKFORD.find(character.to_ascii_uppercase())? as i64)?;
    }
    DateTime::from_timestamp_millis(millis)
}

/// A name for a folder: what is not plain is replaced, and a hash keeps different names apart.
pub(crate) fn slug(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).take(100).collect();
    if plain == text && !plain.starts_with('.') && !plain.is_empty() {
        return plain;
    }
    format!("{}-{:08x}", plain.trim_start_matches('.'), twox_hash::XxHash3_64::oneshot(text.as_bytes()) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_run_is_read_from_its_id() {
        assert_eq!(run_time("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap().timestamp_millis(), 1_469_922_850_259);
        let id = uuid::Uuid::now_v7().to_string();
        assert!((Utc::now() - run_time(&id).unwrap()).num_seconds().abs() < 5);
        assert_eq!(run_time("nightly"), None);
    }

    #[test]
    fn a_streams_name_stays_one_folder() {
        let started = Utc::now();
        let fill = |path, stream| fill(path, stream, started, "shop");
        assert_eq!(fill("lake/{stream}", "public.orders").unwrap(), "lake/public.orders");
        assert_eq!(fill("cdc.{connector}.{schema}.{table}", "public.orders").unwrap(), "cdc.shop.public.orders");
        assert_eq!(fill("lake/{stream}", "../../etc").unwrap(), "lake/%2F..%2Fetc");
        assert_eq!(fill("lake/{table}", "a.../x").unwrap(), "lake/%2Fx");
        assert_eq!(fill("lake/{strem}", "x").unwrap_err().code(), "WEIR-FILE-056");
    }
}
