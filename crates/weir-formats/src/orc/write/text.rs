//! Texts: through a dictionary as long as values repeat, else as they are. Decided anew for each stripe.

use std::collections::HashMap;
use std::sync::Arc;

use weir_error::Result;

use super::rle::Ints;
use super::stream::{Codec, Stream};

/// Values before the dictionary is judged for the first time.
const TRIAL: usize = 1024;
/// Bytes of different values that a dictionary may hold.
const LARGEST: usize = 4 << 20;

pub(super) struct Texts {
    /// `None` once the stripe's values turned out to differ.
    dictionary: Option<Dictionary>,
    lengths: Ints,
    bytes: Stream,
}

#[derive(Default)]
struct Dictionary {
    places: HashMap<Arc<[u8]>, u32>,
    values: Vec<Arc<[u8]>>,
    bytes: usize,
    /// The place of each row's value.
    rows: Vec<u32>,
}

impl Dictionary {
    fn push(&mut self, value: &[u8]) {
        let place = match self.places.get(value) {
            Some(place) => *place,
            None => {
                let place = self.values.len() as u32;
                let kept: Arc<[u8]> = value.into();
                self.values.push(kept.clone());
                self.places.insert(kept, place);
                self.bytes += value.len();
                place
            }
        };
        self.rows.push(place);
    }

    fn pays(&self) -> bool {
        self.values.len() * 2 <= self.rows.len() && self.bytes <= LARGEST
    }

    fn held(&self) -> usize {
        self.bytes + self.values.len() * 64 + self.rows.len() * 4
    }
}

/// A stripe's texts: the streams by their kinds.
pub(super) struct Ended {
    pub(super) data: Vec<u8>,
    pub(super) lengths: Vec<u8>,
    /// The dictionary and how many values it has.
    pub(super) dictionary: Option<(Vec<u8>, u64)>,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self { dictionary: Some(Dictionary::default()), lengths: Ints::new(false), bytes: Stream::default() }
    }

    pub(super) fn push(&mut self, value: &[u8]) {
        match &mut self.dictionary {
            Some(dictionary) => {
                dictionary.push(value);
                if dictionary.bytes > LARGEST || (dictionary.rows.len().is_multiple_of(TRIAL) && !dictionary.pays()) {
                    self.give_up();
                }
            }
            None => self.push_plain(value),
        }
    }

    fn push_plain(&mut self, value: &[u8]) {
        self.lengths.push(value.len() as i64);
        self.bytes.plain.extend_from_slice(value);
    }

    fn give_up(&mut self) {
        if let Some(dictionary) = self.dictionary.take() {
            for row in &dictionary.rows {
                self.push_plain(&dictionary.values[*row as usize]);
            }
        }
    }

    pub(super) fn held(&self) -> usize {
        self.dictionary.as_ref().map_or(0, Dictionary::held) + self.lengths.held() + self.bytes.held()
    }

    pub(super) fn press(&mut self, codec: &mut Codec) -> Result<()> {
        self.lengths.stream().press(codec)?;
        self.bytes.press(codec)
    }

    /// Ends the stripe and begins the next one.
    pub(super) fn end(&mut self, codec: &mut Codec) -> Result<Ended> {
        if self.dictionary.as_ref().is_some_and(|dictionary| dictionary.rows.is_empty() || !dictionary.pays()) {
            self.give_up();
        }
        let Some(dictionary) = self.dictionary.replace(Dictionary::default()) else {
            let data = self.bytes.take(codec)?;
            return Ok(Ended { data, lengths: self.lengths.stream().take(codec)?, dictionary: None });
        };
        // The specification wants the dictionary in order.
        let mut order: Vec<u32> = (0..dictionary.values.len() as u32).collect();
        order.sort_unstable_by_key(|place| &dictionary.values[*place as usize]);
        let mut ranks = vec![0i64; order.len()];
        for (rank, place) in order.iter().enumerate() {
            ranks[*place as usize] = rank as i64;
            self.push_plain(&dictionary.values[*place as usize]);
        }
        let mut rows = Ints::new(false);
        dictionary.rows.iter().for_each(|place| rows.push(ranks[*place as usize]));
        Ok(Ended {
            data: rows.stream().take(codec)?,
            lengths: self.lengths.stream().take(codec)?,
            dictionary: Some((self.bytes.take(codec)?, order.len() as u64)),
        })
    }
}
