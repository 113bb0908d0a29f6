import { QueryClient } from '@tanstack/react-query';
import { statusOf } from './refusal';

/** One cache for all pages. Only what a second try may mend is tried again. */
export function newQueryClient() {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        retry: (failures, error) => failures < 2 && (statusOf(error) ?? 503) >= 500,
      },
    },
  });
}

/** How often pages that show the present ask again, ms. */
export const SOON = 5_000;
export const LATER = 30_000;
