import { Button, Group, Select, Stack } from '@mantine/core';
import { useMemo, useState } from 'react';
import { useSearchParams } from 'react-router';
import { RUN_SORTS, RUN_STATUSES, type Run, type RunFilter, type RunStatus, useRuns } from '@/api/runs';
import { type Column, DataTable } from '@/ui/DataTable';
import { JobPick } from '@/ui/JobPick';
import { Asked, Empty } from '@/ui/states';
import { ChosenRuns } from './ChosenRuns';
import { columns, sortOf, sortedBy } from './columns';

const SINCE: Record<string, number> = { 'last hour': 1, 'last 24 hours': 24, 'last 7 days': 168, 'last 30 days': 720 };

/** Without the pipeline there is room for the time on every screen. */
const always = (column: Column<Run>): Column<Run> => {
  if (column.id !== 'begun') return column;
  const { from: _, ...shown } = column;
  return shown;
};

/** Runs, newest first or as the server sorts them, as far as one scrolls. Those that are chosen are compared, run again, stopped. */
export function RunList({ filter, ofOne = false }: { filter: RunFilter; ofOne?: boolean }) {
  const [params, setParams] = useSearchParams();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const status = RUN_STATUSES.find((word) => word === params.get('status'));
  const range = params.get('since');
  const hours = range === null ? undefined : SINCE[range];
  // To the minute, or each drawing would ask for something else.
  const since = useMemo(() => (hours === undefined ? undefined : new Date(Math.floor(Date.now() / 60_000 - hours * 60) * 60_000).toISOString()), [hours]);
  const sort = RUN_SORTS.find((word) => word === params.get('sort'));
  const conditions = { ...(status === undefined ? {} : { status }), ...(since === undefined ? {} : { since }), ...(sort === undefined ? {} : { sort }) };
  const job = ofOne ? null : params.get('job');
  const runs = useRuns({ ...filter, ...(job === null ? {} : { job_id: job }), ...conditions });
  const sorted = sortedBy(sort);
  const shown = useMemo(() => (ofOne ? columns.filter(({ id }) => id !== 'pipeline').map(always) : columns), [ofOne]);
  const set = (name: string, value: string | null) =>
    setParams((old) => {
      const next = new URLSearchParams(old);
      if (value === null) next.delete(name);
      else next.set(name, value);
      return next;
    }, { replace: true });
  const picked = (runs.data?.pages ?? []).flatMap(({ items }) => items.filter(({ id }) => chosen.has(id)));
  return (
    <Stack gap="xs">
      <Group gap="xs">
        {!ofOne && <JobPick inline label="Pipeline" placeholder="Pipeline" value={job} onChange={(value) => set('job', value)} />}
        <Select size="xs" w={140} aria-label="State" placeholder="State" clearable data={RUN_STATUSES} value={status ?? null} onChange={(value) => set('status', value as RunStatus | null)} />
        <Select size="xs" w={140} aria-label="Since" placeholder="Since" clearable data={Object.keys(SINCE)} value={range} onChange={(value) => set('since', value)} />
        {sort !== undefined && (
          <Button size="compact-sm" variant="subtle" onClick={() => set('sort', null)}>
            Newest first
          </Button>
        )}
        <ChosenRuns runs={picked} onDone={() => setChosen(new Set())} />
      </Group>
      <Asked query={runs} what="Loading runs">
        {({ pages }) => (
          <DataTable
            label="Runs"
            rows={pages.flatMap(({ items }) => items)}
            columns={shown}
            rowId={(run) => run.id}
            {...(sorted === undefined ? {} : { sorted })}
            onOrder={(next) => set('sort', sortOf(next) ?? null)}
            nameOf={(run) => `the run of ${run.job_name.slice(0, 100)} at ${run.queued_at}`}
            chosen={chosen}
            onChoose={setChosen}
            onEnd={() => {
              if (runs.hasNextPage && !runs.isFetching) void runs.fetchNextPage();
            }}
            empty={<Empty title="No runs">{status || since || job ? 'None fits the conditions.' : 'Nothing has run yet.'}</Empty>}
          />
        )}
      </Asked>
    </Stack>
  );
}
