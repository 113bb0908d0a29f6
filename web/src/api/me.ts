import { queryOptions, useQuery } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';

export type Me = Schemas['Me'];
export type Role = Schemas['Role'];

export const meQuery = () =>
  queryOptions({
    queryKey: ['me'],
    queryFn: () => answer(client.GET('/api/v1/me')),
    staleTime: 60_000,
  });

export const useMe = () => useQuery(meQuery());

/** Asks the server whether it knows a token, before anything is kept of it. */
export const checkToken = (token: string) => answer(client.GET('/api/v1/me', { headers: { Authorization: `Bearer ${token}` } }));

const RANKS: Role[] = ['viewer', 'operator', 'editor', 'admin', 'platform-admin'];

/** Whether the caller has at least the role. What pages offer hangs on it; the server decides. */
export function useMay(role: Role): boolean {
  const { data } = useMe();
  return data !== undefined && reaches(data.role, role);
}

/** Whether a role includes another. */
export const reaches = (role: Role, needed: Role) => RANKS.indexOf(role) >= RANKS.indexOf(needed);
