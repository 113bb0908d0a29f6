import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { pageOf } from './pages';

export type DeadLetter = Schemas['DeadLetter'];
export type DeadLetterKind = Schemas['DeadLetterKind'];
export type DeadLetterState = Schemas['DeadLetterState'];
export type DeadLetterChoice = Schemas['DeadLetterChoice'];
export type LetterRecord = Schemas['LetterRecord'];

export const LETTER_STATES: DeadLetterState[] = ['waiting', 'replayed', 'discarded'];

export interface LetterFilter {
  state: DeadLetterState;
  run_id?: string;
  stream?: string;
  code?: string;
  sink?: string;
  since?: string;
}

const KEY = 'dead letters';

/** Dead letters of a job, newest first. Each question is a process at the server, so it is not asked again by itself. */
export const useDeadLetters = (job: string, filter: LetterFilter) =>
  useInfiniteQuery({
    queryKey: [KEY, job, 'list', filter],
    queryFn: ({ pageParam }) =>
      answer(client.GET('/api/v1/jobs/{job_id}/dead-letters', { params: { path: { job_id: job }, query: { ...filter, ...pageOf(pageParam) } } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    staleTime: 30_000,
  });

export const useDeadLetter = (job: string, letter: number) =>
  useQuery({
    queryKey: [KEY, job, 'one', letter],
    queryFn: () => answer(client.GET('/api/v1/jobs/{job_id}/dead-letters/{letter}', { params: { path: { job_id: job, letter } } })),
    staleTime: 30_000,
  });

/** What can be done with the dead letters of a job. */
export const letterActions = {
  correct: (job: string, letter: number, record: string) =>
    answer(client.PUT('/api/v1/jobs/{job_id}/dead-letters/{letter}', { params: { path: { job_id: job, letter } }, body: { record } })),
  replay: (job: string, letters: DeadLetterChoice) =>
    answer(client.POST('/api/v1/jobs/{job_id}/dead-letters/replay', { params: { path: { job_id: job } }, body: letters })),
  discard: (job: string, letters: DeadLetterChoice, reason: string) =>
    answer(client.POST('/api/v1/jobs/{job_id}/dead-letters/discard', { params: { path: { job_id: job } }, body: { letters, reason } })),
};

/** A change of dead letters as a mutation. Afterwards everything that shows them is asked for again. */
export function useLetterAction<A extends unknown[], T>(act: (...args: A) => Promise<T>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (args: A) => act(...args),
    onSettled: () => {
      for (const key of [KEY, 'runs', 'jobs', 'dashboard']) void queries.invalidateQueries({ queryKey: [key] });
    },
  });
}
