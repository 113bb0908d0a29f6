/** What the server measures, in the order of their use, with what a rule on each would say. */
export const MEASURES: { name: string; about: string }[] = [
  { name: 'error_rate', about: 'dead letters by rows read, 0 to 1; 1 for a run that failed' },
  { name: 'run_failed', about: 'runs that failed' },
  { name: 'freshness', about: 'age of the newest data, in seconds' },
  { name: 'processing_lag', about: 'from when a run was due to when its data were there, in seconds' },
  { name: 'watermark_lag', about: 'how far the event time of a stream is behind the clock, in seconds' },
  { name: 'late_rows', about: 'rows that came behind the watermark' },
  { name: 'state_bytes', about: 'memory that open windows, joins and memories take, in bytes' },
  { name: 'duration_seconds', about: 'how long a run took, in seconds' },
  { name: 'rows_written', about: 'rows visible in the sinks' },
  { name: 'rows_read', about: 'rows out of the sources' },
  { name: 'rows_filtered', about: 'rows taken out by filters' },
  { name: 'rejected_rows', about: 'dead letters' },
  { name: 'rows_per_second', about: 'rows written in a second' },
  { name: 'bytes_written', about: 'bytes at the targets' },
  { name: 'bytes_read', about: 'bytes out of the sources' },
  { name: 'bytes_per_second', about: 'bytes written in a second' },
  { name: 'network_bytes', about: 'bytes read and written' },
  { name: 'memory_peak_bytes', about: 'largest memory of a run, in bytes' },
  { name: 'cpu_seconds', about: 'CPU time, in seconds' },
  { name: 'cost_usd', about: 'estimated cost, in dollars' },
  { name: 'schema_drift', about: 'columns added, removed or changed' },
];

/** `error_rate` as Error rate. */
export function titled(name: string): string {
  const words = name.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
