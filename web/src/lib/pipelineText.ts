/**
 * A pipeline file as text that a form can change: comments, order and everything that is not touched stay. The text is the truth; a form reads
 * values out of it and says which one becomes another.
 */
import { type Document, type Node, type ParsedNode, type Scalar, isMap, isScalar, isSeq, parseDocument, stringify } from 'yaml';

export type Path = (string | number)[];

export interface PipelineText {
  text: string;
  document: Document.Parsed<ParsedNode>;
  /** The text as plain values; `undefined` where it is no YAML. */
  value: unknown;
}

const WRITTEN = { lineWidth: 0, flowCollectionPadding: false } as const;

export function read(text: string): PipelineText {
  const document = parseDocument(text, { keepSourceTokens: true, strict: false });
  let value: unknown;
  try {
    value = document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 100 });
  } catch {
    value = undefined;
  }
  return { text, document, value };
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The value at a path; `undefined` where there is none. */
export function at(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((found, key) => {
    if (Array.isArray(found)) return found[key as number];
    return isObject(found) && Object.hasOwn(found, key) ? found[key] : undefined;
  }, value);
}

/** The text with another value at a path. A scalar is changed in its place; nothing else of the text moves then. */
export function set(from: PipelineText, path: Path, value: unknown): string {
  const node = from.document.getIn(path, true) as Node | undefined;
  if (isPlain(value) && isScalar(node) && inOneLine(node, from.text)) {
    const written = scalar(value, inFlow(from, path));
    const [start, end] = node.range!;
    if (!written.includes('\n')) return from.text.slice(0, start) + written + from.text.slice(end);
  }
  const document = from.document.clone();
  if (isMap(document.contents) || isSeq(document.contents)) {
    makeRoom(document, path);
    document.setIn(path, document.createNode(value));
  } else document.contents = document.createNode(path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)) as never;
  return document.toString(WRITTEN);
}

/** The text without what is at a path. Maps that are empty then stay: they may be needed. */
export function unset(from: PipelineText, path: Path): string {
  if (from.document.getIn(path, true) === undefined) return from.text;
  const document = from.document.clone();
  document.deleteIn(path);
  return document.toString(WRITTEN);
}

/** The text with an item of a list at another place. */
export function move(from: PipelineText, list: Path, index: number, to: number): string {
  const document = from.document.clone();
  const items = document.getIn(list, true);
  if (!isSeq(items) || to < 0 || to >= items.items.length) return from.text;
  const [item] = items.items.splice(index, 1);
  items.items.splice(to, 0, item);
  return document.toString(WRITTEN);
}

/** The text with another key at the place of one, its value replaced. */
export function rename(from: PipelineText, parent: Path, key: string, to: string, value: unknown): string {
  const document = from.document.clone();
  const map = document.getIn(parent, true);
  if (!isMap(map)) return from.text;
  const pair = map.items.find((item) => isScalar(item.key) && item.key.value === key);
  if (pair === undefined) return from.text;
  (pair.key as Scalar).value = to;
  pair.value = document.createNode(value);
  return document.toString(WRITTEN);
}

type Plain = string | number | boolean | null;

const isPlain = (value: unknown): value is Plain => value === null || ['string', 'number', 'boolean'].includes(typeof value);

function inOneLine(node: Scalar, text: string): boolean {
  if (node.range === undefined || node.range === null || node.anchor !== undefined || node.tag !== undefined) return false;
  return node.range[1] > node.range[0] && !text.slice(node.range[0], node.range[1]).includes('\n');
}

/** Whether the node stands between `{}` or `[]`, where a bare comma or bracket would end it. */
function inFlow(from: PipelineText, path: Path): boolean {
  return path.some((_, length) => {
    const parent = from.document.getIn(path.slice(0, length), true);
    return (isMap(parent) || isSeq(parent)) && parent.flow === true;
  });
}

function scalar(value: Plain, flow: boolean): string {
  const written = stringify(flow ? [value] : value, { ...WRITTEN, collectionStyle: flow ? 'flow' : 'any' }).trimEnd();
  return flow ? written.slice(1, -1).trim() : written;
}

/** A parent that is null (`source:`) or missing becomes a map. */
function makeRoom(document: Document, path: Path) {
  for (let length = 1; length < path.length; length += 1) {
    const found = document.getIn(path.slice(0, length), true);
    if (found === undefined || (isScalar(found) && found.value === null)) document.setIn(path.slice(0, length), document.createNode({}));
  }
}

/** A value as YAML, for fields that are edited as text. */
export const asYaml = (value: unknown) => (value === undefined ? '' : stringify(value, WRITTEN).trimEnd());

/** A text as a value; an error in words if it is none. */
export function fromYaml(text: string): { value: unknown } | { error: string } {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) return { error: error.message.split('\n')[0] ?? 'this is no YAML' };
  return { value: document.toJS({ maxAliasCount: 100 }) as unknown };
}
