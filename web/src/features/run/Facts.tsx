import { SimpleGrid } from '@mantine/core';
import { useEffect, useReducer } from 'react';
import { type Run, isOver } from '@/api/runs';
import { why } from '@/features/runs/columns';
import { brief, bytes, count, dollars, duration, moment } from '@/lib/format';
import { seconds, total } from '@/lib/runs';
import { Tile } from '@/ui/Tile';
import { When } from '@/ui/When';

interface Resources {
  cpu_seconds?: number;
  memory_peak_bytes?: number;
  cost_usd?: number;
}

/** The numbers of a run that a person looks at first. */
export function Facts({ run }: { run: Run }) {
  const [, again] = useReducer((n: number) => n + 1, 0);
  const going = !isOver(run.status) && run.started_at;
  useEffect(() => {
    if (!going) return;
    const timer = setInterval(again, 1_000);
    return () => clearInterval(timer);
  }, [going]);
  const sum = total(run.streams);
  const took = seconds(run);
  const used = (run.resources ?? {}) as Resources;
  const speed = took > 0 ? `${brief(sum.rows_written / took)} rows/s` : '';
  return (
    <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }} spacing="xs" verticalSpacing="xs">
      <Tile label="Began" value={run.started_at ? <When at={run.started_at} /> : 'not yet'} note={`${why(run)}, ${moment(run.queued_at)}`} />
      <Tile label="Took" value={duration(took)} note={run.attempt > 1 ? `attempt ${run.attempt}` : `version ${run.job_version}`} />
      <Tile label="Rows read" value={brief(sum.rows_read)} note={bytes(sum.bytes_read)} />
      <Tile label="Rows written" value={brief(sum.rows_written)} note={speed} />
      <Tile label="Kept apart" value={count(sum.rows_dead)} note={`${count(sum.rows_filtered)} filtered`} />
      <Tile
        label="Used"
        value={used.cpu_seconds === undefined ? '–' : `${duration(used.cpu_seconds)} CPU`}
        note={[used.memory_peak_bytes === undefined ? '' : bytes(used.memory_peak_bytes), used.cost_usd === undefined ? '' : dollars(used.cost_usd)].filter(Boolean).join(' · ')}
      />
    </SimpleGrid>
  );
}
