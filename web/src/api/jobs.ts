import { infiniteQueryOptions, keepPreviousData, queryOptions, useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { LATER, SOON } from './queries';

export type Job = Schemas['Job'];
export type JobSummary = Schemas['JobSummary'];
export type JobVersion = Schemas['JobVersion'];

/** Rows of a page of a listing; the most that the API gives. */
const PAGE = 500;

/** All jobs of the tenant, page by page: `useAllJobs` goes on until the last. */
export const jobsQuery = () =>
  infiniteQueryOptions({
    queryKey: ['jobs', 'list'],
    queryFn: ({ pageParam }) => answer(client.GET('/api/v1/jobs', { params: { query: { limit: PAGE, sort: 'name', ...(pageParam === '' ? {} : { cursor: pageParam }) } } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: LATER,
  });

export const useJobPages = () => useInfiniteQuery(jobsQuery());

export const jobQuery = (id: string) =>
  queryOptions({
    queryKey: ['jobs', 'one', id],
    queryFn: () => answer(client.GET('/api/v1/jobs/{job_id}', { params: { path: { job_id: id } } })),
  });

export const useJob = (id: string) => useQuery(jobQuery(id));

export const useJobVersions = (id: string) =>
  useInfiniteQuery({
    queryKey: ['jobs', 'one', id, 'versions'],
    queryFn: ({ pageParam }) =>
      answer(
        client.GET('/api/v1/jobs/{job_id}/versions', {
          params: { path: { job_id: id }, query: { limit: 50, ...(pageParam === '' ? {} : { cursor: pageParam }) } },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const useJobMetrics = (id: string, hours: number) =>
  useQuery({
    queryKey: ['jobs', 'one', id, 'metrics', hours],
    queryFn: () =>
      answer(client.GET('/api/v1/jobs/{job_id}/metrics', { params: { path: { job_id: id }, query: { time_range_hours: hours } } })),
    refetchInterval: LATER,
    placeholderData: keepPreviousData,
  });

export const useJobJournal = (id: string, enabled: boolean) =>
  useQuery({
    queryKey: ['jobs', 'one', id, 'journal'],
    queryFn: () => answer(client.GET('/api/v1/jobs/{job_id}/journal', { params: { path: { job_id: id } } })),
    enabled,
    refetchInterval: SOON,
  });

/** How far the streams are; asking is a process at the server, so not more often than needed. */
export const useJobPositions = (id: string, enabled: boolean) =>
  useQuery({
    queryKey: ['jobs', 'one', id, 'positions'],
    queryFn: () => answer(client.GET('/api/v1/jobs/{job_id}/positions', { params: { path: { job_id: id } } })),
    enabled,
    refetchInterval: SOON,
  });

/** What can be done with a job. Afterwards everything that shows jobs or runs is asked for again. */
export const jobActions = {
  run: (id: string) => answer(client.POST('/api/v1/jobs/{job_id}/run', { params: { path: { job_id: id } } })),
  pause: (id: string) => answer(client.POST('/api/v1/jobs/{job_id}/pause', { params: { path: { job_id: id } } })),
  resume: (id: string) => answer(client.POST('/api/v1/jobs/{job_id}/resume', { params: { path: { job_id: id } } })),
  rollback: (id: string, version: number, revision: number) =>
    answer(
      client.POST('/api/v1/jobs/{job_id}/rollback', {
        params: { path: { job_id: id }, header: { 'If-Match': `"${revision}"` } },
        body: { version },
      }),
    ),
  clone: (id: string, name: string) => answer(client.POST('/api/v1/jobs/{job_id}/clone', { params: { path: { job_id: id } }, body: { name } })),
  remove: (id: string) => answer(client.DELETE('/api/v1/jobs/{job_id}', { params: { path: { job_id: id } } })),
  approve: (id: string, stream: string) =>
    answer(client.POST('/api/v1/jobs/{job_id}/journal/approve', { params: { path: { job_id: id } }, body: { stream } })),
};

/** A change of jobs as a mutation. */
export function useJobAction<A extends unknown[], T>(act: (...args: A) => Promise<T>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (args: A) => act(...args),
    onSettled: () => {
      for (const key of ['jobs', 'runs', 'dashboard']) void queries.invalidateQueries({ queryKey: [key] });
    },
  });
}

export type Graph = Schemas['Graph'];

export const useJobGraph = (id: string, version: number) =>
  useQuery({
    queryKey: ['jobs', 'one', id, 'graph', version],
    queryFn: () => answer(client.GET('/api/v1/jobs/{job_id}/graph', { params: { path: { job_id: id } } })),
    staleTime: 60_000,
  });
