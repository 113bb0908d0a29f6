/**
 * From JSON Schemas of options to fields of a form. The schemas are made from the structs that parse the options, so their vocabulary is small:
 * texts, numbers, truth values, words, lists and maps of texts, groups. Whatever else there is, is edited as YAML.
 *
 * A mapping of our own and no form library: those validate by compiling code, which the content security policy forbids, and what is wrong is said by
 * the server's checker, with places in the text.
 */
export interface Schema {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  enum?: unknown[];
  const?: unknown;
  oneOf?: Schema[];
  anyOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: boolean | Schema;
  default?: unknown;
  description?: string;
  deprecated?: boolean;
  minimum?: number;
  maximum?: number;
  'x-weir-secret'?: boolean;
  'x-weir-aliases'?: string[];
  'x-weir-unit'?: string;
}

export type Kind = 'text' | 'integer' | 'number' | 'boolean' | 'choice' | 'list' | 'map' | 'group' | 'yaml';

export interface Choice {
  value: string;
  about?: string;
}

export interface Field {
  name: string;
  /** Other spellings that a file may use. */
  aliases: string[];
  kind: Kind;
  about: string;
  required: boolean;
  secret: boolean;
  default?: unknown;
  unit?: string;
  minimum?: number;
  maximum?: number;
  choices: Choice[];
  fields: Field[];
}

/** Groups inside of groups are drawn so deep; below that as YAML. A schema may refer to itself. */
const DEEPEST = 2;

/** What a `$ref` leads to. */
export function target(schema: Schema, root: Schema): Schema {
  let found = schema;
  for (let hops = 0; found.$ref !== undefined && hops < 8; hops += 1) {
    const next = root.$defs?.[found.$ref.replace('#/$defs/', '')];
    if (next === undefined) return {};
    found = next;
  }
  return found;
}

const isNull = (schema: Schema) => schema.type === 'null';

/** The schema without the possibility of null, and the ways it can be. */
function ways(schema: Schema, root: Schema): Schema[] {
  const found = target(schema, root);
  return (found.anyOf ?? found.oneOf ?? [found]).map((one) => target(one, root)).filter((one) => !isNull(one));
}

function words(schema: Schema, root: Schema): Choice[] | null {
  const found: Choice[] = [];
  for (const one of ways(schema, root)) {
    const inner = one.anyOf ?? one.oneOf;
    if (inner !== undefined) {
      const nested = words(one, root);
      if (nested === null) return null;
      found.push(...nested);
    } else if (typeof one.const === 'string') found.push({ value: one.const, about: one.description });
    else if (one.enum?.every((word) => typeof word === 'string')) found.push(...one.enum.map((word) => ({ value: word as string })));
    else return null;
  }
  return found.length > 0 ? found : null;
}

function plainType(schema: Schema): string | null {
  const names = (Array.isArray(schema.type) ? schema.type : [schema.type]).filter((name) => name !== undefined && name !== 'null');
  return names.length === 1 ? names[0]! : null;
}

const isText = (schema: Schema | undefined, root: Schema) => schema !== undefined && plainType(target(schema, root)) === 'string';

function kindOf(schema: Schema, root: Schema, depth: number): Kind {
  if (words(schema, root) !== null) return 'choice';
  const [one, ...more] = ways(schema, root);
  if (one === undefined) return 'yaml';
  if (more.length > 0) {
    // A text or a map (`schedule`): the text is a field. A text or a number is not: what was typed would not say which.
    const types = [one, ...more].map(plainType);
    return types.includes('string') && types.every((type) => type === 'string' || type === 'object') ? 'text' : 'yaml';
  }
  switch (plainType(one)) {
    case 'string':
      return 'text';
    case 'integer':
      return 'integer';
    case 'number':
      return 'number';
    case 'boolean':
      return 'boolean';
    case 'array':
      return isText(one.items, root) ? 'list' : 'yaml';
    case 'object':
      if (one.properties !== undefined) return depth < DEEPEST ? 'group' : 'yaml';
      return typeof one.additionalProperties === 'object' && isText(one.additionalProperties, root) ? 'map' : 'yaml';
    default:
      return 'yaml';
  }
}

function fieldOf(name: string, schema: Schema, root: Schema, required: boolean, depth: number): Field {
  const found = target(schema, root);
  const kind = kindOf(schema, root, depth);
  const [one] = ways(schema, root);
  return {
    name,
    aliases: schema['x-weir-aliases'] ?? [],
    kind,
    about: schema.description ?? found.description ?? '',
    required,
    secret: (schema['x-weir-secret'] ?? one?.['x-weir-secret']) === true,
    default: schema.default ?? undefined,
    unit: schema['x-weir-unit'] ?? one?.['x-weir-unit'],
    minimum: schema.minimum ?? one?.minimum,
    maximum: schema.maximum ?? one?.maximum,
    choices: kind === 'choice' ? (words(schema, root) ?? []) : [],
    fields: kind === 'group' && one !== undefined ? fieldsOf(one, root, depth + 1) : [],
  };
}

/** The fields of an object's schema; other spellings of an option are no fields of their own. Of several ways the one with options is meant. */
export function fieldsOf(schema: Schema, root: Schema, depth = 0): Field[] {
  const object = ways(schema, root).find((one) => one.properties !== undefined);
  const required = new Set(object?.required ?? []);
  return Object.entries(object?.properties ?? {})
    .filter(([, property]) => property.deprecated !== true)
    .map(([name, property]) => fieldOf(name, property, root, required.has(name), depth));
}

/** The option under which a transform takes a bare text (`filter: a > 1`), if it does. */
export function bareOption(schema: Schema, root: Schema): string | null {
  const found = ways(schema, root);
  if (!found.some((one) => plainType(one) === 'string')) return null;
  const object = found.find((one) => one.properties !== undefined);
  return object?.required?.[0] ?? null;
}

/** The names of a map of one-of choices such as `source`: each kind once, under its own name. */
export function kindsOf(root: Schema, part: 'source' | 'sink' | 'transform' | 'connection'): string[] {
  const names = Object.values(root.$defs?.[part]?.properties ?? {})
    .map((property) => property.$ref)
    .filter((ref): ref is string => ref?.startsWith(`#/$defs/${part}.`) === true)
    .map((ref) => ref.slice(`#/$defs/${part}.`.length));
  return [...new Set(names)].sort();
}

/** The kind that a name in a file means; `null` if there is no such kind. */
export function kindNamed(root: Schema, part: 'source' | 'sink' | 'transform' | 'connection', name: string): string | null {
  const ref = root.$defs?.[part]?.properties?.[name]?.$ref;
  return ref?.startsWith(`#/$defs/${part}.`) === true ? ref.slice(`#/$defs/${part}.`.length) : null;
}
