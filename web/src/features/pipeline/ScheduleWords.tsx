import { Anchor, List, Stack, Text } from '@mantine/core';
import { Link } from 'react-router';
import { type Job, useJob } from '@/api/jobs';
import { useSchedulePreview } from '@/api/schedules';
import { paths } from '@/app/paths';
import { duration, moment, relative } from '@/lib/format';
import { Section } from '@/ui/Section';
import { Failure } from '@/ui/states';

const OVERLAP = { skip: 'A fire while a run is going is left out.', queue: 'A fire while a run is going waits.' };
const CATCH_UP = {
  none: 'Fires that were missed are left out.',
  last: 'Of fires that were missed the last is made up for.',
  all: 'Every fire that was missed is made up for.',
};

/** When the pipeline runs, in plain words. */
export function ScheduleWords({ job }: { job: Job }) {
  const { schedule, retry } = job;
  const preview = useSchedulePreview(schedule?.cron ?? '', schedule?.timezone ?? 'UTC');
  return (
    <Section title="When it runs">
      <Stack gap={6}>
        {schedule ? (
          <>
            <Text size="sm">
              {preview.data?.words ?? schedule.cron}
              {job.status === 'paused' && ' – but it is paused'}
            </Text>
            {preview.isError && <Failure error={preview.error} />}
            {job.status === 'active' && preview.data && (
              <List size="sm" aria-label="Next five runs" className="numbers">
                {preview.data.next.map((at) => (
                  <List.Item key={at}>
                    {moment(at)} <Text span c="dimmed" inherit>{relative(at)}</Text>
                  </List.Item>
                ))}
              </List>
            )}
            <Text size="sm" c="dimmed">
              {OVERLAP[schedule.overlap]} {CATCH_UP[schedule.catch_up]}
            </Text>
          </>
        ) : (
          <Text size="sm">{job.depends_on.length > 0 ? 'When these have succeeded:' : 'When somebody starts it.'}</Text>
        )}
        {job.depends_on.map((id) => (
          <Upstream key={id} id={id} />
        ))}
        <Text size="sm" c="dimmed">
          {retry.max_attempts > 1
            ? `A run that fails is tried ${retry.max_attempts} times, first after ${duration(retry.backoff_secs)}, at most ${duration(retry.max_backoff_secs)} apart.`
            : 'A run that fails is not tried again.'}
          {job.timeout_secs ? ` It may take ${duration(job.timeout_secs)}.` : ''}
        </Text>
      </Stack>
    </Section>
  );
}

function Upstream({ id }: { id: string }) {
  const { data } = useJob(id);
  return (
    <Anchor component={Link} to={paths.pipeline(id)} size="sm" dir="auto">
      {data?.name.slice(0, 200) ?? id}
    </Anchor>
  );
}
