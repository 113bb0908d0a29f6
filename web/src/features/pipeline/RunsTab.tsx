import type { Job } from '@/api/jobs';
import { RunList } from '@/features/runs/RunList';

/** The runs of this pipeline. */
export default function RunsTab({ job }: { job: Job }) {
  return <RunList filter={{ job_id: job.id }} ofOne />;
}
