import classes from './Status.module.css';

type Tone = 'good' | 'bad' | 'warning' | 'busy' | 'idle';

const TONES: Record<string, Tone> = {
  succeeded: 'good',
  resolved: 'good',
  active: 'good',
  replayed: 'good',
  failed: 'bad',
  firing: 'bad',
  critical: 'bad',
  suspended: 'bad',
  late: 'warning',
  waiting: 'warning',
  cancelled: 'warning',
  warning: 'warning',
  paused: 'warning',
  running: 'busy',
  corrected: 'busy',
  queued: 'idle',
  skipped: 'idle',
};

/** A state: a coloured dot and its word. Colour alone never says it. */
export function Status({ state, label, tone }: { state: string; label?: string; tone?: Tone }) {
  return (
    <span className={classes.status}>
      <span className={classes.dot} data-tone={tone ?? TONES[state] ?? 'idle'} data-busy={state === 'running' || undefined} aria-hidden />
      {label ?? state}
    </span>
  );
}
