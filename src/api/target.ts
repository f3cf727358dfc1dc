/** What a request is for: its path, and what follows the question mark. Not by URL, which throws for some of it. */
export function targetOf(url: string | undefined): {
  readonly path: string;
  readonly query: URLSearchParams;
} {
  const [path = '/', query = ''] = (url ?? '/').split('?', 2);
  return { path, query: new URLSearchParams(query) };
}
