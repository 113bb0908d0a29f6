import { Anchor, List, SimpleGrid } from '@mantine/core';
import { Link } from 'react-router';
import { useMay } from '@/api/me';
import type { Run } from '@/api/runs';
import { paths } from '@/app/paths';
import { count } from '@/lib/format';
import { reportOf } from '@/lib/runs';
import { Section } from '@/ui/Section';
import { Tile } from '@/ui/Tile';

/** Of a run that takes dead letters once more: what became of them; of any other run nothing. */
export function Replayed({ run }: { run: Run }) {
  const mayLook = useMay('operator');
  const replay = reportOf(run)?.replay ?? null;
  if (replay === null) return null;
  return (
    <Section
      title="Dead letters"
      aside={
        mayLook && (
          <Anchor component={Link} to={paths.pipeline(run.job_id, 'dead-letters')} size="sm">
            All dead letters
          </Anchor>
        )
      }
    >
      <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="xs" mb="xs">
        <Tile label="Replayed" value={count(replay.through)} note="their rows are written" />
        <Tile label="Still waiting" value={count(replay.waiting)} note="they failed once more" />
        <Tile label="Not needed any more" value={count(replay.replaced)} note="a later run replaced their rows" />
      </SimpleGrid>
      {replay.reasons.length > 0 && (
        <List size="sm" mb="sm">
          {replay.reasons.slice(0, 10).map(({ letter, reason }) => (
            <List.Item key={letter} style={{ overflowWrap: 'anywhere' }}>
              {`Letter ${letter}: ${reason}`}
            </List.Item>
          ))}
        </List>
      )}
    </Section>
  );
}
