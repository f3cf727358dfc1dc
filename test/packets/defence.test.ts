import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sysctls } from '../../src/model/sysctls.ts';
import type { Connection } from '../../src/model/table.ts';
import { requires } from '../requirements.ts';
import { tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';

/*
 * Sysctls that change what becomes of new and half-open connections. Rules: Documentation/networking/ipvs-sysctl.rst,
 * update_defense_level and ip_vs_todrop (net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_core.c), ip_vs_random_dropentry
 * (ip_vs_conn.c); half_open_share is ours.
 */

const vip = '198.51.100.10';
const size = 400;
const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`tcp ${vip}:81`, 'rr', destination('10.1.0.12:81', 'direct-routing')),
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.11:53')),
];
const client = (n: number) => `203.0.113.${1 + (n % 200)}:${1024 + n}`;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(20);
}

requires(
  'root',
  'netns',
  'bpf',
)('defences', () => {
  let harness: Harness;
  const open = async () => {
    harness = await openHarness('defence', size);
    await harness.apply(...additions(plans));
  };
  const close = () => harness?.close();

  const set = (sysctls: Partial<Sysctls>) => harness.apply({ kind: 'set-sysctls', sysctls });
  const send = (n: number, flags: string, port = 80) =>
    harness.receive('c0', tcp(client(n), `${vip}:${port}`, flags)).verdict;
  const answer = (n: number, flags: string) =>
    harness.receive('r0', tcp('10.1.0.11:8080', client(n), flags)).verdict;
  const establish = (n: number) => {
    send(n, 'S');
    answer(n, 'SA');
    send(n, 'A');
  };
  const portsIn = (connections: readonly Connection[], state: string) =>
    connections
      .filter((one) => one.state === state && !one.template)
      .map(({ client: { port } }) => port - 1024)
      .sort((a, b) => a - b);
  const inState = async (state: string) => portsIn(await harness.connections(), state);
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  const counts = () => ['active', 'inactive'].map((one) => harness.destinations.get(1, one as 'active'));

  describe('against many', () => {
    beforeEach(open);
    afterEach(close);

    describe('half_open_share', () => {
      it('ends the oldest half-open connection for a newer one, and never one that is established', async () => {
        await set({ half_open_share: 25 });
        for (const n of range(0, 10)) establish(n);
        // Places are given to all that come, so those ten had one each.
        for (const n of range(10, 300)) expect(send(n, 'S')).toBe('redirect');
        expect(await inState('SYN_RECV')).toEqual(range(200, 300));
        expect(await inState('ESTABLISHED')).toEqual(range(0, 10));
        expect(harness.event('EVENT_HALF_OPEN_ENDED')).toBe(190);
        expect(counts()).toEqual([110, 0]);
        // The places of those that went are free again: the table has 400.
        await set({ half_open_share: 0 });
        await until(() => send(1000, 'S') === 'redirect');
        for (const n of range(300, 560)) await until(() => send(n, 'S') === 'redirect');
        expect(await inState('SYN_RECV')).toHaveLength(100 + 1 + 260);
      });

      it('is no limit with 0', async () => {
        for (const n of range(0, 300)) send(n, 'S');
        expect(await inState('SYN_RECV')).toHaveLength(300);
        expect(harness.event('EVENT_HALF_OPEN_ENDED')).toBe(0);
      });

      it('lets templates go that nobody was answered by, and no others', async () => {
        const [plan] = plans;
        await harness.apply({
          kind: 'edit-service',
          service: { ...plan!.service, persistence: { timeoutSeconds: 300, netmask: 0xffffffff } },
        });
        await set({ half_open_share: 5 });
        establish(0);
        send(200, 'S');
        for (const n of range(1, 60)) send(n, 'S');
        // Client 200 has the address of client 0, whose connection is established and whose template is assured.
        expect(await inState('SYN_RECV')).toEqual(range(40, 60));
        const templates = (await harness.connections()).filter(({ template }) => template);
        expect(templates).toHaveLength(21);
        expect(templates.filter(({ state }) => state === 'ASSURED')).toHaveLength(1);
      });
    });

    describe('drop_packet', () => {
      it('refuses every so many new connections with 3, and none that are there', async () => {
        for (const n of range(0, 5)) establish(n);
        await set({ drop_packet: 3, am_droprate: 4 });
        await until(() => harness.instance.runtime.get(0, 'drop_rate') === 4);
        const verdicts = range(100, 140).map((n) => send(n, 'S'));
        expect(verdicts.filter((one) => one === 'drop')).toHaveLength(10);
        expect(
          new Set(range(0, 10).map((i) => verdicts.slice(i * 4, i * 4 + 4).indexOf('drop'))),
        ).toHaveLength(1);
        expect(harness.event('EVENT_REFUSED')).toBe(10);
        for (const n of range(0, 5)) for (const _ of range(0, 8)) expect(send(n, 'A')).toBe('redirect');
        await set({ drop_packet: 0 });
        await until(() => harness.instance.runtime.get(0, 'drop_rate') === 0);
        expect(range(200, 220).map((n) => send(n, 'S'))).not.toContain('drop');
      });

      it('is on with 1 while few places are left, and is shown as 2 then', async () => {
        await set({ drop_packet: 1 });
        const shown = async () => (await harness.read()).sysctls?.drop_packet;
        expect(await shown()).toBe(1);
        // A quarter of 400 places. Off meanwhile: it would be on before the last of them.
        await set({ drop_packet: 0 });
        for (const n of range(0, 320)) send(n, 'S');
        await set({ drop_packet: 1 });
        await until(async () => (await shown()) === 2);
        // 100 / (100 - 80)
        expect(harness.instance.runtime.get(0, 'drop_rate')).toBe(5);
        harness.setLifetimes(1);
        for (const n of range(0, 320)) send(n, 'R');
        await until(async () => (await shown()) === 1);
        expect(harness.instance.runtime.get(0, 'drop_rate')).toBe(0);
      });
    });

    describe('drop_entry', () => {
      it('drops half-open connections, and others only when they have been idle', async () => {
        for (const n of range(0, 20)) establish(n);
        for (const n of range(20, 120)) send(n, 'S');
        for (const n of range(120, 130)) harness.receive('c0', udp(client(n), `${vip}:53`));
        await set({ drop_entry: 3 });
        // A 32nd of the table a second; here all of it at once, most likely.
        harness.instance.runtime.set(0, 'drop_debt', 320 * 64);
        await until(async () => (await inState('SYN_RECV')).length === 0);
        expect(await inState('ESTABLISHED')).toEqual(range(0, 20));
        expect(await inState('UDP')).toEqual(range(120, 130));
        expect(harness.event('EVENT_ENTRY_DROPPED')).toBe(100);
        expect(counts()).toEqual([20, 0]);
      });
    });
  });

  describe('of single connections', () => {
    beforeAll(open);
    afterAll(close);

    describe('secure_tcp', () => {
      it('holds a connection established when its server has answered with more than a SYN', async () => {
        await set({ secure_tcp: 3 });
        await until(() => harness.instance.settings.get(0, 'secure') === 1);
        const states = async () => (await harness.connections()).map(({ state }) => state);
        send(0, 'S');
        expect(await states()).toEqual(['SYN_RECV']);
        send(0, 'A');
        expect(await states()).toEqual(['SYN_RECV']);
        answer(0, 'SA');
        expect(await states()).toEqual(['SYNACK']);
        send(0, 'A');
        expect(await states()).toEqual(['SYNACK']);
        answer(0, 'A');
        expect(await states()).toEqual(['ESTABLISHED']);
        await set({ secure_tcp: 0 });
        await until(() => harness.instance.settings.get(0, 'secure') === 0);
        send(1, 'S');
        send(1, 'A');
        expect(await states()).toEqual(['ESTABLISHED', 'ESTABLISHED']);
      });
    });

    it('sloppy_tcp: a segment opens a connection, and a reset does not', async () => {
      expect(send(10, 'A')).toBe('pass');
      await set({ sloppy_tcp: 1 });
      expect(send(10, 'R')).toBe('pass');
      expect(send(10, 'A')).toBe('redirect');
      expect(await inState('ESTABLISHED')).toContain(10);
      await set({ sloppy_tcp: 0 });
    });

    describe('conn_reuse_mode', () => {
      let next = 20;
      /** How often a client's connection is opened by these packets; it ends up in a state before the last one. */
      const opened = async (flags: readonly string[], state: string) => {
        const before = (await harness.read()).services[1]!.counters.connections;
        const n = next++;
        for (const one of flags) send(n, one, 81);
        expect(await inState(state)).toContain(n);
        send(n, 'S', 81);
        return Number((await harness.read()).services[1]!.counters.connections - before);
      };

      it.each([
        [0, 1],
        [1, 1],
        [2, 2],
        [3, 2],
      ])('%i: after a FIN whose answer is not seen', async (mode, wanted) => {
        await set({ conn_reuse_mode: mode });
        expect(await opened(['S', 'A', 'FA'], 'FIN_WAIT')).toBe(wanted);
      });

      it.each([
        [0, 1],
        [1, 2],
        [2, 2],
      ])('%i: after a reset', async (mode, wanted) => {
        await set({ conn_reuse_mode: mode });
        expect(await opened(['S', 'A', 'R'], 'CLOSE')).toBe(wanted);
      });
    });
  });
});
