import { useEffect, useMemo } from 'react';

interface Pages<T> {
  data: { pages: { items: T[] }[] } | undefined;
  hasNextPage: boolean;
  isFetching: boolean;
  isError: boolean;
  fetchNextPage: () => unknown;
}

/** All rows of a paged listing: goes on until the last page. `complete` says whether it is there. */
export function useAll<T>(query: Pages<T>): { rows: T[]; complete: boolean } {
  const { data, hasNextPage, isFetching, isError, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetching && !isError) void fetchNextPage();
  }, [hasNextPage, isFetching, isError, fetchNextPage]);
  const rows = useMemo(() => data?.pages.flatMap((page) => page.items) ?? [], [data]);
  return { rows, complete: data !== undefined && !hasNextPage };
}
