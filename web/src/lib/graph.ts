import type { Graph } from '@/api/jobs';
import type { EdgeFlow, GraphCounts } from '@/api/runGraph';
import type { GraphBox, GraphLine } from '@/ui/Graph';
import { brief, bytes, count } from './format';

/** Options that say best what a node is about, the most telling first. */
const TELLING = ['tables', 'table', 'path', 'topic', 'topics', 'subject', 'queue', 'url', 'bucket', 'collection', 'collections', 'sql', 'query', 'condition', 'columns'];

function detailOf({ kind, options, connection }: Graph['nodes'][number]): string {
  const given = options as Record<string, unknown>;
  const option = TELLING.map((name) => given[name]).find((value) => typeof value === 'string' || Array.isArray(value));
  const words = Array.isArray(option) ? option.filter((one) => typeof one === 'string').join(', ') : option;
  return [kind, connection, words].filter((part): part is string => typeof part === 'string' && part !== '').join(' · ').slice(0, 200);
}

/** The nodes; of one that has set rows aside, how many. */
export function boxesOf(graph: Graph, counts: GraphCounts | null = null): GraphBox[] {
  return graph.nodes.map((node) => {
    const dead = counts?.nodes.find((one) => one.node === node.name)?.rows_dead ?? 0;
    return { id: node.name, title: node.name, detail: `${dead > 0 ? `${count(dead)} kept apart · ` : ''}${detailOf(node)}`, role: node.role };
  });
}

const same = (edge: EdgeFlow) => (other: { from: string; to: string; port?: string | null }) => other.from === edge.from && other.to === edge.to && (other.port ?? null) === (edge.port ?? null);

/** Rows per second of an edge since then; null: it is not known. */
export function rateOf(edge: EdgeFlow, counts: GraphCounts, before: GraphCounts | null): number | null {
  const then = before?.edges.find(same(edge))?.rows;
  if (before === null || then === undefined || then === null || edge.rows === null || edge.rows === undefined) return null;
  const seconds = (Date.parse(counts.at) - Date.parse(before.at)) / 1_000;
  return seconds > 0 && edge.rows >= then ? (edge.rows - then) / seconds : null;
}

/** The edges with what has passed them: rows, of a run that goes on with their rate. What nobody counts is said to be so when the run is over. */
export function linesOf(graph: Graph, counts: GraphCounts | null, before: GraphCounts | null = null): GraphLine[] {
  const running = counts?.run_status === 'running';
  return graph.edges.map(({ from, to, port }) => {
    const edge = counts?.edges.find((one) => same(one)({ from, to, port: port ?? null }));
    const parts: string[] = port ? [port] : [];
    let about: string | undefined;
    if (counts !== null && edge?.rows !== null && edge?.rows !== undefined) {
      const rate = running ? rateOf(edge, counts, before) : null;
      parts.push(`${count(edge.rows)}${rate === null ? '' : ` · ${brief(Math.round(rate))}/s`}`);
      about = edge.bytes === null || edge.bytes === undefined ? undefined : bytes(edge.bytes);
    } else if (counts !== null && edge !== undefined && counts.run_status === 'succeeded') {
      parts.push('not counted');
    }
    return { from, to, busy: running, ...(parts.length === 0 ? {} : { label: parts.join(' · ') }), ...(about === undefined ? {} : { about }) };
  });
}
