//! The vocabulary that `weir-spec` checks pipeline files against: connectors of a registry and the transforms here.

use weir_connect::Registry;
use weir_spec::{ConnectorWords, TransformWords, Vocabulary};

use crate::transforms;

struct Words<'a> {
    registry: &'a Registry,
}

/// The words of a registry and of this crate's transforms.
pub fn vocabulary(registry: &Registry) -> impl Vocabulary + '_ {
    Words { registry }
}

impl Vocabulary for Words<'_> {
    fn connector(&self, name: &str) -> Option<ConnectorWords> {
        let connector = self.registry.get(name)?;
        let descriptor = connector.descriptor();
        Some(ConnectorWords {
            canonical: descriptor.name.to_owned(),
            connection: descriptor.connection.clone(),
            source: descriptor.source.clone(),
            sink: descriptor.sink.clone(),
            address_option: descriptor.address_option.to_owned(),
        })
    }

    fn connectors(&self) -> Vec<String> {
        self.registry.names().map(str::to_owned).collect()
    }

    fn transform(&self, name: &str) -> Option<TransformWords> {
        let found = transforms::find(name)?;
        Some(TransformWords { canonical: found.name.to_owned(), schema: (found.schema)(), bare: found.bare.map(str::to_owned) })
    }

    fn transforms(&self) -> Vec<String> {
        transforms::ALL.iter().map(|transform| transform.name.to_owned()).collect()
    }
}
