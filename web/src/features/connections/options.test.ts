import { expect, it } from 'vitest';
import { changed } from './options';

it('changes, adds and takes out options at any depth', () => {
  const options = { host: 'a', tls: { verify: true }, port: 1 };
  expect(changed(options, ['host'], 'b')).toEqual({ ...options, host: 'b' });
  expect(Object.keys(changed(options, ['host'], 'b'))).toEqual(['host', 'tls', 'port']);
  expect(changed(options, ['tls', 'ca'], 'x')).toEqual({ ...options, tls: { verify: true, ca: 'x' } });
  expect(changed(options, ['tls', 'verify'], undefined)).toEqual({ host: 'a', port: 1 });
  expect(changed(options, ['port'], undefined)).toEqual({ host: 'a', tls: { verify: true } });
  expect(changed({}, ['a', 'b'], 1)).toEqual({ a: { b: 1 } });
  expect(changed(options, ['nothing'], undefined)).toEqual(options);
});
