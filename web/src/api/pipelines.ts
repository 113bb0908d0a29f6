import { keepPreviousData, queryOptions, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { Schema } from '@/lib/schema';
import { type Schemas, answer, client } from './client';

export type Validation = Schemas['Validation'];
export type JobEnvelope = Schemas['JobEnvelope'];

/** A pipeline file as it is, so that the places that the server tells are places in this text. */
const asText = (text: string) =>
  ({ body: text as never, bodySerializer: (body: unknown) => body as string, headers: { 'Content-Type': 'application/yaml' } }) as const;

/** The JSON Schema of pipeline files. It depends on the program only. */
export const pipelineSchemaQuery = () =>
  queryOptions({
    queryKey: ['pipelines', 'schema'],
    queryFn: async () => (await answer(client.GET('/api/v1/pipelines/schema', { parseAs: 'json' }))) as unknown as Schema,
    staleTime: Infinity,
  });

export const usePipelineSchema = () => useQuery(pipelineSchemaQuery());

/** What the checker says of a text, while it is written. */
export const useValidation = (text: string) =>
  useQuery({
    queryKey: ['pipelines', 'validate', text],
    queryFn: () => answer(client.POST('/api/v1/pipelines/validate', asText(text))),
    enabled: text.trim() !== '',
    placeholderData: keepPreviousData,
    staleTime: Infinity,
    gcTime: 10_000,
  });

export interface ColumnReport {
  flow: string;
  sink: string;
  column: string;
  from: string[];
  source: string;
  arrow: string;
  sink_type: string;
  edge: 'exact' | { widening: { note: string } } | { lossy: { reason: string } } | { unsupported: { reason: string } };
  allowed: boolean;
}

/** What `weir plan --json` prints, as far as pages show it. */
export interface Plan {
  pipeline: string;
  mode: string;
  guarantee: { delivery: string; reasons: string[] };
  refused: boolean;
  columns: ColumnReport[];
  actions: string[];
  warnings: string[];
  streaming?: string[];
  recommendation: Advice | null;
}

/** Which engine a pipeline is for, and why. */
export interface Advice {
  /** Null: none can run it. */
  engine: string | null;
  why: string[];
  also: { target: string; delivery: string; bridges: string[] }[];
}

/** What a run would take. */
export type Expected = Schemas['Expected'];

/** An error of another system as the API tells it. */
export interface ToldError {
  code?: string;
  message?: string;
  /** Where it happened: a path, an address. */
  place?: string;
  cause?: string;
  hint?: string;
}

export interface PlanAnswer {
  diagnostics: Schemas['ProblemPart'][];
  plan: Plan | null;
  text: string | null;
  expected: Expected | null;
  error: ToldError | null;
}

export interface StepStream {
  stream: string;
  columns: { name: string; type: string; nullable: boolean }[];
  rows: (string | null)[][];
  masked_columns: string[];
  filtered: number;
  dead_letters: string[];
}

export interface Step {
  step: string;
  node: string;
  role: 'source' | 'transform' | 'sink';
  kind: string;
  streams: StepStream[];
  error?: ToldError;
}

export interface PreviewAnswer {
  diagnostics: Schemas['ProblemPart'][];
  steps: Step[];
  error: ToldError | null;
}

export const usePlan = () =>
  useMutation({
    mutationFn: async (text: string) => (await answer(client.POST('/api/v1/pipelines/plan', asText(text)))) as unknown as PlanAnswer,
  });

export const usePreview = () =>
  useMutation({
    mutationFn: async (text: string) =>
      (await answer(
        client.POST('/api/v1/pipelines/preview', { ...asText(text), params: { query: { limit: 20 } } }),
      )) as unknown as PreviewAnswer,
  });

export interface Save {
  /** The job that gets a new version, at the revision that was read; null: a new job. */
  job: { id: string; revision: number } | null;
  body: JobEnvelope;
}

/** Stores a pipeline: a new job, or a new version of one that nobody has changed meanwhile. */
export function useSavePipeline() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ job, body }: Save) =>
      job === null
        ? answer(client.POST('/api/v1/jobs', { body }))
        : answer(
            client.PUT('/api/v1/jobs/{job_id}', {
              params: { path: { job_id: job.id }, header: { 'If-Match': `"${job.revision}"` } },
              body,
            }),
          ),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ['jobs'] }),
  });
}
