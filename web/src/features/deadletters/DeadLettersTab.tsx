import { Button, Group, Stack, Text } from '@mantine/core';
import { IconRefresh } from '@tabler/icons-react';
import { useMemo, useState } from 'react';
import { useDeadLetters } from '@/api/deadLetters';
import type { Job } from '@/api/jobs';
import { useMay } from '@/api/me';
import { count } from '@/lib/format';
import { DataTable } from '@/ui/DataTable';
import { Asked, Empty } from '@/ui/states';
import { Filters } from './Filters';
import { LetterDrawer } from './LetterDrawer';
import { columns } from './columns';
import { useLetterActs } from './useLetterActs';
import { allOf, useLetterFilter } from './useLetterFilter';

/** The records that this pipeline could not process: looked at, corrected, replayed, given up. */
export default function DeadLettersTab({ job }: { job: Job }) {
  const { filter, letter, get, set } = useLetterFilter();
  const letters = useDeadLetters(job.id, filter);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const acts = useLetterActs(job.id, () => setChosen(new Set()));
  const mayDiscard = useMay('editor');
  const shown = useMemo(() => columns(({ id }) => set('letter', String(id))), [set]);
  const pages = letters.data?.pages ?? [];
  const kinds = pages[0]?.kinds ?? [];
  const rows = useMemo(() => pages.flatMap(({ items }) => items), [pages]);
  const ids = rows.filter(({ id }) => chosen.has(String(id))).map(({ id }) => id);
  const newest = rows[0]?.id;
  const waiting = kinds.reduce((sum, kind) => sum + kind.count, 0);
  const many = (number: number) => `${count(number)} dead ${number === 1 ? 'letter' : 'letters'}`;
  return (
    <Stack gap="xs">
      <Filters kinds={kinds} get={get} set={set} />
      <Group gap="xs" role="group" aria-label="Chosen dead letters" mih={28}>
        {letters.data !== undefined && (
          <Text size="sm" c="dimmed" role="status">
            {ids.length > 0 ? `${count(ids.length)} chosen` : `${count(waiting)} ${filter.state}`}
          </Text>
        )}
        {filter.state === 'waiting' && ids.length > 0 && (
          <>
            <Button size="compact-sm" loading={acts.busy} onClick={() => acts.replay({ ids }, many(ids.length))}>
              Replay
            </Button>
            {mayDiscard && (
              <Button size="compact-sm" variant="default" disabled={acts.busy} onClick={() => acts.discard({ ids }, many(ids.length))}>
                Give up
              </Button>
            )}
            <Button size="compact-sm" variant="subtle" onClick={() => setChosen(new Set())}>
              Choose none
            </Button>
          </>
        )}
        {filter.state === 'waiting' && ids.length === 0 && newest !== undefined && (
          <Button size="compact-sm" variant="default" loading={acts.busy} onClick={() => acts.replay(allOf(filter, newest), 'all that fit')}>
            Replay all that fit
          </Button>
        )}
        <Button size="compact-sm" variant="subtle" leftSection={<IconRefresh size={14} aria-hidden />} loading={letters.isRefetching} onClick={() => void letters.refetch()}>
          Look again
        </Button>
      </Group>
      <Asked query={letters} what="Loading dead letters">
        {() => (
          <DataTable
            label="Dead letters"
            rows={rows}
            columns={shown}
            rowId={({ id }) => String(id)}
            nameOf={(one) => `dead letter ${one.id}`}
            {...(filter.state === 'waiting' ? { chosen, onChoose: setChosen } : {})}
            onEnd={() => {
              if (letters.hasNextPage && !letters.isFetching) void letters.fetchNextPage();
            }}
            empty={
              <Empty title={filter.state === 'waiting' ? 'No dead letter waits' : 'None'}>
                {waiting > 0 ? 'None fits the conditions.' : 'A record that cannot be processed is kept here, with its place and what was wrong.'}
              </Empty>
            }
          />
        )}
      </Asked>
      {letter !== null && <LetterDrawer job={job} letter={letter} acts={acts} onClose={() => set('letter', null)} />}
    </Stack>
  );
}
