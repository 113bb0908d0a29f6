import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { answer, client } from './client';

/** What a schedule says, and its next fires. */
export const useSchedulePreview = (cron: string, timezone: string, count = 5) =>
  useQuery({
    queryKey: ['schedules', cron, timezone, count],
    queryFn: () => answer(client.GET('/api/v1/schedules/preview', { params: { query: { cron, timezone, count } } })),
    enabled: cron !== '',
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    retry: false,
  });
