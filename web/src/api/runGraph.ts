import { useEffect, useState } from 'react';
import type { Schemas } from './client';
import { follow } from './stream';

export type Graph = Schemas['Graph'];
export type GraphCounts = Schemas['GraphCounts'];
export type EdgeFlow = Schemas['EdgeFlow'];

/** How often what has come is shown, ms. */
const BEAT = 1_000;
/** Over how long a rate is taken, ms: shorter ones jump. */
const SPAN = 2_000;

export interface RunGraph {
  /** The pipeline in the run's version. */
  graph: Graph | null;
  counts: GraphCounts | null;
  /** Some seconds ago, for rates. */
  before: GraphCounts | null;
  error: unknown;
}

const NOTHING: RunGraph = { graph: null, counts: null, before: null, error: null };

/** A run's graph and what has passed its edges, live while it goes on. Of no run: nothing. */
export function useRunGraph(id: string | undefined): RunGraph {
  const [shown, setShown] = useState(NOTHING);
  useEffect(() => {
    setShown(NOTHING);
    if (id === undefined) return;
    const stop = new AbortController();
    let graph: Graph | null = null;
    let past: GraphCounts[] = [];
    let fresh = false;
    const show = () => {
      if (!fresh) return;
      fresh = false;
      const counts = past.at(-1) ?? null;
      setShown({ graph, counts, before: past.length > 1 ? (past[0] ?? null) : null, error: null });
    };
    const beat = setInterval(show, BEAT);
    follow(`/api/v1/runs/${encodeURIComponent(id)}/graph`, {
      signal: stop.signal,
      onEvent: ({ event, data }) => {
        fresh = true;
        if (event === 'graph') graph = data as Graph;
        else if (event === 'counts') {
          past = within(past, data as GraphCounts);
          // The first at once.
          if (past.length === 1) show();
        }
      },
    })
      .then(show, (error: unknown) => setShown((old) => ({ ...old, error })))
      .finally(() => clearInterval(beat));
    return () => {
      stop.abort();
      clearInterval(beat);
    };
  }, [id]);
  return shown;
}

/** What is needed for a rate: the newest counts, and those of the span before them. */
function within(past: GraphCounts[], next: GraphCounts): GraphCounts[] {
  const from = Date.parse(next.at) - SPAN;
  const first = past.findLastIndex(({ at }) => Date.parse(at) <= from);
  return [...past.slice(Math.max(first, 0)), next];
}
