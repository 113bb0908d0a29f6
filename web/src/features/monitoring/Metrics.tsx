import { Anchor, Group, Stack } from '@mantine/core';
import { Link } from 'react-router';
import { paths } from '@/app/paths';
import { useJob } from '@/api/jobs';
import MetricsTab from '@/features/pipeline/MetricsTab';
import { JobPick } from '@/ui/JobPick';
import { Asked, Empty } from '@/ui/states';
import { useChosenJob } from './useChosenJob';

/** Everything that was measured of one pipeline. */
export function Metrics() {
  const [job, setJob] = useChosenJob();
  return (
    <Stack gap="md">
      <Group align="flex-end" gap="md">
        <JobPick label="Pipeline" value={job} onChange={setJob} />
        {job !== null && (
          <Anchor component={Link} to={paths.pipeline(job)} size="sm">
            To the pipeline
          </Anchor>
        )}
      </Group>
      {job === null ? (
        <Empty title="No pipeline is chosen">Each run is measured: rows, bytes, time, lag, memory, cost.</Empty>
      ) : (
        <Measured key={job} job={job} />
      )}
    </Stack>
  );
}

function Measured({ job }: { job: string }) {
  return <Asked query={useJob(job)}>{(found) => <MetricsTab job={found} />}</Asked>;
}
