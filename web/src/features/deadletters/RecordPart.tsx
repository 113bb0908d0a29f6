import { Alert, Button, Group, List, Skeleton, Stack, Text } from '@mantine/core';
import { Suspense, lazy, useState } from 'react';
import { type DeadLetter, type LetterRecord, letterActions, useLetterAction } from '@/api/deadLetters';
import { type ProblemPart, Refusal } from '@/api/refusal';
import { bytes, moment } from '@/lib/format';
import { laidOut, placed } from '@/lib/record';
import { Code } from '@/ui/Code';
import { Section } from '@/ui/Section';
import { done, failed } from '@/ui/notify';

const RecordEditor = lazy(() => import('./RecordEditor'));

/** Rows that a transform set aside are JSON of ours, which may be laid out; a record of a source is left as it came. */
const shownOf = (letter: DeadLetter, record: LetterRecord) => (letter.sink !== null && letter.sink !== undefined || letter.code.startsWith('WEIR-ROW-') ? laidOut(record.content) : record.content);

/** What came, what somebody wrote instead, and the place to write it. */
export function RecordPart({ job, letter, mayEdit }: { job: string; letter: DeadLetter; mayEdit: boolean }) {
  const [editing, setEditing] = useState<string | null>(null);
  const original = shownOf(letter, letter.record);
  const corrected = letter.correction?.record ? shownOf(letter, letter.correction.record) : null;
  const why = whyNot(letter);
  return (
    <Section title="Record" aside={<Text size="sm" c="dimmed">{letter.record.media_type}, {bytes(letter.record_bytes)}{letter.record.encoding === 'hex' ? ', as hexadecimal' : ''}</Text>}>
      <Stack gap="xs">
        {letter.correction && (
          <Text size="sm">
            Corrected by {letter.correction.by}, {moment(letter.correction.at)}. What came is struck out.
          </Text>
        )}
        {editing === null && <Code label="Record" text={corrected ?? original} {...(corrected === null ? {} : { before: original })} />}
        {editing !== null && <Edit job={job} letter={letter} text={editing} onText={setEditing} onEnd={() => setEditing(null)} />}
        {editing === null && mayEdit && letter.state === 'waiting' && (
          <Group gap="xs">
            <Button size="compact-sm" variant="default" disabled={why !== null} onClick={() => setEditing(corrected ?? original)}>
              Correct it
            </Button>
            {why !== null && (
              <Text size="sm" c="dimmed">
                {why}
              </Text>
            )}
          </Group>
        )}
      </Stack>
    </Section>
  );
}

function whyNot({ record }: DeadLetter): string | null {
  if (record.veiled) return 'A secret stands in it: correct it at its source.';
  if (record.encoding !== 'text') return 'It is no text: correct it at its source.';
  if (record.cut) return 'Not all of it was kept: correct it at its source.';
  return null;
}

interface EditProps {
  job: string;
  letter: DeadLetter;
  text: string;
  onText: (text: string) => void;
  onEnd: () => void;
}

function Edit({ job, letter, text, onText, onEnd }: EditProps) {
  const correct = useLetterAction(letterActions.correct);
  const [wrong, setWrong] = useState<ProblemPart[]>([]);
  const save = () =>
    correct.mutate([job, letter.id, text], {
      onSuccess: () => {
        done('The correction is kept; a replay takes it');
        onEnd();
      },
      onError: (error) => {
        const parts = error instanceof Refusal ? (error.problem.errors ?? []) : [];
        setWrong(parts.map((part) => placed(part, text)));
        if (parts.length === 0) failed('The correction was not kept', error);
      },
    });
  return (
    <Stack gap="xs">
      <Suspense fallback={<Skeleton h={160} />}>
        <RecordEditor text={text} onChange={onText} problems={wrong} />
      </Suspense>
      {wrong.length > 0 && (
        <Alert color="red" role="alert" p="xs" title="No replay would write this record">
          <List size="sm">
            {wrong.map((part, index) => (
              <List.Item key={index}>
                {part.path ? `${part.path}: ` : ''}
                {part.message}
                {part.help ? `; ${part.help}` : ''}
              </List.Item>
            ))}
          </List>
        </Alert>
      )}
      <Group gap="xs">
        <Button size="compact-sm" loading={correct.isPending} disabled={text.trim() === ''} onClick={save}>
          Keep the correction
        </Button>
        <Button size="compact-sm" variant="subtle" onClick={onEnd}>
          Leave it as it is
        </Button>
      </Group>
    </Stack>
  );
}
