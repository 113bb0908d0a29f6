import { Anchor, SegmentedControl, Stack, Table, Text } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import { paths } from '@/app/paths';
import { type Alert, useAlertRules, useAlerts } from '@/api/monitoring';
import { measured } from '@/lib/measures';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';
import { Asked, Empty } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';
import { titled } from './measures';

type Shown = 'firing' | 'resolved' | 'all';

/** What the rules found, newest first. */
export function Alerts() {
  const [shown, setShown] = useState<Shown>('all');
  const alerts = useAlerts(shown === 'all' ? {} : { state: shown });
  return (
    <Stack gap="sm" align="stretch">
      <SegmentedControl
        size="xs"
        w="fit-content"
        aria-label="Which alerts"
        data={[
          { value: 'all', label: 'All' },
          { value: 'firing', label: 'Firing' },
          { value: 'resolved', label: 'Resolved' },
        ]}
        value={shown}
        onChange={(value) => setShown(value as Shown)}
      />
      <Asked query={alerts}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title={shown === 'firing' ? 'No alert is firing' : 'There was no alert'}>
              Rules say when something is worth an alert; each pipeline has its own.
            </Empty>
          ) : (
            <WideTable label="Alerts" minWidth={560}>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>State</Table.Th>
                  <Table.Th>Pipeline</Table.Th>
                  <Table.Th>Rule</Table.Th>
                  <Table.Th ta="right">Value</Table.Th>
                  <Table.Th>Since</Table.Th>
                  <Table.Th>Until</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {items.map((alert) => (
                  <Row key={alert.id} alert={alert} />
                ))}
              </Table.Tbody>
            </WideTable>
          )
        }
      </Asked>
    </Stack>
  );
}

function Row({ alert }: { alert: Alert }) {
  const rules = useAlertRules(alert.job_id);
  const rule = rules.data?.items.find((one) => one.id === alert.rule_id);
  const format = (value: number) => measured(rule?.metric ?? '', value);
  return (
    <Table.Tr>
      <Table.Td>
        <Status state={alert.state} />
      </Table.Td>
      <Table.Td maw={260}>
        <Anchor component={Link} to={paths.pipeline(alert.job_id)} inherit>
          <bdi>{alert.job_name.slice(0, 120)}</bdi>
        </Anchor>
      </Table.Td>
      <Table.Td>
        {rule === undefined ? (
          <Text span inherit c="dimmed">
            {rules.isPending ? '…' : 'a former rule'}
          </Text>
        ) : (
          `${titled(rule.metric)} above ${format(rule.threshold)}`
        )}
      </Table.Td>
      <Table.Td ta="right" className="numbers">
        {format(alert.value)}
      </Table.Td>
      <Table.Td>
        <When at={alert.fired_at} />
      </Table.Td>
      <Table.Td>
        <When at={alert.resolved_at} none="still" />
      </Table.Td>
    </Table.Tr>
  );
}
