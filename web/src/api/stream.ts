import { createParser } from 'eventsource-parser';
import { credentials, refused } from './client';
import { Unreachable, problemOf } from './refusal';

export interface StreamEvent {
  id: string | undefined;
  event: string;
  data: unknown;
}

interface Options {
  /** Cancelled when nobody looks any more. */
  signal: AbortSignal;
  onEvent: (event: StreamEvent) => void;
  /** The connection is there (true) or is being made again (false). */
  onConnected?: (connected: boolean) => void;
  /** Go on after this event. */
  after?: string;
}

/** Waits before the connection is made again, ms. */
const WAITS = [500, 1_000, 2_000, 5_000];

/**
 * Follows an event stream until its `end` event or the signal. A broken connection is made again where it broke off. The browser's own
 * EventSource cannot send the token as a header.
 */
export async function follow(path: string, { signal, onEvent, onConnected, after }: Options): Promise<void> {
  let last = after;
  let tries = 0;
  while (!signal.aborted) {
    try {
      const over = await once(path, last, signal, (event) => {
        last = event.id ?? last;
        tries = 0;
        onEvent(event);
      }, onConnected);
      if (over) return;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Unreachable)) throw error;
    }
    onConnected?.(false);
    await pause(WAITS[Math.min(tries++, WAITS.length - 1)] ?? 0, signal);
  }
}

async function once(path: string, last: string | undefined, signal: AbortSignal, onEvent: (event: StreamEvent) => void, onConnected?: (connected: boolean) => void) {
  const headers = { ...credentials(), Accept: 'text/event-stream', ...(last === undefined ? {} : { 'Last-Event-ID': last }) };
  const response = await fetch(path, { headers, signal, credentials: 'omit' }).catch(() => {
    throw new Unreachable();
  });
  if (response.status >= 500 || response.body === null) throw new Unreachable();
  if (!response.ok) throw refused(problemOf(await response.json().catch(() => null), response));
  onConnected?.(true);
  let over = false;
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      if (event === 'end') over = true;
      else onEvent({ id, event: event ?? 'message', data: JSON.parse(data) });
    },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done || over) return over;
      parser.feed(value);
    }
  } catch {
    throw new Unreachable();
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

function pause(ms: number, signal: AbortSignal) {
  return new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
  });
}
