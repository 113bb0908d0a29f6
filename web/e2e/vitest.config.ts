import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const BARS = 'bars.e2e.ts';

/**
 * Two files at a time, each with a program and a browser of its own: there are two cores. What measures comes after them, alone. A busy machine may starve a page once; a second
 * failure is a failure.
 */
export default defineConfig({
  test: {
    root: fileURLToPath(new URL('.', import.meta.url)),
    environment: 'node',
    testTimeout: 60_000,
    hookTimeout: 90_000,
    bail: 0,
    retry: 1,
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'pages', include: ['*.e2e.ts'], exclude: [BARS], sequence: { groupOrder: 1 } } },
      { extends: true, test: { name: 'bars', include: [BARS], sequence: { groupOrder: 2 } } },
    ],
  },
});
