import { QueryClient } from '@tanstack/react-query';
import { statusOf } from './refusal';

/** One cache for all pages. Only what a second try may mend is tried again. */
export function newQueryClient() {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        retry: (failures, error) => failures < 2 && (statusOf(error) ?? 503) >= 500,
        // After 0.4 and 0.8 s: what is not back by then is told, and can be asked for again.
        retryDelay: (failures) => 400 * 2 ** failures,
      },
    },
  });
}

/** How often pages that show the present ask again, ms. */
export const SOON = 5_000;
export const LATER = 30_000;
