import { useInfiniteQuery, useMutation, useQueryClient } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { pageOf } from './pages';

export type Principal = Schemas['Principal'];
export type Token = Schemas['Token'];

export const usePrincipals = () =>
  useInfiniteQuery({
    queryKey: ['principals'],
    queryFn: ({ pageParam }) => answer(client.GET('/api/v1/principals', { params: { query: pageOf(pageParam) } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const useTokens = () =>
  useInfiniteQuery({
    queryKey: ['tokens'],
    queryFn: ({ pageParam }) => answer(client.GET('/api/v1/tokens', { params: { query: pageOf(pageParam) } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** What can be done with users, service accounts and their tokens. */
export function useAccessActions() {
  const queries = useQueryClient();
  const onSuccess = () => {
    for (const key of ['principals', 'tokens']) void queries.invalidateQueries({ queryKey: [key] });
  };
  return {
    createPrincipal: useMutation({
      mutationFn: (body: Schemas['NewPrincipal']) => answer(client.POST('/api/v1/principals', { body })),
      onSuccess,
    }),
    updatePrincipal: useMutation({
      mutationFn: ({ of, body }: { of: Principal; body: Schemas['PrincipalUpdate'] }) =>
        answer(
          client.PUT('/api/v1/principals/{principal_id}', {
            params: { path: { principal_id: of.id }, header: { 'If-Match': `"${of.version}"` } },
            body,
          }),
        ),
      onSuccess,
    }),
    deletePrincipal: useMutation({
      mutationFn: (id: string) => answer(client.DELETE('/api/v1/principals/{principal_id}', { params: { path: { principal_id: id } } })),
      onSuccess,
    }),
    createToken: useMutation({ mutationFn: (body: Schemas['NewTokenBody']) => answer(client.POST('/api/v1/tokens', { body })), onSuccess }),
    revokeToken: useMutation({
      mutationFn: (id: string) => answer(client.DELETE('/api/v1/tokens/{token_id}', { params: { path: { token_id: id } } })),
      onSuccess,
    }),
  };
}
