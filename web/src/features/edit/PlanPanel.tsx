import { Badge, Button, Group, List, Stack, Table, Text, Title } from '@mantine/core';
import { type ColumnReport, type Expected, type Plan, usePlan } from '@/api/pipelines';
import { Status } from '@/ui/Status';
import { Told } from '@/ui/Told';
import { WideTable } from '@/ui/WideTable';
import { Empty, Failure, Loading } from '@/ui/states';
import { Expectation } from './Expectation';
import { Problems } from './Problems';

/** What a run would do, asked of the real systems: what it promises and why, what it does to the targets, how each column travels. */
export function PlanPanel({ text, ready }: { text: string; ready: boolean }) {
  const plan = usePlan();
  const stale = plan.data !== undefined && plan.variables !== text;
  const ask = (
    <Button size="compact-sm" variant="default" loading={plan.isPending} disabled={!ready} onClick={() => plan.mutate(text)}>
      {plan.data === undefined ? 'Make a plan' : 'Plan again'}
    </Button>
  );
  return (
    <Stack gap="sm">
      <Group gap="sm">
        {ask}
        <Text size="xs" c="dimmed">
          {ready
            ? stale
              ? 'The text has changed since.'
              : 'It asks the sources and targets; nothing is changed there.'
            : 'The checker must have no errors first.'}
        </Text>
      </Group>
      {plan.isPending && <Loading what="Asking the systems" />}
      {plan.isError && <Failure error={plan.error} />}
      {plan.data !== undefined && !plan.isPending && (
        <>
          {plan.data.error !== null && <Told error={plan.data.error} title="There is no plan yet" />}
          {plan.data.diagnostics.length > 0 && <Problems problems={plan.data.diagnostics} none="" />}
          {plan.data.plan !== null && <PlanView plan={plan.data.plan} expected={plan.data.expected} />}
        </>
      )}
      {plan.isIdle && (
        <Empty title="No plan yet">
          The guarantee with its reasons, what a run would take and which engine it is for, the changes to the targets, and the types of every column
          with what is lost.
        </Empty>
      )}
    </Stack>
  );
}

export function PlanView({ plan, expected }: { plan: Plan; expected: Expected | null }) {
  return (
    <Stack gap="md">
      <Group gap="xs" align="flex-start">
        <Badge variant="light" size="lg" tt="none">
          {plan.guarantee.delivery.replaceAll('_', ' ')}
        </Badge>
        {plan.refused && <Status state="failed" label="a run would be refused as it is" />}
        <List size="sm" flex={1} miw={240}>
          {plan.guarantee.reasons.map((reason) => (
            <List.Item key={reason}>{reason}</List.Item>
          ))}
          {plan.streaming?.map((reason) => (
            <List.Item key={reason}>{reason}</List.Item>
          ))}
        </List>
      </Group>
      <Expectation advice={plan.recommendation} expected={expected} />
      {plan.actions.length > 0 && <Listed title="What it would do to the targets" items={plan.actions} code />}
      {plan.warnings.length > 0 && <Listed title="Worth knowing" items={plan.warnings} />}
      <Columns columns={plan.columns} />
    </Stack>
  );
}

function Listed({ title, items, code }: { title: string; items: string[]; code?: boolean }) {
  return (
    <div>
      <Title order={3}>{title}</Title>
      <List size="sm">
        {items.map((item) => (
          <List.Item key={item} ff={code ? 'monospace' : undefined}>
            {item}
          </List.Item>
        ))}
      </List>
    </div>
  );
}

export function edgeOf({ edge, allowed }: ColumnReport): { word: string; tone: 'good' | 'warning' | 'bad'; note: string } {
  if (edge === 'exact') return { word: 'exact', tone: 'good', note: '' };
  if ('widening' in edge) return { word: 'widening', tone: 'good', note: edge.widening.note };
  const word = 'lossy' in edge ? 'lossy' : 'unsupported';
  const reason = 'lossy' in edge ? edge.lossy.reason : edge.unsupported.reason;
  return { word: allowed ? `${word}, allowed` : word, tone: allowed ? 'warning' : 'bad', note: reason };
}

const RANK = { bad: 0, warning: 1, good: 2 };

export function Columns({ columns }: { columns: ColumnReport[] }) {
  if (columns.length === 0) return null;
  const sorted = [...columns].sort((a, b) => RANK[edgeOf(a).tone] - RANK[edgeOf(b).tone]);
  const several = new Set(columns.map((column) => `${column.flow} ${column.sink}`)).size > 1;
  return (
    <div>
      <Title order={3}>Columns, what loses first</Title>
      <WideTable label="Columns" minWidth={540}>
        <Table.Thead>
          <Table.Tr>
            {several && <Table.Th>Flow</Table.Th>}
            <Table.Th miw={96}>Column</Table.Th>
            <Table.Th>Source</Table.Th>
            <Table.Th>On the way</Table.Th>
            <Table.Th>Sink</Table.Th>
            <Table.Th>Values</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {sorted.map((column) => {
            const { word, tone, note } = edgeOf(column);
            return (
              <Table.Tr key={`${column.flow} ${column.sink} ${column.column}`}>
                {several && <Table.Td>{`${column.flow} → ${column.sink}`}</Table.Td>}
                <Table.Td>
                  <bdi>{column.column}</bdi>
                </Table.Td>
                <Table.Td title={column.from.join(', ')}>{column.source}</Table.Td>
                <Table.Td>{column.arrow}</Table.Td>
                <Table.Td>{column.sink_type}</Table.Td>
                <Table.Td>
                  <Status state={word} tone={tone} />
                  {note !== '' && (
                    <Text size="xs" c="dimmed">
                      {note}
                    </Text>
                  )}
                </Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </WideTable>
    </div>
  );
}
