/** What may stand at a place of a pipeline file, from the JSON Schema of pipeline files. */
import type { Path } from './pipelineText';
import { type Schema, target } from './schema';

/** Where something is being typed: the map or list around it, the key whose value it is (null: it is itself a key), and what is there of it. */
export interface Place {
  path: Path;
  key: string | null;
  prefix: string;
}

const KEY = /^("?)([\w.$-]+)\1:(?:\s+|$)/;

/** The place at the end of a text. Only the lines above matter, so a file that is broken further below is no hindrance. */
export function placeAt(text: string): Place | null {
  const lines = text.split('\n');
  const line = lines.pop() ?? '';
  const { column, dashes, rest } = lead(line);
  if (rest.startsWith('#')) return null;
  const path = above(lines, dashes.length > 0 ? dashes[0]! : column, dashes.length > 0);
  path.push(...dashes.map(() => 0));
  return inside(rest, path);
}

/** The indentation of a line: where its dashes and its content begin. */
function lead(line: string): { column: number; dashes: number[]; rest: string } {
  const dashes: number[] = [];
  let column = 0;
  for (;;) {
    if (line[column] === ' ') column += 1;
    else if (line[column] === '-' && (line[column + 1] === ' ' || line.length === column + 1)) {
      dashes.push(column);
      column += 1;
    } else return { column, dashes, rest: line.slice(column) };
  }
}

/** The keys and list items of the lines above that a line of this indentation stands in. */
function above(lines: string[], column: number, isItem: boolean): Path {
  const path: Path = [];
  let need = column;
  // The items of a list may stand as far left as the key that they belong to.
  let keyMayBeLevel = isItem;
  for (let index = lines.length - 1; index >= 0 && (need > 0 || keyMayBeLevel); index -= 1) {
    const { column: at, dashes, rest } = lead(lines[index]!);
    if (rest === '' || rest.startsWith('#')) continue;
    const key = KEY.exec(rest)?.[2];
    if (key !== undefined && (at < need || (keyMayBeLevel && at === need && dashes.length === 0))) {
      path.unshift(key);
      need = at;
      keyMayBeLevel = false;
    }
    for (const dash of [...dashes].reverse()) {
      if (dash >= need) continue;
      path.unshift(0);
      need = dash;
      keyMayBeLevel = true;
    }
  }
  return path;
}

/** The place at the end of a line's content, which may go on between `{}` and `[]`. */
function inside(rest: string, path: Path): Place | null {
  const key = KEY.exec(rest);
  if (key === null) return /^[\w.$-]*$/.test(rest) ? { path, key: null, prefix: rest } : flow(rest, path);
  const value = rest.slice(key[0].length);
  const name = key[2]!;
  return value.startsWith('{') || value.startsWith('[')
    ? flow(value, [...path, name])
    : /^[\w.$-]*$/.test(value)
      ? { path, key: name, prefix: value }
      : null;
}

function flow(text: string, path: Path): Place | null {
  const open: Path[] = [];
  let at = path;
  let word = '';
  let key: string | null = null;
  let quote = '';
  for (const letter of text) {
    if (quote !== '') {
      if (letter === quote) quote = '';
      word += letter;
    } else if (letter === '"' || letter === "'") {
      quote = letter;
      word += letter;
    } else if (letter === '{' || letter === '[') {
      if (word.trim() !== '') return null;
      open.push(at);
      if (key !== null) at = [...at, key];
      if (letter === '[') at = [...at, 0];
      key = null;
      word = '';
    } else if (letter === '}' || letter === ']') {
      at = open.pop() ?? path;
      key = null;
      word = letter;
    } else if (letter === ',') {
      key = null;
      word = '';
    } else if (letter === ':' && key === null) {
      key = word.trim().replaceAll('"', '');
      word = '';
    } else word += letter;
  }
  const prefix = word.trimStart();
  return quote === '' && open.length > 0 && /^[\w.$-]*$/.test(prefix) ? { path: at, key, prefix } : null;
}

/** All that a schema can be once references and alternatives are followed. */
function ways(schema: Schema, root: Schema, depth = 0): Schema[] {
  const found = target(schema, root);
  const inner = found.anyOf ?? (found.properties === undefined ? found.oneOf : undefined);
  if (inner === undefined || depth > 6) return [found];
  return inner.flatMap((one) => ways(one, root, depth + 1));
}

function below(schemas: Schema[], key: string | number, root: Schema): Schema[] {
  return schemas.flatMap((schema) => {
    const next =
      typeof key === 'number'
        ? schema.items
        : schema.properties !== undefined && Object.hasOwn(schema.properties, key)
          ? schema.properties[key]
          : typeof schema.additionalProperties === 'object'
            ? schema.additionalProperties
            : undefined;
    return next === undefined ? [] : ways(next, root);
  });
}

export interface Option {
  label: string;
  about: string;
  kind: 'key' | 'word';
}

/** What fits at a place, each word once. */
export function optionsAt(place: Place, root: Schema): Option[] {
  const around = place.path.reduce((found, key) => below(found, key, root), ways(root, root));
  const options = new Map<string, Option>();
  const add = (option: Option) => options.has(option.label) || options.set(option.label, option);
  if (place.key === null) {
    for (const schema of around) {
      for (const [name, property] of Object.entries(schema.properties ?? {})) {
        if (property.deprecated !== true)
          add({ label: name, about: property.description ?? target(property, root).description ?? '', kind: 'key' });
      }
    }
  }
  for (const schema of place.key === null ? around : below(around, place.key, root)) {
    if (typeof schema.const === 'string') add({ label: schema.const, about: schema.description ?? '', kind: 'word' });
    for (const word of schema.enum ?? []) if (typeof word === 'string') add({ label: word, about: '', kind: 'word' });
    if (place.key !== null && [schema.type].flat().includes('boolean'))
      for (const label of ['true', 'false']) add({ label, about: '', kind: 'word' });
  }
  return [...options.values()];
}
