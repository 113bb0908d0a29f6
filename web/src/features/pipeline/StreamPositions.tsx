import { Stack, Table, Text } from '@mantine/core';
import { type Job, useJobPositions } from '@/api/jobs';
import type { Schemas } from '@/api/client';
import { bytes, count, duration, moment } from '@/lib/format';
import { positionText } from '@/lib/positions';
import { Clipped } from '@/ui/Clipped';
import { Section } from '@/ui/Section';
import { Asked } from '@/ui/states';

type Positions = Schemas['JobPositions'];

/** How far the streams of a pipeline are: cursors, splits, event time. Nothing of one that reads everything each time. */
export function StreamPositions({ job }: { job: Job }) {
  const positions = useJobPositions(job.id, job.mode !== 'batch');
  if (job.mode === 'batch') return null;
  return <Asked query={positions}>{(data) => (data.cursors.length + data.splits.length + data.event_time.length === 0 ? null : <Tables data={data} />)}</Asked>;
}

function Tables({ data }: { data: Positions }) {
  return (
    <Section title="Positions">
      <Stack gap="sm">
        {data.cursors.length > 0 && (
          <Rows label="Cursors" head={['Stream', 'From', 'Cursor', 'Asked up to']}>
            {data.cursors.map((one) => (
              <Table.Tr key={`${one.stream} ${one.source}`}>
                <Table.Td><Clipped text={one.stream} /></Table.Td>
                <Table.Td><Clipped text={one.source} /></Table.Td>
                <Table.Td><Clipped text={one.cursor ?? 'none'} /></Table.Td>
                <Table.Td>{one.last_run_time ? moment(one.last_run_time) : '–'}</Table.Td>
              </Table.Tr>
            ))}
          </Rows>
        )}
        {data.event_time.length > 0 && (
          <Rows label="Event time" head={['Stream', 'Watermark', 'Behind the clock', 'Late rows', 'State in memory']}>
            {data.event_time.map((one) => (
              <Table.Tr key={one.stream}>
                <Table.Td><Clipped text={one.stream} /></Table.Td>
                <Table.Td>{one.watermark ? moment(one.watermark) : 'none yet'}</Table.Td>
                <Table.Td>{typeof one.lag_ms === 'number' ? duration(one.lag_ms / 1_000) : '–'}</Table.Td>
                <Table.Td>{count(one.rows_late)}</Table.Td>
                <Table.Td>{bytes(one.state_bytes)}</Table.Td>
              </Table.Tr>
            ))}
          </Rows>
        )}
        {data.splits.length > 0 && (
          <Rows label="Splits" head={['Stream', 'Split', 'Position', 'Rows', 'Waiting']}>
            {data.splits.map((one) => (
              <Table.Tr key={`${one.stream} ${one.split}`}>
                <Table.Td><Clipped text={one.stream} /></Table.Td>
                <Table.Td><Clipped text={one.split} /></Table.Td>
                <Table.Td><Clipped text={one.done ? 'closed' : positionText(one.position)} /></Table.Td>
                <Table.Td>{count(one.rows)}</Table.Td>
                <Table.Td>{typeof one.lag_rows === 'number' ? count(one.lag_rows) : '–'}</Table.Td>
              </Table.Tr>
            ))}
          </Rows>
        )}
        {data.truncated && <Text size="sm" c="dimmed">There are more splits than {count(data.splits.length)}.</Text>}
      </Stack>
    </Section>
  );
}

function Rows({ label, head, children }: { label: string; head: string[]; children: React.ReactNode }) {
  return (
    <Table withTableBorder layout="fixed" className="numbers" aria-label={label}>
      <Table.Thead>
        <Table.Tr>
          {head.map((name) => (
            <Table.Th key={name}>{name}</Table.Th>
          ))}
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>{children}</Table.Tbody>
    </Table>
  );
}
