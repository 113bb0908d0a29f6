//! The words of pipeline files: connectors from the registry, transforms from this crate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_connect::Registry;
use weir_spec::{ConnectorWords, TransformWords, Vocabulary};

use crate::transforms::{ALL, Kind};

/// Every connector of `registry` and every transform, for the parser.
pub fn vocabulary(registry: &Registry) -> Words {
    Words { registry: registry.clone(), connectors: Arc::default(), transforms: Arc::default() }
}

/// See [`vocabulary`].
#[derive(Clone)]
pub struct Words {
    registry: Registry,
    connectors: Known<ConnectorWords>,
    transforms: Known<TransformWords>,
}

/// What was asked for once, by the name in the program.
type Known<T> = Arc<Mutex<HashMap<&'static str, Arc<T>>>>;

fn known<T>(all: &Known<T>, name: &'static str, make: impl FnOnce() -> T) -> Arc<T> {
    all.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert_with(|| Arc::new(make())).clone()
}

impl Vocabulary for Words {
    fn connector(&self, name: &str) -> Option<Arc<ConnectorWords>> {
        let connector = self.registry.get(name)?;
        let descriptor = connector.descriptor();
        Some(known(&self.connectors, descriptor.name, || ConnectorWords {
            canonical: descriptor.name.into(),
            connections_of: connector.connections_of().iter().map(|name| (*name).into()).collect(),
            connection: descriptor.connection.clone(),
            source: descriptor.source.clone(),
            sink: descriptor.sink.clone(),
            address_option: descriptor.address_option.into(),
        }))
    }
    fn connectors(&self) -> Vec<String> {
        self.registry.names().map(Into::into).collect()
    }
    fn transform(&self, name: &str) -> Option<Arc<TransformWords>> {
        Kind::of(name).map(|kind| known(&self.transforms, kind.name, || kind.words()))
    }
    fn transforms(&self) -> Vec<String> {
        ALL.iter().map(|kind| kind.name.into()).collect()
    }
}
