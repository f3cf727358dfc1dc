import { expect } from 'vitest';
import { change, counts, editDestination, shown, virtualService } from './operations.ts';
import type { Conversation } from './rig.ts';
import { type Check, mustOpen, open, sameServer, site } from './site.ts';

/** Real servers that are full. */
export const thresholdRules = {
  'an upper threshold sends clients elsewhere': async (rig, family) => {
    const { id, servers } = await site(rig, family, 2);
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 1 }));
    const found: number[] = [];
    for (let n = 0; n < 5; n++) {
      const { server } = await mustOpen(rig, id, family);
      found.push(servers.findIndex((one) => sameServer(one, server)));
    }
    expect(found.filter((n) => n === 0)).toHaveLength(1);
  },

  'an overloaded destination serves again below its lower threshold, not before': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const overloaded = async () => (await shown(rig, id)).destinations[0]!.overloaded ?? false;
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 3, lowerThreshold: 2 }));
    const conversations: Conversation[] = [];
    for (let n = 0; n < 3; n++) conversations.push(await mustOpen(rig, id, family));
    expect(await overloaded()).toBe(true);
    expect(await open(rig, id, family)).toBeUndefined();
    for (const conversation of conversations) expect(await conversation.say()).toEqual(servers[0]);
    await rig.forget(conversations[0]!);
    expect(await overloaded()).toBe(true);
    expect(await open(rig, id, family)).toBeUndefined();
    await rig.forget(conversations[1]!);
    expect(await overloaded()).toBe(false);
    expect((await mustOpen(rig, id, family)).server).toEqual(servers[0]);
  },

  'without a lower threshold an overloaded destination serves again below three quarters': async (
    rig,
    family,
  ) => {
    const { id, servers } = await site(rig, family, 1);
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 5 }));
    const conversations: Conversation[] = [];
    for (let n = 0; n < 5; n++) conversations.push(await mustOpen(rig, id, family));
    // 5 - 5/4 = 4: 4 connections are too many, 3 are not.
    for (const left of [4, 3]) {
      expect(await open(rig, id, family)).toBeUndefined();
      await rig.forget(conversations.pop()!);
      expect(conversations).toHaveLength(left);
    }
    await mustOpen(rig, id, family);
  },

  'thresholds count what is inactive': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1, {}, 'udp');
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 2 }));
    for (let n = 0; n < 2; n++) await mustOpen(rig, id, family);
    expect(await counts(rig, id)).toEqual([[0, 2]]);
    expect(await open(rig, id, family)).toBeUndefined();
  },

  'a datagram of a one-packet service counts while it passes': async (rig, family) => {
    const { id, servers } = await site(rig, family, 2, {}, 'udp');
    await mustOpen(rig, id, family);
    await mustOpen(rig, id, family);
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 2, lowerThreshold: 1 }), {
      kind: 'edit-service',
      service: virtualService(id, { onePacket: true }),
    });
    const found: number[] = [];
    for (let n = 0; n < 4; n++) {
      const { server } = await mustOpen(rig, id, family);
      found.push(servers.findIndex((one) => sameServer(one, server)));
    }
    expect(found.filter((n) => n === 0)).toHaveLength(1);
  },

  'an edit of the thresholds decides anew, and nothing else does': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const edit = (upperThreshold: number, lowerThreshold = 0, weight = 1) =>
      change(rig, editDestination(id, servers[0]!, { upperThreshold, lowerThreshold, weight }));
    const overloaded = async () => (await shown(rig, id)).destinations[0]!.overloaded ?? false;
    for (let n = 0; n < 3; n++) await mustOpen(rig, id, family);
    expect(await overloaded()).toBe(false);
    for (const [upper, lower, wanted] of [
      [3, 0, true],
      // Between the two: as it was.
      [10, 2, true],
      [10, 4, false],
      [20, 2, false],
      [2, 0, true],
      [0, 0, false],
    ] as const) {
      await edit(upper, lower);
      expect(await overloaded(), `${upper} ${lower}`).toBe(wanted);
    }
    await edit(3);
    await edit(3, 0, 7);
    expect(await overloaded()).toBe(true);
  },
} as const satisfies Record<string, Check>;
