import { afterAll, beforeAll, expect, it } from 'vitest';
import { explain } from '../../src/control/explain.ts';
import type { SchedulerName } from '../../src/model/virtual-service.ts';
import { randomNumbers, startOf } from '../packets/random.ts';
import { requires } from '../requirements.ts';
import { ebpf } from './ebpf-rig.ts';
import {
  addDestination,
  change,
  deleteDestination,
  type destination,
  editDestination,
  virtualService,
} from './operations.ts';
import type { Rig } from './rig.ts';

/* What `explain` foretells, against what then happens. */

const foretold: readonly SchedulerName[] = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'sed',
  'nq',
  'dh',
  'sh',
  'mh',
  'fo',
  'ovf',
];
const steps = process.env.LONG ? 1000 : 100;

requires(
  'root',
  'netns',
  'bpf',
)('explain', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await ebpf.start();
  });
  afterAll(() => rig?.close());

  for (const family of [4, 6] as const)
    it.each(foretold)(`foretells %s, IPv${family}`, async (scheduler) => {
      const from = startOf('SCHEDULER_START');
      const random = randomNumbers(from);
      const id = await rig.service(family, 'tcp');
      const schedulerFlags = { flag1: false, flag2: random.below(2) === 1, flag3: false };
      await change(rig, { kind: 'add-service', service: virtualService(id, { scheduler, schedulerFlags }) });
      const servers: Awaited<ReturnType<Rig['realServer']>>[] = [];
      let most = 0;
      for (let step = 0; step < steps; step++) {
        most = Math.max(most, servers.length);
        const dice = random.below(100);
        if (servers.length < 2 || (dice < 3 && servers.length < 8)) {
          servers.push(await rig.realServer(family, 'tcp'));
          await change(rig, addDestination(id, servers.at(-1)!, { weight: 1 + random.below(4) }));
        } else if (dice < 5) {
          const [gone] = servers.splice(random.below(servers.length), 1);
          await change(rig, deleteDestination(id, gone!));
        } else if (dice < 9) {
          await change(rig, editDestination(id, random.pick(servers), { weight: random.below(5) }));
        }
        const client = { address: rig.client(family, random.below(500)), port: 1024 + step };
        const question = {
          protocol: 'tcp',
          client,
          virtual: { address: id.address, port: id.port },
        } as const;
        const before = await explain(rig.plane, question);
        const conversation = await rig.open(id, client);
        const label = `SCHEDULER_START=${from}, step ${step}`;
        const found = before.destination && {
          address: before.destination.address,
          port: before.destination.port,
        };
        expect(found, label).toEqual(conversation?.server);
        if (!conversation) continue;
        const after = await explain(rig.plane, question);
        expect(after.because, label).toMatch(/^the connection is there, ESTABLISHED/);
        expect(after.destination, label).toEqual(before.destination);
        expect(after.connections, label).toHaveLength(1);
        if (random.below(4) === 0) await conversation.reset();
      }
      expect(most).toBeGreaterThan(1);
    });

  it('foretells where persistence brings a client back to', async () => {
    const id = await rig.service(4, 'tcp');
    const persistence = { timeoutSeconds: 300, netmask: 0xffffff00 };
    const servers = [await rig.realServer(4, 'tcp'), await rig.realServer(4, 'tcp')];
    await change(
      rig,
      { kind: 'add-service', service: virtualService(id, { persistence }) },
      ...servers.map((server) => addDestination(id, server)),
    );
    const ask = (address: string, port: number) =>
      explain(rig.plane, {
        protocol: 'tcp',
        client: { address: address as never, port },
        virtual: { address: id.address, port: id.port },
      });
    const first = (await rig.open(id, { address: '203.0.113.1' as never, port: 1000 }))!.server;
    for (const address of ['203.0.113.1', '203.0.113.200']) {
      const { destination, because } = await ask(address, 1001);
      expect(destination).toMatchObject(first);
      expect(because).toBe('persistence: it has served this client before');
      expect((await rig.open(id, { address: address as never, port: 1001 }))!.server).toEqual(first);
    }
    expect((await ask('203.0.114.1', 1000)).destination).not.toMatchObject(first);
    await change(rig, editDestination(id, first, { weight: 0 }));
    expect((await ask('203.0.113.9', 1002)).destination).toMatchObject(first);
    await change(rig, editDestination(id, first, { weight: 0, expiresTemplates: true }));
    expect((await ask('203.0.113.9', 1002)).destination).not.toMatchObject(first);
  });

  it('says where packets go, and what is in the way', async () => {
    const id = await rig.service(4, 'tcp');
    const ask = (client: string, virtual = `${id.address}`, port = id.port) =>
      explain(rig.plane, {
        protocol: 'tcp',
        client: { address: client as never },
        virtual: { address: virtual as never, port },
      });
    await change(rig, { kind: 'add-service', service: virtualService(id) });
    expect((await ask('203.0.113.1')).problems).toEqual([
      { what: expect.stringMatching(/has no real server$/), remedy: expect.any(String) },
    ]);
    const near = { address: '10.1.0.11' as never, port: id.port };
    await change(rig, addDestination(id, near, { method: 'direct-routing' }));
    const direct = await ask('203.0.113.1');
    expect(direct.path).toEqual({
      kind: 'neighbour',
      device: 'r0',
      via: '10.1.0.11',
      mac: '02:00:00:00:d1:11',
      silent: false,
      mtu: 1500,
    });
    expect(direct.problems).toEqual([]);

    const problems = async (settings: Partial<Parameters<typeof destination>[1]>, address = '10.1.0.11') => {
      const place = { address: address as never, port: id.port };
      await change(
        rig,
        { kind: 'delete-service', id },
        { kind: 'add-service', service: virtualService(id) },
        addDestination(id, place, settings),
      );
      return (await ask(address === '10.1.0.12' ? '10.1.0.99' : '203.0.113.1')).problems.map(
        ({ what }) => what,
      );
    };
    expect(await problems({ method: 'direct-routing' }, '8.8.8.8')).toEqual([
      expect.stringContaining('direct routing hands the packet to the gateway 192.0.2.254'),
    ]);
    expect(await problems({ method: 'direct-routing' }, '10.66.0.1')).toEqual([
      'there is no route to the real server 10.66.0.1',
    ]);
    expect(await problems({ method: 'masquerade' }, '10.1.0.12')).toEqual([
      expect.stringContaining("the client is on the real server's network (r0)"),
    ]);
    expect(await problems({ weight: 0 })).toEqual([expect.stringContaining('none of the 1 real servers')]);
    expect((await ask('203.0.113.1', '198.51.100.99')).problems.map(({ what }) => what)).toEqual([
      'no virtual service has the address 198.51.100.99',
      expect.stringContaining('198.51.100.99 is on no interface of this host'),
    ]);
  });
});
