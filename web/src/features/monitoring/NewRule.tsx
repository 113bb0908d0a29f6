import { Button, Grid, Group, NumberInput, Select, Stack, Text } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { type FormEvent, useState } from 'react';
import { type Rule, useRehearsal } from '@/api/alerting';
import { RehearsalView } from './RehearsalView';
import { MEASURES, titled } from './measures';

const WINDOWS = ['30s', '1m', '5m', '15m', '1h', '6h', '1d', '7d'];

interface Props {
  job: string;
  busy: boolean;
  /** Whether it was added. */
  onAdd: (rule: Rule) => Promise<boolean>;
}

/** A rule that is being made, with what it would have found in the last week. */
export function NewRule({ job, busy, onAdd }: Props) {
  const [metric, setMetric] = useState('error_rate');
  const [threshold, setThreshold] = useState<number | string>(0.05);
  const [window, setWindow] = useState('1h');
  const [severity, setSeverity] = useState<Rule['severity']>('warning');
  const [action, setAction] = useState<Rule['action']>('webhook');
  const rule: Rule | null = typeof threshold === 'number' ? { metric, threshold, window, severity, action } : null;
  const [settled] = useDebouncedValue(rule, 300);
  const rehearsal = useRehearsal(job, settled, 168);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (rule !== null) await onAdd(rule);
  };
  return (
    <Grid gap="lg">
      <Grid.Col span={{ base: 12, md: 4 }}>
        <form onSubmit={(event) => void submit(event)}>
          <Stack gap="xs">
            <Select
              size="xs"
              label="Measure"
              description={MEASURES.find((measure) => measure.name === metric)?.about}
              searchable
              allowDeselect={false}
              data={MEASURES.map((measure) => ({ value: measure.name, label: titled(measure.name) }))}
              value={metric}
              onChange={(name) => name !== null && setMetric(name)}
            />
            <NumberInput size="xs" label="Fires above" required thousandSeparator="," value={threshold} onChange={setThreshold} />
            <Select
              size="xs"
              label="Over the last"
              allowDeselect={false}
              data={WINDOWS}
              value={window}
              onChange={(next) => next !== null && setWindow(next)}
            />
            <Group grow gap="xs">
              <Select
                size="xs"
                label="Severity"
                allowDeselect={false}
                data={['info', 'warning', 'critical']}
                value={severity}
                onChange={(next) => next !== null && setSeverity(next as Rule['severity'])}
              />
              <Select
                size="xs"
                label="Told by"
                allowDeselect={false}
                data={[
                  { value: 'webhook', label: 'webhook' },
                  { value: 'slack', label: 'Slack' },
                  { value: 'none', label: 'nobody' },
                ]}
                value={action}
                onChange={(next) => next !== null && setAction(next as Rule['action'])}
              />
            </Group>
            <Button type="submit" size="xs" w="fit-content" mt="xs" loading={busy} disabled={rule === null}>
              Add rule
            </Button>
          </Stack>
        </form>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 8 }}>
        <Text size="sm" fw={600} mb={4}>
          In the last 7 days it would have fired
        </Text>
        <RehearsalView query={rehearsal} threshold={settled?.threshold ?? null} metric={metric} />
      </Grid.Col>
    </Grid>
  );
}
