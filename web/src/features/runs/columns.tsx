import { Link } from 'react-router';
import { RUN_SORTS, type Run, type RunSort } from '@/api/runs';
import { paths } from '@/app/paths';
import { brief, duration } from '@/lib/format';
import { errorOf, seconds, total } from '@/lib/runs';
import { Clipped } from '@/ui/Clipped';
import type { Column, Sorted } from '@/ui/DataTable';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';

const WHY: Record<string, string> = { manual: 'by hand', schedule: 'schedule', dependency: 'after another', replay: 'dead letters' };

/** Why a run exists, in words. */
export const why = (run: Run) => WHY[run.trigger.kind] ?? run.trigger.kind;

/** The column by which the server was asked to sort; `-`: the largest first. Newest first is of no column: a run that waits has not begun. */
export function sortedBy(word: RunSort | undefined): Sorted | undefined {
  const desc = word?.startsWith('-') ?? false;
  const id = columns.find(({ order }) => order === (desc ? word?.slice(1) : word))?.id;
  return word === undefined || id === undefined ? undefined : { id, desc };
}

/** The same the other way. */
export function sortOf({ id, desc }: Sorted): RunSort | undefined {
  const order = columns.find((column) => column.id === id)?.order;
  return RUN_SORTS.find((word) => word === `${desc ? '-' : ''}${order}`);
}

export const columns: Column<Run>[] = [
  {
    id: 'state',
    header: 'State',
    order: 'status',
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
    order: 'job_name',
    cell: (run) => (
      <Link to={paths.run(run.id)} className="link">
        <Clipped text={run.job_name} />
      </Link>
    ),
  },
  { id: 'begun', header: 'Begun', order: 'started_at', width: 100, cell: (run) => <When at={run.started_at ?? run.queued_at} />, from: 'xs' },
  { id: 'took', header: 'Took', order: 'duration', width: 96, align: 'right', cell: (run) => (run.started_at ? duration(seconds(run)) : '–'), from: 'xs' },
  { id: 'rows', header: 'Rows written', order: 'rows_written', width: 132, align: 'right', cell: (run) => brief(total(run.streams).rows_written), from: 'sm' },
  { id: 'dead', header: 'Dead letters', width: 104, align: 'right', cell: (run) => brief(total(run.streams).rows_dead), from: 'lg' },
  { id: 'why', header: 'Why', width: 108, cell: why, from: 'md' },
  { id: 'version', header: 'Version', width: 76, align: 'right', cell: (run) => run.job_version, from: 'lg' },
  { id: 'error', header: 'Error', cell: (run) => <Clipped text={errorOf(run)?.message ?? ''} />, from: 'md' },
];
