import { useEffect, useReducer } from 'react';
import { moment, relative } from '@/lib/format';

/** A moment, as the time from or to now; the exact one is its title. It grows older while it is looked at. */
export function When({ at, none = '–' }: { at: string | null | undefined; none?: string }) {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    const timer = setInterval(again, 10_000);
    return () => clearInterval(timer);
  }, []);
  if (!at) return none;
  return (
    <time dateTime={at} title={moment(at)} style={{ whiteSpace: 'nowrap' }}>
      {relative(at)}
    </time>
  );
}
