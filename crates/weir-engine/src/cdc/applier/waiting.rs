//! Streams that wait at a node: how it goes on without them, and how it finds out that they may go on. What waiting is stands in
//! [`super::hold`].

use std::time::Instant;

use serde_json::{Map, Value, json};
use weir_connect::{SchemaChangePolicy, StreamTarget};
use weir_error::Result;

use super::super::codec::Record;
use super::super::hold::{self, Held, HeldStream};
use super::super::journal::Journal;
use super::super::outlet::Outlet;
use super::super::shape::Shape;
use super::Applier;

impl Applier {
    /// The streams that wait.
    pub(in super::super) fn held(&self) -> Vec<HeldStream> {
        self.ways.iter().filter_map(|way| Some(way.held.as_ref()?.view.clone())).collect()
    }

    /// Whether a record is to be applied: its stream does not wait, and did not have it before.
    pub(super) async fn takes(&mut self, record: &Record, upcoming: u64) -> bool {
        let Some(flow) = record.stream().and_then(|stream| self.flow_of(stream)) else { return true };
        let way = &mut self.ways[flow];
        let Some(held) = &mut way.held else { return upcoming > way.from };
        if held.note(record, upcoming) {
            let to = held.to.clone();
            let fits = self.fits(flow, &to).await;
            if let Some(held) = &mut self.ways[flow].held {
                held.fitted = fits || held.view.problem.is_some();
                self.context.warn(held.says());
            }
        }
        false
    }

    /// Streams that must not go on wait from here. Everything up to this boundary is durable.
    pub(super) fn settle(&mut self, seq: u64) {
        for (flow, way) in self.ways.iter_mut().enumerate() {
            let Some(stop) = way.stop.take_if(|stop| stop.at == seq + 1) else { continue };
            for target in self.targets.iter_mut().filter(|target| target.flow == flow) {
                (target.sink, target.writer) = (None, None);
                if way.held.is_none() {
                    let mut held = Held::new(&target.stream, &self.sink, seq, target.shape.clone());
                    if let Some(problem) = &stop.problem {
                        held.refused(problem.clone());
                    }
                    way.held = Some(held);
                }
            }
            way.from = seq;
        }
    }

    /// When to look next whether a stream that waits may go on; `None` if none waits.
    pub(super) fn looks_at(&self) -> Option<Instant> {
        let waits = self.ways.iter().any(|way| way.held.is_some());
        waits.then(|| self.looked.map_or_else(Instant::now, |looked| looked + self.context.options.look_again))
    }

    /// Whether a stream that waits may go on by now, if it is time to look. What somebody has fitted by hand is approved here.
    pub(super) async fn look(&mut self, journal: &Journal) -> Result<bool> {
        if self.looks_at().is_none_or(|at| at > Instant::now()) {
            return Ok(false);
        }
        self.looked = Some(Instant::now());
        let mut found = false;
        let approvals = hold::approved(&journal.place()).await?;
        for (flow, way) in self.ways.iter().enumerate() {
            let Some(held) = &way.held else { continue };
            let HeldStream { stream, since_seq, change_seq, changes, .. } = &held.view;
            let mut goes_on = approvals.get(stream).is_some_and(|seq| seq > since_seq);
            if !goes_on && !changes.is_empty() && self.fitted(flow, held).await {
                hold::approve_up_to(&journal.place(), stream, *change_seq).await?;
                goes_on = true;
            }
            if goes_on {
                self.context.warn(format!("`{stream}` goes on at sink `{}`: what has changed was approved", self.sink));
            }
            found |= goes_on;
        }
        Ok(found)
    }

    /// Whether somebody has fitted the targets of a stream that waits.
    async fn fitted(&self, flow: usize, held: &Held) -> bool {
        let Some(target) = self.targets.iter().find(|target| target.flow == flow) else { return false };
        self.fits(flow, &held.to).await && (!held.fitted || !self.fits(flow, &target.shape).await)
    }

    /// Whether the targets of a flow could take a shape as they are.
    async fn fits(&self, flow: usize, shape: &Shape) -> bool {
        for target in self.targets.iter().filter(|target| target.flow == flow) {
            let Ok(Outlet { schema, key, .. }) = target.maker.outlet(shape) else { return false };
            let asks = StreamTarget { schema, key, on_schema_change: SchemaChangePolicy::Freeze, ..target.asks.clone() };
            // A target that cannot be asked does not fit for now.
            if !target.connector.preview(&asks).await.is_ok_and(|actions| actions.is_empty()) {
                return false;
            }
        }
        true
    }

    /// For a checkpoint at boundary `seq`: the streams that are behind `head`, or wait, each with its place.
    pub(super) fn behind(&self, seq: u64, head: u64) -> Result<Map<String, Value>> {
        let mut behind = Map::new();
        for targets in self.targets.chunk_by(|one, next| one.flow == next.flow) {
            let (flow, stream) = (targets[0].flow, targets[0].stream.to_string());
            let has = self.has(flow, seq);
            match &self.ways[flow].held {
                Some(held) => drop(behind.insert(stream, json!({"seq": has, "held": held.write(seq)?}))),
                None if has < head => drop(behind.insert(stream, json!({"seq": has}))),
                None => {}
            }
        }
        Ok(behind)
    }
}
