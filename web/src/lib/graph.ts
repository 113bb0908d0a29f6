import type { Graph } from '@/api/jobs';
import type { Run } from '@/api/runs';
import type { GraphBox, GraphLine } from '@/ui/Graph';
import { count } from './format';
import { total } from './runs';

/** Options that say best what a node is about, the most telling first. */
const TELLING = ['tables', 'table', 'path', 'topic', 'topics', 'subject', 'queue', 'url', 'bucket', 'collection', 'collections', 'sql', 'query', 'condition', 'columns'];

function detailOf({ kind, options, connection }: Graph['nodes'][number]): string {
  const given = options as Record<string, unknown>;
  const option = TELLING.map((name) => given[name]).find((value) => typeof value === 'string' || Array.isArray(value));
  const words = Array.isArray(option) ? option.filter((one) => typeof one === 'string').join(', ') : option;
  return [kind, connection, words].filter((part): part is string => typeof part === 'string' && part !== '').join(' · ').slice(0, 200);
}

export const boxesOf = (graph: Graph): GraphBox[] => graph.nodes.map((node) => ({ id: node.name, title: node.name, detail: detailOf(node), role: node.role }));

/**
 * The edges with the counts of a run. A run counts by stream, not by node, so a count stands only where it can be of one edge: rows read behind
 * the only source, rows written before the only sink.
 */
export function linesOf(graph: Graph, run: Run | undefined): GraphLine[] {
  const named = (role: string) => graph.nodes.filter((node) => node.role === role).map((node) => node.name);
  const [sources, sinks] = [named('source'), named('sink')];
  const counts = run === undefined ? null : total(run.streams);
  const busy = run?.status === 'running';
  return graph.edges.map(({ from, to, port }) => {
    const direct = sources.includes(from) && sinks.includes(to);
    const parts = [port ?? null];
    if (counts !== null && sources.length === 1 && from === sources[0] && !(direct && sinks.length === 1)) parts.push(`${count(counts.rows_read)} read`);
    else if (counts !== null && sinks.length === 1 && to === sinks[0]) parts.push(`${count(counts.rows_written)} written`);
    const label = parts.filter((part) => part !== null).join(' · ');
    return { from, to, busy, ...(label === '' ? {} : { label }) };
  });
}
