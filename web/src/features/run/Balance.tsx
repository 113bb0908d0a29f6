import { ScrollArea, Table, Text } from '@mantine/core';
import { type Run, isOver } from '@/api/runs';
import { bytes, count } from '@/lib/format';
import { type StreamReport, missing, reportOf } from '@/lib/runs';
import { Clipped } from '@/ui/Clipped';
import { Status } from '@/ui/Status';
import { Empty } from '@/ui/states';

/** What became of every row, per stream: read = written + filtered + kept apart. */
export function Balance({ run }: { run: Run }) {
  const report = reportOf(run);
  const over = isOver(run.status);
  const streams: StreamReport[] = over && report !== null && report.streams.length > 0 ? report.streams.map((stream) => ({ ...run.streams.find(({ name }) => name === stream.name), ...stream }) as StreamReport) : run.streams;
  if (streams.length === 0) return <Empty title={over ? 'No rows' : 'No rows yet'}>{over ? 'It ended before anything was read.' : 'The first counts come with the first rows.'}</Empty>;
  const derived = streams.some((stream) => (stream.rows_derived ?? 0) > 0);
  return (
    <>
      {report?.guarantee && (
        <Text size="sm" c="dimmed" mb="xs">
          It promised {report.guarantee.replaceAll('_', ' ')}{report.checkpoint === null ? '.' : `; the last checkpoint is ${count(report.checkpoint)}.`}
        </Text>
      )}
      <ScrollArea type="auto" offsetScrollbars="x" viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': 'Balance' }}>
        <Table miw={720} withTableBorder layout="fixed" className="numbers" aria-label="Balance">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Stream</Table.Th>
              <Table.Th ta="right">Read</Table.Th>
              {derived && <Table.Th ta="right">+ made</Table.Th>}
              <Table.Th ta="right">= written</Table.Th>
              <Table.Th ta="right">+ filtered</Table.Th>
              <Table.Th ta="right">+ kept apart</Table.Th>
              <Table.Th w={140}>Balance</Table.Th>
              <Table.Th ta="right" w={96}>Bytes</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {streams.slice(0, 1_000).map((stream) => (
              <Table.Tr key={stream.name}>
                <Table.Td>
                  <Clipped text={stream.name} />
                  {stream.places?.[0] && (
                    <Text size="xs" c="dimmed" component="div">
                      <Clipped text={stream.places.slice(0, 3).join(', ')} />
                    </Text>
                  )}
                </Table.Td>
                <Table.Td ta="right">{count(stream.rows_read)}</Table.Td>
                {derived && <Table.Td ta="right">{count(stream.rows_derived ?? 0)}</Table.Td>}
                <Table.Td ta="right">{count(stream.rows_written)}</Table.Td>
                <Table.Td ta="right">{count(stream.rows_filtered)}</Table.Td>
                <Table.Td ta="right">{count(stream.rows_dead)}</Table.Td>
                <Table.Td>
                  <Comes over={over} left={missing(stream)} />
                </Table.Td>
                <Table.Td ta="right">{bytes(stream.bytes_written)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      {streams.length > 1_000 && (
        <Text size="sm" c="dimmed">
          The first 1,000 of {count(streams.length)} streams.
        </Text>
      )}
    </>
  );
}

function Comes({ over, left }: { over: boolean; left: number }) {
  if (left === 0) return <Status state="good" tone="good" label="comes out" />;
  if (!over) return <Status state="running" label={`${count(left)} under way`} />;
  return <Status state="bad" tone="bad" label={`${count(Math.abs(left))} ${left > 0 ? 'not there' : 'too many'}`} />;
}
