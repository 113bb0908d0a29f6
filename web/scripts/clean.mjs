// Empties dist, but for the file that keeps the folder in the repository: Vite would take that too.
import { readdir, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
for (const name of await readdir(dist)) {
  if (name !== '.gitignore') await rm(dist + name, { recursive: true });
}
