import type { JobSummary } from '@/api/jobs';

export interface JobFilter {
  text: string;
  status: string | null;
  mode: string | null;
  last: string | null;
}

/** Every word of the text is in the name, the description, a kind or a label (`team:data`). */
export function filterJobs(jobs: JobSummary[], { text, status, mode, last }: JobFilter): JobSummary[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return jobs.filter((job) => {
    if (status !== null && job.status !== status) return false;
    if (mode !== null && job.mode !== mode) return false;
    if (last !== null && (job.last_run_status ?? 'never') !== last) return false;
    if (words.length === 0) return true;
    const labels = Object.entries(job.labels).map(([name, value]) => `${name}:${value}`);
    const all = [job.name, job.description ?? '', ...job.source_kinds, ...job.sink_kinds, ...labels].join('\n').toLowerCase();
    return words.every((word) => all.includes(word));
  });
}
