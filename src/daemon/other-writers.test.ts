import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { exchangeable, type OwnController } from '../control/controller.ts';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import type { NewEvent } from '../model/event.ts';
import type { VirtualService } from '../model/virtual-service.ts';
import { noticeOthers, type OtherWriters } from './other-writers.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const service = (port: number): VirtualService => ({
  id: { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port },
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
});

/** A table that another program writes to past the daemon. */
function site({ shared = true, own = false } = {}) {
  const plane = openMemoryPlane();
  const capabilities = { ...plane.capabilities, ...(shared && { shared: true as const }) };
  const others = noticeOthers({ ...plane, capabilities } as OwnController);
  return { plane, controller: others.controller, ...follow(others, own) };
}

/** What is told of another program's changes. */
function follow(others: OtherWriters, own = false) {
  const events: NewEvent[] = [];
  const counts = { changed: 0, again: 0 };
  const { stop } = others.follow({
    inTurn: (work) => work(),
    log: () => undefined,
    note: (event) => void events.push(event),
    changed: () => void counts.changed++,
    own: () => own,
    again: async () => void counts.again++,
  });
  return { events, counts, stop };
}

const aLook = () => vi.advanceTimersByTimeAsync(5000);

test('what another program changes is told once, and counts as a change of the rules', async () => {
  const { plane, controller, events, counts, stop } = site();
  await controller.apply([{ kind: 'add-service', service: service(80) }]);
  await aLook();
  expect(events).toEqual([]);
  await plane.apply([{ kind: 'edit-service', service: { ...service(80), scheduler: 'wlc' } }]);
  await aLook();
  await aLook();
  expect(events).toMatchObject([
    {
      kind: 'runtime-change',
      by: 'another program',
      what: 'another program: ~ tcp 192.0.2.10:80 scheduler wlc',
    },
  ]);
  expect(counts).toEqual({ changed: 1, again: 0 });
  stop();
});

test('what is changed here is not told', async () => {
  const { plane, controller, events, stop } = site();
  await aLook();
  await controller.apply([{ kind: 'add-service', service: service(80) }]);
  await aLook();
  await controller.apply([{ kind: 'flush' }]);
  await aLook();
  expect(events).toEqual([]);
  await plane.apply([{ kind: 'add-service', service: service(81) }]);
  await aLook();
  expect(events).toHaveLength(1);
  stop();
});

test.each([
  [true, 1],
  [false, 0],
])(
  'own: %s: a service that nobody described makes the configuration come into force again %i times',
  async (own, times) => {
    const { plane, counts, stop } = site({ own });
    await aLook();
    await plane.apply([{ kind: 'add-service', service: service(81) }]);
    await aLook();
    await aLook();
    expect(counts.again).toBe(times);
    stop();
  },
);

test('it is looked at from when others can write to it, and no longer', async () => {
  const capabilities = { name: 'ebpf', description: '' } as const;
  const [first, second] = [openMemoryPlane(), openMemoryPlane()];
  const held = exchangeable({ ...first, capabilities });
  const others = noticeOthers(held.controller);
  const { events, stop } = follow(others);
  await aLook();
  await first.apply([{ kind: 'add-service', service: service(80) }]);
  await aLook();
  expect(events).toEqual([]);
  held.exchange({ ...second, capabilities: { ...capabilities, name: 'ipvs', shared: true } });
  await others.controller.apply([{ kind: 'add-service', service: service(81) }]);
  await aLook();
  expect(events).toEqual([]);
  await second.apply([{ kind: 'add-service', service: service(82) }]);
  await aLook();
  expect(events).toMatchObject([{ what: 'another program: + tcp 192.0.2.10:82 scheduler rr' }]);
  held.exchange({ ...first, capabilities });
  await aLook();
  expect(events).toHaveLength(1);
  stop();
});

test('a table that is ours alone is not looked at', async () => {
  const { plane, events, stop } = site({ shared: false });
  await aLook();
  await plane.apply([{ kind: 'add-service', service: service(81) }]);
  await aLook();
  expect(events).toEqual([]);
  stop();
});
