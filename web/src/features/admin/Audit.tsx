import { Code, Group, Stack, Table, Text, TextInput, UnstyledButton } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useState } from 'react';
import { type AuditRow, useAudit } from '@/api/audit';
import { moment } from '@/lib/format';
import { More } from '@/ui/More';
import { Status } from '@/ui/Status';
import { Empty, Failure, Loading } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';
import { ChainCheck } from './ChainCheck';

/** Who did what, newest first. */
export function Audit() {
  const [action, setAction] = useState('');
  const [settled] = useDebouncedValue(action.trim(), 300);
  const audit = useAudit(settled === '' ? {} : { action: settled });
  const rows = audit.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Stack gap="sm">
      <Group justify="space-between" align="flex-end">
        <TextInput
          size="xs"
          label="Only this action"
          placeholder="job.create"
          maxLength={100}
          value={action}
          onChange={(event) => setAction(event.currentTarget.value)}
        />
        <ChainCheck />
      </Group>
      {audit.isError && <Failure error={audit.error} onRetry={() => void audit.refetch()} />}
      {audit.isPending && <Loading />}
      {audit.data !== undefined && rows.length === 0 && (
        <Empty title="There is no such row">Actions are written as `job.create`, `run.cancel`, `access.denied`.</Empty>
      )}
      {rows.length > 0 && (
        <WideTable label="Audit log" minWidth={720}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th ta="right" w={70}>
                Row
              </Table.Th>
              <Table.Th w={170}>When</Table.Th>
              <Table.Th>Who</Table.Th>
              <Table.Th>Did</Table.Th>
              <Table.Th>To</Table.Th>
              <Table.Th>Outcome</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {rows.map((row) => (
              <Row key={row.seq} row={row} />
            ))}
          </Table.Tbody>
        </WideTable>
      )}
      <More pages={audit} />
    </Stack>
  );
}

const OUTCOMES: Record<string, string> = { allowed: 'succeeded', denied: 'warning', failed: 'failed' };

function Row({ row }: { row: AuditRow }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Table.Tr>
        <Table.Td ta="right" className="numbers">
          <UnstyledButton aria-expanded={open} aria-label={`Row ${row.seq} in full`} onClick={() => setOpen(!open)} td="underline" fz="sm">
            {row.seq}
          </UnstyledButton>
        </Table.Td>
        <Table.Td className="numbers">{moment(row.at)}</Table.Td>
        <Table.Td maw={180}>
          <bdi>{row.actor_name}</bdi>
        </Table.Td>
        <Table.Td>{row.action}</Table.Td>
        <Table.Td maw={220}>
          <bdi>{row.target}</bdi>
        </Table.Td>
        <Table.Td>
          <Status state={OUTCOMES[row.outcome] ?? 'idle'} label={row.outcome} />
        </Table.Td>
      </Table.Tr>
      {open && (
        <Table.Tr>
          <Table.Td colSpan={6}>
            <Code block style={{ whiteSpace: 'pre-wrap', wordBreak: 'break-word' }}>
              {JSON.stringify(row.detail, null, 2)}
            </Code>
            <Text size="xs" c="dimmed" mt={4} style={{ wordBreak: 'break-all' }}>
              request {row.request_id ?? '–'} · trace {row.trace_id ?? '–'} · actor {row.actor_id}
              <br />
              hash {row.hash}
              <br />
              after {row.previous_hash}
            </Text>
          </Table.Td>
        </Table.Tr>
      )}
    </>
  );
}
