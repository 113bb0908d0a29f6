//! The task of one split: reads it for as long as its lane lives, into the lane's queue.

use std::sync::Arc;

use futures::StreamExt;
use weir_connect::{Batch, Event, SplitProgress, StreamReader};
use weir_error::Result;

use super::inputs::Named;
use super::keyed::prepare::{Preparation, Prepared};
use crate::queue;

/// What a split's task says.
pub(super) enum Signal {
    Event(Result<Event>),
    /// A batch that went through its input's preparation.
    Prepared(Prepared),
    /// The split is closed for good.
    End,
}

/// Where a task sends, and what it does to batches before.
pub(super) struct Way {
    pub(super) slot: usize,
    pub(super) queue: Arc<queue::Sender<(usize, Signal)>>,
    /// Of a program with state.
    pub(super) preparation: Option<Arc<Preparation>>,
}

/// Reads a split until nobody listens any more.
pub(super) async fn read(reader: Arc<dyn StreamReader>, todo: Named, way: Way) {
    let SplitProgress { split, position, .. } = todo.plain;
    let Way { slot, queue, preparation } = way;
    let mut stream = match reader.read(&split, position).await {
        Ok(stream) => stream,
        Err(error) => {
            queue.send((slot, Signal::Event(Err(error))), 1).await;
            return;
        }
    };
    while let Some(event) = stream.next().await {
        let signal = match (event, &preparation) {
            (Ok(Event::Batch(batch)), Some(preparation)) => prepared(batch, preparation, &todo.name),
            (event, _) => Signal::Event(event),
        };
        let bytes = match &signal {
            Signal::Event(Ok(Event::Batch(batch))) => batch.records.get_array_memory_size(),
            Signal::Prepared(batch) => batch.bytes(),
            Signal::Event(Ok(Event::Dead(letter))) => letter.payload.len() + 256,
            _ => 1,
        };
        let failed = matches!(signal, Signal::Event(Err(_)));
        if !queue.send((slot, signal), bytes).await || failed {
            return;
        }
    }
    queue.send((slot, Signal::End), 1).await;
}

fn prepared(batch: Batch, preparation: &Preparation, split: &str) -> Signal {
    match preparation.apply(batch, split) {
        Ok(prepared) => Signal::Prepared(prepared),
        Err(error) => Signal::Event(Err(error)),
    }
}
