import { useCallback, useMemo } from 'react';
import { useSearchParams } from 'react-router';
import { type DeadLetterChoice, LETTER_STATES, type LetterFilter } from '@/api/deadLetters';

export const SINCE: Record<string, number> = { 'last hour': 1, 'last 24 hours': 24, 'last 7 days': 168, 'last 30 days': 720 };

/** What is looked for and which letter is open: in the address, so that it can be sent to somebody. */
export function useLetterFilter() {
  const [params, setParams] = useSearchParams();
  const set = useCallback(
    (name: string, value: string | null) =>
      setParams(
        (old) => {
          const next = new URLSearchParams(old);
          if (value === null) next.delete(name);
          else next.set(name, value);
          return next;
        },
        { replace: true },
      ),
    [setParams],
  );
  const hours = SINCE[params.get('since') ?? ''];
  // To the minute, or each drawing would ask for something else.
  const since = useMemo(() => (hours === undefined ? undefined : new Date(Math.floor(Date.now() / 60_000 - hours * 60) * 60_000).toISOString()), [hours]);
  const text = (name: string, key: keyof LetterFilter) => {
    const value = params.get(name);
    return value === null || value === '' ? {} : { [key]: value };
  };
  const filter: LetterFilter = {
    state: LETTER_STATES.find((word) => word === params.get('state')) ?? 'waiting',
    ...text('stream', 'stream'),
    ...text('code', 'code'),
    ...text('sink', 'sink'),
    ...text('run', 'run_id'),
    ...(since === undefined ? {} : { since }),
  };
  const letter = /^[1-9]\d{0,15}$/.test(params.get('letter') ?? '') ? Number(params.get('letter')) : null;
  return { filter, letter, get: (name: string) => params.get(name), set };
}

/** Everything that the filter shows, up to the newest letter that somebody has seen. */
export function allOf({ state: _, ...conditions }: LetterFilter, newest: number): DeadLetterChoice {
  return { ...conditions, up_to: newest };
}
