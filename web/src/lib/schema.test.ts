import { describe, expect, it } from 'vitest';
import { type Schema, bareOption, fieldsOf, kindNamed, kindsOf } from './schema';

const root: Schema = {
  $defs: {
    source: {
      properties: {
        postgres: { $ref: '#/$defs/source.postgres' },
        postgresql: { $ref: '#/$defs/source.postgres' },
        name: { type: 'string' },
      },
    },
    'source.postgres': {
      properties: {
        host: { type: ['string', 'null'], description: 'The host.', 'x-weir-aliases': ['hostname'] },
        hostname: { type: ['string', 'null'], deprecated: true },
        port: { type: ['integer', 'null'], minimum: 0, maximum: 65535 },
        password: { type: ['string', 'null'], 'x-weir-secret': true },
        tables: { type: 'array', items: { type: 'string' } },
        mode: { anyOf: [{ $ref: '#/$defs/Mode' }, { type: 'null' }] },
        csv: { $ref: '#/$defs/Csv' },
        headers: { type: 'object', additionalProperties: { type: 'string' } },
        verify: { type: 'boolean', default: true },
        body: {},
        size: { anyOf: [{ type: 'integer' }, { type: 'string' }] },
        schedule: { anyOf: [{ type: 'string' }, { type: 'object', properties: { cron: { type: 'string' } } }] },
        loop: { $ref: '#/$defs/Loop' },
      },
      required: ['tables'],
    },
    Mode: { oneOf: [{ const: 'a', description: 'The first.' }, { enum: ['b', 'c'] }] },
    Csv: { type: 'object', properties: { header: { type: 'boolean' } } },
    Loop: { type: 'object', properties: { again: { $ref: '#/$defs/Loop' } } },
    'transform.filter': { anyOf: [{ type: 'string' }, { type: 'object', properties: { where: { type: 'string' } }, required: ['where'] }] },
  },
};

describe('fields of options', () => {
  const fields = Object.fromEntries(fieldsOf(root.$defs!['source.postgres']!, root).map((field) => [field.name, field]));

  it('have a kind each, and other spellings are none of their own', () => {
    expect(Object.fromEntries(Object.values(fields).map((field) => [field.name, field.kind]))).toEqual({
      host: 'text',
      port: 'integer',
      password: 'text',
      tables: 'list',
      mode: 'choice',
      csv: 'group',
      headers: 'map',
      verify: 'boolean',
      body: 'yaml',
      size: 'yaml',
      schedule: 'text',
      loop: 'group',
    });
    expect(fields.host).toMatchObject({ aliases: ['hostname'], about: 'The host.', required: false });
    expect(fields.tables!.required).toBe(true);
    expect([fields.password!.secret, fields.host!.secret]).toEqual([true, false]);
    expect(fields.mode!.choices).toEqual([{ value: 'a', about: 'The first.' }, { value: 'b' }, { value: 'c' }]);
    expect(fields.port).toMatchObject({ minimum: 0, maximum: 65535 });
    expect(fields.csv!.fields.map((field) => field.name)).toEqual(['header']);
  });

  it('end where a schema refers to itself', () => {
    expect(fields.loop!.fields[0]!.fields[0]!.kind).toBe('yaml');
  });

  it('of a transform that may be a bare text', () => {
    expect(bareOption(root.$defs!['transform.filter']!, root)).toBe('where');
    expect(bareOption(root.$defs!['source.postgres']!, root)).toBeNull();
    expect(fieldsOf(root.$defs!['transform.filter']!, root).map((field) => field.name)).toEqual(['where']);
  });

  it('know each kind once, by every name', () => {
    expect(kindsOf(root, 'source')).toEqual(['postgres']);
    expect(kindNamed(root, 'source', 'postgresql')).toBe('postgres');
    expect([kindNamed(root, 'source', 'name'), kindNamed(root, 'source', 'nothing')]).toEqual([null, null]);
  });
});
