import { setImmediate } from 'node:timers/promises';
import type { MemberOutcomes, Outcomes } from '../../model/outcome.ts';
import { type Member, memberKey } from '../../model/override.ts';
import { protocolNumbers } from '../../model/service-id.ts';
import type { ConnectionMaps } from './connections.ts';
import type { Instance } from './instance.ts';
import { numbers } from './layout.generated.ts';
import type { Tables } from './tables.ts';

const { WORD_STATE, WORD_LIVE, WORD_TEMPLATE } = numbers.connection_word;
const { STATE_NONE, STATE_SYN_RECV, STATE_CLOSE } = numbers.state;

/** Slots that are looked at before others have their turn. */
const atOnce = 32_768;

/** How far an entry is: what was told of it already. */
const [opening, unanswered, answered, refused] = [0, 1, 2, 3] as const;
type Stage = typeof opening | typeof unanswered | typeof answered | typeof refused;
const names = { [unanswered]: 'unanswered', [answered]: 'answered', [refused]: 'refused' } as const;

/** Looks at the connection table again and again, and counts what has become of each connection. */
export type OutcomeReader = { look(): Promise<readonly MemberOutcomes[]> };

/**
 * The program does nothing for this: what it keeps of every connection tells. One in SYN_RECV whose client has sent a second
 * packet was asked for again and not answered; a reset is the only way from SYN_RECV to CLOSE, and after the client's SYN
 * alone it is the real server's; every other state is come to by the client's acknowledgment of what it has heard. What is there at the
 * first look, and what comes and goes between two, is not counted.
 */
export function openOutcomes(
  { runtime }: Pick<Instance, 'runtime'>,
  { listed }: Pick<Tables, 'listed'>,
  { entries, details }: ConnectionMaps,
): OutcomeReader {
  /** Of each slot: which connection it held, by generation, and how far that was. */
  let seen = new Uint32Array(0);
  const members = new Map<number, string>();
  const counts = new Map<string, Member & { -readonly [Name in keyof Outcomes]: number }>();
  let isFirst = true;

  function knowMembers(): void {
    for (const { service, destinations } of listed.values())
      for (const { slot, destination } of destinations.values()) {
        const { address, port } = destination;
        const key = memberKey(service.id, { address, port });
        members.set(slot, key);
        if (!counts.has(key))
          counts.set(key, {
            ...{ service: service.id, destination: { address, port } },
            ...{ answered: 0, refused: 0, unanswered: 0 },
          });
      }
  }

  function stageOf(slot: number, word: number): Stage | undefined {
    const state = word & WORD_STATE;
    if (state === STATE_NONE) return undefined;
    const packets = entries.get(slot, 'packets');
    if (state === STATE_SYN_RECV) return packets > 1 ? unanswered : opening;
    if (state !== STATE_CLOSE) return answered;
    return packets > 2 ? answered : packets === 1 ? refused : undefined;
  }

  function lookAt(slot: number): void {
    const word = entries.get(slot, 'word');
    if (!(word & WORD_LIVE) || word & WORD_TEMPLATE) return;
    if (entries.get(slot, 'protocol') !== protocolNumbers.tcp) return;
    const stage = stageOf(slot, word);
    if (stage === undefined) return;
    const generation = (details.get(slot, 'generation') << 2) >>> 0;
    const now = (generation | stage) >>> 0;
    const before = seen[slot]!;
    if (before === now) return;
    // An answered one that is closed now was told already.
    if (stage === refused && before === (generation | answered) >>> 0) return;
    seen[slot] = now;
    const key = members.get(entries.get(slot, 'destination'));
    const count = key === undefined ? undefined : counts.get(key);
    if (stage === opening || isFirst || !count) return;
    count[names[stage]]++;
  }

  return {
    async look() {
      knowMembers();
      const last = Math.min(runtime.get(0, 'fresh'), entries.count - 1);
      if (seen.length <= last) {
        const wider = new Uint32Array(Math.min(entries.count, Math.max(1024, last * 2)) + 1);
        wider.set(seen);
        seen = wider;
      }
      for (let slot = 1; slot <= last; slot++) {
        lookAt(slot);
        if (slot % atOnce === 0) await setImmediate();
      }
      isFirst = false;
      return [...counts.values()].map((one) => ({ ...one }));
    },
  };
}
