/** Does something with every item, so many at a time. Gives those that failed, in the order of the items. */
export async function inTurns<T>(items: T[], width: number, act: (item: T) => Promise<unknown>, onPart?: (part: number) => void): Promise<{ item: T; error: unknown }[]> {
  const failures = new Map<number, unknown>();
  let next = 0;
  let ended = 0;
  const one = async () => {
    for (let at = next++; at < items.length; at = next++) {
      await act(items[at] as T).catch((error: unknown) => failures.set(at, error));
      onPart?.(++ended / items.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, one));
  return [...failures].sort(([a], [b]) => a - b).map(([at, error]) => ({ item: items[at] as T, error }));
}
