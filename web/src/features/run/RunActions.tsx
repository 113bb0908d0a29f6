import { Button, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { IconPlayerStop, IconRefresh } from '@tabler/icons-react';
import { useNavigate } from 'react-router';
import { useMay } from '@/api/me';
import { type Run, isOver, runActions, useRunAction } from '@/api/runs';
import { paths } from '@/app/paths';
import { done, failed } from '@/ui/notify';

/** Cancel what goes on, retry what has ended. */
export function RunActions({ run }: { run: Run }) {
  const navigate = useNavigate();
  const may = useMay('operator');
  const cancel = useRunAction(runActions.cancel);
  const retry = useRunAction(runActions.retry);
  if (!may) return null;
  if (isOver(run.status)) {
    const again = () => retry.mutate(run.id, { onSuccess: (next) => void navigate(paths.run(next.id)), onError: (error) => failed('It was not started again', error) });
    return (
      <Button size="xs" variant="default" leftSection={<IconRefresh size={14} aria-hidden />} loading={retry.isPending} onClick={again}>
        Run again
      </Button>
    );
  }
  const stop = () =>
    modals.openConfirmModal({
      title: 'Stop this run?',
      children: <Text size="sm">What is durable stays, with a checkpoint: the next run goes on from there.</Text>,
      labels: { confirm: 'Stop it', cancel: 'Let it go on' },
      confirmProps: { color: 'red' },
      onConfirm: () => cancel.mutate(run.id, { onSuccess: () => done('It stops within seconds'), onError: (error) => failed('It was not stopped', error) }),
    });
  return (
    <Button size="xs" variant="default" leftSection={<IconPlayerStop size={14} aria-hidden />} loading={cancel.isPending} disabled={run.cancel_requested} onClick={stop}>
      {run.cancel_requested ? 'Stopping…' : 'Stop'}
    </Button>
  );
}
