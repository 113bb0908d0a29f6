// Writes src/api/generated.ts from docs/openapi.json; with --check only compares, and fails when they differ.
import { readFile, writeFile } from 'node:fs/promises';
import openapiTS, { astToString } from 'openapi-typescript';

const document = new URL('../../docs/openapi.json', import.meta.url);
const target = new URL('../src/api/generated.ts', import.meta.url);

const head = '// Generated from docs/openapi.json by `npm run api`. Do not edit.\n\n';
const text = head + astToString(await openapiTS(document, { alphabetize: true }));
if (process.argv.includes('--check')) {
  if ((await readFile(target, 'utf8').catch(() => '')) !== text) {
    console.error('src/api/generated.ts is not what docs/openapi.json says: run `npm run api`');
    process.exit(1);
  }
} else {
  await writeFile(target, text);
}
