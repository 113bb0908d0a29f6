import { List, SimpleGrid, Text } from '@mantine/core';
import type { Advice, Expected } from '@/api/pipelines';
import { brief, bytes, count, duration } from '@/lib/format';
import { Section } from '@/ui/Section';
import { Tile } from '@/ui/Tile';

const unknown = 'not known';

/** What a run would take and which engine it is for, with the reasons. Estimates say that they are. */
export function Expectation({ advice, expected }: { advice: Advice | null; expected: Expected | null }) {
  if (advice === null) return null;
  return (
    <Section title="Cost and engine">
      <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="xs" verticalSpacing="xs" mb="xs">
        <Tile label="Engine" value={advice.engine ?? 'none'} note="recommended" />
        {expected !== null && <Sizes expected={expected} />}
      </SimpleGrid>
      <List size="sm">
        {advice.why.map((reason) => (
          <List.Item key={reason}>{reason}</List.Item>
        ))}
      </List>
      {advice.also.length > 0 && (
        <Text size="sm" c="dimmed" mt={4}>
          Also runs on {advice.also.map(alsoOn).join(', ')}.
        </Text>
      )}
    </Section>
  );
}

function Sizes({ expected: { rows, bytes: size, seconds, cores, memory_bytes } }: { expected: Expected }) {
  const known = rows !== null && rows !== undefined;
  const heavy = size !== null && size !== undefined;
  return (
    <>
      <Tile label="To read, about" value={known ? brief(rows) : heavy ? bytes(size) : unknown} note={known ? `rows${heavy ? `, ${bytes(size)}` : ''}` : ''} />
      <Tile label="Time, about" value={timeOf(seconds)} note={`on ${count(cores)} ${cores === 1 ? 'core' : 'cores'}`} />
      <Tile label="Memory, at most" value={bytes(memory_bytes)} note="beyond it, disk" />
    </>
  );
}

/** An estimate below a second says no more than that. */
export function timeOf(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return unknown;
  return seconds < 1 ? 'below 1 s' : duration(seconds);
}

const alsoOn = ({ target, delivery, bridges }: Advice['also'][number]) =>
  `${target} (${delivery.replaceAll('_', ' ')}${bridges.length === 0 ? '' : `, fed by ${bridges.join(', ')}`})`;
