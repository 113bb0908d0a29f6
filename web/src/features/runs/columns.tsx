import { Link } from 'react-router';
import type { Run } from '@/api/runs';
import { paths } from '@/app/paths';
import { brief, duration } from '@/lib/format';
import { errorOf, seconds, total } from '@/lib/runs';
import { Clipped } from '@/ui/Clipped';
import type { Column } from '@/ui/DataTable';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';

const WHY: Record<string, string> = { manual: 'by hand', schedule: 'schedule', dependency: 'after another', replay: 'dead letters' };

/** Why a run exists, in words. */
export const why = (run: Run) => WHY[run.trigger.kind] ?? run.trigger.kind;

export const columns: Column<Run>[] = [
  {
    id: 'state',
    header: 'State',
    width: 120,
    cell: (run) => (
      <Link to={paths.run(run.id)} className="link quiet" aria-label={`${run.status}: the run of ${run.job_name.slice(0, 100)}`}>
        <Status state={run.status} />
      </Link>
    ),
  },
  {
    id: 'pipeline',
    header: 'Pipeline',
    cell: (run) => (
      <Link to={paths.run(run.id)} className="link">
        <Clipped text={run.job_name} />
      </Link>
    ),
  },
  { id: 'begun', header: 'Begun', width: 100, cell: (run) => <When at={run.started_at ?? run.queued_at} />, from: 'xs' },
  { id: 'took', header: 'Took', width: 96, align: 'right', cell: (run) => (run.started_at ? duration(seconds(run)) : '–'), from: 'xs' },
  { id: 'rows', header: 'Rows written', width: 104, align: 'right', cell: (run) => brief(total(run.streams).rows_written), from: 'sm' },
  { id: 'dead', header: 'Dead letters', width: 104, align: 'right', cell: (run) => brief(total(run.streams).rows_dead), from: 'lg' },
  { id: 'why', header: 'Why', width: 108, cell: why, from: 'md' },
  { id: 'version', header: 'Version', width: 76, align: 'right', cell: (run) => run.job_version, from: 'lg' },
  { id: 'error', header: 'Error', cell: (run) => <Clipped text={errorOf(run)?.message ?? ''} />, from: 'md' },
];
