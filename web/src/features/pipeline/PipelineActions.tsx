import { ActionIcon, Button, Menu, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { IconCopy, IconDots, IconEdit, IconPlayerPause, IconPlayerPlay, IconPlayerTrackNext, IconTrash } from '@tabler/icons-react';
import { Link, useNavigate } from 'react-router';
import { type Job, jobActions, useJobAction } from '@/api/jobs';
import { useMay } from '@/api/me';
import { paths } from '@/app/paths';
import { done, failed } from '@/ui/notify';
import { askForName } from './askForName';

/** Run, pause, resume; and in the menu what is done seldom. */
export function PipelineActions({ job }: { job: Job }) {
  const navigate = useNavigate();
  const mayRun = useMay('operator');
  const mayEdit = useMay('editor');
  const run = useJobAction(jobActions.run);
  const pause = useJobAction(jobActions.pause);
  const resume = useJobAction(jobActions.resume);
  const clone = useJobAction(jobActions.clone);
  const remove = useJobAction(jobActions.remove);
  if (!mayRun) return null;

  const start = () =>
    run.mutate([job.id], { onSuccess: (begun) => void navigate(paths.run(begun.id)), onError: (error) => failed('It was not started', error) });
  const turn = () => {
    const [action, past, not] = job.status === 'paused' ? ([resume, 'It runs by itself again', 'It was not resumed'] as const) : ([pause, 'It does not run by itself any more', 'It was not paused'] as const);
    action.mutate([job.id], { onSuccess: () => done(past), onError: (error) => failed(not, error) });
  };
  const copy = () =>
    askForName(`${job.name.slice(0, 180)} (copy)`, (name) =>
      clone.mutate([job.id, name], { onSuccess: (made) => void navigate(paths.pipeline(made.id)), onError: (error) => failed('It was not copied', error) }),
    );
  const drop = () =>
    modals.openConfirmModal({
      title: 'Delete this pipeline?',
      children: <Text size="sm">Runs that wait are cancelled. Its runs, logs and versions stay; the data that it has written too.</Text>,
      labels: { confirm: 'Delete', cancel: 'Keep it' },
      confirmProps: { color: 'red' },
      onConfirm: () => remove.mutate([job.id], { onSuccess: () => void navigate(paths.pipelines), onError: (error) => failed('It was not deleted', error) }),
    });

  return (
    <>
      <Button size="xs" leftSection={<IconPlayerPlay size={14} aria-hidden />} loading={run.isPending} onClick={start}>
        Run
      </Button>
      <Button
        size="xs"
        variant="default"
        leftSection={job.status === 'paused' ? <IconPlayerTrackNext size={14} aria-hidden /> : <IconPlayerPause size={14} aria-hidden />}
        loading={pause.isPending || resume.isPending}
        onClick={turn}
      >
        {job.status === 'paused' ? 'Resume' : 'Pause'}
      </Button>
      {mayEdit && (
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon variant="default" size={30} aria-label="More">
              <IconDots size={16} aria-hidden />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item component={Link} to={paths.editPipeline(job.id)} leftSection={<IconEdit size={14} aria-hidden />}>
              Edit
            </Menu.Item>
            <Menu.Item leftSection={<IconCopy size={14} aria-hidden />} onClick={copy}>
              Copy
            </Menu.Item>
            <Menu.Item color="red" leftSection={<IconTrash size={14} aria-hidden />} onClick={drop}>
              Delete
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
    </>
  );
}
