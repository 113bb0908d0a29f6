import { Button, Group, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { IconPlayerStop, IconRefresh } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'react-router';
import { useMay } from '@/api/me';
import { type Run, isOver, runActions } from '@/api/runs';
import { paths } from '@/app/paths';
import { count } from '@/lib/format';
import { inTurns } from '@/lib/turns';
import { done, failed } from '@/ui/notify';

const ACTS = {
  again: { word: 'Run again', past: 'started', fits: (run: Run) => isOver(run.status), act: runActions.retry, icon: IconRefresh },
  stop: { word: 'Stop', past: 'told to stop', fits: (run: Run) => !isOver(run.status), act: runActions.cancel, icon: IconPlayerStop },
} as const;

/** What is done with the chosen runs: two are compared, those that ended run again, the others are stopped. Each is a request of its own. */
export function ChosenRuns({ runs, onDone }: { runs: Run[]; onDone: () => void }) {
  const may = useMay('operator');
  const queries = useQueryClient();
  const [busy, setBusy] = useState(false);
  const [one, other] = runs;
  if (one === undefined) return null;

  const start = async (name: keyof typeof ACTS, fitting: Run[]) => {
    const { word, past, act } = ACTS[name];
    setBusy(true);
    const refused = await inTurns(fitting, 4, (run) => act(run.id));
    setBusy(false);
    for (const key of ['runs', 'jobs', 'dashboard']) void queries.invalidateQueries({ queryKey: [key] });
    if (refused.length < fitting.length) done(`${count(fitting.length - refused.length)} ${past}`);
    const first = refused[0];
    if (first !== undefined) failed(`${word}: ${count(refused.length)} of ${count(fitting.length)} were refused, first ${first.item.job_name.slice(0, 80)}`, first.error);
    onDone();
  };
  const ask = (name: keyof typeof ACTS, fitting: Run[]) =>
    modals.openConfirmModal({
      title: `${ACTS[name].word}: ${count(fitting.length)} ${fitting.length === 1 ? 'run' : 'runs'}?`,
      children: <Text size="sm">{[...new Set(fitting.map((run) => run.job_name.slice(0, 60)))].slice(0, 5).join(', ')}</Text>,
      labels: { confirm: ACTS[name].word, cancel: 'Leave it' },
      onConfirm: () => void start(name, fitting),
    });

  return (
    <Group gap="xs" role="group" aria-label="Chosen runs">
      <Text size="sm" role="status">
        {count(runs.length)} chosen
      </Text>
      {other !== undefined && runs.length === 2 && (
        <Button component={Link} to={paths.compareRuns(one.id, other.id)} size="compact-sm" variant="default">
          Compare
        </Button>
      )}
      {may &&
        (Object.keys(ACTS) as (keyof typeof ACTS)[]).map((name) => {
          const fitting = runs.filter(ACTS[name].fits);
          const Icon = ACTS[name].icon;
          return (
            fitting.length > 0 && (
              <Button key={name} size="compact-sm" variant="default" loading={busy} leftSection={<Icon size={14} aria-hidden />} onClick={() => ask(name, fitting)}>
                {ACTS[name].word}
              </Button>
            )
          );
        })}
      <Button size="compact-sm" variant="subtle" onClick={onDone}>
        Choose none
      </Button>
    </Group>
  );
}
