import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** The real program, serving a folder of its own on a free port. */
export interface Program {
  url: string;
  token: string;
  /** Asks the API as the first administrator; anything but 2xx is a failure of the test. */
  api<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<T>;
  /** A file of the tenant. */
  write(path: string, text: string): Promise<void>;
  /** The lines of the files below a folder of the tenant that a reader by name would see. */
  lines(path: string): Promise<string[]>;
  /** A job from a pipeline file; its id. */
  job(spec: string, more?: Record<string, unknown>): Promise<string>;
  /** A run to its end. */
  run(job: string): Promise<{ id: string; status: string }>;
  /** A token of another role. */
  tokenOf(role: string): Promise<string>;
  stop(): Promise<void>;
}

const PATIENCE = 60_000;

/** Asks until it holds; fails with what it is about when it takes too long. */
export async function until<T>(about: string, ask: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`it took too long: ${about}`);
    await new Promise((again) => setTimeout(again, 50));
  }
}

export async function startProgram(environment: Record<string, string> = {}): Promise<Program> {
  const program = process.env.WEIR_PROGRAM;
  if (!program) throw new Error('WEIR_PROGRAM names the program: `cargo xtask web test` sets it');
  const data = await mkdtemp(join(tmpdir(), 'weir-web-'));
  const child = spawn(program, ['serve', '--data', data, '--listen', '127.0.0.1:0'], {
    env: { ...process.env, WEIR_EGRESS_ALLOW: '127.0.0.1', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()));
  const after = (words: string) => said.split('\n').find((line) => line.includes(words))?.split(words)[1]?.trim();
  await until(`the server says its token; it said: ${said}`, () => {
    if (child.exitCode !== null) throw new Error(`the server ended: ${said}`);
    return after('shown this once: ') !== undefined && after('weir listens on ') !== undefined;
  });
  const url = after('weir listens on ') ?? '';
  const token = after('shown this once: ') ?? '';
  const api = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const answer = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return (text === '' ? null : JSON.parse(text)) as T;
  };
  const me = await api<{ tenant_id: string }>('GET', '/api/v1/me');
  const files = join(data, 'tenants', me.tenant_id, 'files');
  return {
    url,
    token,
    api,
    async write(path, text) {
      await mkdir(dirname(join(files, path)), { recursive: true });
      await writeFile(join(files, path), text);
    },
    async lines(path) {
      const found = await readdir(join(files, path), { recursive: true, withFileTypes: true });
      const shown = found.filter((entry) => entry.isFile() && !/(^|\/)[._]/.test(join(entry.parentPath, entry.name).slice(files.length + 1)));
      const texts = await Promise.all(shown.map((entry) => readFile(join(entry.parentPath, entry.name), 'utf8')));
      return texts.flatMap((text) => text.split('\n').filter((line) => line !== ''));
    },
    async job(spec, more = {}) {
      return (await api<{ id: string }>('POST', '/api/v1/jobs', { spec, ...more })).id;
    },
    async run(job) {
      const { id } = await api<{ id: string }>('POST', `/api/v1/jobs/${job}/run`);
      return until(`run ${id} ends`, async () => {
        const run = await api<{ id: string; status: string }>('GET', `/api/v1/runs/${id}`);
        return !['queued', 'running'].includes(run.status) && run;
      });
    },
    async tokenOf(role) {
      const principal = await api<{ id: string }>('POST', '/api/v1/principals', { kind: 'user', name: `${role}@example.org`, role });
      const made = await api<{ token: string }>('POST', '/api/v1/tokens', { principal_id: principal.id, name: role });
      return made.token;
    },
    async stop() {
      await ended(child);
      await rm(data, { recursive: true, force: true });
    },
  };
}

/** A polite end; an impolite one when that takes too long. */
async function ended(child: ChildProcess) {
  if (child.exitCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await gone;
  clearTimeout(hard);
}
