import type { components } from './generated';

export type Problem = components['schemas']['Problem'];
export type ProblemPart = components['schemas']['ProblemPart'];

/** The server said no. What it said is for people; `code` is stable. */
export class Refusal extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.name = 'Refusal';
    this.problem = problem;
  }

  get status() {
    return this.problem.status;
  }
}

/** The server did not answer. */
export class Unreachable extends Error {
  constructor() {
    super('The server does not answer.');
    this.name = 'Unreachable';
  }
}

/** The problem that an answer holds; an answer of something in between (a proxy) becomes one. */
export function problemOf(body: unknown, response: Response): Problem {
  if (typeof body === 'object' && body !== null && 'code' in body && 'detail' in body) return body as Problem;
  return {
    type: 'about:blank',
    title: response.statusText,
    status: response.status,
    detail: `The answer was ${response.status} ${response.statusText}`.trim(),
    code: `HTTP-${response.status}`,
    instance: response.headers.get('x-request-id') ?? '',
  };
}

export const statusOf = (error: unknown) => (error instanceof Refusal ? error.status : undefined);
