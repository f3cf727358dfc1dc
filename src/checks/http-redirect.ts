import type { PageAnswer } from './http-answer.ts';
import { defaultPorts, type PageRequest } from './http-request.ts';

/** Where a page is on a real server. */
export type PagePlace = Pick<PageRequest, 'scheme' | 'host' | 'target'> & { readonly port: number };

const redirections = [301, 302, 303, 307, 308];

/**
 * Where a redirection leads, on the same real server; undefined where the answer is none that can be followed. The
 * port stays where the new URL has the old one's scheme and host: a real server need not listen where clients connect.
 */
export function placeAfter(place: PagePlace, answer: PageAnswer): PagePlace | undefined {
  if (!redirections.includes(answer.status) || answer.location === undefined) return undefined;
  const base = place.target.startsWith('/') ? `${place.scheme}://${place.host}${place.target}` : place.target;
  const url = URL.canParse(answer.location, base) ? new URL(answer.location, base) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) return undefined;
  const scheme = url.protocol === 'http:' ? 'http' : 'https';
  const isSame = scheme === place.scheme && URL.canParse(base) && url.host === new URL(base).host;
  return {
    scheme,
    port: isSame ? place.port : Number(url.port) || defaultPorts[scheme],
    host: url.host,
    target: `${url.pathname}${url.search}`,
  };
}
