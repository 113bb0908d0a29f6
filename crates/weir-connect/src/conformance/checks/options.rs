//! Descriptor, options, connections: does the connector say what is wrong?

use std::time::Instant;

use serde_json::{Value, json};
use weir_error::{Error, Kind, Result};

use super::{ensure, fails, passed, skipped};
use crate::conformance::lab::Lab;
use crate::conformance::matrix::plain_batches;
use crate::conformance::report::Outcome;
use crate::stream::WriteMode;

/// Names, schemas and documentation of the descriptor.
pub async fn descriptor_is_sound(lab: &Lab<'_>) -> Result<Outcome> {
    let descriptor = lab.connector.descriptor();
    let snake = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    ensure(snake(descriptor.name), || format!("`{}` is not snake_case", descriptor.name))?;
    ensure(!descriptor.summary.is_empty(), || "there is no summary".into())?;
    ensure(descriptor.source.is_some() == lab.declared.source, || "source declared and source schema disagree".into())?;
    ensure(descriptor.sink.is_some() == lab.declared.sink, || "sink declared and sink schema disagree".into())?;
    let schemas = [Some(&descriptor.connection), descriptor.source.as_ref(), descriptor.sink.as_ref()];
    let mut options = 0;
    for schema in schemas.into_iter().flatten() {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        for (name, property) in properties {
            options += 1;
            ensure(snake(name), || format!("option `{name}` is not snake_case"))?;
            ensure(described(schema, property), || format!("option `{name}` has no description"))?;
            let sounds_secret = ["password", "secret", "token"].iter().any(|word| name.ends_with(word));
            let marked = property.get("x-weir-secret") == Some(&Value::Bool(true));
            ensure(!sounds_secret || marked, || format!("option `{name}` sounds secret but is not marked `x-weir-secret`"))?;
        }
    }
    passed(format!("{options} options, all described"))
}

fn described(schema: &Value, property: &Value) -> bool {
    let own = property.get("description").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    own || property
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| schema.pointer(reference.trim_start_matches('#')))
        .is_some_and(|target| target.get("description").is_some())
}

/// Option objects of the roles that the connector has: role, schema, a good value.
async fn good_options(lab: &Lab<'_>, name: &str) -> Result<Vec<(&'static str, Value, Value)>> {
    let descriptor = lab.connector.descriptor();
    let mut roles = vec![("connection", descriptor.connection.clone(), lab.subject.connection())];
    if let Some(schema) = &descriptor.source {
        roles.push(("source", schema.clone(), lab.subject.seed(name, &plain_batches(1, 3)?).await?));
    }
    if let (Some(schema), Some(mode)) = (&descriptor.sink, lab.declared.modes.first()) {
        roles.push(("sink", schema.clone(), lab.subject.sink_options(name, *mode)));
    }
    Ok(roles)
}

fn validate(lab: &Lab<'_>, role: &str, options: &Value) -> Result<()> {
    if role == "connection" {
        lab.connector.validate("connection", options, &json!({}))
    } else {
        lab.connector.validate(role, &lab.subject.connection(), options)
    }
}

/// Good options are accepted; each required one dropped in turn is an error that names it.
pub async fn a_missing_option_is_named(lab: &Lab<'_>) -> Result<Outcome> {
    let mut dropped = 0;
    for (role, schema, good) in good_options(lab, "missing_option").await? {
        validate(lab, role, &good).map_err(|error| fails(format!("good {role} options are refused: {error:?}")))?;
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        for name in required.iter().filter_map(Value::as_str) {
            let mut options = good.clone();
            let Some(map) = options.as_object_mut() else { continue };
            ensure(map.remove(name).is_some(), || {
                format!("{role} option `{name}` is required, but the subject does not set it")
            })?;
            let error = refused(validate(lab, role, &options), || format!("{role} without `{name}`"))?;
            names(&error, name)?;
            dropped += 1;
        }
    }
    passed(format!("{dropped} required options dropped in turn"))
}

/// A key that no struct knows is an error that names it.
pub async fn an_unknown_option_is_named(lab: &Lab<'_>) -> Result<Outcome> {
    for (role, _, good) in good_options(lab, "unknown_option").await? {
        let mut options = good;
        if let Some(map) = options.as_object_mut() {
            map.insert("fromat".into(), json!("x"));
        }
        let error = refused(validate(lab, role, &options), || format!("{role} with the unknown option `fromat`"))?;
        names(&error, "fromat")?;
    }
    passed("`fromat` is refused in every role")
}

fn refused(result: Result<()>, what: impl FnOnce() -> String) -> Result<Error> {
    match result {
        Ok(()) => Err(fails(format!("{} is accepted", what()))),
        Err(error) if error.kind() == Kind::Spec => Ok(error),
        Err(error) => Err(fails(format!("{} is refused as {:?}, not as a spec error: {error:?}", what(), error.kind()))),
    }
}

fn names(error: &Error, word: &str) -> Result<()> {
    let said = error.to_string().contains(word) || error.place().is_some_and(|place| place.contains(word));
    ensure(said, || format!("the error does not name `{word}`: {error:?}"))
}

/// `check` says that a good connection is good.
pub async fn a_good_connection_checks_out(lab: &Lab<'_>) -> Result<Outcome> {
    let report = lab.connector.check(&lab.subject.connection()).await?;
    ensure(!report.items.is_empty(), || "the check of a connection says nothing".into())?;
    ensure(report.ok(), || format!("the check of a good connection complains: {:?}", report.items))?;
    passed(report.items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>().join(", "))
}

/// Uses a connection for real: reads with a source, writes with a sink.
async fn use_connection(lab: &Lab<'_>, name: &str, connection: &Value) -> Result<Vec<(&'static str, Error)>> {
    let mut errors = Vec::new();
    if lab.declared.source {
        let options = lab.subject.seed(name, &plain_batches(1, 3)?).await?;
        let outcome = match lab.connector.source(lab.source_context(connection.clone(), options)).await {
            Ok(source) => source.streams().await.map(drop),
            Err(error) => Err(error),
        };
        errors.push(("source", outcome.err().ok_or_else(|| fails("the source lists its streams all the same"))?));
    }
    if let Some(&mode) = lab.declared.modes.first() {
        let error = write_three(lab, name, mode, connection).await.err();
        errors.push(("sink", error.ok_or_else(|| fails("the sink writes and commits all the same"))?));
    }
    Ok(errors)
}

async fn write_three(lab: &Lab<'_>, name: &str, mode: WriteMode, connection: &Value) -> Result<()> {
    let rows = plain_batches(1, 3)?;
    let options = lab.subject.sink_options(name, mode);
    let sink = lab.connector.sink(lab.sink_context(connection.clone(), options)).await?;
    let target = lab.target(name, "only", rows[0].schema(), mode);
    let stream_sink = sink.prepare(target).await?;
    stream_sink.recover().await?;
    let mut writer = stream_sink.writer(0).await?;
    for batch in rows {
        writer.write(batch).await?;
    }
    let barrier = crate::sink::Barrier { epoch: 1, lane: 0, progress: Vec::new() };
    let flushed = writer.flush(&barrier).await?;
    stream_sink.commit(&[flushed.token]).await.map(drop)
}

/// Wrong credentials are told as such, by the source, the sink and `check`.
pub async fn bad_credentials_are_an_auth_error(lab: &Lab<'_>) -> Result<Outcome> {
    let Some(connection) = lab.subject.bad_connection() else { return skipped("the system has no credentials") };
    for (role, error) in use_connection(lab, "bad_credentials", &connection).await? {
        ensure(error.kind() == Kind::Auth, || format!("{role}: wrong credentials are told as {:?}: {error:?}", error.kind()))?;
    }
    not_ok(lab, &connection).await?;
    passed("told as an authentication error")
}

/// A host that does not answer is told as such, soon.
pub async fn an_unreachable_host_is_a_connect_error(lab: &Lab<'_>) -> Result<Outcome> {
    let Some(connection) = lab.subject.unreachable_connection() else { return skipped("there is no network in between") };
    let bound = lab.declared.connect_bound;
    let begin = Instant::now();
    let attempt = tokio::time::timeout(bound * 3, use_connection(lab, "unreachable", &connection)).await;
    let errors = attempt.map_err(|_| fails(format!("no answer after {} s: it hangs", (bound * 3).as_secs())))??;
    let each = begin.elapsed() / errors.len().max(1) as u32;
    for (role, error) in errors {
        ensure(error.kind() == Kind::Connect, || {
            format!("{role}: an unreachable host is told as {:?}: {error:?}", error.kind())
        })?;
    }
    ensure(each <= bound, || format!("it took {each:?}, more than {bound:?}"))?;
    not_ok(lab, &connection).await?;
    passed(format!("told after {} ms", each.as_millis()))
}

/// `check` answers with an error or with a line that is not fine.
async fn not_ok(lab: &Lab<'_>, connection: &Value) -> Result<()> {
    match lab.connector.check(connection).await {
        Err(_) => Ok(()),
        Ok(report) => ensure(!report.ok(), || format!("`check` finds nothing wrong: {:?}", report.items)),
    }
}
