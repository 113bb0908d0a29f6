import { type Path, isObject } from '@/lib/pipelineText';

/** Options with another value at a path; `undefined` takes it out, and what is empty then goes with it. */
export function changed(options: Record<string, unknown>, path: Path, value: unknown): Record<string, unknown> {
  const [key, ...rest] = path;
  if (key === undefined) return options;
  const inner = Object.hasOwn(options, key) ? options[key] : undefined;
  const next = rest.length === 0 ? value : changed(isObject(inner) ? inner : {}, rest, value);
  const others = Object.fromEntries(Object.entries(options).filter(([name]) => name !== key));
  const gone = next === undefined || (rest.length > 0 && isObject(next) && Object.keys(next).length === 0);
  if (gone) return others;
  // An option that was there keeps its place.
  return Object.hasOwn(options, key)
    ? Object.fromEntries(Object.entries(options).map(([name, old]) => [name, name === key ? next : old]))
    : { ...options, [key]: next };
}
