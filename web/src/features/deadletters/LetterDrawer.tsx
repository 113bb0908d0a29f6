import { Anchor, Button, Code as Inline, Drawer, Group, Stack, Table, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { type DeadLetter, useDeadLetter } from '@/api/deadLetters';
import type { Job } from '@/api/jobs';
import { useMay } from '@/api/me';
import { paths } from '@/app/paths';
import { moment } from '@/lib/format';
import { Section } from '@/ui/Section';
import { Status } from '@/ui/Status';
import { Asked } from '@/ui/states';
import { RecordPart } from './RecordPart';
import { stateOf } from './columns';
import type { useLetterActs } from './useLetterActs';

interface Props {
  job: Job;
  letter: number;
  acts: ReturnType<typeof useLetterActs>;
  onClose: () => void;
}

/** One letter: what was wrong, what came, what somebody wrote instead, and what can be done. */
export function LetterDrawer({ job, letter, acts, onClose }: Props) {
  const asked = useDeadLetter(job.id, letter);
  return (
    <Drawer opened onClose={onClose} position="right" size="xl" title={`Dead letter ${letter}`} closeButtonProps={{ 'aria-label': 'Close the letter' }}>
      <Asked query={asked} what="Loading the letter">
        {(data) => <Whole job={job} letter={data} acts={acts} />}
      </Asked>
    </Drawer>
  );
}

function Whole({ job, letter, acts }: { job: Job; letter: DeadLetter; acts: Props['acts'] }) {
  const mayReplay = useMay('operator');
  const mayEdit = useMay('editor');
  const one = { ids: [letter.id] };
  return (
    <Stack gap="md">
      <Facts letter={letter} />
      <RecordPart job={job.id} letter={letter} mayEdit={mayEdit} />
      {letter.state === 'waiting' && (
        <Group gap="xs">
          {mayReplay && (
            <Button size="xs" loading={acts.busy} onClick={() => acts.replay(one, `dead letter ${letter.id}`)}>
              Replay it
            </Button>
          )}
          {mayEdit && (
            <Button size="xs" variant="default" disabled={acts.busy} onClick={() => acts.discard(one, `dead letter ${letter.id}`)}>
              Give it up
            </Button>
          )}
        </Group>
      )}
    </Stack>
  );
}

function Facts({ letter }: { letter: DeadLetter }) {
  const rows: [string, ReactNode][] = [
    ['State', <Status key="state" state={stateOf(letter)} />],
    ['Code', <Inline key="code">{letter.code}</Inline>],
    ['Where', letter.place],
    ['Stream', letter.stream === letter.flow ? letter.stream : `${letter.stream}, in ${letter.flow}`],
    ['Lacks it', letter.sink ?? 'every sink'],
    ['Met', moment(letter.at)],
  ];
  if (letter.run_id) rows.push(['Run', <Anchor key="run" component={Link} to={paths.run(letter.run_id)} size="sm">the run that met it</Anchor>]);
  if (letter.refusal) rows.push(['Last replay', letter.refusal]);
  if (letter.replayed_at) rows.push(['Replayed', moment(letter.replayed_at)]);
  if (letter.discarded) rows.push(['Given up', `by ${letter.discarded.by}, ${moment(letter.discarded.at)}: ${letter.discarded.reason}`]);
  return (
    <Section title="What was wrong">
      <Text size="sm" mb="xs" dir="auto" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
        {letter.reason}
      </Text>
      <Table withRowBorders={false} verticalSpacing={2} aria-label="About the letter">
        <Table.Tbody>
          {rows.map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th scope="row" w={110} fw={500}>
                {name}
              </Table.Th>
              <Table.Td dir="auto" style={{ overflowWrap: 'anywhere' }}>
                {value}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}
