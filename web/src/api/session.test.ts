import { beforeEach, expect, it } from 'vitest';
import { credentials } from './client';
import { session } from './session';

beforeEach(() => session.end());

it('keeps a token for the tab, or for the browser when asked to, and forgets it everywhere', () => {
  session.begin('weir_a', false);
  expect([sessionStorage.length, localStorage.length]).toEqual([1, 0]);
  session.end();
  session.begin('weir_b', true);
  expect([sessionStorage.length, localStorage.length]).toEqual([0, 1]);
  session.end('why');
  expect([sessionStorage.length, localStorage.length, session.get().ended]).toEqual([0, 0, 'why']);
});

it('sends the token and the visited tenant as headers, and no cookie is made', () => {
  expect(credentials()).toEqual({});
  session.begin('weir_a', false);
  session.visit('team-b');
  expect(credentials()).toEqual({ Authorization: 'Bearer weir_a', 'X-Tenant-Id': 'team-b' });
  expect(document.cookie).toBe('');
});
