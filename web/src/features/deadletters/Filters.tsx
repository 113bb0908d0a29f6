import { Button, Group, Select } from '@mantine/core';
import type { DeadLetterKind } from '@/api/deadLetters';
import { LETTER_STATES } from '@/api/deadLetters';
import { SINCE } from './useLetterFilter';

interface Props {
  kinds: DeadLetterKind[];
  get: (name: string) => string | null;
  set: (name: string, value: string | null) => void;
}

/** What is looked for. The words to choose from are those that there are. */
export function Filters({ kinds, get, set }: Props) {
  const words = (of: (kind: DeadLetterKind) => string, name: string) => [...new Set([...kinds.map(of), ...(get(name) === null ? [] : [get(name) ?? ''])])].filter(Boolean).sort();
  const choice = (name: string, label: string, data: { value: string; label: string }[], clearable = true) => (
    <Select
      size="xs"
      w={{ base: '100%', xs: 150 }}
      aria-label={label}
      placeholder={label}
      data={data}
      clearable={clearable}
      searchable={data.length > 10}
      value={get(name) ?? (clearable ? null : (data[0]?.value ?? null))}
      onChange={(value) => set(name, value)}
    />
  );
  const plain = (words: string[]) => words.map((word) => ({ value: word, label: word.slice(0, 100) }));
  const sinks = words((kind) => kind.sink ?? '-', 'sink').map((word) => ({ value: word, label: word === '-' ? 'every sink' : word.slice(0, 100) }));
  return (
    <Group gap="xs">
      {choice('state', 'State', plain(LETTER_STATES), false)}
      {choice('stream', 'Stream', plain(words((kind) => kind.stream, 'stream')))}
      {choice('code', 'Code', plain(words((kind) => kind.code, 'code')))}
      {choice('sink', 'Which sink lacks it', sinks)}
      {choice('since', 'Since', plain(Object.keys(SINCE)))}
      {get('run') !== null && (
        <Button size="compact-sm" variant="default" onClick={() => set('run', null)}>
          of all runs
        </Button>
      )}
    </Group>
  );
}
