/** Every URL of these pages, and nowhere else. */
export const paths = {
  overview: '/',
  pipelines: '/pipelines',
  newPipeline: '/pipelines/new',
  pipeline: (job: string, tab?: string) => `/pipelines/${encodeURIComponent(job)}${tab === undefined ? '' : `/${tab}`}`,
  deadLettersOf: (job: string, run: string) => `/pipelines/${encodeURIComponent(job)}/dead-letters?run=${encodeURIComponent(run)}`,
  editPipeline: (job: string) => `/pipelines/${encodeURIComponent(job)}/edit`,
  runs: '/runs',
  run: (run: string, tab?: string) => `/runs/${encodeURIComponent(run)}${tab === undefined ? '' : `/${tab}`}`,
  compareRuns: (a: string, b: string) => `/runs/compare?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`,
  connections: '/connections',
  newConnection: '/connections/new',
  connection: (id: string) => `/connections/${encodeURIComponent(id)}`,
  monitoring: '/monitoring',
  monitoringPart: (part: string, job?: string) => `/monitoring/${part}${job === undefined ? '' : `?job=${encodeURIComponent(job)}`}`,
  admin: (part?: string) => (part === undefined ? '/admin' : `/admin/${part}`),
  /** Served by the program beside these pages. */
  apiDocs: '/docs',
} as const;
