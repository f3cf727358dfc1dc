import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import type { Connection } from '../../src/model/table.ts';
import type { Persistence } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { startOf } from './random.ts';
import { additions, destination, type ServicePlan, servicePlan } from './services.ts';

/* Templates in the connection table: ip_vs_sched_persist, ip_vs_check_template and ip_vs_conn_expire of Linux 6.12. */

const vip = '198.51.100.10';
const { WORD_LIVE, WORD_TEMPLATE } = numbers.connection_word;
const { STATE_CLOSE } = numbers.state;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const client = (port: number, last = 7) => `203.0.113.${last}:${port}`;

const persistent = (text: string, persistence: Persistence, ...servers: readonly string[]) => {
  const plan = servicePlan(text, 'rr', ...servers.map((at) => destination(at)));
  return { ...plan, service: { ...plan.service, persistence } };
};
const alone = (timeoutSeconds: number): Persistence => ({ timeoutSeconds, netmask: 0xffffffff });

requires(
  'root',
  'netns',
  'bpf',
)('persistence templates', () => {
  const size = 600;
  let harness: Harness;
  let connections: Records<'connection'>;
  let details: Records<'connection_detail'>;
  beforeAll(async () => {
    harness = await openHarness('persist', size);
    connections = mapRecords(harness.instance.map('connections'), 'connection');
    details = mapRecords(harness.instance.map('connection_details'), 'connection_detail');
  });
  afterEach(async () => {
    await harness.apply(
      { kind: 'flush' },
      { kind: 'set-sysctls', sysctls: { expire_quiescent_template: 0 } },
      { kind: 'set-timeouts', timeouts: { tcp: 900 } },
    );
    harness.setLifetimes(60 * hertz());
    for (let look = 0; entries() > 0; look++) {
      expect(look).toBeLessThan(50);
      for (let slot = 1; slot <= size; slot++) if (connections.get(slot, 'word') & WORD_LIVE) age(slot, 3600);
      await sleep(200);
    }
    await sleep(300);
  });
  afterAll(async () => {
    connections?.close();
    details?.close();
    await harness?.close();
  });

  const hertz = () => harness.instance.settings.get(0, 'hz');
  const entries = () => harness.instance.runtime.get(0, 'entries');
  const serve = (...plans: ServicePlan[]) => harness.apply(...additions(plans));
  const syn = (from: string, port = 80) => harness.receive('c0', tcp(from, `${vip}:${port}`, 'S'));
  /** Where a client's SYN goes: last byte of the real server's address. */
  const servedBy = (from: string, port = 80) => syn(from, port).bytes[14 + 19]!;
  const templates = async (): Promise<Connection[]> =>
    (await harness.connections()).filter(({ template }) => template);
  const counted = () => {
    const { destinations } = harness;
    let sum = 0;
    for (let slot = 1; slot <= harness.instance.settings.get(0, 'destination_slots'); slot++)
      for (const field of ['active', 'inactive', 'persistent'] as const) sum += destinations.get(slot, field);
    return sum;
  };

  const slotsOfTemplates = (): number[] =>
    Array.from({ length: size }, (_, n) => n + 1).filter((slot) => {
      const word = connections.get(slot, 'word');
      return (word & WORD_LIVE) !== 0 && (word & WORD_TEMPLATE) !== 0;
    });

  /** The slot of the one template there is. */
  function slotOfTemplate(): number {
    const found = slotsOfTemplates();
    expect(found).toHaveLength(1);
    return found[0]!;
  }

  /** Makes an entry so many seconds older, and the sweeper look at it. */
  function age(slot: number, seconds: number): void {
    connections.add(slot, 'seen', -seconds * hertz());
    const due = Buffer.alloc(4);
    due.writeUInt32LE((harness.instance.runtime.get(0, 'tick_jiffies') | 1) >>> 0);
    harness.instance.map('slices').update(slot >> 8, due);
  }

  async function until(look: () => boolean, mostMs = 20_000): Promise<void> {
    const started = performance.now();
    while (!look()) {
      expect(performance.now() - started).toBeLessThan(mostMs);
      await sleep(5);
    }
  }

  it('a template whose time is up lives on by the minute while it rules a connection', async () => {
    await serve(persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80', '10.1.0.12:80'));
    const first = servedBy(client(1000));
    const slot = slotOfTemplate();
    expect(connections.get(slot, 'timeout')).toBe(300 * hertz());
    expect(details.get(slot, 'ruled')).toBe(1);

    age(slot, 301);
    await until(() => connections.get(slot, 'timeout') === 60 * hertz());
    expect(servedBy(client(1001))).toBe(first);
    expect(details.get(slot, 'ruled')).toBe(2);
    age(slot, 61);
    await sleep(300);
    expect((await templates())[0]?.expiresInMs).toBeGreaterThan(40_000);

    // When the last of its connections has gone, so has it with the end of its time.
    harness.instance.settings.set(0, 'timeout', 2, STATE_CLOSE);
    for (const port of [1000, 1001])
      for (const flags of ['A', 'R']) harness.receive('c0', tcp(client(port), `${vip}:80`, flags));
    await until(() => details.get(slot, 'ruled') === 0);
    expect(entries()).toBe(1);
    age(slot, 61);
    await until(() => entries() === 0);
    expect(counted()).toBe(0);
  });

  it('a client that comes before the sweeper finds the template that is to live on', async () => {
    await serve(persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80', '10.1.0.12:80'));
    const first = servedBy(client(1000));
    const slot = slotOfTemplate();
    connections.add(slot, 'seen', -301 * hertz());
    expect(servedBy(client(1001))).toBe(first);
    expect(connections.get(slot, 'timeout')).toBe(60 * hertz());
    // Without a connection it is over at once.
    details.set(slot, 'ruled', 0);
    connections.add(slot, 'seen', -301 * hertz());
    expect(servedBy(client(1002))).not.toBe(first);
    details.set(slot, 'ruled', 2);
  });

  it('is listed, though its time is up, before the sweeper has let it live on', async () => {
    await serve(persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80', '10.1.0.12:80'));
    syn(client(1000));
    const slot = slotOfTemplate();
    // The sweeper holds still, as it does during a layout conversion.
    harness.instance.settings.set(0, 'hold', 1);
    connections.add(slot, 'seen', -301 * hertz());
    const ruling = await templates();
    details.set(slot, 'ruled', 0);
    const alive = await templates();
    details.set(slot, 'ruled', 1);
    harness.instance.settings.set(0, 'hold', 0);
    expect(ruling).toMatchObject([{ expiresInMs: 60_000 }]);
    // Without a connection it is over at once.
    expect(alive).toEqual([]);
  });

  it('every new connection starts its time over, packets of those that are there do not', async () => {
    await serve(persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80'));
    syn(client(1000));
    const slot = slotOfTemplate();
    connections.add(slot, 'seen', -100 * hertz());
    harness.receive('c0', tcp(client(1000), `${vip}:80`, 'A'));
    expect((await templates())[0]?.expiresInMs).toBeLessThan(201_000);
    syn(client(1001));
    expect((await templates())[0]?.expiresInMs).toBeGreaterThan(299_000);
  });

  it('one whose real server is gone serves no more: ports 65535 until its time is up, and a new one beside', async () => {
    const plan = persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80', '10.1.0.12:80');
    const { id } = plan.service;
    await serve(plan);
    const gone = servedBy(client(1000));
    const at = { address: `10.1.0.${gone}` as never, port: 80 };
    await harness.apply({ kind: 'delete-destination', id, destination: at });
    expect(servedBy(client(1001))).toBe(23 - gone);
    const found = (await templates()).map((row) => [row.virtual.port, row.destination]);
    expect(found).toHaveLength(2);
    expect(found).toContainEqual([80, { address: `10.1.0.${23 - gone}`, port: 80 }]);
    expect(found).toContainEqual([65535, { address: `10.1.0.${gone}`, port: 65535 }]);
    // Also when it is back.
    await harness.apply({ kind: 'add-destination', id, destination: destination(`10.1.0.${gone}:80`) });
    expect(servedBy(client(1002))).toBe(23 - gone);
    const { services } = await harness.read();
    const persistents = services[0]!.destinations.map((one) => one.persistentConnections);
    expect(persistents).toEqual([1, 1]);
  });

  it('a SYN from the ports of a connection that has ended goes on with it', async () => {
    const plan = persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80', '10.1.0.12:80');
    await serve(plan);
    const first = servedBy(client(1000));
    for (const flags of ['A', 'R']) harness.receive('c0', tcp(client(1000), `${vip}:80`, flags));
    const quiet = { ...destination(`10.1.0.${first}:80`), weight: 0 };
    await harness.apply(
      { kind: 'edit-destination', id: plan.service.id, destination: quiet },
      { kind: 'set-sysctls', sysctls: { expire_quiescent_template: 1 } },
    );
    expect(servedBy(client(1000))).toBe(first);
    expect(entries()).toBe(2);
    expect(servedBy(client(1001))).not.toBe(first);
  });

  it('is NONE until the real server of a datagram answers, then ASSURED', async () => {
    await serve(persistent(`udp ${vip}:53`, alone(300), '10.1.0.11:53'));
    const states = async () => (await templates()).map(({ state }) => state);
    harness.receive('c0', udp(client(1000), `${vip}:53`));
    harness.receive('c0', udp(client(1000), `${vip}:53`));
    expect(await states()).toEqual(['NONE']);
    expect(harness.receive('r0', udp('10.1.0.11:53', client(1000))).verdict).toBe('redirect');
    expect(await states()).toEqual(['ASSURED']);
  });

  it('is NONE until the connection is established', async () => {
    await serve(persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80'));
    syn(client(1000));
    expect((await templates()).map(({ state }) => state)).toEqual(['NONE']);
    harness.receive('r0', tcp('10.1.0.11:80', client(1000), 'SA'));
    harness.receive('c0', tcp(client(1000), `${vip}:80`, 'A'));
    expect((await templates()).map(({ state }) => state)).toEqual(['ASSURED']);
  });

  it('is ASSURED at once where sloppy_tcp takes a connection in its middle', async () => {
    await harness.apply({ kind: 'set-sysctls', sysctls: { sloppy_tcp: 1 } });
    await serve(persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80'));
    harness.receive('c0', tcp(client(1000), `${vip}:80`, 'A'));
    expect((await templates()).map(({ state }) => state)).toEqual(['ASSURED']);
  });

  describe('FTP', () => {
    const ftp = [`tcp ${vip}:21`, alone(300), '10.1.0.11:21', '10.1.0.12:21'] as const;

    it('passive data follow the control connection, on any port from 1024 on', async () => {
      await serve(persistent(...ftp));
      const first = servedBy(client(1000), 21);
      for (const port of [1024, 20, 65535]) expect(servedBy(client(1000), port)).toBe(first);
      expect(servedBy(client(1000, 8), 2000)).toBe(23 - first);
      const { verdict, bytes } = syn(client(1001), 1024);
      expect([verdict, bytes.readUInt16BE(14 + 22)]).toEqual(['redirect', 1024]);
      const found = (await templates()).map(({ virtual, destination }) => [virtual.port, destination.port]);
      expect(found).toEqual([
        [0, 0],
        [0, 0],
      ]);
      for (const port of [1023, 22]) expect(syn(client(1000), port).verdict).toBe('pass');
      expect(harness.receive('c0', udp(client(1000), `${vip}:2000`)).verdict).toBe('pass');
    });

    it('other ports are none of its business without persistence', async () => {
      await serve(servicePlan(`tcp ${vip}:21`, 'rr', destination('10.1.0.11:21')));
      expect(syn(client(1000), 21).verdict).toBe('redirect');
      expect(syn(client(1000), 2000).verdict).toBe('pass');
    });

    it('comes before a service for every port, and after one with the port', async () => {
      await serve(
        persistent(`tcp ${vip}:0`, alone(300), '10.1.0.13:0'),
        persistent(`tcp ${vip}:21`, alone(300), '10.1.0.11:21'),
        servicePlan(`tcp ${vip}:3000`, 'rr', destination('10.1.0.14:80')),
      );
      expect(servedBy(client(1000, 1), 21)).toBe(11);
      expect(servedBy(client(1000, 2), 2000)).toBe(11);
      expect(servedBy(client(1000, 3), 3000)).toBe(14);
      expect(servedBy(client(1000, 4), 80)).toBe(13);
      // Both have one template for every port of an address, so one client's are the same.
      expect(servedBy(client(1001, 2), 80)).toBe(11);
    });
  });

  it('a full table refuses template and connection, and leaves nothing behind', async () => {
    await serve(persistent(`tcp ${vip}:80`, alone(300), '10.1.0.11:80'));
    for (let n = 0; n < size - 1; n++) expect(syn(client(1000 + n)).verdict).toBe('redirect');
    expect(entries()).toBe(size);
    expect(syn(client(5000)).verdict).toBe('drop');
    expect(syn(client(5000, 8)).verdict).toBe('drop');
    expect(entries()).toBe(size);
    expect(details.get(slotOfTemplate(), 'ruled')).toBe(size - 1);
  });

  // An emulated processor is too slow for it.
  const storms = process.env.SHORT ? [] : ['on all CPUs at once'];
  it.each(storms)(
    'a storm %s: counts are entries, and templates rule what is there',
    {
      timeout: 60_000,
    },
    async () => {
      const start = startOf('STORM_START');
      console.log(`STORM_START=${start}`);
      await serve(
        persistent(`udp ${vip}:53`, alone(1), '10.1.0.11:53', '10.1.0.12:53'),
        persistent(`tcp ${vip}:80`, alone(1), '10.1.0.11:80', '10.1.0.12:80'),
      );
      harness.setLifetimes(4);
      const { index } = harness.world;
      const script = path.join(import.meta.dirname, 'storm-process.ts');
      const storm = Array.from({ length: Math.max(2, availableParallelism()) }, async (_, n) => {
        const words = [harness.instance.directory, index.c0, index.r0, start + n, 3000].map(String);
        const child = spawn(process.execPath, ['--import', 'tsx', script, ...words], { stdio: 'inherit' });
        expect((await once(child, 'close'))[0]).toBe(0);
      });
      await Promise.all(storm);
      await until(() => entries() === slotsOfTemplates().length);
      // One whose second was over while it ruled lives on for a minute.
      for (const slot of slotsOfTemplates()) age(slot, 61);
      await until(() => entries() === 0);
      expect(counted()).toBe(0);
      await sleep(500);
      for (let slot = 1; slot <= size; slot++) expect(details.get(slot, 'ruled'), `slot ${slot}`).toBe(0);
      // Every slot has come back: one is the template's.
      harness.setLifetimes(60 * hertz());
      for (let n = 0; n < size - 1; n++) expect(syn(client(1000 + n)).verdict, `${n}`).toBe('redirect');
    },
  );
});
