import { Accordion, Anchor, Group, Stack, Table, Text } from '@mantine/core';
import { Link } from 'react-router';
import { type Job, useJobJournal } from '@/api/jobs';
import { useMay } from '@/api/me';
import { useRuns } from '@/api/runs';
import { paths } from '@/app/paths';
import { brief, bytes, count } from '@/lib/format';
import { type StreamReport, reportOf } from '@/lib/runs';
import { Clipped } from '@/ui/Clipped';
import { When } from '@/ui/When';
import { Asked, Empty } from '@/ui/states';
import { PlannedColumns } from './PlannedColumns';
import { Positions } from './Positions';
import { StreamPositions } from './StreamPositions';

/** How far the streams are, and how the newest run that has told them saw them: columns, places, counts. */
export default function StreamsTab({ job }: { job: Job }) {
  const logged = job.mode === 'cdc';
  const journal = useJobJournal(job.id, logged);
  const mayAsk = useMay('editor');
  return (
    <Stack gap="lg">
      {logged ? <Positions job={job} journal={journal} /> : <StreamPositions job={job} />}
      <Told job={job} />
      {mayAsk && <PlannedColumns job={job} />}
    </Stack>
  );
}

function Told({ job }: { job: Job }) {
  const runs = useRuns({ job_id: job.id }, 50);
  return (
    <Asked query={runs}>
      {({ pages }) => {
        const run = pages[0]?.items.find((one) => (reportOf(one)?.streams.length ?? 0) > 0);
        const report = run && reportOf(run);
        if (!run || !report) return <Empty title="No streams yet">They are known when a run has ended.</Empty>;
        return (
          <Stack gap="xs">
            <Text size="sm" c="dimmed">
              {count(report.streams.length)} {report.streams.length === 1 ? 'stream' : 'streams'} of <Anchor component={Link} to={paths.run(run.id)} inherit underline="always">the run</Anchor> that ended{' '}
              <When at={run.ended_at} />
              {report.checkpoint !== null && `, checkpoint ${count(report.checkpoint)}`}
            </Text>
            <Accordion multiple variant="contained" defaultValue={report.streams.slice(0, 1).map(({ name }) => name)}>
              {report.streams.slice(0, 500).map((stream) => (
                <Stream key={stream.name} stream={stream} />
              ))}
            </Accordion>
          </Stack>
        );
      }}
    </Asked>
  );
}

function Stream({ stream }: { stream: StreamReport }) {
  return (
    <Accordion.Item value={stream.name}>
      <Accordion.Control>
        <Group gap="md" wrap="nowrap">
          <Text size="sm" fw={600} component="div" miw={0} style={{ flex: 1 }}>
            <Clipped text={stream.name} />
          </Text>
          <Text size="sm" c="dimmed" className="numbers">
            {brief(stream.rows_written)} rows · {bytes(stream.bytes_written)}
          </Text>
        </Group>
      </Accordion.Control>
      <Accordion.Panel>
        {(stream.places ?? []).slice(0, 20).map((place) => (
          <Text key={place} size="sm" component="div">
            <Clipped text={place} />
          </Text>
        ))}
        {stream.schema !== undefined && (
          <Table layout="fixed" mt="xs" aria-label={`Columns of ${stream.name.slice(0, 100)}`}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Column</Table.Th>
                <Table.Th>Type</Table.Th>
                <Table.Th w={90}>Null</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {stream.schema.map((column) => (
                <Table.Tr key={column.name}>
                  <Table.Td>
                    <Clipped text={column.name} />
                  </Table.Td>
                  <Table.Td>
                    <Clipped text={column.type} />
                  </Table.Td>
                  <Table.Td>{column.nullable === false ? 'never' : 'may be'}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
      </Accordion.Panel>
    </Accordion.Item>
  );
}
