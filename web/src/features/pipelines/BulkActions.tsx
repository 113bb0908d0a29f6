import { Button, Group, Progress, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { IconPlayerPause, IconPlayerPlay, IconPlayerTrackNext } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { type JobSummary, jobActions } from '@/api/jobs';
import { useMay } from '@/api/me';
import { count } from '@/lib/format';
import { inTurns } from '@/lib/turns';
import { done, failed } from '@/ui/notify';

const ACTS = {
  run: { word: 'Run', past: 'started', act: jobActions.run, icon: IconPlayerPlay },
  pause: { word: 'Pause', past: 'paused', act: jobActions.pause, icon: IconPlayerPause },
  resume: { word: 'Resume', past: 'resumed', act: jobActions.resume, icon: IconPlayerTrackNext },
} as const;

/** What is done with all chosen pipelines. Each is a request of its own; what was refused is said. */
export function BulkActions({ jobs, onDone }: { jobs: JobSummary[]; onDone: () => void }) {
  const may = useMay('operator');
  const queries = useQueryClient();
  const [progress, setProgress] = useState<number | null>(null);
  if (jobs.length === 0) return null;

  const start = async (name: keyof typeof ACTS) => {
    const { word, past, act } = ACTS[name];
    setProgress(0);
    const refused = await inTurns(jobs, 4, (job) => act(job.id), (part) => setProgress(part));
    setProgress(null);
    for (const key of ['jobs', 'runs', 'dashboard']) void queries.invalidateQueries({ queryKey: [key] });
    if (refused.length < jobs.length) done(`${count(jobs.length - refused.length)} ${past}`);
    const first = refused[0];
    if (first !== undefined) failed(`${word}: ${count(refused.length)} of ${count(jobs.length)} were refused, first ${first.item.name.slice(0, 80)}`, first.error);
    onDone();
  };
  const ask = (name: keyof typeof ACTS) =>
    modals.openConfirmModal({
      title: `${ACTS[name].word} ${count(jobs.length)} ${jobs.length === 1 ? 'pipeline' : 'pipelines'}?`,
      children: <Text size="sm">{jobs.slice(0, 5).map((job) => job.name.slice(0, 60)).join(', ')}{jobs.length > 5 ? ` and ${count(jobs.length - 5)} more` : ''}</Text>,
      labels: { confirm: ACTS[name].word, cancel: 'Leave it' },
      onConfirm: () => void start(name),
    });

  return (
    <Group gap="xs" role="group" aria-label="Chosen pipelines">
      <Text size="sm">{count(jobs.length)} chosen</Text>
      {may &&
        (Object.keys(ACTS) as (keyof typeof ACTS)[]).map((name) => {
          const Icon = ACTS[name].icon;
          return (
            <Button key={name} size="compact-sm" variant="default" disabled={progress !== null} leftSection={<Icon size={14} aria-hidden />} onClick={() => ask(name)}>
              {ACTS[name].word}
            </Button>
          );
        })}
      <Button size="compact-sm" variant="subtle" onClick={onDone}>
        Choose none
      </Button>
      {progress !== null && <Progress value={progress * 100} w={120} aria-label="Progress" />}
    </Group>
  );
}
