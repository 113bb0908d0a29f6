//! What the clients of all engines share: submit, follow, cancel, read logs.
