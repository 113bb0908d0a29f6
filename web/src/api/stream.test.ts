import { afterEach, expect, it, vi } from 'vitest';
import { Refusal } from './refusal';
import { session } from './session';
import { type StreamEvent, follow } from './stream';

afterEach(() => {
  vi.unstubAllGlobals();
  session.end();
});

const body = (text: string) => new Response(text, { status: 200 });

it('goes on where it broke off, with the token as a header, until the end', async () => {
  session.begin('weir_secret', false);
  const asked: Record<string, string>[] = [];
  const answers = [body('id: 1\nevent: log\ndata: {"a":1}\n\n: still here\n\n'), body('id: 2\nevent: log\ndata: {"a":2}\n\nevent: end\ndata: {}\n\n')];
  vi.stubGlobal('fetch', (_: string, init: { headers: Record<string, string>; credentials: string }) => {
    asked.push({ ...init.headers, credentials: init.credentials });
    return Promise.resolve(answers.shift());
  });
  const events: StreamEvent[] = [];
  await follow('/x', { signal: new AbortController().signal, onEvent: (event) => events.push(event) });
  expect(events.map(({ event, data }) => [event, data])).toEqual([['log', { a: 1 }], ['log', { a: 2 }]]);
  expect(asked.map((headers) => headers['Last-Event-ID'])).toEqual([undefined, '1']);
  expect(asked[0]).toMatchObject({ Authorization: 'Bearer weir_secret', credentials: 'omit' });
});

it('does not ask again what was refused, and a refused token ends the session', async () => {
  session.begin('weir_old', false);
  const problem = { type: 'x', title: '', status: 401, detail: 'no', code: 'WEIR-API-020', instance: '' };
  const fetched = vi.fn(() => Promise.resolve(new Response(JSON.stringify(problem), { status: 401 })));
  vi.stubGlobal('fetch', fetched);
  await expect(follow('/x', { signal: new AbortController().signal, onEvent: () => undefined })).rejects.toBeInstanceOf(Refusal);
  expect(fetched).toHaveBeenCalledTimes(1);
  expect(session.get().token).toBeNull();
  expect(session.get().ended).toContain('refused');
});

it('ends with its signal', async () => {
  const stop = new AbortController();
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('away')));
  const ended = follow('/x', { signal: stop.signal, onEvent: () => undefined });
  stop.abort();
  await expect(ended).resolves.toBeUndefined();
});
