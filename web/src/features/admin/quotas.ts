import type { Quotas } from '@/api/tenants';
import { brief, bytes, count, duration } from '@/lib/format';

export type QuotaName = keyof Quotas;

interface Quota {
  name: QuotaName;
  label: string;
  about: string;
  written: (value: number) => string;
}

/** A tenant that may have as much as the platform can give. */
export const UNLIMITED: Quotas = {
  max_pipelines: null,
  max_concurrent_runs: null,
  max_rows_per_day: null,
  max_bytes_per_day: null,
  max_memory_bytes_per_run: null,
  max_cpu_secs_per_run: null,
  max_storage_bytes: null,
};

/** The limits of a tenant. */
export const QUOTAS: Quota[] = [
  { name: 'max_pipelines', label: 'Pipelines', about: 'stored at the same time', written: count },
  { name: 'max_concurrent_runs', label: 'Runs at once', about: 'others wait', written: count },
  { name: 'max_rows_per_day', label: 'Rows a day', about: 'written in a UTC day', written: brief },
  { name: 'max_bytes_per_day', label: 'Bytes a day', about: 'written in a UTC day', written: bytes },
  { name: 'max_memory_bytes_per_run', label: 'Memory of a run', about: 'bytes', written: bytes },
  { name: 'max_cpu_secs_per_run', label: 'CPU time of a run', about: 'seconds', written: duration },
  { name: 'max_storage_bytes', label: 'Storage', about: 'bytes of files', written: bytes },
];
