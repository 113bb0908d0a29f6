import { Anchor, Group, Paper, SegmentedControl, SimpleGrid, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import { paths } from '@/app/paths';
import { useJobMetrics } from '@/api/jobs';
import { JobPick } from '@/ui/JobPick';
import { TimeChart } from '@/ui/TimeChart';
import { Asked, Empty } from '@/ui/states';
import { MEASURES, titled, written } from './measures';
import { useChosenJob } from './useChosenJob';

const RANGES = [{ value: '1', label: '1 hour' }, { value: '24', label: '1 day' }, { value: '168', label: '7 days' }, { value: '720', label: '30 days' }];

/** Everything that was measured of one pipeline. */
export function Metrics() {
  const [job, setJob] = useChosenJob();
  const [hours, setHours] = useState('24');
  return (
    <Stack gap="md">
      <Group align="flex-end" gap="md">
        <JobPick label="Pipeline" value={job} onChange={setJob} />
        <SegmentedControl size="xs" aria-label="How far back" data={RANGES} value={hours} onChange={setHours} />
        {job !== null && <Anchor component={Link} to={paths.pipeline(job)} size="sm">To the pipeline</Anchor>}
      </Group>
      {job === null ? <Empty title="No pipeline is chosen">Each run is measured: rows, bytes, time, lag, memory, cost.</Empty> : <Charts job={job} hours={Number(hours)} />}
    </Stack>
  );
}

function Charts({ job, hours }: { job: string; hours: number }) {
  const metrics = useJobMetrics(job, hours);
  return (
    <Asked query={metrics}>
      {(data) => {
        const order = (name: string) => (MEASURES.findIndex((measure) => measure.name === name) + MEASURES.length + 1) % (MEASURES.length + 1);
        const names = Object.keys(data.series).sort((a, b) => order(a) - order(b));
        if (names.length === 0) return <Empty title="Nothing was measured in this time">Values come with the end of each run, and while a long one goes on.</Empty>;
        const [from, to] = [seconds(data.from), seconds(data.to)];
        return (
          <Stack gap="xs">
            {data.truncated && <Text size="xs" c="dimmed">There were more values than fit; the newest are here.</Text>}
            <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }} spacing="sm" verticalSpacing="sm">
              {names.map((name) => {
                const format = written(data.units[name]);
                const value = data.metrics[name];
                return (
                  <Paper key={name} withBorder p="xs" component="section" aria-label={titled(name)}>
                    <Group justify="space-between" mb={4}>
                      <Text size="sm">{titled(name)}</Text>
                      <Text size="sm" fw={600} className="numbers">{value === undefined ? '–' : format(value)}</Text>
                    </Group>
                    <TimeChart
                      label={titled(name)}
                      series={[{ name: titled(name), points: (data.series[name] ?? []).map((point) => [seconds(point.at), point.value]) }]}
                      format={format}
                      from={from}
                      to={to}
                    />
                  </Paper>
                );
              })}
            </SimpleGrid>
          </Stack>
        );
      }}
    </Asked>
  );
}

export const seconds = (at: string) => new Date(at).getTime() / 1_000;
