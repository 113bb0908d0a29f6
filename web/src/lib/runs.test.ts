import { expect, it } from 'vitest';
import type { Graph } from '@/api/jobs';
import type { GraphCounts } from '@/api/runGraph';
import { RUN_SORTS, type Run } from '@/api/runs';
import { sortOf, sortedBy } from '@/features/runs/columns';
import { comparison } from './compare';
import { boxesOf, linesOf } from './graph';
import { filterLines, logText } from './log';
import { positionText } from './positions';
import { errorOf, missing, reportOf, seconds, total } from './runs';
import { inTurns } from './turns';

const stream = (name: string, rows_read: number, rows_written: number) => ({ name, rows_read, rows_written, rows_filtered: 0, rows_dead: 0, bytes_read: 0, bytes_written: 0 });
const run = (more: Partial<Run>): Run => ({
  id: 'r',
  job_id: 'j',
  job_name: 'orders',
  job_version: 1,
  status: 'succeeded',
  trigger: { kind: 'manual' },
  attempt: 1,
  cancel_requested: false,
  queued_at: '2026-11-22T10:00:00Z',
  started_at: '2026-11-22T10:00:01Z',
  ended_at: '2026-11-22T10:00:05Z',
  streams: [],
  ...more,
});

it('adds up streams and says what is not there', () => {
  expect(total([stream('a', 3, 2), stream('b', 4, 4)])).toMatchObject({ rows_read: 7, rows_written: 6 });
  expect(missing(stream('a', 3, 2))).toBe(1);
  expect(missing({ ...stream('a', 3, 5), rows_derived: 2 })).toBe(0);
  expect([seconds(run({})), seconds(run({ started_at: null }))]).toEqual([4, Number.NaN]);
});

it('takes a report and an error of any shape', () => {
  expect([reportOf(run({})), reportOf(run({ report: 'x' })), errorOf(run({ error: null }))]).toEqual([null, null, null]);
  expect(reportOf(run({ report: { status: 'succeeded', streams: 'no', warnings: ['w', 7] } }))).toMatchObject({ streams: [], warnings: ['w', '7'], checkpoint: null });
  expect(errorOf(run({ error: { code: 'X', hint: 'h' } }))).toMatchObject({ message: 'it failed', hint: 'h' });
});

it('knows what became of dead letters that were taken once more', () => {
  const report = (replay: unknown) => reportOf(run({ report: { replay } }))?.replay;
  expect(report({ through: 3, waiting: 1, replaced: 0, reasons: [{ letter: 7, reason: 'still short' }] })).toEqual({ through: 3, waiting: 1, replaced: 0, reasons: [{ letter: 7, reason: 'still short' }] });
  expect([report(undefined), report('x'), report({ through: 2, reasons: 'no' })]).toEqual([null, null, { through: 2, waiting: 0, replaced: 0, reasons: [] }]);
});

it('writes a log with one line for each', () => {
  const line = { seq: 1, at: '2026-11-22T10:00:00Z', level: 'info', message: 'a\n\\b\r' };
  expect(logText([line, { ...line, message: 'c' }])).toBe('2026-11-22T10:00:00Z\tinfo\ta\\n\\\\b\\r\n2026-11-22T10:00:00Z\tinfo\tc\n');
});

it('keeps the order of runs in the words of the server', () => {
  for (const word of RUN_SORTS) expect(sortOf(sortedBy(word) ?? { id: '', desc: false })).toBe(word);
  expect([sortedBy(undefined), sortOf({ id: 'why', desc: true })]).toEqual([undefined, undefined]);
});

it('compares two runs, also streams that one of them lacks', () => {
  const { whole, streams } = comparison(run({ streams: [stream('a', 5, 5)] }), run({ streams: [stream('a', 8, 7), stream('b', 1, 1)], ended_at: '2026-11-22T10:00:03Z' }));
  expect(whole.find(({ name }) => name === 'Took')).toMatchObject({ a: 4, b: 2, difference: -2 });
  expect(whole.find(({ name }) => name === 'Rows written')).toMatchObject({ a: 5, b: 8, difference: 3 });
  expect(streams.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(streams[1]?.rows[0]).toMatchObject({ a: null, b: 1, difference: null });
});

it('puts on an edge what has passed it, with its rate while the run goes on', () => {
  const node = (name: string, role: 'source' | 'transform' | 'sink', options = {}) => ({ name, role, kind: 'file', options });
  const chain: Graph = { nodes: [node('in', 'source', { path: 'a.csv' }), node('t', 'transform'), node('out', 'sink')], edges: [{ from: 'in', to: 't' }, { from: 't', to: 'out' }], diagnostics: [] };
  const counts = (run_status: 'running' | 'succeeded', at: string, first: number, second: number | null): GraphCounts => ({
    run_status,
    at,
    nodes: [{ node: 't', rows_in: first, bytes_in: 0, rows_out: second, bytes_out: 0, rows_dead: 2 }],
    edges: [{ from: 'in', port: null, to: 't', rows: first, bytes: 12_000 }, { from: 't', port: null, to: 'out', rows: second, bytes: null }],
  });
  const then = counts('running', '2026-11-22T10:00:00Z', 1_000, 800);
  const now = counts('running', '2026-11-22T10:00:02Z', 21_000, 800);
  expect(linesOf(chain, now, then).map(({ label, about, busy }) => [label, about, busy])).toEqual([['21,000 · 10 k/s', '12 kB', true], ['800 · 0/s', undefined, true]]);
  expect(linesOf(chain, counts('succeeded', '2026-11-22T10:00:03Z', 22_000, null), now).map(({ label }) => label)).toEqual(['22,000', 'not counted']);
  expect(linesOf(chain, null).map(({ label }) => label)).toEqual([undefined, undefined]);
  expect(boxesOf(chain, now)[1]).toMatchObject({ detail: '2 kept apart · file' });
  expect(boxesOf(chain)[0]).toMatchObject({ title: 'in', detail: 'file · a.csv' });
  const two: Graph = { ...chain, nodes: [...chain.nodes, node('more', 'source')], edges: [...chain.edges, { from: 'more', to: 'out', port: 'eu' }] };
  const eu = { ...now, edges: [...now.edges, { from: 'more', port: 'eu', to: 'out', rows: 5, bytes: 9 }] };
  expect(linesOf(two, eu, null).map(({ label }) => label)).toEqual(['21,000', '800', 'eu · 5']);
});

it('writes the position of a connector in short', () => {
  expect([null, 7, { offset: 12 }, { file: 'a', at: 3 }, { at: { x: 1 } }].map(positionText)).toEqual(['nothing yet', '7', '12', 'file a, at 3', 'at {"x":1}']);
});

it('searches a log by words and level', () => {
  const lines = [{ seq: 1, at: '', level: 'debug', message: 'Checkpoint 1' }, { seq: 2, at: '', level: 'error', message: 'disk full' }];
  expect(filterLines(lines, '', null)).toBe(lines);
  expect(filterLines(lines, 'checkpoint', null).map(({ seq }) => seq)).toEqual([1]);
  expect(filterLines(lines, '', 'warning').map(({ seq }) => seq)).toEqual([2]);
});

it('does so many at a time and says which failed', async () => {
  let now = 0;
  let most = 0;
  const failures = await inTurns([1, 2, 3, 4, 5], 2, async (item) => {
    most = Math.max(most, ++now);
    await Promise.resolve();
    now--;
    if (item % 2 === 0) throw new Error(`no ${item}`);
  });
  expect(most).toBe(2);
  expect(failures.map(({ item, error }) => [item, (error as Error).message])).toEqual([[2, 'no 2'], [4, 'no 4']]);
});
