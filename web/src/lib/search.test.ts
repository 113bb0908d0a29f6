import { expect, it } from 'vitest';
import type { JobSummary } from '@/api/jobs';
import { type JobFilter, filterJobs } from './search';

const job = (name: string, more: Partial<JobSummary> = {}): JobSummary => ({
  id: name,
  name,
  status: 'active',
  mode: 'batch',
  version: 1,
  source_kinds: ['postgres'],
  sink_kinds: ['s3'],
  labels: {},
  created_at: '',
  updated_at: '',
  ...more,
});
const jobs = [job('Orders to lake', { labels: { team: 'data' } }), job('customers', { status: 'paused', last_run_status: 'failed' }), job('clicks', { mode: 'streaming', source_kinds: ['kafka'] })];
const none = { text: '', status: null, mode: null, last: null };
const names = (filter: Partial<JobFilter>) => filterJobs(jobs, { ...none, ...filter }).map(({ name }) => name);

it('finds by every word in name, connector and label', () => {
  expect(names({ text: 'ORDERS team:data' })).toEqual(['Orders to lake']);
  expect(names({ text: 'kafka' })).toEqual(['clicks']);
  expect(names({ text: 'orders kafka' })).toEqual([]);
  expect(names({ text: '  ' })).toHaveLength(3);
});

it('filters by state, mode and the last run', () => {
  expect(names({ status: 'paused' })).toEqual(['customers']);
  expect(names({ mode: 'streaming' })).toEqual(['clicks']);
  expect(names({ last: 'failed' })).toEqual(['customers']);
  expect(names({ last: 'never' })).toEqual(['Orders to lake', 'clicks']);
});

it('goes through ten thousand within a keystroke', () => {
  const many = Array.from({ length: 10_000 }, (_, index) => job(`pipeline ${index}`));
  const begin = performance.now();
  expect(filterJobs(many, { ...none, text: 'pipeline 9999' })).toHaveLength(1);
  expect(performance.now() - begin).toBeLessThan(250);
});
