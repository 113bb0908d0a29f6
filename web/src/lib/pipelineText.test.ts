import { describe, expect, it } from 'vitest';
import { at, fromYaml, move, read, rename, set, unset } from './pipelineText';

const TEXT = `# what it is for
pipeline: orders   # the name

source:
  postgres: {url: "postgresql://db/x", tables: [public.orders], cursor: a}
transforms:
  # drafts are nobody's business
  - filter: status <> 'draft'
  - mask:
      columns: {email: redact}   # personal
sink:
  file:
    path: out
`;

describe('a pipeline as text', () => {
  it('changes a scalar in its place and nothing else', () => {
    const changed = set(read(TEXT), ['sink', 'file', 'path'], 'lake/{stream}');
    expect(changed).toBe(TEXT.replace('path: out', 'path: lake/{stream}'));
    expect(set(read(TEXT), ['pipeline'], 'shop')).toBe(TEXT.replace('pipeline: orders', 'pipeline: shop'));
  });

  it('quotes what would mean something else', () => {
    for (const [value, path] of [
      ['yes: no', ['pipeline']],
      ['a, b]}', ['source', 'postgres', 'cursor']],
      ['true', ['sink', 'file', 'path']],
      ['# x', ['pipeline']],
      ['{{secret}}', ['sink', 'file', 'path']],
      ["it's", ['source', 'postgres', 'url']],
    ] as [string, string[]][]) {
      const changed = set(read(TEXT), path, value);
      expect(at(read(changed).value, path), changed).toBe(value);
      expect(changed).toContain('# the name');
    }
  });

  it('keeps comments when the shape changes', () => {
    const added = set(read(TEXT), ['sink', 'file', 'partition_by'], ['day(at)']);
    expect(read(added).value).toMatchObject({ sink: { file: { path: 'out', partition_by: ['day(at)'] } } });
    for (const comment of ['# what it is for', '# the name', "# drafts are nobody's business", '# personal'])
      expect(added).toContain(comment);
    const gone = unset(read(added), ['sink', 'file', 'partition_by']);
    expect(read(gone).value).toEqual(read(TEXT).value);
    expect(unset(read(TEXT), ['sink', 'file', 'nothing'])).toBe(TEXT);
  });

  it('moves, renames and makes room', () => {
    expect(at(read(move(read(TEXT), ['transforms'], 0, 1)).value, ['transforms', 1])).toEqual({ filter: "status <> 'draft'" });
    expect(move(read(TEXT), ['transforms'], 0, 5)).toBe(TEXT);
    const other = rename(read(TEXT), ['sink'], 'file', 's3', { bucket: 'lake' });
    expect(at(read(other).value, ['sink'])).toEqual({ s3: { bucket: 'lake' } });
    expect(read(set(read('pipeline: a\nsource:\n'), ['source', 'file', 'path'], 'x')).value).toEqual({
      pipeline: 'a',
      source: { file: { path: 'x' } },
    });
    expect(read(set(read(''), ['source', 'file'], {})).value).toEqual({ source: { file: {} } });
  });

  it('says that broken text has no value', () => {
    expect(read('a: [1').value).toBeUndefined();
    expect(fromYaml('{a: 1')).toHaveProperty('error');
    expect(fromYaml('{a: 1}')).toEqual({ value: { a: 1 } });
  });

  it('never takes inherited properties for values', () => {
    expect(at({}, ['constructor'])).toBeUndefined();
    expect(at(read('a: 1').value, ['__proto__'])).toBeUndefined();
  });
});
