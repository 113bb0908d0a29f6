import { useQuery } from '@tanstack/react-query';
import { answer, client } from './client';

export interface Connector {
  name: string;
  aliases: string[];
  summary: string;
  is_source: boolean;
  is_sink: boolean;
}

/** The connectors of this program. */
export const useConnectors = () =>
  useQuery({
    queryKey: ['connectors'],
    queryFn: async () => (await answer(client.GET('/api/v1/connectors'))).items as unknown as Connector[],
    staleTime: Infinity,
  });
