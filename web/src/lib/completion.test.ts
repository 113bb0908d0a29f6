import { describe, expect, it } from 'vitest';
import { optionsAt, placeAt } from './completion';
import type { Schema } from './schema';

const root: Schema = {
  properties: {
    pipeline: { type: 'string' },
    mode: { enum: ['batch', 'cdc'] },
    source: { $ref: '#/$defs/source' },
    sources: { type: 'object', additionalProperties: { $ref: '#/$defs/source' } },
    transforms: { anyOf: [{ type: 'array', items: { $ref: '#/$defs/transform' } }] },
  },
  $defs: {
    source: { oneOf: [{ required: ['file'] } as Schema], properties: { file: { $ref: '#/$defs/source.file' } } },
    'source.file': {
      properties: {
        path: { type: 'string', description: 'Where.' },
        file: { type: 'string', deprecated: true },
        format: { anyOf: [{ oneOf: [{ const: 'csv', description: 'Text.' }, { const: 'json' }] }, { type: 'null' }] },
        csv: { properties: { header: { type: 'boolean' } } },
      },
    },
    transform: { properties: { filter: { anyOf: [{ type: 'string' }, { properties: { where: { type: 'string' } } }] }, mask: {} } },
  },
};

const at = (text: string) => {
  const place = placeAt(text);
  return place === null ? null : optionsAt(place, root).map((option) => option.label);
};

describe('completion', () => {
  it('knows keys at every depth', () => {
    expect(at('pi')).toEqual(['pipeline', 'mode', 'source', 'sources', 'transforms']);
    expect(at('source:\n  ')).toEqual(['file']);
    expect(at('source:\n  file:\n    pa')).toEqual(['path', 'format', 'csv']);
    expect(at('source:\n  file:\n    csv:\n      he')).toEqual(['header']);
    expect(at('sources:\n  orders:\n    file:\n      path: x\n\n      # a comment\n      ')).toEqual(['path', 'format', 'csv']);
    expect(at('source:\n  file:\n    path: x\nmo')).toEqual(['pipeline', 'mode', 'source', 'sources', 'transforms']);
  });

  it('knows words', () => {
    expect(at('mode: ')).toEqual(['batch', 'cdc']);
    expect(at('source:\n  file:\n    format: c')).toEqual(['csv', 'json']);
    expect(at('source:\n  file:\n    csv:\n      header: t')).toEqual(['true', 'false']);
  });

  it('knows lists, indented or not', () => {
    expect(at('transforms:\n  - fi')).toEqual(['filter', 'mask']);
    expect(at('transforms:\n- fi')).toEqual(['filter', 'mask']);
    expect(at('transforms:\n- filter: a\n- ')).toEqual(['filter', 'mask']);
    expect(at('transforms:\n  - filter:\n      ')).toEqual(['where']);
    expect(at('transforms:\n  - mask: {}\n  - filter: {')).toEqual(['where']);
  });

  it('knows what stands between brackets', () => {
    expect(at('source: {file: {pa')).toEqual(['path', 'format', 'csv']);
    expect(at('source:\n  file: {path: "a, {b", format: ')).toEqual(['csv', 'json']);
    expect(at('source: {file: {csv: {header: true}, ')).toEqual(['path', 'format', 'csv']);
    expect(at('transforms: [{fi')).toEqual(['filter', 'mask']);
  });

  it('is silent where nothing is known', () => {
    expect(at('# pi')).toBeNull();
    expect(at('pipeline: "a')).toBeNull();
    expect(at('nothing:\n  ')).toEqual([]);
    expect(at('constructor:\n  ')).toEqual([]);
  });
});
