import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { pageOf } from './pages';
import { LATER } from './queries';

export type Tenant = Schemas['Tenant'];
export type Quotas = Schemas['Quotas'];
export type QuotaUse = Schemas['QuotaUse'];

export const useQuotas = () =>
  useQuery({ queryKey: ['quotas'], queryFn: () => answer(client.GET('/api/v1/quotas')), refetchInterval: LATER });

export const useTenants = () =>
  useInfiniteQuery({
    queryKey: ['tenants'],
    queryFn: ({ pageParam }) => answer(client.GET('/api/v1/tenants', { params: { query: pageOf(pageParam) } })),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export function useTenantActions() {
  const queries = useQueryClient();
  const onSuccess = () => {
    for (const key of ['tenants', 'quotas']) void queries.invalidateQueries({ queryKey: [key] });
  };
  return {
    create: useMutation({ mutationFn: (body: Schemas['NewTenant']) => answer(client.POST('/api/v1/tenants', { body })), onSuccess }),
    update: useMutation({
      mutationFn: ({ of, body }: { of: Tenant; body: Schemas['TenantUpdate'] }) =>
        answer(
          client.PUT('/api/v1/tenants/{tenant_id}', {
            params: { path: { tenant_id: of.id }, header: { 'If-Match': `"${of.version}"` } },
            body,
          }),
        ),
      onSuccess,
    }),
    remove: useMutation({
      mutationFn: (of: Tenant) =>
        answer(
          client.DELETE('/api/v1/tenants/{tenant_id}', {
            params: { path: { tenant_id: of.id }, header: { 'If-Match': `"${of.version}"` } },
          }),
        ),
      onSuccess,
    }),
  };
}
