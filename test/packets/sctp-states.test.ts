import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import {
  type Direction,
  nextSctpState,
  sctpActive,
  sctpChunkEvents,
  sctpEvent,
  sctpEvents,
  sctpStateNames,
  sctpTimeoutsSeconds,
  sctpTransitions,
} from '../../src/model/connection-states.ts';
import { parseObject } from '../../src/sys/bpf/object.ts';
import { requires } from '../requirements.ts';
import { crc32c } from './crc32c.ts';
import { type Chunk, chunkTypes, filler, sctp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { amount, randomNumbers, startOf } from './random.ts';
import { sctpPlans, vip, vip6 } from './sctp-services.ts';
import { additions } from './services.ts';

const { connection_word: bits, state: stateNumbers } = numbers;
const { STATE_SCTP_NONE, STATE_SCTP_CLOSED } = stateNumbers;

const [client4, client6] = ['203.0.113.7', '[2001:db8:c::7]'];
const setups = [
  { name: 'masquerade', slot: 1, from: client4, service: `${vip}:80`, real: '10.1.0.11:8080' },
  { name: 'masquerade, IPv6', slot: 2, from: client6, service: `${vip6}:80`, real: '[fd10::11]:8080' },
  { name: 'direct-routing', slot: 3, from: client4, service: `${vip}:81`, real: `${vip}:81` },
  { name: 'direct-routing, IPv6', slot: 4, from: client6, service: `${vip6}:81`, real: `${vip6}:81` },
];

describe('tables in the object', () => {
  const object = parseObject(readFileSync(path.join(import.meta.dirname, '../../bpf/headgate.bpf.o')));
  const bytesOf = (name: string) => {
    const { map, offset, size } = object.variables[name]!;
    return object.maps[map]!.contents!.subarray(offset, offset + size);
  };

  it('has the transitions of the rules, number by number', () => {
    const rows = sctpTransitions.map((row) => [...row.map((state) => STATE_SCTP_NONE + state), 0, 0]);
    expect([...bytesOf('sctp_transitions').subarray(0, rows.length * 16)]).toEqual(rows.flat());
  });

  it('has the event of each chunk type', () => {
    const events = Array.from({ length: 16 }, (_, type) => sctpEvents.indexOf(sctpEvent(type)));
    expect(sctpChunkEvents).toHaveLength(15);
    expect([...bytesOf('sctp_events')]).toEqual(events);
  });

  it('has the powers of x that zero bytes stand for', () => {
    const bytes = Buffer.from(bytesOf('crc32c_powers'));
    const found = Array.from({ length: 64 }, (_, i) => bytes.readUInt32LE(i * 4));
    // By itself a bit is x^0, in the highest place; the CRC of that many zero bytes behind it is its power.
    const alone = (length: number) => {
      const one = Buffer.alloc(4 + length);
      const none = crc32c(one);
      one.writeUInt32LE(0x80000000, 0);
      return (crc32c(one) ^ none) >>> 0;
    };
    // Four bytes at the front are advanced by all bytes of the message: 4 of them themselves.
    const wanted = [1, 16, 256].flatMap((place) =>
      Array.from({ length: 16 }, (_, digit) => (digit * place < 4 ? undefined : alone(digit * place - 4))),
    );
    const compared = found.slice(0, 48).map((word, i) => (wanted[i] === undefined ? undefined : word));
    expect(compared).toEqual(wanted);
    expect(found.slice(0, 4)).toEqual([0x80000000, 0x00800000, 0x00008000, 0x00000080]);
    for (const digit of [1, 7, 15])
      expect(found[48 + digit], `4096 x ${digit}`).toBe(alone(4096 * digit - 4));
  });
});

requires(
  'root',
  'netns',
  'bpf',
)('SCTP states by packets', () => {
  let harness: Harness;
  let table: Records<'connection'>;
  let port = 1024;
  beforeAll(async () => {
    harness = await openHarness('sctp-states', 4096);
    await harness.apply(...additions(sctpPlans));
    table = mapRecords(harness.instance.map('connections'), 'connection');
  });
  afterAll(async () => {
    table?.close();
    await harness?.close();
  });

  type Way = 'in' | 'out';
  type Chunks = Parameters<typeof sctp>[2];
  const send = (client: string, { service, real }: (typeof setups)[number], way: Way, chunks: Chunks) =>
    harness.receive(
      way === 'in' ? 'c0' : 'r0',
      way === 'in' ? sctp(client, service, chunks) : sctp(real, client, chunks),
    );
  const counts = (slot: number) =>
    [harness.destinations.get(slot, 'active'), harness.destinations.get(slot, 'inactive')] as const;
  const slotOfPort = (wanted: number) => {
    const swapped = ((wanted & 0xff) << 8) | (wanted >> 8);
    for (let slot = 1; slot < table.count; slot++)
      if (table.get(slot, 'client_port') === swapped) return slot;
    throw new Error(`find the connection of port ${wanted}: there is none`);
  };

  it('numbers states behind those of TCP and UDP, as the kernel does from 0', () => {
    const own = Object.entries(stateNumbers).filter(([name]) => name.startsWith('STATE_SCTP_'));
    expect(own.map(([, number]) => number)).toEqual(sctpStateNames.map((_, i) => STATE_SCTP_NONE + i));
    expect(STATE_SCTP_CLOSED - STATE_SCTP_NONE).toBe(sctpStateNames.length - 1);
  });

  const names = Object.keys(chunkTypes) as (keyof typeof chunkTypes)[];
  it.each(setups)('$name: the whole table, states put in place, by every chunk', (setup) => {
    const client = `${setup.from}:${++port}`;
    send(client, setup, 'in', 'init');
    const slot = slotOfPort(port);
    const hertz = harness.instance.settings.get(0, 'hz');
    for (const [state, name] of sctpStateNames.entries()) {
      for (const noOutput of [true, false]) {
        for (const way of ['in', 'out'] as const) {
          for (const chunk of names) {
            if (name === 'CLOSED' && way === 'in' && chunk === 'init') continue;
            const changed = bits.WORD_STATE | bits.WORD_NO_OUTPUT | bits.WORD_INACTIVE;
            const base = (table.get(slot, 'word') & ~changed) | (sctpActive[state] ? 0 : bits.WORD_INACTIVE);
            table.set(slot, 'word', base | (STATE_SCTP_NONE + state) | (noOutput ? bits.WORD_NO_OUTPUT : 0));
            send(client, setup, way, chunk);
            const direction: Direction = way === 'out' ? 'output' : noOutput ? 'input-only' : 'input';
            const wanted = nextSctpState(state, direction, sctpEvent(chunkTypes[chunk]));
            const after = table.get(slot, 'word');
            const label = `${name}${noOutput ? ' unanswered' : ''}, ${way} ${chunk}`;
            expect(sctpStateNames[(after & bits.WORD_STATE) - STATE_SCTP_NONE], label).toBe(
              sctpStateNames[wanted],
            );
            expect((after & bits.WORD_INACTIVE) === 0, `${label}: active`).toBe(sctpActive[wanted]);
            expect((after & bits.WORD_NO_OUTPUT) !== 0, `${label}: unanswered`).toBe(
              noOutput && way === 'in',
            );
            expect(table.get(slot, 'timeout'), `${label}: timeout`).toBe(
              sctpTimeoutsSeconds[wanted]! * hertz,
            );
          }
        }
      }
    }
  });

  const start = startOf('SCTP_START');
  it.each(setups)(`$name: random chunks, start ${start}`, async (setup) => {
    harness.setLifetimes(900 * harness.instance.settings.get(0, 'hz'));
    const random = randomNumbers(start);
    const before = counts(setup.slot);
    const followed = new Map<string, number>();
    const randomChunk = (): Chunk => ({
      type: random.pick([...Object.values(chunkTypes), 15, 130, 192, 255]),
      value: filler(random.below(9)),
    });
    for (let i = 0; i < amount({ short: 20, usual: 150, long: 1000 }); i++) {
      const client = `${setup.from}:${++port}`;
      send(client, setup, 'in', 'init');
      let state = nextSctpState(0, setup.name.startsWith('masq') ? 'input' : 'input-only', 'init');
      let noOutput = !setup.name.startsWith('masq');
      for (let step = random.below(8); step > 0; step--) {
        const way = random.pick(['in', 'out'] as const);
        const chunks = [randomChunk(), ...(random.below(2) ? [randomChunk()] : [])];
        const event = sctpEvent(chunks[0]!.type, chunks[1]?.type);
        if (way === 'in' && event === 'init' && sctpStateNames[state] === 'CLOSED') break;
        send(client, setup, way, chunks);
        if (way === 'out') noOutput = false;
        state = nextSctpState(state, way === 'out' ? 'output' : noOutput ? 'input-only' : 'input', event);
      }
      followed.set(`${port}`, state);
    }
    const listed = new Map((await harness.connections()).map((one) => [`${one.client.port}`, one]));
    for (const [client, state] of followed) {
      const found = listed.get(client);
      expect([found?.protocol, found?.state, found?.active], `port ${client}`).toEqual([
        'sctp',
        sctpStateNames[state],
        sctpActive[state],
      ]);
    }
    const active = [...followed.values()].filter((state) => sctpActive[state]).length;
    // The test before has put states into an entry that were not counted.
    const wanted = [before[0] + active, before[1] + followed.size - active];
    expect(counts(setup.slot)).toEqual(wanted.map((one) => one >>> 0));
  });
});
