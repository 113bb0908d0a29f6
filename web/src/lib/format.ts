/** Numbers, sizes and times as people read them. One way each, everywhere. */

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en-GB', { maximumSignificantDigits: 3 });

/** 1,234,567 */
export const count = (value: number) => whole.format(value);

/** 1.23 M; below ten thousand in full. */
export function brief(value: number): string {
  const size = Math.abs(value);
  if (size < 10_000) return size < 100 && !Number.isInteger(value) ? short.format(value) : whole.format(value);
  for (const [unit, sign] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const) {
    if (size >= unit) return `${short.format(value / unit)} ${sign}`;
  }
  return whole.format(value);
}

/** 1.23 MB, decimal. */
export function bytes(value: number): string {
  for (const [unit, sign] of [[1e15, 'PB'], [1e12, 'TB'], [1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']] as const) {
    if (Math.abs(value) >= unit) return `${short.format(value / unit)} ${sign}`;
  }
  return `${whole.format(value)} B`;
}

/** 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3_600) return two(Math.floor(s / 60), 'min', s % 60, 's');
  if (s < 86_400) return two(Math.floor(s / 3_600), 'h', Math.floor((s % 3_600) / 60), 'min');
  return two(Math.floor(s / 86_400), 'd', Math.floor((s % 86_400) / 3_600), 'h');
}

const two = (a: number, unit: string, b: number, smaller: string) => (b === 0 ? `${a} ${unit}` : `${a} ${unit} ${b} ${smaller}`);

/** 2026-11-22 11:05:09, in the reader's zone. */
export function moment(at: string | Date): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return '–';
  const two = (value: number) => String(value).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** 11:05:09.123, in the reader's zone. */
export const clock = (at: string) => `${moment(at).slice(11)}.${String(new Date(at).getMilliseconds()).padStart(3, '0')}`;

/** 3 min ago, in 2 h, now */
export function relative(at: string | Date, now = Date.now()): string {
  const seconds = (new Date(at).getTime() - now) / 1_000;
  if (!Number.isFinite(seconds)) return '–';
  const size = Math.abs(seconds);
  if (size < 5) return 'now';
  const words = rough(size);
  return seconds < 0 ? `${words} ago` : `in ${words}`;
}

function rough(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** <$0.01, $0.42, $12.30 */
export function dollars(value: number): string {
  if (value === 0) return '$0';
  return value < 0.01 ? '<$0.01' : `$${value.toFixed(2)}`;
}
