import type { ProblemPart } from '@/api/refusal';

/**
 * JSON with a line for each member. Only white space changes: numbers stay as they are written, however many digits they have. What is no JSON is
 * given back as it is.
 */
export function laidOut(text: string): string {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let out = '';
  let depth = 0;
  const line = () => `\n${'  '.repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === '{' || token === '[') {
      depth += 1;
      out += token + line();
    } else if (token === '}' || token === ']') {
      depth -= 1;
      out = out.endsWith(`${line()}  `) ? out.trimEnd() + token : out + line() + token;
    } else if (token === ',') out += token + line();
    else if (token === ':') out += ': ';
    else out += token;
  }
  return out;
}

/** Where in a record the problem of a column is: its line and column from 1, to mark it there. */
export function placed(problem: ProblemPart, text: string): ProblemPart {
  if (!problem.path) return problem;
  const key = JSON.stringify(problem.path);
  for (const { index } of text.matchAll(new RegExp(`${key.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\s*:`, 'g'))) {
    const before = text.slice(0, index).split('\n');
    return { ...problem, line: before.length, column: [...(before.at(-1) ?? '')].length + 1 };
  }
  return problem;
}
