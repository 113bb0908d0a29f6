/** A connector's position in short: the one value that it has, or all of them by name. */
export function positionText(position: unknown): string {
  if (position === null || position === undefined) return 'nothing yet';
  if (typeof position !== 'object') return String(position);
  const parts = Object.entries(position as Record<string, unknown>).filter(([, value]) => value !== null);
  const only = parts.length === 1 ? parts[0]?.[1] : undefined;
  if (only !== undefined && typeof only !== 'object') return String(only);
  return parts.map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`).join(', ');
}
