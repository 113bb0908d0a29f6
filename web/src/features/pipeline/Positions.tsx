import { Button, Stack, Table, Text } from '@mantine/core';
import type { Schemas } from '@/api/client';
import { type Job, jobActions, useJobAction } from '@/api/jobs';
import { useMay } from '@/api/me';
import { bytes, count } from '@/lib/format';
import { Clipped } from '@/ui/Clipped';
import { Section } from '@/ui/Section';
import { done, failed } from '@/ui/notify';
import { Failure, type Question } from '@/ui/states';

type Journal = Schemas['JobJournal'];

/** How far the sinks of a log are, and what waits for an approval. */
export function Positions({ job, journal }: { job: Job; journal: Question<Journal> }) {
  if (journal.isError && journal.data === undefined) return <Section title="Positions"><Failure error={journal.error} onRetry={() => void journal.refetch()} /></Section>;
  const logs = journal.data?.logs ?? [];
  if (logs.length === 0) return null;
  return (
    <Section title="Positions">
      <Stack gap="xs">
        {logs.map((log) => (
          <Table key={log.source} withTableBorder layout="fixed" aria-label={`Positions of ${log.source}`}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>
                  <Clipped text={`From ${log.source}`} />
                </Table.Th>
                <Table.Th ta="right">At</Table.Th>
                <Table.Th ta="right">Behind</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {log.journal && (
                <Table.Tr>
                  <Table.Td>journal, {bytes(log.journal.bytes)}</Table.Td>
                  <Table.Td ta="right" className="numbers">{count(log.journal.last)}</Table.Td>
                  <Table.Td />
                </Table.Tr>
              )}
              {log.sinks.map((sink) => (
                <Table.Tr key={sink.sink}>
                  <Table.Td>
                    <Clipped text={sink.sink} />
                  </Table.Td>
                  <Table.Td ta="right" className="numbers">{sink.seq === null || sink.seq === undefined ? 'nothing yet' : count(sink.seq)}</Table.Td>
                  <Table.Td ta="right" className="numbers">{count(sink.behind)}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        ))}
        {logs.flatMap((log) => log.sinks).flatMap((sink) => sink.held ?? []).map((held) => (
          <Held key={`${held.sink} ${held.stream}`} job={job} held={held} />
        ))}
      </Stack>
    </Section>
  );
}

/** A stream that waits since its shape has changed. */
function Held({ job, held }: { job: Job; held: Schemas['HeldState'] }) {
  const may = useMay('operator');
  const approve = useJobAction(jobActions.approve);
  const go = () => approve.mutate([job.id, held.stream], { onSuccess: () => done('It goes on'), onError: (error) => failed('It was not approved', error) });
  return (
    <Stack gap={4} p="xs" style={{ border: '1px solid var(--weir-warning)', borderRadius: 4 }}>
      <Text size="sm" fw={600}>
        {held.stream} waits at {held.sink}: {count(held.rows)} changes, {bytes(held.bytes)}
      </Text>
      <Text size="sm">{held.changes.join('; ')}</Text>
      {held.problem && <Text size="sm" c="red">{held.problem}</Text>}
      {may && (
        <Button size="compact-sm" variant="default" w="fit-content" loading={approve.isPending} onClick={go}>
          Approve
        </Button>
      )}
    </Stack>
  );
}
