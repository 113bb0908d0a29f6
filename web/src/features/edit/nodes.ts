/** The nodes of a pipeline file in the native form, as a form needs them: where each stands in the text, and what it is. */
import { type Path, isObject } from '@/lib/pipelineText';
import { type Schema, bareOption, fieldsOf, kindNamed } from '@/lib/schema';

export type Part = 'source' | 'transform' | 'sink';

export interface NodeAt {
  part: Part;
  /** Of the map that holds the connector's or transform's name. */
  path: Path;
  /** The name as written. */
  word: string;
  /** What it means; null: there is no such connector or transform. */
  kind: string | null;
  /** The options as written; a transform may take a bare text. */
  options: unknown;
  /** The node's own name, if it has one. */
  name: string | null;
}

const BESIDE = new Set(['name', 'input']);

function nodeAt(part: Part, path: Path, entry: unknown, name: string | null, root: Schema): NodeAt {
  const words = isObject(entry) ? Object.keys(entry) : [];
  const word = words.find((one) => kindNamed(root, part, one) !== null) ?? words.find((one) => !BESIDE.has(one)) ?? '';
  const own = isObject(entry) && typeof entry.name === 'string' ? entry.name : null;
  return { part, path, word, kind: kindNamed(root, part, word), options: isObject(entry) ? entry[word] : undefined, name: own ?? name };
}

/** The nodes of one part, in their order. */
export function nodesOf(value: unknown, part: Part, root: Schema): NodeAt[] {
  if (!isObject(value)) return [];
  const found: NodeAt[] = [];
  const many = value[`${part}s`];
  if (part !== 'transform' && value[part] !== undefined) found.push(nodeAt(part, [part], value[part], null, root));
  if (Array.isArray(many)) many.forEach((entry, index) => found.push(nodeAt(part, [`${part}s`, index], entry, null, root)));
  else if (isObject(many))
    for (const [name, entry] of Object.entries(many)) found.push(nodeAt(part, [`${part}s`, name], entry, name, root));
  return found;
}

/** Whether the file is in the form that this page's fields edit. */
export const isNative = (value: unknown) => isObject(value) && typeof value.pipeline === 'string';

/** The definition of a node's options. */
export const definition = (node: { part: Part; kind: string | null }, root: Schema): Schema | undefined =>
  node.kind === null ? undefined : root.$defs?.[`${node.part}.${node.kind}`];

/** The fields of a node and its options as a map, whatever way they are written. */
export function formOf(node: NodeAt, root: Schema) {
  const schema = definition(node, root);
  const bare = schema === undefined ? null : bareOption(schema, root);
  const written = typeof node.options === 'string' && bare !== null;
  return {
    fields: schema === undefined ? [] : fieldsOf(schema, root),
    value: written ? { [bare]: node.options } : isObject(node.options) ? node.options : {},
    /** Where a change of an option goes: a bare text stays one as long as only its own option changes. */
    at: (path: Path): Path =>
      written && path.length === 1 && path[0] === bare ? [...node.path, node.word] : [...node.path, node.word, ...path],
    /** The options must become a map before another option can be set. */
    bare: written ? { option: bare, text: node.options as string } : null,
  };
}

/** A name for a new node that no other has. */
export function freeName(kind: string, taken: string[]): string {
  const base = kind
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]/g, '_')
    .replace(/^[^a-z]/, 'n$&');
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? base : `${base}_${number}`;
    if (!taken.includes(name)) return name;
  }
}
