import { brief, bytes, dollars, duration } from '@/lib/format';

/** How a measure is written, by its unit. */
export function written(unit: string | null | undefined): (value: number) => string {
  switch (unit) {
    case 'seconds':
      return duration;
    case 'bytes':
      return bytes;
    case 'bytes/s':
      return (value) => `${bytes(value)}/s`;
    case 'rows/s':
      return (value) => `${brief(value)}/s`;
    case 'ratio':
      return (value) => `${Number((value * 100).toPrecision(3))} %`;
    case 'usd':
      return dollars;
    default:
      return brief;
  }
}

/** What the server measures, in the order of their use, with what a rule on each would say. */
export const MEASURES: { name: string; unit: string; about: string }[] = [
  { name: 'error_rate', unit: 'ratio', about: 'dead letters by rows read, 0 to 1; 1 for a run that failed' },
  { name: 'run_failed', unit: 'count', about: 'runs that failed' },
  { name: 'freshness', unit: 'seconds', about: 'age of the newest data, in seconds' },
  { name: 'processing_lag', unit: 'seconds', about: 'from when a run was due to when its data were there, in seconds' },
  { name: 'duration_seconds', unit: 'seconds', about: 'how long a run took, in seconds' },
  { name: 'rows_written', unit: 'rows', about: 'rows visible in the sinks' },
  { name: 'rows_read', unit: 'rows', about: 'rows out of the sources' },
  { name: 'rows_filtered', unit: 'rows', about: 'rows taken out by filters' },
  { name: 'rejected_rows', unit: 'rows', about: 'dead letters' },
  { name: 'rows_per_second', unit: 'rows/s', about: 'rows written in a second' },
  { name: 'bytes_written', unit: 'bytes', about: 'bytes at the targets' },
  { name: 'bytes_read', unit: 'bytes', about: 'bytes out of the sources' },
  { name: 'bytes_per_second', unit: 'bytes/s', about: 'bytes written in a second' },
  { name: 'network_bytes', unit: 'bytes', about: 'bytes read and written' },
  { name: 'memory_peak_bytes', unit: 'bytes', about: 'largest memory of a run, in bytes' },
  { name: 'cpu_seconds', unit: 'seconds', about: 'CPU time, in seconds' },
  { name: 'cost_usd', unit: 'usd', about: 'estimated cost, in dollars' },
  { name: 'schema_drift', unit: 'count', about: 'columns added, removed or changed' },
];

/** `error_rate` as Error rate. */
export function titled(name: string): string {
  const words = name.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
