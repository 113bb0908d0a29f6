import { Skeleton } from '@mantine/core';
import { Suspense, lazy } from 'react';

const Viewer = lazy(() => import('./CodeViewer'));

/** A pipeline file to read; with `before`, what changed since then. */
export function Code({ text, before, label }: { text: string; before?: string; label: string }) {
  return (
    <Suspense fallback={<Skeleton h={240} />}>
      <Viewer text={text} before={before} label={label} />
    </Suspense>
  );
}
