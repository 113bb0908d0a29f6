//! The open list of connectors. Nothing else in the workspace matches on a connector's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connector::Connector;

/// Connectors by name and alias. Built once by the binary and handed down.
#[derive(Clone, Default)]
pub struct Registry {
    connectors: Vec<Arc<dyn Connector>>,
    names: BTreeMap<&'static str, usize>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connector under its name and aliases. A name that is already taken keeps its first owner;
    /// the registry's own test makes sure that none is.
    pub fn add(&mut self, connector: Arc<dyn Connector>) -> &mut Self {
        let index = self.connectors.len();
        let descriptor = connector.descriptor().clone();
        for name in std::iter::once(descriptor.name).chain(descriptor.aliases.iter().copied()) {
            self.names.entry(name).or_insert(index);
        }
        self.connectors.push(connector);
        self
    }

    /// The connector of that name or alias.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Connector>> {
        self.names.get(name).map(|&index| self.connectors[index].clone())
    }

    /// All connectors, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Connector>> {
        self.connectors.iter()
    }

    /// Every name and alias, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.names.keys().copied()
    }
}
