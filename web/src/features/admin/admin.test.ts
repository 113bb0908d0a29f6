import { describe, expect, it } from 'vitest';
import { shownValue } from './Config';
import { usedOf } from './QuotasPart';
import { stateOf } from './Tokens';
import { UNLIMITED } from './quotas';
import { rolesUpTo } from './roles';

describe('administration', () => {
  it('offers no role above the own one', () => {
    expect(rolesUpTo('editor').map((role) => role.value)).toEqual(['viewer', 'operator', 'editor']);
    expect(rolesUpTo('platform-admin')).toHaveLength(5);
  });

  it('knows whether a token is still good', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    expect(stateOf({ revoked_at: '2025-01-01T00:00:00Z', expires_at: null }, now)).toMatchObject({ label: 'revoked', valid: false });
    expect(stateOf({ expires_at: '2026-01-01T00:00:00Z' }, now)).toMatchObject({ label: 'expired', valid: false });
    expect(stateOf({ expires_at: '2026-01-01T00:00:01Z' }, now)).toMatchObject({ label: 'valid', valid: true });
  });

  it('counts what is counted', () => {
    const use = { tenant_id: 't', quotas: UNLIMITED, usage: { pipelines: 3, concurrent_runs: 1, rows_today: 7, bytes_today: 9 } };
    expect([usedOf(use, 'max_pipelines'), usedOf(use, 'max_bytes_per_day'), usedOf(use, 'max_storage_bytes')]).toEqual([3, 9, null]);
  });

  it('writes settings of every shape', () => {
    expect([null, '', [], ['a', 'b'], true, 0, { a: 1 }, '***'].map(shownValue)).toEqual([
      '–',
      '–',
      '–',
      'a, b',
      'true',
      '0',
      '{"a":1}',
      '***',
    ]);
  });
});
