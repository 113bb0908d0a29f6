import { infiniteQueryOptions, queryOptions, useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { SOON } from './queries';

export type Run = Schemas['Run'];
export type RunStatus = Schemas['RunStatus'];
export type LogLine = Schemas['LogLine'];
export type StreamCounts = Schemas['StreamCounts'];

export const RUN_STATUSES: RunStatus[] = ['queued', 'running', 'succeeded', 'failed', 'cancelled', 'skipped'];

/** Orders of a listing; `-`: the largest first. */
export const RUN_SORTS = ['started_at', '-started_at', 'duration', '-duration', 'rows_written', '-rows_written', 'status', '-status', 'job_name', '-job_name'] as const;
export type RunSort = (typeof RUN_SORTS)[number];

/** Nothing more will happen with it. */
export const isOver = (status: RunStatus) => status !== 'queued' && status !== 'running';

export interface RunFilter {
  job_id?: string;
  status?: RunStatus;
  since?: string;
  sort?: RunSort;
}

/** Runs, newest first unless the filter says otherwise, a page at a time. */
export const runsQuery = (filter: RunFilter, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ['runs', 'list', filter, limit],
    queryFn: ({ pageParam }) =>
      answer(client.GET('/api/v1/runs', { params: { query: { limit, ...filter, ...(pageParam === '' ? {} : { cursor: pageParam }) } } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    // Another order of the same: what is there stays until it comes. Runs of another pipeline do not.
    placeholderData: (old, before) => ((before?.queryKey[2] as RunFilter | undefined)?.job_id === filter.job_id ? old : undefined),
    // Who has scrolled far does not want all of it asked for again.
    refetchInterval: ({ state }) => ((state.data?.pages.length ?? 0) > 3 ? false : SOON),
  });

export const useRuns = (filter: RunFilter, limit?: number) => useInfiniteQuery(runsQuery(filter, limit));

export const runQuery = (id: string) =>
  queryOptions({
    queryKey: ['runs', 'one', id],
    queryFn: () => answer(client.GET('/api/v1/runs/{run_id}', { params: { path: { run_id: id } } })),
  });

/** A run; while it goes on it is asked for again. Its page is told of every change by the stream. */
export const useRun = (id: string) =>
  useQuery({
    ...runQuery(id),
    enabled: id !== '',
    refetchInterval: (query) => (query.state.data === undefined || isOver(query.state.data.status) ? false : SOON),
  });

export const runActions = {
  cancel: (id: string) => answer(client.POST('/api/v1/runs/{run_id}/cancel', { params: { path: { run_id: id } } })),
  retry: (id: string) => answer(client.POST('/api/v1/runs/{run_id}/retry', { params: { path: { run_id: id } } })),
};

/** A change of a run as a mutation. */
export function useRunAction<T>(act: (id: string) => Promise<T>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSettled: () => {
      for (const key of ['runs', 'dashboard']) void queries.invalidateQueries({ queryKey: [key] });
    },
  });
}
