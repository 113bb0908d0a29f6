import { UnstyledButton } from '@mantine/core';
import type { DeadLetter } from '@/api/deadLetters';
import { Clipped } from '@/ui/Clipped';
import type { Column } from '@/ui/DataTable';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';

/** A corrected letter looks different from one that only waits. */
export const stateOf = (letter: DeadLetter) => (letter.state === 'waiting' && letter.correction ? 'corrected' : letter.state);

/** The columns; the first one opens the letter. */
export const columns = (open: (letter: DeadLetter) => void): Column<DeadLetter>[] => [
  {
    id: 'place',
    header: 'Where',
    sort: (letter) => letter.place,
    cell: (letter) => (
      <UnstyledButton className="link" onClick={() => open(letter)} aria-label={`Dead letter ${letter.id} at ${letter.place.slice(0, 200)}`} w="100%" fz="inherit">
        <Clipped text={letter.place} />
      </UnstyledButton>
    ),
  },
  { id: 'reason', header: 'What was wrong', sort: (letter) => letter.reason, cell: (letter) => <Clipped text={letter.reason} /> },
  { id: 'record', header: 'Record', cell: (letter) => <Clipped text={letter.record.content} />, from: 'md' },
  { id: 'stream', header: 'Stream', width: 130, sort: (letter) => letter.stream, cell: (letter) => <Clipped text={letter.stream} />, from: 'lg' },
  { id: 'sink', header: 'Lacks it', width: 110, sort: (letter) => letter.sink ?? '', cell: (letter) => <Clipped text={letter.sink ?? 'every sink'} />, from: 'xl' },
  { id: 'code', header: 'Code', width: 128, sort: (letter) => letter.code, cell: (letter) => <Clipped text={letter.code} />, from: 'lg' },
  { id: 'at', header: 'Met', width: 92, sort: (letter) => letter.id, cell: (letter) => <When at={letter.at} />, from: 'sm' },
  { id: 'state', header: 'State', width: 108, cell: (letter) => <Status state={stateOf(letter)} />, from: 'xs' },
];
