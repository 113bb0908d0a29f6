import type { Run, StreamCounts } from '@/api/runs';

export type Counts = Omit<StreamCounts, 'name'>;

const NOTHING: Counts = { rows_read: 0, rows_written: 0, rows_filtered: 0, rows_dead: 0, bytes_read: 0, bytes_written: 0 };

/** All streams together. */
export function total(streams: StreamCounts[]): Counts {
  return streams.reduce(
    (sum, one) => ({
      rows_read: sum.rows_read + one.rows_read,
      rows_written: sum.rows_written + one.rows_written,
      rows_filtered: sum.rows_filtered + one.rows_filtered,
      rows_dead: sum.rows_dead + one.rows_dead,
      bytes_read: sum.bytes_read + one.bytes_read,
      bytes_written: sum.bytes_written + one.bytes_written,
    }),
    NOTHING,
  );
}

/** How long the newest attempt took, or takes until now; NaN before it began. */
export function seconds(run: Pick<Run, 'started_at' | 'ended_at'>, now = Date.now()): number {
  if (!run.started_at) return Number.NaN;
  return ((run.ended_at ? Date.parse(run.ended_at) : now) - Date.parse(run.started_at)) / 1_000;
}

/** A row of the engine's report about a stream. */
export interface StreamReport extends StreamCounts {
  rows_derived?: number;
  rows_late?: number;
  places?: string[];
  objects?: number;
  schema?: { name: string; type: string; nullable?: boolean }[];
}

export interface Report {
  status: string;
  guarantee: string;
  duration_ms: number;
  checkpoint: number | null;
  warnings: string[];
  streams: StreamReport[];
  /** Of a run that takes dead letters once more. */
  replay: Replay | null;
}

/** What became of the dead letters that were chosen. */
export interface Replay {
  /** Their rows are written. */
  through: number;
  /** They could not be processed this time either. */
  waiting: number;
  /** A later run has replaced all that their run wrote. */
  replaced: number;
  /** Why those that wait do, of the first of them. */
  reasons: { letter: number; reason: string }[];
}

function replayOf(told: unknown): Replay | null {
  if (typeof told !== 'object' || told === null) return null;
  const replay = told as Partial<Replay>;
  const reasons = Array.isArray(replay.reasons) ? replay.reasons : [];
  return {
    through: Number(replay.through ?? 0),
    waiting: Number(replay.waiting ?? 0),
    replaced: Number(replay.replaced ?? 0),
    reasons: reasons.map(({ letter, reason }) => ({ letter: Number(letter), reason: String(reason) })),
  };
}

/** The engine's report, as far as it has the shape that these pages know. */
export function reportOf(run: Pick<Run, 'report'>): Report | null {
  const report = run.report as Partial<Report> | null | undefined;
  if (typeof report !== 'object' || report === null) return null;
  return {
    status: String(report.status ?? ''),
    guarantee: String(report.guarantee ?? ''),
    duration_ms: Number(report.duration_ms ?? 0),
    checkpoint: report.checkpoint ?? null,
    warnings: Array.isArray(report.warnings) ? report.warnings.map(String) : [],
    streams: Array.isArray(report.streams) ? report.streams : [],
    replay: replayOf(report.replay),
  };
}

/** Rows that are nowhere: `read + derived` less all that became of them. Not zero = the balance does not come out (yet). */
export function missing(stream: StreamCounts & { rows_derived?: number }): number {
  return stream.rows_read + (stream.rows_derived ?? 0) - stream.rows_written - stream.rows_filtered - stream.rows_dead;
}

export interface RunError {
  code: string;
  kind?: string;
  message: string;
  place?: string | null;
  cause?: string | null;
  hint?: string | null;
}

export function errorOf(run: Pick<Run, 'error'>): RunError | null {
  const error = run.error as Partial<RunError> | null | undefined;
  if (typeof error !== 'object' || error === null) return null;
  return { ...error, code: String(error.code ?? ''), message: String(error.message ?? 'it failed') };
}
