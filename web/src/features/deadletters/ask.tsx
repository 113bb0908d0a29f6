import { Button, Group, Stack, Text, Textarea } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useState } from 'react';

/** Asks whether letters shall be taken once more. */
export function askToReplay(what: string, onYes: () => void) {
  modals.openConfirmModal({
    title: `Replay ${what}?`,
    children: <Text size="sm">A run takes them once more through the pipeline as it is now, each once. Those that still cannot be processed go on waiting.</Text>,
    labels: { confirm: 'Replay', cancel: 'Leave it' },
    onConfirm: onYes,
  });
}

/** Asks why letters are given up. */
export function askToDiscard(what: string, onYes: (reason: string) => void) {
  const id = 'give-up-dead-letters';
  modals.open({ modalId: id, title: `Give up ${what}?`, children: <Reason onYes={onYes} onEnd={() => modals.close(id)} /> });
}

function Reason({ onYes, onEnd }: { onYes: (reason: string) => void; onEnd: () => void }) {
  const [reason, setReason] = useState('');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onEnd();
        onYes(reason.trim());
      }}
    >
      <Stack gap="sm">
        <Text size="sm">Their rows will not come to any sink. They are kept, with what you write here.</Text>
        <Textarea label="Why" data-autofocus required maxLength={1000} autosize minRows={2} value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
        <Group justify="flex-end" gap="xs">
          <Button variant="default" size="xs" onClick={onEnd}>
            Cancel
          </Button>
          <Button type="submit" color="red" size="xs" disabled={reason.trim() === ''}>
            Give up
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
