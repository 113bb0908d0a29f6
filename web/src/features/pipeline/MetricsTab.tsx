import { Group, Paper, SegmentedControl, SimpleGrid, Stack, Text } from '@mantine/core';
import { useMemo, useState } from 'react';
import { type Job, useJobMetrics } from '@/api/jobs';
import type { Schemas } from '@/api/client';
import { inUnit } from '@/lib/measures';
import { TimeChart } from '@/ui/TimeChart';
import { Asked, Empty } from '@/ui/states';

const RANGES = [
  { label: '1 h', value: '1' },
  { label: '24 h', value: '24' },
  { label: '7 d', value: '168' },
  { label: '30 d', value: '720' },
];

/** What stands first; the rest follows by name. */
const FIRST = ['rows_written', 'rows_per_second', 'duration_seconds', 'error_rate', 'rejected_rows', 'processing_lag', 'bytes_written', 'memory_peak_bytes', 'cpu_seconds', 'cost_usd'];

/** Every measure of the pipeline over time. */
export default function MetricsTab({ job }: { job: Job }) {
  const [hours, setHours] = useState('24');
  const metrics = useJobMetrics(job.id, Number(hours));
  return (
    <Stack gap="sm">
      <Group justify="space-between">
        <SegmentedControl size="xs" data={RANGES} value={hours} onChange={setHours} aria-label="Time" />
        {metrics.data?.truncated && (
          <Text size="sm" c="dimmed">
            There are more values than fit: the newest are shown.
          </Text>
        )}
      </Group>
      <Asked query={metrics}>{(data) => <Charts data={data} />}</Asked>
    </Stack>
  );
}

function Charts({ data }: { data: Schemas['JobMetrics'] }) {
  const names = Object.keys(data.series).sort((a, b) => place(a) - place(b) || a.localeCompare(b));
  if (names.length === 0) return <Empty title="No values in this time">Each run that ends adds some.</Empty>;
  return (
    <SimpleGrid cols={{ base: 1, md: 2, xl: 3 }} spacing="sm">
      {names.map((name) => (
        <Measure key={name} name={name} data={data} />
      ))}
    </SimpleGrid>
  );
}

function Measure({ name, data }: { name: string; data: Schemas['JobMetrics'] }) {
  const unit = data.units[name];
  const samples = data.series[name];
  const series = useMemo(() => [{ name, points: (samples ?? []).map(({ at, value }): [number, number] => [Date.parse(at) / 1_000, value]) }], [name, samples]);
  const whole = data.metrics[name];
  return (
    <Paper withBorder p="xs">
      <Group justify="space-between" gap="xs" wrap="nowrap">
        <Text size="sm">{name.replaceAll('_', ' ')}</Text>
        <Text size="sm" fw={600} className="numbers">
          {whole === undefined ? '' : inUnit(unit, whole)}
        </Text>
      </Group>
      <TimeChart label={name} series={series} format={(value) => inUnit(unit, value)} from={Date.parse(data.from) / 1_000} to={Date.parse(data.to) / 1_000} />
    </Paper>
  );
}

const place = (name: string) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
