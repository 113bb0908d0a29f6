import { describe, expect, it } from 'vitest';
import { brief, bytes, count, dollars, duration, relative } from './format';
import { inUnit, measured } from './measures';

describe('numbers', () => {
  it('are written in full while that is short', () => {
    expect([count(1_234_567), brief(9_999), brief(12_345), brief(2_500_000), brief(0.25)]).toEqual(['1,234,567', '9,999', '12.3 k', '2.5 M', '0.25']);
  });
  it('have decimal units', () => {
    expect([bytes(0), bytes(999), bytes(1_000), bytes(1_234_567), bytes(5e12)]).toEqual(['0 B', '999 B', '1 kB', '1.23 MB', '5 TB']);
    expect([dollars(0), dollars(0.00423), dollars(12.3)]).toEqual(['$0', '<$0.01', '$12.30']);
  });
  it('are written by the unit of their measure', () => {
    expect([measured('error_rate', 1), measured('error_rate', 0.0512), measured('freshness', 7_200), inUnit('bytes/s', 2_000), measured('mine', 3)]).toEqual(['100 %', '5.12 %', '2 h', '2 kB/s', '3']);
  });
});

describe('times', () => {
  it('take two units at most', () => {
    expect([0.44, 59.6, 61, 3_600, 7_860, 90_000, Number.NaN].map(duration)).toEqual(['0.4 s', '1 min', '1 min 1 s', '1 h', '2 h 11 min', '1 d 1 h', '–']);
  });
  it('are told from now', () => {
    const now = Date.parse('2026-11-22T12:00:00Z');
    expect(['2026-11-22T11:57:00Z', '2026-11-22T12:00:02Z', '2026-11-25T12:00:00Z', 'nonsense'].map((at) => relative(at, now))).toEqual(['3 min ago', 'now', 'in 3 d', '–']);
  });
});
