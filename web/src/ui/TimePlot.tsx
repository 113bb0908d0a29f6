import 'uplot/dist/uPlot.min.css';
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import type { Series, TimeChartProps } from './TimeChart';
import classes from './TimePlot.module.css';

/** One set of moments for all series, as the library wants it. */
export function aligned(series: Series[]): uPlot.AlignedData {
  const tables = series.map(({ points }): uPlot.AlignedData => [points.map(([at]) => at), points.map(([, value]) => value)]);
  if (tables.length === 0) return [[]];
  return uPlot.join(tables);
}

export default function TimePlot({ label, series, format, from, to, height = 120 }: TimeChartProps) {
  const scheme = useComputedColorScheme('light');
  const { ref, width } = useElementSize();
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const words = useRef(format);
  words.current = format;
  const shape = series.map(({ name, tone }) => `${name}\t${tone ?? ''}`).join('\n');

  useEffect(() => {
    const place = host.current;
    if (place === null || width === 0) return;
    const style = getComputedStyle(place);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const strokes = [color('--weir-busy'), color('--weir-warning'), color('--weir-bad')];
    const axis = { stroke: color('--mantine-color-dimmed'), grid: { stroke: color('--mantine-color-default-border'), width: 1 }, ticks: { show: false }, font: '11px system-ui' };
    const made = new uPlot(
      {
        width,
        height,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { range: () => [from, to] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [{ ...axis, size: 24, values: (_, ticks, __, ___, step) => ticks.map((tick) => clock(tick, step)) }, { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => words.current(tick)) }],
        series: [{}, ...shape.split('\n').map((one, index) => {
          const [name = '', tone = ''] = one.split('\t');
          const stroke = tone === '' ? strokes[index % strokes.length] : color(`--weir-${tone}`);
          return { label: name, stroke: stroke ?? 'gray', width: 1.5, spanGaps: true, points: { size: 4 } };
        })],
        hooks: { setCursor: [(self) => tell(self, place, words.current)] },
      },
      aligned(series),
      place,
    );
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
    // The data are set below; making the plot anew for each of them would lose the cursor.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [scheme, width, height, shape, from, to]);

  useEffect(() => {
    plot.current?.setData(aligned(series));
  }, [series]);

  const last = series.map(({ name, points }) => `${name}: ${points.length === 0 ? 'no values' : `last ${format(points.at(-1)?.[1] ?? 0)}`}`).join('; ');
  return (
    <div ref={ref}>
      <div ref={host} className={classes.plot} role="img" aria-label={`${label}. ${last}`} style={{ height }} />
    </div>
  );
}

/** A tick of the time axis: the day where one begins, else the minute. */
function clock(tick: number, step: number): string {
  const at = new Date(tick * 1_000);
  const midnight = at.getHours() === 0 && at.getMinutes() === 0;
  return midnight || step >= 86_400
    ? at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })
    : at.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
}

/** The value under the pointer, above the plot. */
function tell(plot: uPlot, place: HTMLElement, format: (value: number) => string) {
  const index = plot.cursor.idx;
  if (index === null || index === undefined) {
    delete place.dataset.value;
    return;
  }
  const at = plot.data[0][index];
  const values = plot.series.slice(1).map((one, series) => {
    const value = plot.data[series + 1]?.[index];
    return typeof value === 'number' ? `${plot.series.length > 2 ? `${String(one.label)} ` : ''}${format(value)}` : null;
  });
  const time = at === undefined ? '' : new Date(at * 1_000).toLocaleString('en-GB', { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
  place.dataset.value = `${time}  ${values.filter((value) => value !== null).join(' · ')}`;
}
