// Puts a brotli and a gzip form beside each file of dist that gets smaller by it; the server sends what the browser takes.
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const forms = [
  ['.br', (bytes) => promisify(brotliCompress)(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } })],
  ['.gz', (bytes) => promisify(gzip)(bytes, { level: 9 })],
];

for (const entry of await readdir(dist, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath ?? entry.path, entry.name);
  if (!entry.isFile() || !/\.(js|css|html|svg|json)$/.test(entry.name) || path.includes('.vite')) continue;
  const bytes = await readFile(path);
  for (const [ending, compress] of forms) {
    const small = await compress(bytes);
    if (small.length < bytes.length) await writeFile(path + ending, small);
    else await rm(path + ending, { force: true });
  }
}
