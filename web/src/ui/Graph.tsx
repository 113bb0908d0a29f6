import { Skeleton } from '@mantine/core';
import { Suspense, lazy } from 'react';

export interface GraphBox {
  id: string;
  title: string;
  /** Below the title, in small. */
  detail: string;
  role: 'source' | 'transform' | 'sink';
}

export interface GraphLine {
  from: string;
  to: string;
  /** What stands on it: a count. */
  label?: string;
  /** More of it, for those who listen. */
  about?: string;
  /** Something flows now. */
  busy?: boolean;
}

export interface GraphProps {
  label: string;
  boxes: GraphBox[];
  lines: GraphLine[];
}

const Flow = lazy(() => import('./Flow'));

/** Boxes and what flows between them, from left to right; on a narrow screen from top to bottom. */
export function Graph(props: GraphProps) {
  return (
    <Suspense fallback={<Skeleton h={200} />}>
      <Flow {...props} />
    </Suspense>
  );
}
