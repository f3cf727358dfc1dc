/** How often a table is read again that others change meanwhile. */
export const mostReadings = 8;

/** What one reading of a list brought, and in how many pages. */
export type Reading<T> = { readonly found: readonly T[]; readonly pages: number };

/**
 * A whole list. IPVS goes on by counting, and does not mark a list that changed between two pages: an entry that goes then
 * hides another one, and one that comes shows another one twice. So what has several pages is read until two readings have the
 * same entries. Where others never leave it in peace it is everything that was seen: nothing that was there all the time is
 * missing, and nothing is in it that was not there meanwhile. Each entry as it was read last; `keyOf` tells them apart.
 */
export function wholeList<T>(read: () => Reading<T>, keyOf: (one: T) => string): T[] {
  const seen = new Map<string, T>();
  let before: string | undefined;
  for (let reading = 1; reading <= mostReadings; reading++) {
    const { found, pages } = read();
    const entries = new Map(found.map((one) => [keyOf(one), one]));
    const keys = [...entries.keys()].join();
    if (pages <= 1 || keys === before) return [...entries.values()];
    before = keys;
    for (const [key, one] of entries) seen.set(key, one);
  }
  return [...seen.values()];
}
