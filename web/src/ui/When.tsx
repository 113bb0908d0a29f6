import { Text, Tooltip } from '@mantine/core';
import { useEffect, useReducer } from 'react';
import { moment, relative } from '@/lib/format';

/** A moment, as the time from or to now; the exact one is in its hint. It grows older while it is looked at. */
export function When({ at, none = '–' }: { at: string | null | undefined; none?: string }) {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    const timer = setInterval(again, 10_000);
    return () => clearInterval(timer);
  }, []);
  if (!at) return none;
  return (
    <Tooltip label={moment(at)}>
      <Text span inherit component="time" dateTime={at} style={{ whiteSpace: 'nowrap' }}>
        {relative(at)}
      </Text>
    </Tooltip>
  );
}
