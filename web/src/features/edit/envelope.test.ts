import { describe, expect, it } from 'vitest';
import type { Job } from '@/api/jobs';
import { envelope, settingsOf } from './envelope';

const job = (over: Partial<Job>): Job => ({
  id: 'j',
  tenant_id: 't',
  name: 'orders',
  status: 'active',
  mode: 'batch',
  version: 1,
  revision: 3,
  spec: 'pipeline: orders\n',
  source_kinds: [],
  sink_kinds: [],
  connections: [],
  depends_on: [],
  retry: { max_attempts: 2, backoff_secs: 5, max_backoff_secs: 60 },
  labels: {},
  created_at: '',
  updated_at: '',
  created_by: '',
  ...over,
});

describe('what is sent when a pipeline is saved', () => {
  it('leaves to the file what follows from it', () => {
    const spec = 'pipeline: orders\ndescription: d\nlabels: {team: a}\nschedule: 0 6 * * *\n';
    const schedule = { cron: '0 6 * * *', timezone: 'UTC', overlap: 'skip', catch_up: 'none', jitter_secs: 0, next_fire_at: '' } as const;
    const of = job({ spec, description: 'd', labels: { team: 'a' }, schedule });
    expect(envelope(of, 'pipeline: renamed\n', settingsOf(of))).toEqual({ spec: 'pipeline: renamed\n', retry: of.retry });
  });

  it('says again what the job has by itself', () => {
    const schedule = {
      cron: '0 6 * * *',
      timezone: 'Europe/Berlin',
      overlap: 'queue',
      catch_up: 'last',
      jitter_secs: 9,
      next_fire_at: 'x',
    } as const;
    const of = job({ name: 'Orders for people', description: 'own', labels: { team: 'a' }, depends_on: ['k'], timeout_secs: 60, schedule });
    expect(envelope(of, 'pipeline: orders\nmode: batch\n', settingsOf(of))).toEqual({
      spec: 'pipeline: orders\nmode: batch\n',
      name: 'Orders for people',
      description: 'own',
      labels: { team: 'a' },
      depends_on: ['k'],
      timeout_secs: 60,
      retry: of.retry,
      schedule: { cron: '0 6 * * *', timezone: 'Europe/Berlin', overlap: 'queue', catch_up: 'last', jitter_secs: 9 },
    });
  });

  it('of a new pipeline is the file', () => {
    expect(envelope(null, 'pipeline: a\n', null)).toEqual({ spec: 'pipeline: a\n' });
  });
});
