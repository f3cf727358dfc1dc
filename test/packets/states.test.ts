import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import {
  nextTcpState,
  tcpActive,
  tcpStateNames,
  tcpTimeoutsSeconds,
  tcpTransitions,
  tcpTransitionsSecure,
} from '../../src/model/connection-states.ts';
import type { ForwardingMethod } from '../../src/model/virtual-service.ts';
import { parseObject } from '../../src/sys/bpf/object.ts';
import { requires } from '../requirements.ts';
import { tcp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';

const vip = '198.51.100.10';
const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:80')),
  servicePlan(`tcp ${vip}:81`, 'rr', destination('10.1.0.12:81', 'direct-routing')),
];

/** All combinations of FIN, SYN, RST and ACK, and PSH alone, which is none of them. */
const flagSets = [
  ...Array.from({ length: 16 }, (_, bits) => [...'FSRA'].filter((_letter, i) => bits & (1 << i)).join('')),
  'P',
  'PA',
];

const flagBits = (flags: string): number =>
  [...flags].reduce((sum, letter) => sum | { F: 1, S: 2, R: 4, P: 8, A: 16 }[letter as 'F'], 0);

type Way = 'in' | 'out';
type Step = readonly [Way, string];

/** The rules, followed from the packet that opens a connection. Direct routing: no reply was seen so far. */
function follow(method: ForwardingMethod, steps: readonly Step[]): { state: number; noOutput: boolean } {
  let state = 0;
  let noOutput = method !== 'masquerade';
  for (const [way, flags] of steps) {
    if (way === 'out') noOutput = false;
    state = nextTcpState(
      state,
      way === 'out' ? 'output' : noOutput ? 'input-only' : 'input',
      flagBits(flags),
    );
  }
  return { state, noOutput };
}

/**
 * Shortest ways into every state that packets can bring about, by the rules. The first packet is a SYN from the
 * client; a SYN in TIME_WAIT or CLOSE would open another connection, so no way leads through it.
 */
function waysIn(method: ForwardingMethod): Map<string, Step[]> {
  const found = new Map<string, Step[]>();
  const queue: Step[][] = [[['in', 'S']]];
  const events: Step[] = (['in', 'out'] as const).flatMap((way) =>
    ['S', 'F', 'A', 'R', ''].map((flags): Step => [way, flags]),
  );
  for (let steps = queue.shift(); steps; steps = queue.shift()) {
    const { state, noOutput } = follow(method, steps);
    const key = `${tcpStateNames[state]}${noOutput ? ' unanswered' : ''}`;
    if (found.has(key)) continue;
    found.set(key, steps);
    for (const event of events) if (!reopens(state, event)) queue.push([...steps, event]);
  }
  return found;
}

const reopens = (state: number, [way, flags]: Step): boolean =>
  way === 'in' &&
  flags.includes('S') &&
  !flags.includes('R') &&
  ['TIME_WAIT', 'CLOSE'].includes(tcpStateNames[state]!);

const setups: readonly { method: ForwardingMethod; service: string; real: string }[] = [
  { method: 'masquerade', service: `${vip}:80`, real: '10.1.0.11:80' },
  { method: 'direct-routing', service: `${vip}:81`, real: `${vip}:81` },
];

describe('the transition table in the object', () => {
  const object = parseObject(readFileSync(path.join(import.meta.dirname, '../../bpf/headgate.bpf.o')));
  const { map, offset, size } = object.variables.tcp_transitions!;

  it('is the one of the rules, number by number', () => {
    const bytes = object.maps[map]!.contents!.subarray(offset, offset + size);
    // By direction and event a row of 16 places, 11 of them states; then the same for secure_tcp.
    const half = 4 * 4 * 16;
    expect(bytes).toHaveLength(2 * half);
    [tcpTransitions, tcpTransitionsSecure].forEach((table, at) => {
      const own = bytes.subarray(at * half, (at + 1) * half);
      const rows = table.map((row) => [...row, 0, 0, 0, 0, 0]);
      expect(Array.from(rows, (_, i) => [...own.subarray(i * 16, i * 16 + 16)])).toEqual(rows);
    });
  });

  it('numbers the states as the kernel does', () => {
    const names = Object.entries(numbers.state).sort(([, a], [, b]) => a - b);
    const plain = names.map(([name]) => name.replace('STATE_', ''));
    expect(plain.filter((name) => !name.startsWith('SCTP_'))).toEqual([...tcpStateNames, 'UDP', 'COUNT']);
  });
});

requires(
  'root',
  'netns',
  'bpf',
)('TCP states by packets', () => {
  let harness: Harness;
  let port = 1024;
  beforeAll(async () => {
    harness = await openHarness('states', 16_384);
    await harness.apply(...additions(plans));
  });
  afterAll(() => harness?.close());

  const slotOf = (method: ForwardingMethod) => (method === 'masquerade' ? 1 : 2);
  const counts = (method: ForwardingMethod) => ({
    active: harness.destinations.get(slotOf(method), 'active'),
    inactive: harness.destinations.get(slotOf(method), 'inactive'),
  });

  const send = (client: string, service: string, real: string, [way, flags]: Step) =>
    harness.receive(
      way === 'in' ? 'c0' : 'r0',
      way === 'in' ? tcp(client, service, flags) : tcp(real, client, flags),
    );

  for (const { method, service, real } of setups) {
    const ways = waysIn(method);

    it(`${method}: packets lead to every state the rules can reach`, () => {
      const reachable = [...ways.keys()];
      // NONE ends with the first packet; SYNACK is only secure_tcp's; SYN_SENT and LISTEN are no SYN's successor
      // unless the table says so.
      expect(reachable).toEqual(
        expect.arrayContaining(
          ['ESTABLISHED', 'SYN_RECV', 'FIN_WAIT', 'TIME_WAIT', 'CLOSE'].map((name) =>
            expect.stringContaining(name),
          ),
        ),
      );
      expect(reachable.length).toBeGreaterThanOrEqual(method === 'masquerade' ? 6 : 10);
    });

    it.each([...ways])(`${method}: from %s by all flags in both directions`, async (key, steps) => {
      const cases: {
        client: string;
        last: Step;
        before: ReturnType<typeof follow>;
        after: ReturnType<typeof follow>;
      }[] = [];
      for (const way of ['in', 'out'] as const) {
        for (const flags of flagSets) {
          const last: Step = [way, flags];
          const before = follow(method, steps);
          if (reopens(before.state, last)) continue;
          const client = `203.0.113.7:${++port}`;
          const start = counts(method);
          for (const step of steps) send(client, service, real, step);
          const middle = counts(method);
          const wasActive = tcpActive[before.state]! ? 1 : 0;
          expect(middle, `${key}: counts`).toEqual({
            active: start.active + wasActive,
            inactive: start.inactive + 1 - wasActive,
          });
          send(client, service, real, last);
          const after = follow(method, [...steps, last]);
          const isActive = tcpActive[after.state]! ? 1 : 0;
          expect(counts(method), `${key}, ${way} ${flags}: counts`).toEqual({
            active: start.active + isActive,
            inactive: start.inactive + 1 - isActive,
          });
          cases.push({ client, last, before, after });
        }
      }
      const connections = new Map(
        (await harness.connections()).map((one) => [`${one.client.address}:${one.client.port}`, one]),
      );
      for (const { client, last, after } of cases) {
        const found = connections.get(client);
        const name = tcpStateNames[after.state]!;
        const lifetime = tcpTimeoutsSeconds[after.state]! * 1000;
        expect(found?.state, `${key}, ${last.join(' ')}`).toBe(name);
        expect(found?.active, `${key}, ${last.join(' ')}: active`).toBe(tcpActive[after.state]);
        expect(found!.expiresInMs).toBeLessThanOrEqual(lifetime);
        expect(found!.expiresInMs).toBeGreaterThan(lifetime - 5000);
      }
    });
  }

  // Some states no packet leads to (LISTEN, SYNACK): they are put into the entry, so that the whole table is walked.
  const { connection_word: bits } = numbers;
  it.each(setups)('$method: the whole table, states put in place', ({ method, service, real }) => {
    const client = `203.0.113.8:${++port}`;
    harness.receive('c0', tcp(client, service, 'S'));
    const table = mapRecords(harness.instance.map('connections'), 'connection');
    try {
      const slot = slotOfPort(table, port);
      for (const [state, name] of tcpStateNames.entries()) {
        for (const noOutput of [true, false]) {
          for (const way of ['in', 'out'] as const) {
            for (const flags of flagSets) {
              if (reopens(state, [way, flags])) continue;
              const changed = bits.WORD_STATE | bits.WORD_NO_OUTPUT | bits.WORD_INACTIVE;
              const base = (table.get(slot, 'word') & ~changed) | (tcpActive[state] ? 0 : bits.WORD_INACTIVE);
              table.set(slot, 'word', base | state | (noOutput ? bits.WORD_NO_OUTPUT : 0));
              send(client, service, real, [way, flags]);
              const direction = way === 'out' ? 'output' : noOutput ? 'input-only' : 'input';
              const wanted = nextTcpState(state, direction, flagBits(flags));
              const after = table.get(slot, 'word');
              const label = `${method} ${name}${noOutput ? ' unanswered' : ''}, ${way} "${flags}"`;
              expect(tcpStateNames[after & bits.WORD_STATE], label).toBe(tcpStateNames[wanted]);
              expect((after & bits.WORD_INACTIVE) === 0, `${label}: active`).toBe(tcpActive[wanted]);
              expect((after & bits.WORD_NO_OUTPUT) !== 0, `${label}: unanswered`).toBe(
                noOutput && way === 'in',
              );
              expect(table.get(slot, 'timeout'), `${label}: timeout`).toBe(
                tcpTimeoutsSeconds[wanted]! * harness.instance.settings.get(0, 'hz'),
              );
            }
          }
        }
      }
    } finally {
      table.close();
    }
  });

  it('new timeouts reach existing connections with their next packet', async () => {
    const client = `203.0.113.9:${++port}`;
    const { service, real } = setups[0]!;
    for (const step of [
      ['in', 'S'],
      ['out', 'SA'],
      ['in', 'A'],
    ] as const)
      send(client, service, real, step);
    const left = async () =>
      (await harness.connections()).find((one) => `${one.client.address}:${one.client.port}` === client)!
        .expiresInMs;
    expect(await left()).toBeGreaterThan(890_000);
    await harness.apply({ kind: 'set-timeouts', timeouts: { tcp: 400 } });
    send(client, service, real, ['in', 'A']);
    expect(await left()).toBeLessThanOrEqual(400_000);
    await harness.apply({ kind: 'set-timeouts', timeouts: { tcp: 900 } });
  });
});

/** Port numbers lie in the table in network order. */
function slotOfPort(table: Records<'connection'>, port: number): number {
  const swapped = ((port & 0xff) << 8) | (port >> 8);
  for (let slot = 1; slot < table.count; slot++) if (table.get(slot, 'client_port') === swapped) return slot;
  throw new Error(`find the connection of port ${port}: there is none`);
}
