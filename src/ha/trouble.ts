import type { Address } from '../model/address.ts';
import type { RejectedAdvertisement, VrrpTrouble } from '../model/vrrp.ts';
import type { Claim } from './claims.ts';

/** What an instance has met that is not as it should be. */
export type Trouble = {
  /** Another master was heard, and this one stays it. True from the time on when it is no passing thing. */
  rival(source: Address, priority: number, nowMs: number): boolean;
  refused(source: Address, why: RejectedAdvertisement, nowMs: number): void;
  claimed(claim: Claim, nowMs: number): void;
  /** What is wrong now. */
  now(nowMs: number): readonly VrrpTrouble[];
};

/** Two of them in a row: a master that yields is heard once more at most. */
const enoughToTell = 2;
/**
 * As many as a backup misses before it takes over (RFC 9568, 6.1): each of them was answered at once, so it has missed more of this
 * one's. In a group it may take over anew for each, called back by another of its instances in between.
 */
const enoughToYield = 3;
/** What the daemon is told once a second is not forgotten in between. */
const shortestMs = 2_500;

/** Nothing yet. What is not met again for three intervals is over. */
export function openTrouble(device: string, intervalMs: number): Trouble {
  const keptMs = Math.max(3 * intervalMs, shortestMs);
  type Met = { readonly what: VrrpTrouble; times: number; lastMs: number };
  const met = new Map<string, Met>();
  function meet(key: string, what: VrrpTrouble, nowMs: number): number {
    const before = met.get(key);
    const times = before && nowMs - before.lastMs < keptMs ? before.times + 1 : 1;
    // Whoever sends from ever new addresses fills nothing.
    if (met.size < mostMet || before) met.set(key, { what, times, lastMs: nowMs });
    return times;
  }
  return {
    rival: (source, priority, nowMs) =>
      meet(`rival ${source}`, { interface: device, kind: 'rival', source, priority }, nowMs) >= enoughToYield,
    refused: (source, why, nowMs) =>
      void meet(`refused ${source} ${why}`, { interface: device, kind: 'refused', source, why }, nowMs),
    claimed: (claim, nowMs) =>
      void meet(`claim ${claim.address}`, { interface: device, kind: 'claim', ...claim }, nowMs),
    now(nowMs) {
      const isOver = ({ lastMs }: Met) => nowMs - lastMs >= keptMs;
      // Whoever's word does not count may fall silent and stay master: keepalived does, when it hears one that it refuses.
      const isHeld = [...met.values()].some((one) => one.what.kind === 'claim' && !isOver(one));
      for (const [key, one] of met)
        if (isOver(one) && !(isHeld && one.what.kind === 'refused')) met.delete(key);
      return [...met.values()]
        .filter(({ times, what }) => what.kind !== 'rival' || times >= enoughToTell)
        .map(({ what }) => what);
    },
  };
}

const mostMet = 16;
