import type { Diagnostic } from '@codemirror/lint';
import type { Text } from '@codemirror/state';
import type { ProblemPart } from '@/api/refusal';

/** A problem at its place: from the column that the checker names to the end of the word there. Columns count characters, the editor counts UTF-16. */
export function marked(problem: ProblemPart, doc: Text): Diagnostic[] {
  const line = doc.line(Math.min(Math.max(problem.line ?? 1, 1), doc.lines));
  const before = [...line.text].slice(0, Math.max((problem.column ?? 1) - 1, 0)).join('').length;
  const from = line.from + Math.min(before, line.length);
  const word = /^[^\s:,{}[\]#]+/.exec(line.text.slice(before))?.[0] ?? line.text.slice(before, before + 1);
  const message = [problem.message, problem.help].filter(Boolean).join('\n');
  return [
    {
      from,
      to: Math.min(from + word.length, line.to),
      severity: problem.severity === 'warning' ? 'warning' : 'error',
      message,
      source: problem.code ?? undefined,
    },
  ];
}
