/**
 * What is sent when a pipeline is saved. A job has settings beside its file, and what a request does not say is the default again: so what the
 * job has by itself is said, and what follows from the file is left to the file, which may have changed it.
 */
import type { Job } from '@/api/jobs';
import type { JobEnvelope } from '@/api/pipelines';
import { isObject, read } from '@/lib/pipelineText';

export interface Settings {
  max_attempts: number;
  backoff_secs: number;
  max_backoff_secs: number;
  timeout_secs: number | null;
}

/** Those of a job; of a new one the server's own defaults. */
export const settingsOf = (job: Job | null): Settings | null =>
  job === null ? null : { ...job.retry, timeout_secs: job.timeout_secs ?? null };

export function envelope(job: Job | null, text: string, settings: Settings | null): JobEnvelope {
  const body: JobEnvelope = { spec: text };
  if (settings !== null) {
    const { timeout_secs, ...retry } = settings;
    body.retry = retry;
    if (timeout_secs !== null) body.timeout_secs = timeout_secs;
  }
  if (job === null) return body;
  const before = read(job.spec).value;
  const file = isObject(before) ? before : {};
  if (job.name !== file.pipeline && job.name !== file.name) body.name = job.name;
  if (job.description && job.description !== file.description) body.description = job.description;
  const own = isObject(file.labels) ? file.labels : {};
  const labels = Object.entries(job.labels).filter(([name, value]) => own[name] !== value);
  if (labels.length > 0) body.labels = Object.fromEntries(labels);
  if (job.depends_on.length > 0) body.depends_on = job.depends_on;
  if (job.schedule && file.schedule === undefined) {
    const { next_fire_at: _, ...schedule } = job.schedule;
    body.schedule = schedule;
  }
  return body;
}
