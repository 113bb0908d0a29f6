import { Group, Text } from '@mantine/core';
import classes from './Status.module.css';

type Tone = 'good' | 'bad' | 'warning' | 'busy' | 'idle';

const TONES: Record<string, Tone> = {
  succeeded: 'good',
  resolved: 'good',
  active: 'good',
  failed: 'bad',
  firing: 'bad',
  critical: 'bad',
  suspended: 'bad',
  late: 'warning',
  cancelled: 'warning',
  warning: 'warning',
  paused: 'warning',
  running: 'busy',
  queued: 'idle',
  skipped: 'idle',
};

/** A state: a coloured dot and its word. Colour alone never says it. */
export function Status({ state, label, tone }: { state: string; label?: string; tone?: Tone }) {
  return (
    <Group component="span" display="inline-flex" gap={6} wrap="nowrap">
      <span className={classes.dot} data-tone={tone ?? TONES[state] ?? 'idle'} data-busy={state === 'running' || undefined} aria-hidden />
      <Text span inherit style={{ whiteSpace: 'nowrap' }}>
        {label ?? state}
      </Text>
    </Group>
  );
}
