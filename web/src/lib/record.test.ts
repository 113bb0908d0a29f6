import { describe, expect, it } from 'vitest';
import { laidOut, placed } from './record';

describe('laidOut', () => {
  it('changes white space and nothing else', () => {
    const text = '{"id":12345678901234567890123,"price":1.50,"note":"a, {b}: \\"c\\"","all":[1,null],"none":{}}';
    const shown = laidOut(text);
    expect(shown).toBe('{\n  "id": 12345678901234567890123,\n  "price": 1.50,\n  "note": "a, {b}: \\"c\\"",\n  "all": [\n    1,\n    null\n  ],\n  "none": {}\n}');
    expect(laidOut(shown)).toBe(shown);
  });
  it('leaves what is no JSON', () => {
    for (const text of ['1,a,x', '{"a":', '']) expect(laidOut(text)).toBe(text);
  });
});

describe('placed', () => {
  it('finds the column of a problem', () => {
    const text = '{\n  "a.b": "price",\n  "price" : 1\n}';
    expect(placed({ message: 'x', path: 'price' }, text)).toMatchObject({ line: 3, column: 3 });
    expect(placed({ message: 'x', path: 'a.b' }, text)).toMatchObject({ line: 2, column: 3 });
    expect(placed({ message: 'x', path: 'missing' }, text).line).toBeUndefined();
    expect(placed({ message: 'x' }, text).line).toBeUndefined();
  });
});
