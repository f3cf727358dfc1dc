import type { MemberHealth } from './health.ts';
import { memberKey } from './override.ts';
import { serviceKey } from './service-id.ts';

/** What somebody has, and how many have what most have. */
export type Disagreement = {
  readonly digest: string;
  /** What more than half have; absent: there is no such thing. */
  readonly most?: { readonly digest: string; readonly count: number };
  readonly of: number;
};

/** Whose digest is not what more than half have; where there is no such thing, and they differ, everybody's. */
export function disagreements(digests: ReadonlyMap<string, string>): ReadonlyMap<string, Disagreement> {
  const counts = new Map<string, number>();
  for (const digest of digests.values()) counts.set(digest, (counts.get(digest) ?? 0) + 1);
  const of = digests.size;
  const found = [...counts].find(([, count]) => count * 2 > of);
  const most = found && { digest: found[0], count: found[1] };
  return new Map(
    [...digests]
      .filter(([, digest]) => digest !== most?.digest)
      .map(([who, digest]) => [who, { digest, of, ...(most && { most }) }]),
  );
}

/** The same of everybody whose pages are compared, by memberKey: within a service, check by check, what came last. */
export function pageDisagreements(members: readonly MemberHealth[]): ReadonlyMap<string, Disagreement> {
  const groups = new Map<string, Map<string, string>>();
  for (const { service, destination, check, last } of members) {
    if (last?.result.digest === undefined) continue;
    const place = `${serviceKey(service)} ${check}`;
    const group = groups.get(place) ?? new Map<string, string>();
    groups.set(place, group);
    group.set(memberKey(service, destination), last.result.digest);
  }
  return new Map([...groups.values()].flatMap((group) => [...disagreements(group)]));
}

/** `page is not that of 3 of 4 real servers: SHA-256 ab12cd34..., theirs 56ef78ab...`. */
export function disagreementText({ digest, most, of }: Disagreement): string {
  const short = (text: string) => `${text.slice(0, 8)}...`;
  return most
    ? `page is not that of ${most.count} of ${of} real servers: SHA-256 ${short(digest)}, theirs ${short(most.digest)}`
    : `page is one of several that ${of} real servers have, and none is that of most: SHA-256 ${short(digest)}`;
}
