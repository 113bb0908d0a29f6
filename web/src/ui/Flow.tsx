import '@xyflow/react/dist/style.css';
import { Graph as Layered, layout } from '@dagrejs/dagre';
import { useComputedColorScheme } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { Controls, type Edge, Handle, MarkerType, type Node, type NodeProps, Position, ReactFlow, useReactFlow, useStore } from '@xyflow/react';
import { useEffect, useMemo } from 'react';
import classes from './Flow.module.css';
import type { GraphBox, GraphProps } from './Graph';

const WIDTH = 190;
const HEIGHT = 52;

type BoxNode = Node<GraphBox & { upright: boolean } & Record<string, unknown>, 'box'>;

function Box({ data }: NodeProps<BoxNode>) {
  return (
    <div className={classes.box} data-role={data.role} title={`${data.title}\n${data.detail}`}>
      <Handle type="target" position={data.upright ? Position.Top : Position.Left} className={classes.handle} isConnectable={false} />
      <div className={classes.title} dir="auto">
        {data.title}
      </div>
      <div className={classes.detail} dir="auto">
        {data.detail}
      </div>
      <Handle type="source" position={data.upright ? Position.Bottom : Position.Right} className={classes.handle} isConnectable={false} />
    </div>
  );
}

const nodeTypes = { box: Box };

const FIT = { maxZoom: 1, padding: 0.08 };

/** All of it is seen, also after the place has got another size. */
function Fitted() {
  const { fitView } = useReactFlow();
  const size = useStore(({ width, height }) => `${width} ${height}`);
  useEffect(() => void fitView(FIT), [size, fitView]);
  return null;
}

/** Where each box stands, and how large all of it is. */
export function placed(boxes: GraphBox[], lines: GraphProps['lines'], upright: boolean) {
  const graph = new Layered();
  graph.setGraph({ rankdir: upright ? 'TB' : 'LR', nodesep: 18, ranksep: upright ? 36 : 96, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  boxes.forEach(({ id }) => graph.setNode(id, { width: WIDTH, height: HEIGHT }));
  lines.forEach(({ from, to }) => graph.setEdge(from, to));
  layout(graph);
  const nodes = boxes.map((box): BoxNode => {
    const { x, y } = graph.node(box.id) as { x: number; y: number };
    return { id: box.id, type: 'box', position: { x: x - WIDTH / 2, y: y - HEIGHT / 2 }, data: { ...box, upright }, width: WIDTH, height: HEIGHT, draggable: false, connectable: false };
  });
  return { nodes, height: Math.max(...nodes.map(({ position }) => position.y + HEIGHT), 0) };
}

export default function Flow({ label, boxes, lines }: GraphProps) {
  const scheme = useComputedColorScheme('light');
  // On a narrow screen from top to bottom, or nobody could read it.
  const upright = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const shape = JSON.stringify([upright, boxes, lines.map(({ from, to }) => [from, to])]);
  // eslint-disable-next-line react-hooks/exhaustive-deps -- counts change each second, the places do not
  const { nodes, height } = useMemo(() => placed(boxes, lines, upright), [shape]);
  const edges = lines.map((line, index): Edge => ({
    id: `${index}`,
    source: line.from,
    target: line.to,
    // Not the library's moving dashes: they keep a core at work sixty times a second.
    ...(line.busy ? { className: classes.busy } : {}),
    markerEnd: { type: MarkerType.ArrowClosed, width: 14, height: 14 },
    focusable: false,
    ...(line.label === undefined ? {} : { label: line.label }),
  }));
  const words = lines.map((line) => `${line.from} to ${line.to}${line.label === undefined ? '' : `: ${line.label}`}${line.about === undefined ? '' : `, ${line.about}`}`).join('; ');
  return (
    <div className={classes.graph} role="figure" aria-label={`${label}: ${words}`} style={{ height: Math.min(Math.max(height + 24, 140), 460) }}>
      <ReactFlow
        key={String(upright)}
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        colorMode={scheme}
        fitView
        fitViewOptions={FIT}
        minZoom={0.1}
        nodesFocusable={false}
        nodesDraggable={false}
        nodesConnectable={false}
        elementsSelectable={false}
        zoomOnScroll={false}
        preventScrolling={false}
        proOptions={{ hideAttribution: true }}
      >
        <Fitted />
        {nodes.length > 4 && <Controls showInteractive={false} />}
      </ReactFlow>
    </div>
  );
}
