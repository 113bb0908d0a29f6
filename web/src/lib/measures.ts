import { brief, bytes, dollars, duration } from './format';

/** How the values of a measure are written, by its unit as the API names it. */
export function inUnit(unit: string | undefined, value: number): string {
  switch (unit) {
    case 'bytes':
      return bytes(value);
    case 'bytes/s':
      return `${bytes(value)}/s`;
    case 'rows/s':
      return `${brief(value)}/s`;
    case 'seconds':
      return duration(value);
    case 'usd':
      return dollars(value);
    case 'ratio':
      return `${Number((value * 100).toPrecision(3))} %`;
    default:
      return brief(value);
  }
}

const UNITS: Record<string, string> = {
  bytes_read: 'bytes',
  bytes_written: 'bytes',
  network_bytes: 'bytes',
  memory_peak_bytes: 'bytes',
  state_bytes: 'bytes',
  watermark_lag: 'seconds',
  bytes_per_second: 'bytes/s',
  rows_per_second: 'rows/s',
  duration_seconds: 'seconds',
  processing_lag: 'seconds',
  freshness: 'seconds',
  cpu_seconds: 'seconds',
  error_rate: 'ratio',
  cost_usd: 'usd',
};

/** A value of a measure whose unit the answer does not say. */
export const measured = (metric: string, value: number) => inUnit(UNITS[metric], value);
