import { Anchor, Badge, Group, Tabs, Text } from '@mantine/core';
import { Link, useNavigate, useParams } from 'react-router';
import { useLiveRun, type Live } from '@/api/live';
import { useMay } from '@/api/me';
import { type Run, isOver, useRun } from '@/api/runs';
import { paths } from '@/app/paths';
import { count } from '@/lib/format';
import { total } from '@/lib/runs';
import { Page } from '@/ui/Page';
import { Status } from '@/ui/Status';
import { Asked, Failure } from '@/ui/states';
import { Balance } from './Balance';
import { Facts } from './Facts';
import { LogView } from './LogView';
import { Replayed } from './Replayed';
import { RunActions } from './RunActions';
import { RunGraph } from './RunGraph';
import { WhyFailed } from './WhyFailed';

/** One run, live while it goes on. */
export default function RunPage() {
  const { run: id = '', tab } = useParams();
  const run = useRun(id);
  return <Asked query={run}>{(data) => <OneRun run={data} tab={tab === 'log' ? 'log' : 'balance'} />}</Asked>;
}

function OneRun({ run, tab }: { run: Run; tab: 'balance' | 'log' }) {
  const navigate = useNavigate();
  const live = useLiveRun(run.id);
  const mayLook = useMay('operator');
  return (
    <Page
      title={`Run of ${run.job_name}`}
      aside={
        <Group gap="sm">
          <Text span size="sm" role="status">
            <Status state={run.status} />
          </Text>
          <Connection run={run} live={live} />
          <Anchor component={Link} to={paths.pipeline(run.job_id)} size="sm">
            the pipeline
          </Anchor>
          {mayLook && total(run.streams).rows_dead > 0 && (
            <Anchor component={Link} to={paths.deadLettersOf(run.job_id, run.id)} size="sm">
              its dead letters
            </Anchor>
          )}
        </Group>
      }
      actions={<RunActions run={run} />}
    >
      <Facts run={run} />
      <WhyFailed run={run} />
      {live.error !== null && <Failure error={live.error} />}
      <Tabs value={tab} onChange={(next) => void navigate(paths.run(run.id, next === 'log' ? 'log' : undefined), { replace: true })} keepMounted={false}>
        <Tabs.List mb="sm">
          <Tabs.Tab value="balance">Balance</Tabs.Tab>
          <Tabs.Tab value="log">Log{live.lines.length > 0 && ` (${count(live.lines.length)})`}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="balance">
          <Replayed run={run} />
          <RunGraph run={run} />
          <Balance run={run} />
        </Tabs.Panel>
        <Tabs.Panel value="log">
          <LogView id={run.id} live={live} over={isOver(run.status)} />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Connection({ run, live }: { run: Run; live: Live }) {
  if (isOver(run.status)) return null;
  return (
    <Badge variant="outline" color={live.connected ? 'gray' : 'yellow'} size="sm" tt="none">
      {live.connected ? 'live' : 'connecting again…'}
    </Badge>
  );
}
