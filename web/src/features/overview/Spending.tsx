import { Anchor, Table } from '@mantine/core';
import { Link } from 'react-router';
import { useHistory } from '@/api/monitoring';
import { paths } from '@/app/paths';
import { bytes, count, dollars, duration } from '@/lib/format';
import { Clipped } from '@/ui/Clipped';
import { Section } from '@/ui/Section';
import { WideTable } from '@/ui/WideTable';

/** The pipelines whose runs of the last day cost the most; nothing before a run has ended. */
export function Spending() {
  const jobs = useHistory(24).data?.costliest_jobs ?? [];
  if (jobs.length === 0) return null;
  return (
    <Section title="Cost by pipeline, last 24 hours">
      <WideTable label="Cost by pipeline" minWidth={520}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th fw={500} c="dimmed">
              Pipeline
            </Table.Th>
            {['Runs ended', 'CPU', 'Moved', 'About'].map((head) => (
              <Table.Th key={head} ta="right" fw={500} c="dimmed" w={100}>
                {head}
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {jobs.map((job) => (
            <Table.Tr key={job.job_id} className="numbers">
              <Table.Td>
                <Anchor component={Link} to={paths.pipeline(job.job_id, 'metrics')} inherit>
                  <Clipped text={job.name} />
                </Anchor>
              </Table.Td>
              <Table.Td ta="right">{count(job.runs)}</Table.Td>
              <Table.Td ta="right">{duration(job.cpu_seconds)}</Table.Td>
              <Table.Td ta="right">{bytes(job.bytes_moved)}</Table.Td>
              <Table.Td ta="right">{dollars(job.cost_usd)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </WideTable>
    </Section>
  );
}
