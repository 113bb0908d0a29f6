//! Runs a future to its end from anywhere, also from inside an async test.

use std::future::Future;

use anyhow::{Result, anyhow};

/// Drives `make()`'s future on a thread and runtime of its own and waits for it.
pub(crate) fn block_on<T, F>(make: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(make())
    })
    .join()
    .map_err(|panic| anyhow!("{}", panic_text(panic.as_ref())))?
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panicked")
}
