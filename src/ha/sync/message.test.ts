import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressFromBytes } from '../../model/address.ts';
import { type SyncedConnection, syncFlags } from '../../model/connection-sync.ts';
import { openBatch } from './batch.ts';
import {
  decodeMessage,
  encodeEnd,
  encodeMessage,
  encodeOldMessage,
  headerBytes,
  isEnd,
  mostConnections,
  portsOfEnd,
  recordLength,
} from './message.ts';

/** What a master of Linux 6.12 said, and what it listed then (test/kernel/sync-golden.sh). */
function recorded(version: 0 | 1) {
  const path = join(import.meta.dirname, `../../../test/golden/sync/linux-6.12-version-${version}.txt`);
  const lines = readFileSync(path, 'utf8').split('\n');
  const datagrams = lines.flatMap((line) =>
    line.startsWith('datagram ') ? [Buffer.from(line.slice(9), 'hex')] : [],
  );
  const listed = lines.flatMap((line) => {
    const words = line.trim().split(/ +/);
    return /^(TCP|UDP)$/.test(words[0]!) ? [words.slice(0, 8).join(' ')] : [];
  });
  return { datagrams, listed };
}

const hex = (value: number) => value.toString(16).toUpperCase().padStart(4, '0');
const states = [
  'NONE',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
];

/** A line of /proc/net/ip_vs_conn up to the state. */
function lineOf(one: SyncedConnection): string {
  const address = (bytes: Uint8Array) =>
    one.family === 4
      ? Buffer.from(bytes).toString('hex').toUpperCase()
      : Buffer.from(bytes)
          .toString('hex')
          .replace(/(.{4})(?=.)/g, '$1:');
  const state =
    one.flags & syncFlags.template
      ? (['NONE', 'ASSURED'][one.state] ?? '?')
      : one.protocol === 17
        ? 'UDP'
        : (states[one.state] ?? '?');
  const ends = [
    [one.client, one.clientPort],
    [one.virtual, one.virtualPort],
    [one.real, one.realPort],
  ] as const;
  return [
    one.protocol === 17 ? 'UDP' : 'TCP',
    ...ends.flatMap(([bytes, port]) => [address(bytes), hex(port)]),
    state,
  ].join(' ');
}

/** The last that was said of each connection. */
function last(datagrams: readonly Buffer[]): SyncedConnection[] {
  const found = new Map<string, SyncedConnection>();
  for (const datagram of datagrams) {
    const message = decodeMessage(datagram);
    if (typeof message === 'string') throw new Error(message);
    expect(message).toMatchObject({ id: 7, refused: [] });
    for (const one of message.connections) found.set(`${one.client}${one.clientPort}${one.virtual}`, one);
  }
  return [...found.values()];
}

describe('messages of a kernel master', () => {
  it('of version 1 tell what it lists', () => {
    const { datagrams, listed } = recorded(1);
    expect(last(datagrams).map(lineOf).sort()).toEqual(listed.sort());
  });

  it('of version 1 are what we write of the same connections, byte by byte', () => {
    for (const datagram of recorded(1).datagrams) {
      const message = decodeMessage(datagram);
      if (typeof message === 'string') throw new Error(message);
      expect(encodeMessage(message.id, message.connections)).toEqual(datagram);
    }
  });

  it('of version 0 tell what it lists of IPv4', () => {
    const { datagrams, listed } = recorded(0);
    const told = last(datagrams);
    expect(told.map(lineOf).sort()).toEqual(listed.filter((line) => !line.includes('fd01')).sort());
    expect(told.every(({ timeoutSeconds }) => timeoutSeconds === 0)).toBe(true);
  });

  it('of version 0 are written as the kernel writes them', () => {
    for (const datagram of recorded(0).datagrams) {
      const read = decodeMessage(datagram);
      if (typeof read === 'string') throw new Error(read);
      expect(encodeOldMessage(read.id, read.connections).toString('hex')).toBe(datagram.toString('hex'));
    }
  });

  it('carry lifetimes, methods and activity', () => {
    const of = (port: number) => last(recorded(1).datagrams).find(({ clientPort }) => clientPort === port)!;
    const method = (port: number) => of(port).flags & syncFlags.method;
    expect([40001, 40002, 40003].map(method)).toEqual([
      syncFlags.directRouting,
      syncFlags.tunnel,
      syncFlags.masquerade,
    ]);
    expect(of(40003)).toMatchObject({ timeoutSeconds: 900 });
    expect(of(40003).flags & syncFlags.inactive).toBe(0);
    expect(of(40006).flags & syncFlags.inactive).toBe(syncFlags.inactive);
    expect(of(0)).toMatchObject({ timeoutSeconds: 300, virtualPort: 8080 });
  });
});

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const connection: fc.Arbitrary<SyncedConnection> = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record({
    family: fc.constant(family),
    protocol: fc.nat(255),
    flags: fc.nat(0xffffffff),
    state: fc.nat(0xffff),
    client: bytes(family === 4 ? 4 : 16),
    virtual: bytes(family === 4 ? 4 : 16),
    real: bytes(family === 4 ? 4 : 16),
    clientPort: fc.nat(0xffff),
    virtualPort: fc.nat(0xffff),
    realPort: fc.nat(0xffff),
    fwmark: fc.nat(0xffffffff),
    timeoutSeconds: fc.nat(0xffffffff),
  }),
);

describe('any message', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.nat(255), fc.array(connection, { maxLength: 40 }), (id, connections) => {
        expect(decodeMessage(encodeMessage(id, connections))).toEqual({
          version: 1,
          id,
          connections,
          refused: [],
        });
      }),
    );
  });

  it('is refused or read, and never more than it has', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (noise, asNew) => {
        const datagram = Buffer.from(noise);
        if (datagram.length >= 8) {
          datagram.writeUInt16BE(datagram.length, 2);
          if (asNew) datagram.set([1, 0, 0], 5);
          if (asNew) datagram[0] = 0;
        }
        const read = decodeMessage(datagram);
        if (typeof read === 'string') return;
        expect(read.connections.length + read.refused.length).toBeLessThanOrEqual(mostConnections);
        for (const one of read.connections) addressFromBytes(one.client);
      }),
      { numRuns: 2000 },
    );
  });

  it('that was changed in one byte is refused or read', () => {
    const [datagram] = recorded(1).datagrams;
    fc.assert(
      fc.property(
        fc.nat(datagram!.length - 1),
        fc.nat(255),
        fc.nat(datagram!.length),
        (at, value, length) => {
          const changed = Buffer.from(datagram!.subarray(0, length));
          if (at < length) changed[at] = value;
          expect(() => decodeMessage(changed)).not.toThrow();
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('options', () => {
  const plain: SyncedConnection = {
    family: 4,
    protocol: 6,
    flags: 0,
    state: 1,
    client: Uint8Array.of(10, 0, 0, 1),
    virtual: Uint8Array.of(10, 0, 0, 2),
    real: Uint8Array.of(10, 0, 0, 3),
    clientPort: 1,
    virtualPort: 2,
    realPort: 3,
    fwmark: 0,
    timeoutSeconds: 9,
  };
  /** A message of one connection with options, and another behind it. */
  const withOptions = (...options: number[]) => {
    const [one, two] = [encodeMessage(3, [plain]).subarray(8), encodeMessage(3, [plain]).subarray(8)];
    const first = Buffer.concat([one, Buffer.from(options)]);
    first.writeUInt16BE(first.length, 2);
    const padding = Buffer.alloc(-first.length & 3);
    const message = Buffer.concat([Buffer.from([0, 3, 0, 0, 2, 1, 0, 0]), first, padding, two]);
    message.writeUInt16BE(message.length, 2);
    return decodeMessage(message);
  };

  it('that may be skipped are, and records stand at multiples of four', () => {
    expect(withOptions(0x7f, 1, 9)).toMatchObject({ connections: [plain, plain], refused: [] });
  });

  it.each([
    ['unknown option 63', [0x3f, 1, 9]],
    ['an option of 0 bytes', [0x7f, 0]],
    ['an option that is cut off', [0x7f]],
    ['option 63 twice', [0x7f, 1, 9, 0x7f, 1, 9]],
    ['persistence data of no engine', [2, 1, 9]],
    ['persistence data of 17 bytes', [3, 17, ...Array<number>(17).fill(65)]],
    ['sequence numbers of 3 bytes', [1, 3, 0, 0, 0]],
    ['a connection with rewritten sequence numbers', [1, 24, ...Array<number>(24).fill(0)]],
  ])('%s costs its connection alone', (why, options) => {
    expect(withOptions(...options)).toMatchObject({ connections: [plain], refused: [why] });
  });
});

it('what a persistence engine keeps comes before its name, and a name alone is nothing', () => {
  const ends = {
    ...{
      client: Uint8Array.of(10, 0, 0, 0),
      virtual: Uint8Array.of(10, 0, 0, 2),
      real: Uint8Array.of(10, 0, 0, 3),
    },
    ...{ clientPort: 0, virtualPort: 5060, realPort: 5060 },
  };
  const plain: SyncedConnection = {
    ...{
      family: 4,
      protocol: 17,
      flags: syncFlags.template,
      state: 0,
      fwmark: 0,
      timeoutSeconds: 300,
      ...ends,
    },
  };
  const one: SyncedConnection = { ...plain, engine: { name: 'sip', data: Buffer.from('a@b') } };
  const message = encodeMessage(7, [one, one, plain]);
  const at = headerBytes + 36;
  expect([...message.subarray(at, at + 10)]).toEqual([2, 3, 97, 64, 98, 3, 3, ...Buffer.from('sip')]);
  const read = decodeMessage(message);
  expect(read).toMatchObject({
    connections: [1, 2]
      .map(() => ({ ...plain, engine: { name: 'sip', data: Uint8Array.from([97, 64, 98]) } }))
      .concat([plain as never]),
    refused: [],
  });
  message.set([0x7f, 3], at);
  expect(decodeMessage(message)).toMatchObject({ connections: [plain, {}, plain], refused: [] });
  expect(recordLength(one, 0)).toBe(0);
});

it('the end of a table is a message of version 0 without connections to who does not know it', () => {
  const end = encodeEnd(7, 4);
  expect([isEnd(end), portsOfEnd(end)]).toEqual([true, 4]);
  expect(decodeMessage(end)).toEqual({ version: 0, id: 7, connections: [], refused: [] });
  // Asking is something else.
  expect(isEnd(encodeMessage(7, []))).toBe(false);
  expect(isEnd(end.subarray(0, 7))).toBe(false);
});

it('a batch of version 0 leaves out what that has no place for', () => {
  const [told] = recorded(1).datagrams.flatMap((one) => {
    const read = decodeMessage(one);
    return typeof read === 'string' ? [] : [...read.connections];
  });
  const six = {
    ...told!,
    family: 6 as const,
    ...{ client: new Uint8Array(16), virtual: new Uint8Array(16) },
  };
  const sent: Buffer[] = [];
  const batch = openBatch(5, 1472, (message) => void sent.push(message));
  batch.add(told!);
  // What was collected goes out as it was to go out.
  batch.speak(0);
  batch.add({ ...six, real: new Uint8Array(16) });
  batch.flush();
  batch.add(told!);
  batch.flush();
  expect(sent.map((one) => decodeMessage(one))).toEqual([
    { version: 1, id: 5, connections: [told], refused: [] },
    { version: 0, id: 5, connections: [{ ...told, fwmark: 0, timeoutSeconds: 0 }], refused: [] },
  ]);
});

it('a local end is an option that IPVS skips, of the family of its connection', () => {
  const ends = {
    client: Uint8Array.of(10, 0, 0, 1),
    clientPort: 1,
    virtual: Uint8Array.of(10, 0, 0, 2),
    virtualPort: 2,
  };
  const one: SyncedConnection = {
    ...{ family: 4, protocol: 6, flags: syncFlags.fullNat, state: 1, fwmark: 0, timeoutSeconds: 9, ...ends },
    ...{ real: Uint8Array.of(10, 0, 0, 3), realPort: 3 },
    local: { address: Uint8Array.of(10, 0, 0, 4), port: 1025 },
  };
  const message = encodeMessage(7, [one, one]);
  expect(message).toHaveLength(headerBytes + 2 * recordLength(one));
  expect(decodeMessage(message)).toMatchObject({ connections: [one, one], refused: [] });
  // IPVS_OPT_F_PARAM, the bit 0x40, says that who does not know the option passes it over.
  const at = headerBytes + 36;
  expect([...message.subarray(at, at + 8)]).toEqual([0x60, 6, 1025 >> 8, 1025 & 255, 10, 0, 0, 4]);
  message[at + 1] = 5;
  expect(decodeMessage(message)).toMatchObject({ connections: [one], refused: ['a local end of 5 bytes'] });
  expect(recordLength(one, 0)).toBe(0);
});

it('a batch fills messages to their length and sends what is left', () => {
  fc.assert(
    fc.property(
      fc.array(connection, { maxLength: 600 }),
      fc.integer({ min: 80, max: 9000 }),
      (all, longest) => {
        const sent: SyncedConnection[] = [];
        const lengths: number[] = [];
        const batch = openBatch(5, longest, (message, places) => {
          const read = decodeMessage(message);
          if (typeof read === 'string') throw new Error(read);
          expect(read.connections).toHaveLength(places.length);
          expect(message.length).toBeLessThanOrEqual(longest);
          lengths.push(message.length);
          sent.push(...read.connections);
        });
        for (const one of all) batch.add(one);
        batch.flush();
        batch.flush();
        expect(sent).toEqual(all);
        // Only the last one has room for another connection, or is full by number.
        for (const length of lengths.slice(0, -1))
          expect(length + 72 > longest || length > 255 * 36).toBe(true);
      },
    ),
    { numRuns: 50 },
  );
});
