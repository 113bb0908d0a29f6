import type { LogLine } from '@/api/runs';

const LEVELS = ['debug', 'info', 'warning', 'error'];

/** Lines that have every word, and the level at least. */
export function filterLines(lines: LogLine[], text: string, level: string | null): LogLine[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const least = level === null ? 0 : LEVELS.indexOf(level);
  if (words.length === 0 && least === 0) return lines;
  return lines.filter((line) => LEVELS.indexOf(line.level) >= least && words.every((word) => line.message.toLowerCase().includes(word)));
}

/** Lines as a file for other programs: one each, what is in a line stays in it. */
export const logText = (lines: LogLine[]) => lines.map(({ at, level, message }) => `${at}\t${level}\t${message.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')}\n`).join('');
