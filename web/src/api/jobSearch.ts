import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { answer, client } from './client';

/** The first jobs that have this in their name, for choosing one. */
export const useJobSearch = (name: string) =>
  useQuery({
    queryKey: ['jobs', 'search', name],
    queryFn: () =>
      answer(client.GET('/api/v1/jobs', { params: { query: { limit: 20, ...(name === '' ? {} : { name: name.slice(0, 200) }) } } })),
    placeholderData: keepPreviousData,
  });
