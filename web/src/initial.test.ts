// @vitest-environment node
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';

interface Chunk {
  file: string;
  imports?: string[];
  isEntry?: boolean;
  src?: string;
}

/** What the first load may weigh, bytes of gzip. */
const MOST = 300_000;

it('the first load is light: the entry with all that it imports, and the first page', async () => {
  const dist = new URL('../dist/', import.meta.url);
  const manifest = JSON.parse(await readFile(new URL('.vite/manifest.json', dist), 'utf8')) as Record<string, Chunk>;
  const wanted = Object.keys(manifest).filter((key) => manifest[key]?.isEntry === true || key.endsWith('OverviewPage.tsx'));
  expect(wanted).toHaveLength(2);
  const files = new Set<string>();
  const take = (key: string) => {
    const chunk = manifest[key];
    if (chunk === undefined || files.has(chunk.file)) return;
    files.add(chunk.file);
    chunk.imports?.forEach(take);
  };
  wanted.forEach(take);
  const sizes = await Promise.all([...files].map(async (file) => [file, gzipSync(await readFile(new URL(file, dist))).length] as const));
  const whole = sizes.reduce((sum, [, size]) => sum + size, 0);
  expect(whole, JSON.stringify(sizes)).toBeLessThan(MOST);
  // The heavy libraries are of pages that need them.
  for (const heavy of ['TimePlot', 'Flow', 'CodeViewer']) {
    const chunk = manifest[`src/ui/${heavy}.tsx`];
    expect(chunk, heavy).toBeDefined();
    expect(files.has(chunk?.file ?? ''), heavy).toBe(false);
  }
});
