import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** One browser and one server at a time: two cores are shared with what is measured. A busy machine may starve a page once; a second failure is a failure. */
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: { environment: 'node', include: ['*.e2e.ts'], fileParallelism: false, testTimeout: 60_000, hookTimeout: 90_000, bail: 0, retry: 1 },
});
