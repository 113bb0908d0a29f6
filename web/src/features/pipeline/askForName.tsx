import { Button, Group, TextInput } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useState } from 'react';

/** Asks for the name of a copy. */
export function askForName(suggestion: string, onName: (name: string) => void) {
  const id = 'name-of-the-copy';
  modals.open({ modalId: id, title: 'Copy under which name?', children: <NameForm suggestion={suggestion} onName={onName} onEnd={() => modals.close(id)} /> });
}

function NameForm({ suggestion, onName, onEnd }: { suggestion: string; onName: (name: string) => void; onEnd: () => void }) {
  const [name, setName] = useState(suggestion);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onEnd();
        onName(name.trim());
      }}
    >
      <TextInput label="Name" data-autofocus required value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <Group justify="flex-end" mt="md" gap="xs">
        <Button variant="default" size="xs" onClick={onEnd}>
          Cancel
        </Button>
        <Button type="submit" size="xs" disabled={name.trim() === ''}>
          Copy
        </Button>
      </Group>
    </form>
  );
}
