//! Streams without end as gauges of `/metrics`: how far their time is, what they keep, what waits for them. Of the runs that go on, by their last progress.

use weir_store::model::{Run, RunStatus, StreamCounts, TenantId};

use super::text::{Kind, Text};

/// Streams that one page tells at most.
const MOST: usize = 1_000;

type Value = fn(&StreamCounts) -> Option<f64>;

/// Name, help, value; nothing of a stream that does not know it.
const FAMILIES: [(&str, &str, Value); 5] = [
    ("weir_stream_watermark_lag_seconds", "How far the watermark of a stream with event time is behind the clock.", |stream| {
        Some(stream.event_time?.lag_ms? as f64 / 1e3)
    }),
    ("weir_stream_late_rows", "Rows that came behind the watermark since the run began.", |stream| {
        Some(stream.event_time?.rows_late as f64)
    }),
    ("weir_stream_state_bytes", "Memory that open windows, joins and memories of a stream take.", |stream| {
        Some(stream.event_time?.state_bytes as f64)
    }),
    ("weir_stream_lag_rows", "Rows that wait at the source of a stream without end, as far as it tells.", |stream| {
        Some(stream.lag_rows? as f64)
    }),
    (
        "weir_stream_lag_seconds",
        "For how long, at least, the oldest of these rows has waited, as far as the source tells.",
        |stream| Some(stream.lag_ms? as f64 / 1e3),
    ),
];

/// Writes the families; of one tenant, or of all.
pub fn write(text: &mut Text, runs: &[Run], only: Option<&TenantId>) {
    let ours = runs.iter().filter(|run| run.status == RunStatus::Running && only.is_none_or(|tenant| *tenant == run.tenant_id));
    let told = |stream: &&StreamCounts| FAMILIES.iter().any(|(_, _, value)| value(stream).is_some());
    let streams: Vec<(&Run, &StreamCounts)> =
        ours.flat_map(|run| run.streams.iter().filter(told).map(move |stream| (run, stream))).take(MOST).collect();
    for (name, help, value) in FAMILIES {
        text.family(name, Kind::Gauge, help);
        for (run, stream) in &streams {
            let labels = [("tenant_id", run.tenant_id.as_str()), ("job_id", run.job_id.as_str()), ("stream", &stream.name)];
            if let Some(value) = value(stream) {
                text.sample(name, &labels, value);
            }
        }
    }
}
