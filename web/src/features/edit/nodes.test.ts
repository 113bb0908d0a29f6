import { describe, expect, it } from 'vitest';
import { read } from '@/lib/pipelineText';
import type { Schema } from '@/lib/schema';
import { formOf, freeName, isNative, nodesOf } from './nodes';

const root: Schema = {
  $defs: {
    source: { properties: { file: { $ref: '#/$defs/source.file' }, local: { $ref: '#/$defs/source.file' } } },
    'source.file': { properties: { path: { type: 'string' } } },
    transform: { properties: { filter: { $ref: '#/$defs/transform.filter' }, name: { type: 'string' } } },
    'transform.filter': { anyOf: [{ type: 'string' }, { properties: { where: { type: 'string' } }, required: ['where'] }] },
    sink: { properties: {} },
  },
};
const value = (text: string) => read(text).value;

describe('nodes of a pipeline', () => {
  it('stand alone, in a map or in a list', () => {
    expect(nodesOf(value('source: {local: {path: x}}'), 'source', root)).toMatchObject([
      { path: ['source'], word: 'local', kind: 'file', options: { path: 'x' }, name: null },
    ]);
    expect(nodesOf(value('sources: {a: {file: {}}, b: {nosuch: {}}}'), 'source', root)).toMatchObject([
      { path: ['sources', 'a'], name: 'a' },
      { word: 'nosuch', kind: null },
    ]);
    expect(nodesOf(value('transforms:\n- {name: n, filter: a > 1}\n- '), 'transform', root)).toMatchObject([
      { path: ['transforms', 0], word: 'filter', name: 'n' },
      { word: '', kind: null },
    ]);
    expect(nodesOf(value('- a'), 'source', root)).toEqual([]);
  });

  it('may have their option as a bare text', () => {
    const [bare] = nodesOf(value('transforms: [{filter: a > 1}]'), 'transform', root);
    const form = formOf(bare!, root);
    expect(form.value).toEqual({ where: 'a > 1' });
    expect(form.at(['where'])).toEqual(['transforms', 0, 'filter']);
    const [map] = nodesOf(value('transforms: [{filter: {where: a}}]'), 'transform', root);
    expect(formOf(map!, root).at(['where'])).toEqual(['transforms', 0, 'filter', 'where']);
  });

  it('get names that are free and allowed', () => {
    expect([freeName('postgres-cdc', []), freeName('file', ['file', 'file_2']), freeName('3d', [])]).toEqual([
      'postgres_cdc',
      'file_3',
      'n3d',
    ]);
    expect([isNative(value('pipeline: a')), isNative(value('name: a'))]).toEqual([true, false]);
  });
});
