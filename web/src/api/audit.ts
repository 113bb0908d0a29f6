import { useInfiniteQuery, useMutation } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { pageOf } from './pages';

export type AuditRow = Schemas['AuditRow'];

export interface AuditFilter {
  action?: string;
  actor?: string;
}

export const useAudit = (filter: AuditFilter) =>
  useInfiniteQuery({
    queryKey: ['audit', filter],
    queryFn: ({ pageParam }) => answer(client.GET('/api/v1/audit', { params: { query: { ...pageOf(pageParam), ...filter } } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** Checks the whole chain. It reads every row, so it is asked for, not shown by itself. */
export const useVerifyAudit = () => useMutation({ mutationFn: () => answer(client.GET('/api/v1/audit/verify')) });
