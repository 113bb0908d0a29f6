//! What this process counts of itself. Totals of runs are not here: they come from the database (see [`super::totals`]), so that a restart
//! does not forget them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::process;
use super::text::{Kind, Text};

/// Upper bounds of the HTTP histogram, seconds.
const HTTP_BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// No more routes than this are told apart: a caller that passes paths instead of route templates must not fill the memory.
const MAX_ROUTES: usize = 500;

/// Counters of one process. Cheap to update from many threads.
#[derive(Debug, Default)]
pub struct Registry {
    routes: Mutex<BTreeMap<String, Route>>,
    in_flight: AtomicI64,
    counters: Mutex<BTreeMap<(&'static str, String), f64>>,
}

#[derive(Debug, Default, Clone)]
struct Route {
    statuses: BTreeMap<u16, u64>,
    buckets: [u64; HTTP_BOUNDS.len() + 1],
    seconds: f64,
}

/// The counters of the platform's loops: name, its one label, help.
const COUNTERS: [(&str, &str, &str); 5] = [
    ("weir_loop_errors_total", "loop", "Turns of a background loop that failed; the loop goes on."),
    ("weir_deliveries_total", "outcome", "Tries to deliver an event: delivered, failed, dead, silenced."),
    ("weir_inbox_events_total", "outcome", "Events that came in: new, known, refused."),
    ("weir_series_points_total", "outcome", "Metric points for the time-series store: written, dropped."),
    ("weir_alert_changes_total", "change", "Alerts that began (fired) or ended (resolved), seen by this process."),
];

impl Registry {
    /// A request has been answered. `route` is the template (`/api/v1/jobs/{job_id}`), never the path: paths are without number.
    pub fn http(&self, method: &str, route: &str, status: u16, took: Duration) {
        let mut routes = lock(&self.routes);
        let mut key = format!("{method} {route}");
        if !routes.contains_key(&key) && routes.len() >= MAX_ROUTES {
            key = format!("{method} other");
        }
        let entry = routes.entry(key).or_default();
        *entry.statuses.entry(status).or_default() += 1;
        let seconds = took.as_secs_f64();
        let bucket = HTTP_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(HTTP_BOUNDS.len());
        entry.buckets[bucket] += 1;
        entry.seconds += seconds;
    }

    /// A request is being answered as long as the value lives.
    pub fn http_in_flight(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// A turn of the loop failed.
    pub fn loop_error(&self, name: &str) {
        self.count("weir_loop_errors_total", name, 1.0);
    }

    /// Adds to one of the counters of this process; `label` is the value of its one label.
    pub(crate) fn count(&self, name: &'static str, label: &str, by: f64) {
        debug_assert!(COUNTERS.iter().any(|(known, ..)| *known == name), "counter {name} is not in the table");
        *lock(&self.counters).entry((name, label.to_owned())).or_default() += by;
    }

    /// Writes all families, and those of the operating system's process.
    pub fn write(&self, text: &mut Text) {
        let routes = lock(&self.routes).clone();
        text.family("weir_http_requests_total", Kind::Counter, "Requests answered.");
        for (key, route) in &routes {
            let (method, template) = key.split_once(' ').unwrap_or((key, ""));
            for (status, count) in &route.statuses {
                let status = status.to_string();
                let labels = [("method", method), ("route", template), ("status", status.as_str())];
                text.sample("weir_http_requests_total", &labels, *count as f64);
            }
        }
        let name = "weir_http_request_duration_seconds";
        text.family(name, Kind::Histogram, "Time from the request's head to the answer's head.");
        for (key, route) in &routes {
            let (method, template) = key.split_once(' ').unwrap_or((key, ""));
            let counts = route.buckets.map(|count| count as f64);
            text.histogram(name, &[("method", method), ("route", template)], &HTTP_BOUNDS, &counts, route.seconds);
        }
        text.family("weir_http_requests_in_flight", Kind::Gauge, "Requests being answered.");
        text.sample("weir_http_requests_in_flight", &[], self.in_flight.load(Ordering::Relaxed) as f64);
        let counters = lock(&self.counters).clone();
        for (name, label, help) in COUNTERS {
            text.family(name, Kind::Counter, help);
            for ((_, value), count) in counters.iter().filter(|((counter, _), _)| *counter == name) {
                text.sample(name, &[(label, value)], *count);
            }
        }
        text.family("weir_build_info", Kind::Gauge, "The version that runs; always 1.");
        text.sample("weir_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        process::write(text);
    }
}

/// See [`Registry::http_in_flight`].
#[derive(Debug)]
pub struct InFlight<'a>(&'a Registry);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A panic elsewhere cannot leave a counter half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = Text::default();
        registry.write(&mut text);
        text.finish()
    }

    #[test]
    fn requests_are_counted_by_route_and_status_and_timed() {
        let registry = Registry::default();
        registry.http("GET", "/api/v1/jobs/{job_id}", 200, Duration::from_millis(2));
        registry.http("GET", "/api/v1/jobs/{job_id}", 404, Duration::from_secs(20));
        let held = registry.http_in_flight();
        let said = text(&registry);
        drop(held);
        for line in [
            "weir_http_requests_total{method=\"GET\",route=\"/api/v1/jobs/{job_id}\",status=\"404\"} 1",
            "weir_http_request_duration_seconds_bucket{method=\"GET\",route=\"/api/v1/jobs/{job_id}\",le=\"0.0025\"} 1",
            "weir_http_request_duration_seconds_bucket{method=\"GET\",route=\"/api/v1/jobs/{job_id}\",le=\"+Inf\"} 2",
            "weir_http_requests_in_flight 1",
        ] {
            assert!(said.lines().any(|l| l == line), "{line} is not in\n{said}");
        }
        assert!(text(&registry).contains("weir_http_requests_in_flight 0"));
    }

    #[test]
    fn a_caller_that_passes_paths_does_not_fill_the_memory() {
        let registry = Registry::default();
        for n in 0..5_000 {
            registry.http("GET", &format!("/x/{n}"), 200, Duration::ZERO);
        }
        assert_eq!(lock(&registry.routes).len(), MAX_ROUTES + 1);
        assert!(text(&registry).contains("route=\"other\",status=\"200\"} 4500"));
    }
}
