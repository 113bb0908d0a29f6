import { Anchor, SimpleGrid, Stack, Table, Text } from '@mantine/core';
import { Link } from 'react-router';
import { type Dashboard, useDashboard } from '@/api/monitoring';
import { type Run, useRuns } from '@/api/runs';
import { paths } from '@/app/paths';
import { brief, bytes, count, dollars, duration } from '@/lib/format';
import { measured } from '@/lib/measures';
import { Clipped } from '@/ui/Clipped';
import { Page } from '@/ui/Page';
import { Section } from '@/ui/Section';
import { Status } from '@/ui/Status';
import { Tile } from '@/ui/Tile';
import { When } from '@/ui/When';
import { Asked } from '@/ui/states';
import { FirstSteps } from './FirstSteps';
import { History } from './History';
import { Spending } from './Spending';

/** The health of everything at a glance. */
export default function OverviewPage() {
  const dashboard = useDashboard();
  const recent = useRuns({}, 20);
  const runs = recent.data?.pages[0]?.items;
  return (
    <Page title="Overview">
      <Asked query={dashboard}>
        {(now) => (
          <Stack gap="lg">
            <Tiles now={now} />
            {runs?.length === 0 ? (
              <FirstSteps />
            ) : (
              <>
                <History />
                <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
                  <Failing now={now} />
                  <Late now={now} />
                  <Firing now={now} />
                  <RunsNow runs={runs ?? []} />
                </SimpleGrid>
                <Spending />
              </>
            )}
          </Stack>
        )}
      </Asked>
    </Page>
  );
}

function Tiles({ now }: { now: Dashboard }) {
  const worst = (of: Dashboard['lag']) => (of.job_id && of.name ? <Anchor component={Link} to={paths.pipeline(of.job_id)} inherit><Clipped text={of.name} /></Anchor> : 'no pipeline');
  return (
    <SimpleGrid cols={{ base: 2, sm: 4, lg: 7 }} spacing="xs" verticalSpacing="xs">
      <Tile label="Running" value={count(now.queue.running)} note={`${count(now.queue.queued)} waiting`} />
      <Tile label="Failed today" value={count(now.runs_today.failed ?? 0)} note={`${count(now.runs_today.succeeded ?? 0)} succeeded`} />
      <Tile label="Rows per second" value={brief(now.throughput.rows_per_second)} note={`${brief(now.throughput.rows_today)} today`} />
      <Tile label="Bytes per second" value={bytes(now.throughput.bytes_per_second)} note={`${bytes(now.throughput.bytes_today)} today`} />
      <Tile label="Longest lag" value={duration(now.lag.max_seconds)} note={worst(now.lag)} />
      <Tile label="Oldest data" value={duration(now.freshness.max_seconds)} note={worst(now.freshness)} />
      <Tile label="Cost today" value={dollars(now.cost.today_usd)} note={`${dollars(now.cost.last_30_days_usd)} in 30 days`} />
    </SimpleGrid>
  );
}

function Failing({ now }: { now: Dashboard }) {
  return (
    <Section title={`Failing pipelines (${count(now.failing_jobs.length)})`}>
      {now.failing_jobs.length === 0 ? (
        <Quiet>The newest run of every pipeline succeeded.</Quiet>
      ) : (
        <Rows heads={[['Pipeline', '32%'], ['Since', 100], ['Why']]}>
          {now.failing_jobs.slice(0, 10).map((job) => (
            <Table.Tr key={job.job_id}>
              <Table.Td>
                <Name to={paths.pipeline(job.job_id)} name={job.name} />
              </Table.Td>
              <Table.Td>
                <When at={job.failed_at} />
              </Table.Td>
              <Table.Td>
                <Name to={paths.run(job.run_id)} name={job.message ?? 'see the run'} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
    </Section>
  );
}

function Late({ now }: { now: Dashboard }) {
  return (
    <Section title={`Late pipelines (${count(now.late_jobs.length)})`}>
      {now.late_jobs.length === 0 ? (
        <Quiet>Every schedule was followed.</Quiet>
      ) : (
        <Rows heads={[['Pipeline'], ['Due', 110]]}>
          {now.late_jobs.slice(0, 10).map((job) => (
            <Table.Tr key={job.job_id}>
              <Table.Td>
                <Name to={paths.pipeline(job.job_id)} name={job.name} />
              </Table.Td>
              <Table.Td>
                <When at={job.due_at} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
    </Section>
  );
}

function Firing({ now }: { now: Dashboard }) {
  return (
    <Section title={`Alerts (${count(now.alerts.length)})`}>
      {now.alerts.length === 0 ? (
        <Quiet>No alert is firing.</Quiet>
      ) : (
        <Rows heads={[['Pipeline', '36%'], ['What'], ['Since', 100]]}>
          {now.alerts.slice(0, 10).map((alert) => (
            <Table.Tr key={alert.alert_id}>
              <Table.Td>
                <Name to={paths.pipeline(alert.job_id, 'alerts')} name={alert.name} />
              </Table.Td>
              <Table.Td>
                <Status state={alert.severity ?? 'firing'} label={alert.metric ? `${alert.metric} ${measured(alert.metric, alert.value)}` : count(alert.value)} tone={alert.severity === 'info' ? 'idle' : undefined} />
              </Table.Td>
              <Table.Td>
                <When at={alert.fired_at} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
    </Section>
  );
}

function RunsNow({ runs }: { runs: Run[] }) {
  return (
    <Section title="Newest runs" aside={<Anchor component={Link} to={paths.runs} size="sm">All runs</Anchor>}>
      <Rows heads={[['Pipeline'], ['State', 104], ['Rows', 76], ['Begun', 100]]}>
        {runs.slice(0, 8).map((run) => (
          <Table.Tr key={run.id}>
            <Table.Td>
              <Name to={paths.run(run.id)} name={run.job_name} />
            </Table.Td>
            <Table.Td>
              <Status state={run.status} />
            </Table.Td>
            <Table.Td ta="right" className="numbers">
              {brief(run.streams.reduce((sum, stream) => sum + stream.rows_written, 0))}
            </Table.Td>
            <Table.Td>
              <When at={run.started_at ?? run.queued_at} />
            </Table.Td>
          </Table.Tr>
        ))}
      </Rows>
    </Section>
  );
}

function Rows({ heads, children }: { heads: [name: string, width?: number | string][]; children: React.ReactNode }) {
  return (
    <Table layout="fixed" withTableBorder>
      <Table.Thead>
        <Table.Tr>
          {heads.map(([head, width]) => (
            <Table.Th key={head} w={width} fw={500} c="dimmed" ta={head === 'Rows' ? 'right' : undefined}>
              {head}
            </Table.Th>
          ))}
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>{children}</Table.Tbody>
    </Table>
  );
}

const Name = ({ to, name }: { to: string; name: string }) => (
  <Anchor component={Link} to={to} inherit>
    <Clipped text={name} />
  </Anchor>
);

const Quiet = ({ children }: { children: string }) => (
  <Text size="sm" c="dimmed">
    {children}
  </Text>
);

