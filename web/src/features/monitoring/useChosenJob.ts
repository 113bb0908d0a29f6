import { useSearchParams } from 'react-router';

/** The pipeline that is looked at, kept in the address. */
export function useChosenJob(): [string | null, (job: string | null) => void] {
  const [search, setSearch] = useSearchParams();
  return [search.get('job'), (job) => setSearch(job === null ? {} : { job }, { replace: true })];
}
