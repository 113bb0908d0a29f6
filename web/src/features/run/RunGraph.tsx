import { Stack } from '@mantine/core';
import type { Run } from '@/api/runs';
import { useRunGraph } from '@/api/runGraph';
import { boxesOf, linesOf } from '@/lib/graph';
import { Graph } from '@/ui/Graph';

/** The pipeline as the run has it, with what has passed its edges; nothing if it is not kept any more. */
export function RunGraph({ run }: { run: Run }) {
  const { graph, counts, before } = useRunGraph(run.id);
  if (graph === null || graph.nodes.length === 0) return null;
  return (
    <Stack mb="sm">
      <Graph label={`Graph of the run of ${run.job_name.slice(0, 100)}`} boxes={boxesOf(graph, counts)} lines={linesOf(graph, counts, before)} />
    </Stack>
  );
}
