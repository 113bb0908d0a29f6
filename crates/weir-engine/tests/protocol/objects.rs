//! Objects in memory. Every call passes a gate, which may let it fail before or after its effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use weir_connect::{ObjectInfo, Objects, Result};

/// Lets an effect happen, or not, and says how the call ends.
pub type Gate = Arc<dyn Fn(&mut dyn FnMut()) -> Result<()> + Send + Sync>;

pub struct Shelf {
    pub objects: Mutex<BTreeMap<String, (Bytes, SystemTime)>>,
    gate: Gate,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

impl Shelf {
    pub fn new() -> Arc<Self> {
        Self::behind(Arc::new(|effect: &mut dyn FnMut()| {
            effect();
            Ok(())
        }))
    }

    pub fn behind(gate: Gate) -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), gate })
    }

    fn pass<T>(&self, mut effect: impl FnMut(&mut BTreeMap<String, (Bytes, SystemTime)>) -> T) -> Result<T> {
        let mut answer = None;
        (self.gate)(&mut || answer = Some(effect(&mut self.objects.lock().unwrap())))?;
        Ok(answer.unwrap())
    }

    /// The names that contain this.
    #[allow(dead_code)] // Not every binary that has this module asks.
    pub fn names(&self, part: &str) -> Vec<String> {
        self.objects.lock().unwrap().keys().filter(|name| name.contains(part)).cloned().collect()
    }
}

#[async_trait]
impl Objects for Shelf {
    fn show(&self, name: &str) -> String {
        format!("shelf://{name}")
    }
    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let below = format!("{folder}/");
        self.pass(|objects| {
            let found = objects.iter().filter(|(name, _)| name.starts_with(&below));
            found
                .map(|(name, (bytes, written))| ObjectInfo { name: name.clone(), bytes: bytes.len() as u64, written: *written })
                .collect()
        })
    }
    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        self.pass(|objects| match objects.get(name) {
            Some((there, _)) => *there == bytes,
            None => {
                objects.insert(name.to_owned(), (bytes.clone(), SystemTime::now()));
                true
            }
        })
    }
    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.pass(|objects| {
            objects.insert(name.to_owned(), (bytes.clone(), SystemTime::now()));
        })
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.pass(|objects| objects.get(name).map(|(bytes, _)| bytes.clone()))
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.pass(|objects| {
            objects.remove(name);
        })
    }
}
