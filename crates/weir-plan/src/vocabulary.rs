//! The words of pipeline files: connectors from the registry, transforms from this crate.

use weir_connect::Registry;
use weir_spec::{ConnectorWords, TransformWords, Vocabulary};

use crate::transforms::{ALL, Kind};

/// Every connector of `registry` and every transform, for the parser.
pub fn vocabulary(registry: &Registry) -> Words {
    Words { registry: registry.clone() }
}

/// See [`vocabulary`].
#[derive(Clone)]
pub struct Words {
    registry: Registry,
}

impl Vocabulary for Words {
    fn connector(&self, name: &str) -> Option<ConnectorWords> {
        let connector = self.registry.get(name)?;
        let descriptor = connector.descriptor();
        Some(ConnectorWords {
            canonical: descriptor.name.into(),
            connection: descriptor.connection.clone(),
            source: descriptor.source.clone(),
            sink: descriptor.sink.clone(),
            address_option: descriptor.address_option.into(),
        })
    }
    fn connectors(&self) -> Vec<String> {
        self.registry.names().map(Into::into).collect()
    }
    fn transform(&self, name: &str) -> Option<TransformWords> {
        Kind::of(name).map(Kind::words)
    }
    fn transforms(&self) -> Vec<String> {
        ALL.iter().map(|kind| kind.name.into()).collect()
    }
}
