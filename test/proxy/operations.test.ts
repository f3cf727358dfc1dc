import { once } from 'node:events';
import { createServer } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startScheduler } from '../../src/model/schedulers/by-name.ts';
import { type DestinationView, lastWeightAfter } from '../../src/model/schedulers/scheduler.ts';
import { schedulerNames } from '../../src/model/virtual-service.ts';
import {
  add,
  type Client,
  edit,
  freePort,
  loopback,
  memberOf,
  openSite,
  type RealServer,
  type Site,
  serviceOf,
} from './site.ts';

let site: Site;
beforeEach(() => {
  site = openSite();
});
afterEach(() => site.close());

describe('Operations on the proxy plane', () => {
  test('what a socket cannot do is refused with the reason, and changes nothing', async () => {
    const id = await site.service();
    const elsewhere = { address: loopback('127.0.0.1'), port: 9 };
    const before = await site.plane.read();
    const refusals = await site.plane.apply([
      { kind: 'add-service', service: serviceOf({ ...id, protocol: 'sctp' }) },
      { kind: 'add-service', service: serviceOf({ ...id, port: 0 }) },
      { kind: 'add-service', service: serviceOf({ ...id, address: loopback('0.0.0.0') }) },
      { kind: 'add-service', service: serviceOf({ ...id, address: loopback('::') }) },
      {
        kind: 'add-service',
        service: { ...serviceOf(id), id: { kind: 'fwmark', mark: 1, family: 4 } },
      },
      add(id, elsewhere, { method: 'direct-routing' }),
      add(id, elsewhere, { method: 'tunnel' }),
      add(id, id),
    ]);
    expect(refusals.map((refusal) => refusal?.detail)).toEqual([
      expect.stringContaining('SCTP'),
      expect.stringContaining('port 0'),
      expect.stringContaining('found 0.0.0.0, every address'),
      expect.stringContaining('found ::, every address'),
      expect.stringContaining('firewall marks'),
      expect.stringContaining('wanted masquerade'),
      expect.stringContaining('wanted masquerade'),
      expect.stringContaining('itself'),
    ]);
    expect(await site.plane.read()).toEqual(before);
  });

  test("the kernel's refusals are the model's", async () => {
    const id = await site.service();
    const server = { address: loopback('127.0.0.1'), port: 9 };
    const other = { ...id, port: id.port ^ 1 };
    const refusals = await site.plane.apply([
      { kind: 'add-service', service: serviceOf(id) },
      add(id, server),
      add(id, server),
      add(other, server),
      edit(id, { ...server, port: 10 }, {}),
      { kind: 'delete-service', id: other },
    ]);
    expect(refusals.map((refusal) => refusal?.reason)).toEqual([
      'service-exists',
      undefined,
      'destination-exists',
      'no-such-service',
      'no-such-destination',
      'no-such-service',
    ]);
  });

  test('an address that cannot be listened on is refused with the reason', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const refused = async (address: string) => {
      const service = serviceOf({ kind: 'address', protocol: 'tcp', address: loopback(address), port });
      return (await site.plane.apply([{ kind: 'add-service', service }]))[0]?.detail;
    };
    expect(await refused('127.0.0.1')).toContain('EADDRINUSE');
    // TEST-NET-1 (RFC 5737) is nobody's.
    expect(await refused('192.0.2.1')).toContain('EADDRNOTAVAIL');
    expect((await site.plane.read()).services).toEqual([]);
    taken.close();
  });

  test('a service deleted and added in one series listens', async () => {
    for (const protocol of ['tcp', 'udp'] as const) {
      const id = await site.service({ protocol });
      for (let i = 0; i < 5; i++)
        await site.change({ kind: 'delete-service', id }, { kind: 'add-service', service: serviceOf(id) });
    }
    await site.change({ kind: 'flush' });
    expect((await site.plane.read()).services).toEqual([]);
  });

  test('an edited service keeps its destinations and takes the new scheduler', async () => {
    const id = await site.service({ scheduler: 'fo' });
    const [one, two] = [await site.server('one'), await site.server('two')];
    await site.change(add(id, one, { weight: 5 }), add(id, two, { weight: 1 }));
    expect(await (await site.client(id)).line()).toBe('one');
    expect(await (await site.client(id)).line()).toBe('one');
    await site.change({ kind: 'edit-service', service: serviceOf(id, { scheduler: 'rr' }) });
    const names = [await (await site.client(id)).line(), await (await site.client(id)).line()];
    expect(names.sort()).toEqual(['one', 'two']);
  });

  test('an edit that leaves the scheduler as it is leaves its turn (ip_vs_edit_service)', async () => {
    const id = await site.service({ scheduler: 'wrr' });
    const [one, two] = [await site.server('one'), await site.server('two')];
    await site.change(add(id, one), add(id, two));
    const names = [await (await site.client(id)).line()];
    const persistence = { timeoutSeconds: 60, netmask: 0xffffffff };
    await site.change({
      kind: 'edit-service',
      service: serviceOf(id, { scheduler: 'wrr', persistence }),
    });
    names.push(await (await site.client(id)).line());
    expect(names).toEqual(['two', 'one']);
  });

  test('zero clears counters and not counts', async () => {
    const id = await site.service();
    const server = await site.server('one');
    await site.change(add(id, server));
    await (await site.client(id)).line();
    await site.change({ kind: 'zero' });
    expect(await site.destination(id, server)).toMatchObject({
      activeConnections: 1,
      counters: { connections: 0n, packetsIn: 0n, packetsOut: 0n, bytesIn: 0n, bytesOut: 0n },
    });
  });

  test.each(['sh', 'mh'] as const)(
    '%s looks at the port and falls back as its flags say',
    async (scheduler) => {
      const id = await site.service({ scheduler });
      const servers = [];
      for (const name of ['a', 'b', 'c']) servers.push(await site.server(name));
      await site.change(...servers.map((server) => add(id, server)));
      const names = async (count: number) => {
        const clients = await Promise.all(Array.from({ length: count }, () => site.client(id)));
        return new Set(await Promise.all(clients.map((client) => client.line().catch(() => client.ended))));
      };
      const flags = (flag1: boolean, flag2: boolean) =>
        site.change({
          kind: 'edit-service',
          service: serviceOf(id, { scheduler, schedulerFlags: { flag1, flag2, flag3: false } }),
        });
      // One address is one server, by ipvsadm(8); with sh-port and mh-port the port counts too.
      const [only] = [...(await names(12))];
      expect(await names(12)).toEqual(new Set([only]));
      await flags(false, true);
      expect((await names(30)).size).toBeGreaterThan(1);
      // Overloaded, that server still is the one of this address; with sh-fallback and mh-fallback another one serves.
      await flags(false, false);
      const server = servers['abc'.indexOf(only!)]!;
      await site.change(edit(id, server, { upperThreshold: 1 }));
      const before = site.plane.failures().noDestination;
      await (await site.client(id)).ended;
      expect(site.plane.failures().noDestination).toBe(before + 1);
      await flags(true, false);
      const [other] = [...(await names(1))];
      expect(['a', 'b', 'c'].filter((name) => name !== only)).toContain(other);
    },
  );

  test('every scheduler chooses as the reference does, over random tables and changes', async () => {
    const servers: (RealServer & { readonly name: string })[] = [];
    for (const name of ['a', 'b', 'c', 'd']) servers.push({ name, ...(await site.server(name)) });
    const steps = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constant({ kind: 'connect' as const }) },
        fc.record({ kind: fc.constant('edit' as const), server: fc.nat(3), weight: fc.nat(3) }),
        fc.record({ kind: fc.constant('toggle' as const), server: fc.nat(3), weight: fc.nat(3) }),
      ),
      { minLength: 5, maxLength: 20 },
    );
    // For sh and mh the first is fallback and the second port; the others have none.
    const schedulerFlags = fc.record({ flag1: fc.boolean(), flag2: fc.boolean(), flag3: fc.constant(false) });
    // Random by design: there is no choice to compare.
    const names = schedulerNames.filter((name) => name !== 'twos');
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), schedulerFlags, steps, async (scheduler, flags, run) => {
        const id = await site.service({ scheduler, schedulerFlags: flags });
        const views: { -readonly [Field in keyof DestinationView]: DestinationView[Field] }[] = [];
        const reference = startScheduler(scheduler, views, 4);
        const clients: Client[] = [];
        for (const step of run) {
          if (step.kind === 'connect') {
            // Of a client that is refused at once nobody could tell the port afterwards.
            const sourcePort = await freePort('127.0.0.1');
            const client = await site.client(id, '127.0.0.1', sourcePort);
            clients.push(client);
            const choice = reference.choose(views, {
              packet: {
                source: loopback('127.0.0.1'),
                sourcePort,
                destination: id.address,
                destinationPort: id.port,
                inverse: false,
              },
              flags,
              nowMs: 0,
              random: () => 0,
            });
            const view = choice === undefined ? undefined : views[choice]!;
            if (view) {
              view.active++;
              view.total++;
              const wanted = servers.find(({ port }) => port === view.port)!.name;
              expect(await client.line()).toBe(wanted);
            } else expect(await client.ended).toBe('ECONNRESET');
            continue;
          }
          const server = servers[step.server]!;
          const { weight } = step;
          const at = views.findIndex(({ port }) => port === server.port);
          if (step.kind === 'edit' && at >= 0) {
            await site.change(edit(id, server, { weight }));
            const view = views[at]!;
            Object.assign(view, { weight, lastWeight: lastWeightAfter(view.lastWeight, weight) });
          } else if (step.kind === 'toggle' && at >= 0) {
            await site.change({ kind: 'delete-destination', id, destination: memberOf(id, server) });
            views[at]!.available = false;
            views.splice(at, 1);
          } else if (step.kind === 'toggle') {
            await site.change(add(id, server, { weight }));
            const { address, port } = server;
            const fresh = { address, port, weight, lastWeight: weight, active: 0, total: 0 };
            views.unshift({ ...fresh, overloaded: false, available: true });
          } else continue;
          reference.changed(views);
        }
        for (const { socket } of clients) socket.destroy();
        await site.change({ kind: 'delete-service', id });
      }),
      { numRuns: process.env.LONG ? 400 : 60 },
    );
  });
});
