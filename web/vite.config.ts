import react from '@vitejs/plugin-react';
import { fileURLToPath } from 'node:url';
import type { ProxyOptions } from 'vite';
import { defineConfig } from 'vitest/config';

/** Where `npm run dev` finds a server: `weir serve --dev` by default. */
const server = process.env.WEIR_SERVER ?? 'http://127.0.0.1:8080';

/** A server with `--dev` takes requests without a token only from its own pages, so these must look like them. */
const proxied: ProxyOptions = {
  target: server,
  changeOrigin: true,
  configure: (proxy) => proxy.on('proxyReq', (request) => request.removeHeader('origin')),
};

export default defineConfig({
  plugins: [react()],
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  server: {
    proxy: Object.fromEntries(['/api', '/health', '/readyz', '/openapi.json', '/docs'].map((path) => [path, proxied])),
  },
  build: {
    // The test of the initial size reads it; the server does not serve it.
    manifest: true,
    // scripts/clean.mjs does it.
    emptyOutDir: false,
    // A data: URL would need an exception in the content security policy.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
  },
  test: { environment: 'jsdom', include: ['src/**/*.test.{ts,tsx}'], setupFiles: ['src/testing.ts'] },
});
