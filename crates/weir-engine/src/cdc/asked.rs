//! What is asked of a log from outside, while a run of it may be going on, anywhere: that changes of a stream's shape are carried out
//! ([`super::hold`]), that a snapshot is taken once more ([`super::again`]).
//!
//! It stands in the checkpoint store ([`Wanted`]), which whoever asks and whoever runs can both reach. The run looks for it when it begins and now and
//! then. An approval is written beside the journal, where the appliers find it. For a snapshot the log begins again, as after a crash, and writes the
//! boundary that the snapshot begins with. Only what is durable is taken from the store: after a crash it is done once more, which changes
//! nothing but the work.

use std::collections::BTreeMap;

use weir_connect::{ChangeSource, SnapshotAgain};
use weir_error::Result;

use super::hold;
use super::journal::{Journal, JournalPlace, JournalWriter};
use crate::run::RunContext;
use crate::store::{Wanted, Wish};

/// Carries out all of it. Nothing else writes the journal.
pub(super) async fn carry_out(
    context: &RunContext,
    (node, source): (&str, &dyn ChangeSource),
    (journal, writer): (&Journal, &mut JournalWriter),
) -> Result<()> {
    let wishes = context.store.wishes(&context.identity.pipeline, node).await?;
    if wishes.is_empty() {
        return Ok(());
    }
    approve(&journal.place(), &wishes).await?;
    let streams = snapshots(&wishes);
    let mark = journal.tail().mark;
    // Before its first boundary the log takes all snapshots anyway.
    if !streams.is_empty() && !mark.position.is_null() {
        let named: Vec<String> = streams.iter().map(|wanted| format!("`{}`", wanted.stream)).collect();
        let named = named.join(", ");
        match source.snapshot_again(&mark.position, &streams) {
            Ok(again) => {
                writer.boundary(again, None).await?;
                writer.sync().await?;
                context.warn(format!(
                    "the snapshot of {named} is taken once more, from boundary {} on, as was asked for",
                    mark.seq + 1
                ));
            }
            // It will not be better the next time, and the log must go on.
            Err(error) => {
                context.warn(format!("the snapshot of {named} was asked for and cannot be taken: {}", hold::problem(&error)))
            }
        }
    }
    done(context, node, wishes.iter()).await
}

/// Carries out what can be while the log goes on; comes back when something cannot.
pub(super) async fn wait(context: &RunContext, node: &str, journal: &Journal) -> Result<()> {
    loop {
        tokio::time::sleep(context.options.look_again).await;
        // A store that does not answer is met by the next checkpoint, which says so.
        let Ok(wishes) = context.store.wishes(&context.identity.pipeline, node).await else { continue };
        if wishes.iter().any(|wish| matches!(wish.wanted, Wanted::Snapshot { .. })) {
            return Ok(());
        }
        if !wishes.is_empty() {
            approve(&journal.place(), &wishes).await?;
            done(context, node, wishes.iter()).await?;
        }
    }
}

async fn done(context: &RunContext, node: &str, wishes: impl Iterator<Item = &Wish>) -> Result<()> {
    let ids: Vec<String> = wishes.map(|wish| wish.id.clone()).collect();
    tracing::debug!(node, carried_out = ids.len(), "what was asked of the log");
    context.store.granted(&context.identity.pipeline, &ids).await
}

/// Never less than what is approved already.
async fn approve(place: &JournalPlace, wishes: &[Wish]) -> Result<()> {
    for wish in wishes {
        let Wanted::Approve { stream, seq } = &wish.wanted else { continue };
        let before = hold::approved(place).await?.get(stream).copied().unwrap_or(0);
        if *seq > before {
            hold::approve_up_to(place, stream, *seq).await?;
        }
    }
    Ok(())
}

/// Each stream once: two conditions are asked for as the whole table.
fn snapshots(wishes: &[Wish]) -> Vec<SnapshotAgain> {
    let mut streams: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for wish in wishes {
        let Wanted::Snapshot { stream, only } = &wish.wanted else { continue };
        streams.entry(stream).and_modify(|all| *all = all.filter(|all| Some(*all) == only.as_deref())).or_insert(only.as_deref());
    }
    streams.into_iter().map(|(stream, only)| SnapshotAgain { stream: stream.to_owned(), only: only.map(str::to_owned) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_in_two_ways_is_the_whole_table() {
        let wish = |stream: &str, only: Option<&str>| Wish {
            id: String::new(),
            wanted: Wanted::Snapshot { stream: stream.into(), only: only.map(str::to_owned) },
        };
        let asked = [
            wish("same", Some("a")),
            wish("two", Some("a")),
            wish("all", Some("a")),
            wish("same", Some("a")),
            wish("two", Some("b")),
            wish("all", None),
            wish("two", Some("a")),
            Wish { id: String::new(), wanted: Wanted::Approve { stream: "held".into(), seq: 3 } },
        ];
        let found: Vec<_> = snapshots(&asked).into_iter().map(|wanted| (wanted.stream, wanted.only)).collect();
        assert_eq!(found, [("all".into(), None), ("same".into(), Some("a".to_owned())), ("two".into(), None)]);
    }
}
