//! What each engine can express.
