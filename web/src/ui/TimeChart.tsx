import { Skeleton } from '@mantine/core';
import { Suspense, lazy } from 'react';

export interface Series {
  name: string;
  /** Seconds since 1970 and the value, oldest first. */
  points: [number, number][];
  /** What the values mean, if they are good or bad; it gives their colour. */
  tone?: 'good' | 'bad';
}

export interface TimeChartProps {
  label: string;
  series: Series[];
  format: (value: number) => string;
  /** Seconds since 1970 that the axis covers. */
  from: number;
  to: number;
  height?: number;
}

const Plot = lazy(() => import('./TimePlot'));

/** Values over time. The library comes when the first chart is looked at. */
export function TimeChart(props: TimeChartProps) {
  return (
    <Suspense fallback={<Skeleton h={props.height ?? 120} />}>
      <Plot {...props} />
    </Suspense>
  );
}
