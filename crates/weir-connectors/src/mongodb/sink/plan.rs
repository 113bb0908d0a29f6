//! What a stream's target is, against the contract: which columns are written, what `_id` is, and what is new. Changes nothing.
//!
//! A collection has no columns of its own. What the contract compares with is what was written to the collection by pipelines before
//! ([`super::state::Noted`]); of a collection that nobody noted anything of, everything is new and allowed.
//!
//! | the stream | evolve | freeze, hold, discard_row | discard_column |
//! | --- | --- | --- | --- |
//! | has a new column | documents written from now on have it | refused (rows with it are discarded by the engine) | left out |
//! | lacks a column | documents written from now on lack it | allowed | allowed |
//! | has another type | documents that are there keep theirs | refused | as evolve |

use mongodb::bson::{Bson, doc};
use weir_connect::{Error, Kind, OnLoss, Result, SchemaChangePolicy, StreamTarget, WriteMode};

use super::super::client::Client;
use super::super::errors::shown;
use super::bulk::Target;
use super::encode::{Column, Id, Layout};
use super::options::{IdRule, SinkOptions};
use super::state::{Ledger, Noted};
use super::types::{self, Form};

/// What is known of a collection.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// It is there.
    pub there: bool,
    /// Its default collation, if that is not the comparison of bytes.
    pub collation: Option<String>,
    /// `view`, `timeseries`, `capped`: what cannot be written as a collection can.
    pub special: Option<&'static str>,
}

/// What a stream does to its target.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How rows become documents.
    pub layout: Layout,
    /// What `_id` is.
    pub rule: IdRule,
    /// What is known of the collection.
    pub found: Found,
    /// What will be noted of it.
    pub noted: Vec<Noted>,
    /// In words.
    pub changes: Vec<String>,
}

/// Looks for a collection.
pub async fn find(client: &Client, name: &str) -> Result<Found> {
    let command = doc! { "listCollections": 1, "filter": { "name": name } };
    let answer = client.database.run_command(command).await.map_err(|error| shown(error, &client.place))?;
    let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let found = batch.ok().and_then(|batch| {
        batch.iter().filter_map(Bson::as_document).find(|found| found.get_str("name").is_ok_and(|found| found == name))
    });
    let Some(found) = found else { return Ok(Found::default()) };
    let options = found.get_document("options").cloned().unwrap_or_default();
    let special = match found.get_str("type").unwrap_or("collection") {
        "view" => Some("view"),
        "timeseries" => Some("time series"),
        _ if options.get_bool("capped").unwrap_or(false) => Some("capped collection"),
        _ => None,
    };
    let collation = options.get_document("collation").ok().and_then(|collation| collation.get_str("locale").ok());
    Ok(Found { there: true, collation: collation.filter(|locale| *locale != "simple").map(str::to_owned), special })
}

pub fn refused(place: &str, policy: SchemaChangePolicy, what: &str) -> Error {
    let (code, kind, hint) = match policy {
        SchemaChangePolicy::Hold => {
            ("WEIR-MONGO-046", Kind::Conflict, "approve the change by running once with `on_schema_change: evolve`")
        }
        SchemaChangePolicy::DiscardRow => {
            ("WEIR-MONGO-033", Kind::Schema, "`discard_row` is for new columns: cast this one, or use `on_schema_change: evolve`")
        }
        _ => ("WEIR-MONGO-033", Kind::Schema, "leave the column out, or set `on_schema_change: evolve`"),
    };
    Error::new(code, kind, format!("the target would change in a way that the contract does not allow: {what}"))
        .at(place)
        .hint(hint)
}

/// Numbers of all types are one key if they are equal.
fn number(kind: &str) -> bool {
    matches!(kind, "int" | "long" | "double" | "decimal")
}

fn other_key(place: &str, name: &str, from: &str, to: &str) -> Error {
    Error::new("WEIR-MONGO-049", Kind::Schema, format!("the key column `{name}` was {from} and is {to} now"))
        .at(place)
        .because("the documents that are there would not be found by it")
        .hint("write to another collection, or overwrite this one")
}

/// Columns that are written, by the contract, and what is noted after that.
pub fn columns(
    target: &StreamTarget,
    rule: IdRule,
    options: &SinkOptions,
    on_loss: &OnLoss,
    noted: Option<&[Noted]>,
    place: &str,
) -> Result<(Vec<Column>, Vec<Noted>, Vec<String>)> {
    let policy = target.on_schema_change;
    let (mut columns, mut notes, mut changes) = (Vec::new(), noted.unwrap_or_default().to_vec(), Vec::new());
    for (index, field) in target.schema.fields().iter().enumerate() {
        let stored = types::chosen(field, options.json, on_loss).map_err(|reason| {
            Error::new("WEIR-MONGO-044", Kind::Unsupported, format!("column `{}` cannot be stored as it is", field.name()))
                .at(place)
                .because(reason)
                .hint(format!("set `on_loss: {{{}: accept}}`, `string` or `drop`", field.name()))
        })?;
        let Some(stored) = stored else { continue };
        let name = field.name();
        match notes.iter_mut().find(|note| note.name == *name) {
            Some(note) if note.kind == stored.name => {}
            Some(note) => {
                if rule != IdRule::Generated && target.key.contains(name) && !(number(&note.kind) && number(stored.name)) {
                    return Err(other_key(place, name, &note.kind, stored.name));
                }
                let what = format!("change field {name} from {} to {}", note.kind, stored.name);
                match policy {
                    SchemaChangePolicy::Evolve | SchemaChangePolicy::DiscardColumn => {
                        changes.push(format!("{what} (documents that are there keep theirs)"));
                    }
                    _ => return Err(refused(place, policy, &what)),
                }
                note.kind = stored.name.into();
            }
            None => {
                if noted.is_some() {
                    let what = format!("add field {name} {}", stored.name);
                    match policy {
                        SchemaChangePolicy::Evolve => changes.push(what),
                        SchemaChangePolicy::DiscardColumn => continue,
                        _ => return Err(refused(place, policy, &what)),
                    }
                }
                notes.push(Noted { name: name.clone(), kind: stored.name.into() });
            }
        }
        columns.push(Column { name: name.clone(), index, form: stored.form });
    }
    Ok((columns, notes, changes))
}

pub fn id_of(
    rule: IdRule,
    target: &StreamTarget,
    columns: &[Column],
    on_loss: &OnLoss,
    options: &SinkOptions,
    place: &str,
) -> Result<Id> {
    let at = |name: &str| {
        let found = columns.iter().position(|column| column.name == name);
        found.ok_or_else(|| {
            Error::new("WEIR-MONGO-035", Kind::Spec, format!("the key column `{name}` is not written to the target"))
                .at(place)
                .hint("`on_loss: drop` or the contract leaves it out: choose another key")
        })
    };
    let keys = match rule {
        IdRule::Generated => return Ok(Id::Generated),
        IdRule::Field => vec![at(super::super::rows::ID)?],
        IdRule::Key => target.key.iter().map(|name| at(name)).collect::<Result<_>>()?,
    };
    for key in &keys {
        let column: &Column = &columns[*key];
        let field = target.schema.field(column.index);
        let loses = types::chosen(field, options.json, on_loss).ok().flatten().is_some_and(|stored| stored.edge.loses());
        let odd = matches!(column.form, Form::List(_) | Form::Map(..) | Form::Whole | Form::Null);
        if loses || odd {
            let why = if loses { "keys that differ at the source would be equal here" } else { "the server takes no such key" };
            return Err(Error::new("WEIR-MONGO-035", Kind::Spec, format!("`{}` cannot be a key", column.name))
                .at(place)
                .because(why)
                .hint("choose another key, or `on_loss: string` for this column"));
        }
    }
    Ok(match keys.as_slice() {
        [one] => Id::Of(*one),
        _ => Id::All(keys),
    })
}

/// Compares stream and target.
pub async fn examine(
    place: &Target,
    ledger: &Ledger,
    target: &StreamTarget,
    options: &SinkOptions,
    on_loss: &OnLoss,
) -> Result<Plan> {
    Layout::check_names(&target.schema, &place.place)?;
    let rule = options.id_rule(target).map_err(|error| error.at(place.place.clone()))?;
    let found = find(&place.client, &place.collection).await?;
    if let Some(special) = found.special {
        return Err(Error::new("WEIR-MONGO-047", Kind::Unsupported, format!("a {special} cannot be written to"))
            .at(place.place.clone())
            .hint("name a collection"));
    }
    let noted = if found.there { ledger.noted(&place.collection).await? } else { None };
    let (columns, noted, mut changes) = columns(target, rule, options, on_loss, noted.as_deref(), &place.place)?;
    let id = id_of(rule, target, &columns, on_loss, options, &place.place)?;
    if let (Some(locale), false) = (&found.collation, id == Id::Generated) {
        return Err(Error::new("WEIR-MONGO-042", Kind::Conflict, "keys that differ may be equal in this collection")
            .at(place.place.clone())
            .because(format!("its default collation is `{locale}`, and its index on `_id` compares by it"))
            .hint("write to a collection without collation"));
    }
    let mut noted = noted;
    if target.write_mode == WriteMode::Overwrite {
        // Nothing of what was there before is left.
        noted.retain(|note| columns.iter().any(|column| column.name == note.name));
    }
    if !found.there {
        changes.insert(0, format!("create collection {}", place.collection));
    } else if target.write_mode == WriteMode::Overwrite {
        changes.insert(0, format!("replace collection {}", place.collection));
    }
    Ok(Plan { layout: Layout { columns, id, place: place.place.clone() }, rule, found, noted, changes })
}
