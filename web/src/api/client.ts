import createClient, { type Middleware } from 'openapi-fetch';
import type { components, paths } from './generated';
import { Refusal, Unreachable, problemOf } from './refusal';
import { session } from './session';

export type Schemas = components['schemas'];

/** Headers by which the server knows who asks, and for which tenant. */
export function credentials(): Record<string, string> {
  const { token, tenant } = session.get();
  return {
    ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
    ...(tenant === null ? {} : { 'X-Tenant-Id': tenant }),
  };
}

const signed: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of Object.entries(credentials())) request.headers.set(name, value);
  },
};

/** The API, typed by docs/openapi.json. Only the query files of this folder use it. */
export const client = createClient<paths>({ baseUrl: window.location.origin, credentials: 'omit' });
client.use(signed);

interface Call<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The answer's body, or a thrown `Refusal` or `Unreachable`. A token that is refused ends the session. */
export async function answer<T>(call: Promise<Call<T>>): Promise<T> {
  let done: Call<T>;
  try {
    done = await call;
  } catch (error) {
    throw error instanceof TypeError ? new Unreachable() : error;
  }
  if (!done.response.ok) throw refused(problemOf(done.error, done.response));
  return done.data as T;
}

/** The refusal to throw; the session ends if it was for its token. */
export function refused(problem: Refusal['problem']): Refusal {
  if (problem.status === 401 && session.get().token !== null) session.end('The token was refused: it is wrong, expired or revoked.');
  return new Refusal(problem);
}
