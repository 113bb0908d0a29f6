import { ActionIcon, Stack, Table, Text } from '@mantine/core';
import { IconTrash } from '@tabler/icons-react';
import { type Rule, useSetRules } from '@/api/alerting';
import { useMay } from '@/api/me';
import { type AlertRule, useAlertRules } from '@/api/monitoring';
import { measured } from '@/lib/measures';
import { JobPick } from '@/ui/JobPick';
import { Section } from '@/ui/Section';
import { Status } from '@/ui/Status';
import { done, failed } from '@/ui/notify';
import { Asked, Empty } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';
import { NewRule } from './NewRule';
import { titled } from './measures';
import { useChosenJob } from './useChosenJob';

/** The rules of one pipeline. */
export function Rules() {
  const [job, setJob] = useChosenJob();
  return (
    <Stack gap="md">
      <JobPick label="Pipeline" value={job} onChange={setJob} />
      {job === null ? (
        <Empty title="No pipeline is chosen">A rule watches one measure of one pipeline and fires when it is above a threshold.</Empty>
      ) : (
        <RulesOf key={job} job={job} />
      )}
    </Stack>
  );
}

function RulesOf({ job }: { job: string }) {
  const rules = useAlertRules(job);
  const may = useMay('editor');
  const replace = useSetRules(job);
  const put = (next: Rule[] | Rule, message: string) =>
    replace.mutateAsync(next).then(
      () => {
        done(message);
        return true;
      },
      (error: unknown) => {
        failed('The rules were not changed', error);
        return false;
      },
    );
  return (
    <Asked query={rules}>
      {({ items }) => (
        <Stack gap="lg">
          {items.length === 0 ? (
            <Empty title="Nothing is watched yet">
              {may ? 'Add a rule below: it shows first what it would have found.' : 'An editor can add rules.'}
            </Empty>
          ) : (
            <Listed
              rules={items}
              onRemove={may ? (rule) => void put(items.filter((one) => one !== rule).map(plain), 'The rule was removed') : undefined}
            />
          )}
          {may && (
            <Section title="New rule">
              <NewRule job={job} busy={replace.isPending} onAdd={(rule) => put(rule, 'The rule was added')} />
            </Section>
          )}
        </Stack>
      )}
    </Asked>
  );
}

const plain = (rule: AlertRule): Rule => ({
  metric: rule.metric,
  threshold: rule.threshold,
  window: rule.window,
  severity: rule.severity as Rule['severity'],
  action: rule.action as Rule['action'],
});

function Listed({ rules, onRemove }: { rules: AlertRule[]; onRemove?: (rule: AlertRule) => void }) {
  return (
    <WideTable label="Rules" minWidth={520}>
      <Table.Thead>
        <Table.Tr>
          <Table.Th>Fires when</Table.Th>
          <Table.Th>Over</Table.Th>
          <Table.Th>Severity</Table.Th>
          <Table.Th>Told by</Table.Th>
          <Table.Th />
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {rules.map((rule) => {
          const words = `${titled(rule.metric)} is above ${measured(rule.metric, rule.threshold)}`;
          return (
            <Table.Tr key={rule.id}>
              <Table.Td>{words}</Table.Td>
              <Table.Td>{rule.window}</Table.Td>
              <Table.Td>
                <Status state={rule.severity} />
              </Table.Td>
              <Table.Td>
                {rule.action === 'none' ? (
                  <Text span inherit c="dimmed">
                    nobody
                  </Text>
                ) : (
                  rule.action
                )}
              </Table.Td>
              <Table.Td ta="right">
                {onRemove !== undefined && (
                  <ActionIcon variant="subtle" color="gray" aria-label={`Remove: ${words}`} onClick={() => onRemove(rule)}>
                    <IconTrash size={15} aria-hidden />
                  </ActionIcon>
                )}
              </Table.Td>
            </Table.Tr>
          );
        })}
      </Table.Tbody>
    </WideTable>
  );
}
