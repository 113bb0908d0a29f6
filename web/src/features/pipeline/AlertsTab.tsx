import { Stack, Table } from '@mantine/core';
import type { Job } from '@/api/jobs';
import { useAlertRules, useAlerts } from '@/api/monitoring';
import { measured } from '@/lib/measures';
import { Section } from '@/ui/Section';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';
import { Asked, Empty } from '@/ui/states';

/** The rules of this pipeline, and when they were broken. */
export default function AlertsTab({ job }: { job: Job }) {
  const rules = useAlertRules(job.id);
  const alerts = useAlerts({ job_id: job.id });
  const metricOf = (rule: string) => rules.data?.items.find(({ id }) => id === rule)?.metric;
  return (
    <Stack gap="lg">
      <Section title="Rules">
        <Asked query={rules}>
          {({ items }) =>
            items.length === 0 ? (
              <Empty title="No rules">They are set under `alerts` in the pipeline file, or in Monitoring.</Empty>
            ) : (
              <Table withTableBorder>
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>Measure</Table.Th>
                    <Table.Th>Above</Table.Th>
                    <Table.Th visibleFrom="xs">Over</Table.Th>
                    <Table.Th>Severity</Table.Th>
                    <Table.Th visibleFrom="xs">Told by</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {items.map((rule) => (
                    <Table.Tr key={rule.id}>
                      <Table.Td>{rule.metric}</Table.Td>
                      <Table.Td>{measured(rule.metric, rule.threshold)}</Table.Td>
                      <Table.Td visibleFrom="xs">{rule.window}</Table.Td>
                      <Table.Td>
                        <Status state={rule.severity} />
                      </Table.Td>
                      <Table.Td visibleFrom="xs">{rule.action}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            )
          }
        </Asked>
      </Section>
      <Section title="Alerts">
        <Asked query={alerts}>
          {({ items }) =>
            items.length === 0 ? (
              <Empty title="No alert so far" />
            ) : (
              <Table withTableBorder>
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>State</Table.Th>
                    <Table.Th>Measure</Table.Th>
                    <Table.Th>Value</Table.Th>
                    <Table.Th>Since</Table.Th>
                    <Table.Th visibleFrom="xs">Until</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {items.map((alert) => (
                    <Table.Tr key={alert.id}>
                      <Table.Td>
                        <Status state={alert.state} />
                      </Table.Td>
                      <Table.Td>{metricOf(alert.rule_id) ?? 'a rule that is gone'}</Table.Td>
                      <Table.Td className="numbers">{measured(metricOf(alert.rule_id) ?? '', alert.value)}</Table.Td>
                      <Table.Td>
                        <When at={alert.fired_at} />
                      </Table.Td>
                      <Table.Td visibleFrom="xs">
                        <When at={alert.resolved_at} none="now" />
                      </Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            )
          }
        </Asked>
      </Section>
    </Stack>
  );
}
