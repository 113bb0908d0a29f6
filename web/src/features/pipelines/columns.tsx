import { Link } from 'react-router';
import type { JobSummary } from '@/api/jobs';
import { paths } from '@/app/paths';
import { Clipped } from '@/ui/Clipped';
import type { Column } from '@/ui/DataTable';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';

/** Names of labels, values after a colon. */
export const labelsOf = (job: JobSummary) => Object.entries(job.labels).map(([name, value]) => `${name}:${value}`).join(' ');

const route = (job: JobSummary) => `${job.source_kinds.join(', ')} → ${job.sink_kinds.join(', ')}`;
const never = Number.MAX_SAFE_INTEGER;

export const columns: Column<JobSummary>[] = [
  {
    id: 'name',
    header: 'Name',
    sort: (job) => job.name,
    cell: (job) => (
      <Link to={paths.pipeline(job.id)} className="link">
        <Clipped text={job.name} />
      </Link>
    ),
  },
  { id: 'state', header: 'State', width: 92, sort: (job) => job.status, cell: (job) => <Status state={job.status} />, from: 'xs' },
  {
    id: 'last',
    header: 'Last run',
    width: 116,
    sort: (job) => job.last_run_status ?? '',
    cell: (job) => (job.last_run_status ? <Status state={job.last_run_status} /> : <span className="faint">never</span>),
  },
  {
    id: 'next',
    header: 'Next run',
    width: 108,
    sort: (job) => (job.next_fire_at ? Date.parse(job.next_fire_at) : never),
    cell: (job) => <When at={job.next_fire_at} none="" />,
    from: 'md',
  },
  { id: 'mode', header: 'Mode', width: 108, sort: (job) => job.mode, cell: (job) => job.mode, from: 'md' },
  { id: 'route', header: 'From → to', width: 170, sort: route, cell: (job) => <Clipped text={route(job)} />, from: 'lg' },
  { id: 'labels', header: 'Labels', width: 220, sort: labelsOf, cell: (job) => <Clipped text={labelsOf(job)} />, from: 'xl' },
  { id: 'updated', header: 'Changed', width: 108, sort: (job) => -Date.parse(job.updated_at), cell: (job) => <When at={job.updated_at} />, from: 'lg' },
];
