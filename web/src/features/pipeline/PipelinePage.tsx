import { Group, Stack, Tabs, Text } from '@mantine/core';
import { Suspense, lazy } from 'react';
import { useNavigate, useParams } from 'react-router';
import { type Job, useJob } from '@/api/jobs';
import { useRuns } from '@/api/runs';
import { paths } from '@/app/paths';
import { Page } from '@/ui/Page';
import { Status } from '@/ui/Status';
import { Asked, Loading } from '@/ui/states';
import { PipelineActions } from './PipelineActions';
import { Summary } from './Summary';

const TABS = {
  overview: { label: 'Overview', Part: lazy(() => import('./OverviewTab')) },
  runs: { label: 'Runs', Part: lazy(() => import('./RunsTab')) },
  streams: { label: 'Streams', Part: lazy(() => import('./StreamsTab')) },
  'dead-letters': { label: 'Dead letters', Part: lazy(() => import('@/features/deadletters/DeadLettersTab')) },
  metrics: { label: 'Metrics', Part: lazy(() => import('./MetricsTab')) },
  alerts: { label: 'Alerts', Part: lazy(() => import('./AlertsTab')) },
  versions: { label: 'Versions', Part: lazy(() => import('./VersionsTab')) },
};

/** One pipeline: where it stands, what it does, what it did, and what can be done with it. */
export default function PipelinePage() {
  const { job: id = '', tab = 'overview' } = useParams();
  const job = useJob(id);
  return <Asked query={job}>{(data) => <Pipeline job={data} tab={tab in TABS ? (tab as keyof typeof TABS) : 'overview'} />}</Asked>;
}

function Pipeline({ job, tab }: { job: Job; tab: keyof typeof TABS }) {
  const navigate = useNavigate();
  const runs = useRuns({ job_id: job.id }, 50);
  const { Part } = TABS[tab];
  return (
    <Page
      title={job.name}
      aside={
        <Group gap="sm">
          <Status state={job.status} />
          <Text size="sm" c="dimmed">
            {job.mode} · version {job.version}
          </Text>
        </Group>
      }
      actions={<PipelineActions job={job} />}
    >
      {job.description && (
        <Text size="sm" c="dimmed" lineClamp={3} dir="auto">
          {job.description}
        </Text>
      )}
      <Summary job={job} runs={runs.data?.pages[0]?.items} />
      <Tabs value={tab} onChange={(next) => void navigate(paths.pipeline(job.id, next === 'overview' || next === null ? undefined : next))} keepMounted={false}>
        <Tabs.List mb="sm">
          {Object.entries(TABS).map(([name, { label }]) => (
            <Tabs.Tab key={name} value={name}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value={tab}>
          <Suspense fallback={<Loading />}>
            <Stack>
              <Part job={job} />
            </Stack>
          </Suspense>
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}
