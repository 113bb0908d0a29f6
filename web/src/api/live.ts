import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { runQuery, type LogLine, type Run } from './runs';
import { follow } from './stream';

/** Lines that are kept of one log; of a longer one the newest. */
const MOST = 20_000;
/** How often what has come is shown, ms: a busy run must not keep the page busy. */
const BEAT = 500;

export interface Live {
  lines: LogLine[];
  /** Older lines than these were there. */
  cut: boolean;
  connected: boolean;
  error: unknown;
}

const NOTHING: Live = { lines: [], cut: false, connected: true, error: null };

/** A run's log from its beginning, and the run itself into the cache whenever it changes, until it is over. */
export function useLiveRun(id: string): Live {
  const queries = useQueryClient();
  const [live, setLive] = useState(NOTHING);
  useEffect(() => {
    const stop = new AbortController();
    let fresh: LogLine[] = [];
    let run: Run | null = null;
    const show = () => {
      if (run !== null) {
        queries.setQueryData(runQuery(id).queryKey, run);
        run = null;
      }
      if (fresh.length === 0) return;
      const more = fresh;
      fresh = [];
      setLive((old) => {
        const lines = old.lines.concat(more);
        return lines.length > MOST ? { ...old, lines: lines.slice(-MOST), cut: true } : { ...old, lines };
      });
    };
    const beat = setInterval(show, BEAT);
    setLive(NOTHING);
    follow(`/api/v1/runs/${encodeURIComponent(id)}/logs`, {
      signal: stop.signal,
      onEvent: ({ event, data }) => {
        if (event === 'log') fresh.push(data as LogLine);
        else if (event === 'run') run = data as Run;
      },
      onConnected: (connected) => setLive((old) => (old.connected === connected ? old : { ...old, connected })),
    })
      .then(
        () => {
          if (stop.signal.aborted) return;
          show();
          for (const key of [['runs', 'list'], ['dashboard'], ['jobs', 'list']]) void queries.invalidateQueries({ queryKey: key });
        },
        (error: unknown) => setLive((old) => ({ ...old, error })),
      )
      .finally(() => clearInterval(beat));
    return () => {
      stop.abort();
      clearInterval(beat);
    };
  }, [id, queries]);
  return live;
}
