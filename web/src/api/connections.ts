import { infiniteQueryOptions, queryOptions, useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';

export type Connection = Omit<Schemas['Connection'], 'options'> & { options: Record<string, unknown> };
export type ConnectionTest = Schemas['ConnectionTest'];

export interface ConnectionBody {
  name: string;
  kind: string;
  options: Record<string, unknown>;
}

/** What stands in the place of a secret that is stored; sent back, the secret stays. */
export const KEPT = { set: true } as const;

export const isKept = (value: unknown) =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 1 && (value as { set?: unknown }).set === true;

const sent = (body: ConnectionBody) => body as unknown as Schemas['ConnectionBody'];

const listQuery = () =>
  infiniteQueryOptions({
    queryKey: ['connections', 'list'],
    queryFn: ({ pageParam }) =>
      answer(client.GET('/api/v1/connections', { params: { query: { limit: 500, ...(pageParam === '' ? {} : { cursor: pageParam }) } } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const useConnections = () => useInfiniteQuery(listQuery());

export const connectionQuery = (id: string) =>
  queryOptions({
    queryKey: ['connections', 'one', id],
    queryFn: async () =>
      (await answer(client.GET('/api/v1/connections/{connection_id}', { params: { path: { connection_id: id } } }))) as Connection,
  });

export const useConnection = (id: string) => useQuery(connectionQuery(id));

/** The jobs whose pipelines name a connection: the first ones, newest first. */
export const useConnectionUsers = (name: string) =>
  useQuery({
    queryKey: ['jobs', 'of-connection', name],
    queryFn: () => answer(client.GET('/api/v1/jobs', { params: { query: { connection: name, limit: 100 } } })),
  });

/** Stores a connection: a new one, or a change of the one that was read at a version. */
export function useSaveConnection() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ body, before }: { body: ConnectionBody; before: { id: string; version: number } | null }) =>
      before === null
        ? answer(client.POST('/api/v1/connections', { body: sent(body) }))
        : answer(
            client.PUT('/api/v1/connections/{connection_id}', {
              params: { path: { connection_id: before.id }, header: { 'If-Match': `"${before.version}"` } },
              body: sent(body),
            }),
          ),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ['connections'] }),
  });
}

export function useDeleteConnection() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => answer(client.DELETE('/api/v1/connections/{connection_id}', { params: { path: { connection_id: id } } })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ['connections', 'list'] }),
  });
}

/** Tries a stored connection out. */
export const useTestConnection = () =>
  useMutation({
    mutationFn: (id: string) =>
      answer(client.POST('/api/v1/connections/{connection_id}/test', { params: { path: { connection_id: id } } })),
  });

/** Tries a connection out as it stands in a form; nothing is stored. */
export const useTestDraft = () =>
  useMutation({ mutationFn: (body: ConnectionBody) => answer(client.POST('/api/v1/connections/test', { body: sent(body) })) });
