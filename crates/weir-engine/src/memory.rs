//! What the process holds, and how a budget is divided.

/// Resident bytes of this process; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages: u64 = text.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// How `--max-memory` is divided.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// The whole.
    pub total: usize,
    /// Bytes in flight between reader and writer, per lane.
    pub queue: usize,
    /// Wanted size of one batch.
    pub batch: usize,
    /// DataFusion's pool for relational programs; beyond it they spill.
    pub pool: usize,
    /// What a flow that keeps state may have of it in memory; a moment twice as much.
    pub state: usize,
    /// Blocks of the state's store.
    pub state_cache: usize,
}

impl Budget {
    /// Divides `total` for `lanes` lanes of `flows` flows that run side by side. Half of it stays for the sinks' buffers and the process itself.
    pub fn new(total: usize, lanes: usize, flows: usize) -> Self {
        let (lanes, flows) = (lanes.max(1), flows.max(1));
        let queue = (total / 64 / lanes).clamp(256 << 10, 16 << 20);
        Self {
            total,
            queue,
            batch: (queue / 4).clamp(64 << 10, 4 << 20),
            pool: (total / 2).max(16 << 20),
            state: total / 4 / flows,
            state_cache: (total / 32 / flows).max(1 << 20),
        }
    }
}
