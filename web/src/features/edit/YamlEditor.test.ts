import { Text } from '@codemirror/state';
import { describe, expect, it } from 'vitest';
import { marked } from '@/ui/marks';
import { difference } from './YamlEditor';

describe('the editor', () => {
  it('changes only what differs', () => {
    expect(difference('abc', 'abc')).toBeNull();
    for (const [before, after] of [
      ['abc', 'axc'],
      ['aa', 'a'],
      ['', 'x'],
      ['abab', 'ababab'],
      ['x', ''],
    ] as const) {
      const { from, to, insert } = difference(before, after)!;
      expect(before.slice(0, from) + insert + before.slice(to)).toBe(after);
    }
    expect(difference('a: 1\nb: 2\n', 'a: 1\nb: 3\n')).toEqual({ from: 8, to: 9, insert: '3' });
  });

  it('marks a problem where the checker says', () => {
    const doc = Text.of(['pipeline: a', 'sink: {fiel: {}}', "😀x: 'y'"]);
    const at = (line: number, column: number) => marked({ message: 'm', line, column, severity: 'error' }, doc)[0]!;
    expect(doc.sliceString(at(2, 8).from, at(2, 8).to)).toBe('fiel');
    expect(doc.sliceString(at(3, 2).from, at(3, 2).to)).toBe('x');
    expect([at(99, 1).from, at(1, 99).to]).toEqual([doc.line(3).from, 11]);
    expect(marked({ message: 'm', help: 'do', severity: 'warning' }, doc)).toMatchObject([
      { severity: 'warning', message: 'm\ndo', from: 0 },
    ]);
  });
});
