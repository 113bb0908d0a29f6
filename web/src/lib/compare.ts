import type { Run } from '@/api/runs';
import { type Counts, seconds, total } from './runs';

export interface Row {
  name: string;
  unit: 'count' | 'bytes' | 'seconds';
  /** Null: the run does not have it. */
  a: number | null;
  b: number | null;
  difference: number | null;
}

const COUNTS: [keyof Counts, string, Row['unit']][] = [
  ['rows_read', 'Rows read', 'count'],
  ['rows_written', 'Rows written', 'count'],
  ['rows_filtered', 'Rows filtered', 'count'],
  ['rows_dead', 'Dead letters', 'count'],
  ['bytes_read', 'Bytes read', 'bytes'],
  ['bytes_written', 'Bytes written', 'bytes'],
];

const row = (name: string, unit: Row['unit'], a: number | null, b: number | null): Row => ({
  name,
  unit,
  a,
  b,
  difference: a === null || b === null || Number.isNaN(a) || Number.isNaN(b) ? null : b - a,
});

const rows = (a: Counts | null, b: Counts | null) => COUNTS.map(([key, name, unit]) => row(name, unit, a?.[key] ?? null, b?.[key] ?? null));

/** What two runs did, number by number; streams in the order of their names, also those that only one of them has. */
export function comparison(a: Run, b: Run): { whole: Row[]; streams: { name: string; rows: Row[] }[] } {
  const names = [...new Set([...a.streams, ...b.streams].map(({ name }) => name))].sort();
  const of = (run: Run, name: string) => run.streams.find((stream) => stream.name === name) ?? null;
  return {
    whole: [row('Took', 'seconds', seconds(a), seconds(b)), ...rows(total(a.streams), total(b.streams))],
    streams: names.length < 2 ? [] : names.map((name) => ({ name, rows: rows(of(a, name), of(b, name)) })),
  };
}
