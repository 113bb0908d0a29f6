import { useQuery } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';

export type Setting = Schemas['Setting'];

export const useConfig = () => useQuery({ queryKey: ['config'], queryFn: () => answer(client.GET('/api/v1/config')), staleTime: Infinity });
