import { Anchor, SimpleGrid } from '@mantine/core';
import { Link } from 'react-router';
import type { Job } from '@/api/jobs';
import { useSchedulePreview } from '@/api/schedules';
import { type Run, isOver } from '@/api/runs';
import { paths } from '@/app/paths';
import { brief, count, duration } from '@/lib/format';
import { seconds, total } from '@/lib/runs';
import { Status } from '@/ui/Status';
import { Tile } from '@/ui/Tile';
import { When } from '@/ui/When';

/** What a person wants to know first. */
export function Summary({ job, runs }: { job: Job; runs: Run[] | undefined }) {
  const preview = useSchedulePreview(job.schedule?.cron ?? '', job.schedule?.timezone ?? 'UTC');
  const newest = runs?.[0];
  const good = runs?.find((run) => run.status === 'succeeded');
  const ended = runs?.filter((run) => run.status === 'succeeded' || run.status === 'failed') ?? [];
  const failures = ended.filter((run) => run.status === 'failed').length;
  const when = () => {
    if (!job.schedule) return job.depends_on.length > 0 ? 'after others' : 'by hand';
    return job.status === 'paused' ? 'paused' : <When at={job.schedule.next_fire_at} />;
  };
  return (
    <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="xs" verticalSpacing="xs">
      <Tile
        label="Last run"
        value={newest ? <Anchor component={Link} to={paths.run(newest.id)} inherit underline="hover" c="inherit"><Status state={newest.status} /></Anchor> : 'never'}
        note={newest ? <When at={newest.ended_at ?? newest.started_at ?? newest.queued_at} /> : 'no run yet'}
      />
      <Tile label="Next run" value={when()} note={preview.data?.words ?? (job.schedule ? `${job.schedule.cron} ${job.schedule.timezone}` : '')} />
      <Tile
        label="Rows of the last good run"
        value={good ? brief(total(good.streams).rows_written) : '–'}
        note={good && isOver(good.status) ? `in ${duration(seconds(good))}` : ''}
      />
      <Tile label="Failed" value={`${count(failures)} of ${count(ended.length)}`} note="of the newest runs" />
    </SimpleGrid>
  );
}
