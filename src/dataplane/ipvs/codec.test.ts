import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Names } from '../../cli/ipvsadm/names.ts';
import { parseCommand } from '../../cli/ipvsadm/parse-command.ts';
import { printRules } from '../../cli/ipvsadm/save.ts';
import type { Address } from '../../model/address.ts';
import type { SyncDaemon } from '../../model/connection-sync.ts';
import { serviceFamily } from '../../model/service-id.ts';
import { genericHeader } from '../../sys/netlink/generic.ts';
import { decodeAttributes, MalformedMessageError, type Message } from '../../sys/netlink/message.ts';
import { decodeDaemon, decodeDestination, decodeInfo, decodeService, decodeTimeouts } from './decode.ts';
import { encodeDaemon } from './encode.ts';
import { encodeOperation, type TableOperation } from './kernel.ts';

/*
 * Against what ipvsadm 1.31 sends and Linux 6.12 answers, byte by byte: test/golden/ipvs/netlink.json was recorded in a guest.
 */

type Golden = {
  readonly requests: readonly { readonly command: string; readonly payload: string }[];
  readonly answers: {
    readonly services: readonly { readonly service: string; readonly destinations: readonly string[] }[];
    readonly config: string;
    readonly info: string;
  };
  readonly saved: readonly string[];
};

const golden = JSON.parse(
  readFileSync(new URL('../../../test/golden/ipvs/netlink.json', import.meta.url), 'utf8'),
) as Golden;

const numeric = {} as Names;
const message = (payload: Buffer): Message => ({ type: 0, flags: 0, sequence: 0, portId: 0, payload });
const ipv4Group = '224.0.0.81' as Address;
const answer = (hex: string): Message => message(Buffer.from(hex, 'hex'));

/** Attributes by their path: "1.6" is the scheduler of a service. */
function flat(payload: Buffer): Map<string, string> {
  const found = new Map<string, string>();
  for (const [type, value] of decodeAttributes(payload, 4)) {
    if (type > 3) found.set(String(type), value.toString('hex'));
    else
      for (const [inner, bytes] of decodeAttributes(value))
        found.set(`${type}.${inner}`, bytes.toString('hex'));
  }
  return found;
}

/** What ipvsadm says beside what we say: settings of what it only names, and tunnels that are none. */
const beside = { named: /^(1\.([6-9]|11)|2\.([3-9]|1[345]))$/, always: /^2\.1[345]$/ };

test.each(golden.requests)('$command', async ({ command, payload }) => {
  const [program, ...words] = command.split(' ');
  const parsed = await parseCommand(program!, words, numeric);
  if (parsed.kind !== 'change') throw new Error(`${command}: wanted a change`);
  const operation = parsed.operation as TableOperation;
  const [number, parts] = encodeOperation(operation);
  const theirs = Buffer.from(payload, 'hex');
  expect(number).toBe(theirs[0]);
  const ours = flat(Buffer.concat([genericHeader(number, 1), ...parts]));
  const wanted = flat(theirs);
  for (const [path, value] of ours) expect([path, value]).toEqual([path, wanted.get(path)]);
  const more = [...wanted.keys()].filter((path) => !ours.has(path));
  const setsService = operation.kind === 'add-service' || operation.kind === 'edit-service';
  const setsDestination = operation.kind === 'add-destination' || operation.kind === 'edit-destination';
  const allowed = setsService ? /^$/ : setsDestination ? /^(1\.([6-9]|11)|2\.1[345])$/ : beside.named;
  expect(more.filter((path) => !allowed.test(path))).toEqual([]);
  for (const path of more.filter((path) => beside.always.test(path)))
    expect(Number(`0x${wanted.get(path)}`)).toBe(0);
});

const table = () =>
  golden.answers.services.map(({ service, destinations }) => {
    const found = decodeService(answer(service))!;
    const family = serviceFamily(found.service.id);
    return {
      ...found,
      destinations: destinations.map((one) => decodeDestination(answer(one), family)).reverse(),
    };
  });

test('a table the kernel listed is saved as ipvsadm saves it', async () => {
  const ours = (await printRules(table(), true, numeric)).trimEnd().split('\n');
  // Marks from 2^31 on are negative in ipvsadm's: print.ts says why not here.
  expect(ours.map((line) => line.replace('-f 4294967295', '-f -1'))).toEqual(golden.saved);
});

test('counts, counters and thresholds are those of the kernel', () => {
  const web = table().find(({ service: { id } }) => id.kind === 'address' && id.port === 80)!;
  // A client that nobody answers: SYNs of 60 bytes.
  expect(web.counters).toEqual({
    connections: 1n,
    packetsIn: 8n,
    packetsOut: 0n,
    bytesIn: 480n,
    bytesOut: 0n,
  });
  expect(web.destinations[0]).toMatchObject({
    destination: { upperThreshold: 11, lowerThreshold: 0, weight: 4 },
    activeConnections: 1,
    inactiveConnections: 0,
    persistentConnections: 1,
  });
});

test('timeouts, version and size are read', () => {
  expect(decodeTimeouts(answer(golden.answers.config))).toEqual({ tcp: 901, tcpFin: 120, udp: 302 });
  expect(decodeInfo(answer(golden.answers.info))).toEqual({ version: '1.2.1', tableSize: 4096 });
});

/* By hand, from include/uapi/linux/ip_vs.h (IPVS_DAEMON_ATTR_*) of Linux 6.12: everything but the group is in the host's order. */
const daemons: readonly (readonly [daemon: SyncDaemon, hex: string])[] = [
  [
    { role: 'master', interface: 'eth1', id: 7, maxLength: 1400, group: ipv4Group, port: 8848, ttl: 2 },
    '40000380 0800010001000000 0900020065746831 00000000 0800030007000000 0600040078050000 08000500e0000051 0600070090220000 0500080002000000',
  ],
  [
    { role: 'backup', interface: 'a', id: 0, group: 'ff02::8:48' as Address, port: 1, ttl: 255 },
    '40000380 0800010002000000 0600020061000000 0800030000000000 14000600ff020000000000000000000000080048 0600070001000000 05000800ff000000',
  ],
];

test.each(daemons)('a sync daemon: $role, there and back', (daemon, spaced) => {
  const hex = spaced.replaceAll(' ', '');
  expect(encodeDaemon(daemon).toString('hex')).toBe(hex);
  expect(decodeDaemon(answer(`09010000${hex}`))).toEqual(daemon);
});

test('whatever an answer is, it is read or called malformed', () => {
  const real = golden.answers.services.flatMap(({ service, destinations }) => [service, ...destinations]);
  const sync = daemons.map(([daemon]) => `09010000${encodeDaemon(daemon).toString('hex')}`);
  const spoiled = fc
    .record({
      hex: fc.constantFrom(...real, golden.answers.config, golden.answers.info, ...sync),
      cut: fc.nat(200),
      bytes: fc.array(fc.record({ at: fc.nat(200), value: fc.nat(255) }), { maxLength: 6 }),
    })
    .map(({ hex, cut, bytes }) => {
      const whole = Buffer.from(hex, 'hex');
      for (const { at, value } of bytes) if (at < whole.length) whole[at] = value;
      return cut % 3 === 0 ? whole.subarray(0, cut) : whole;
    });
  const anything = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(spoiled, anything), (payload) => {
      for (const read of [
        decodeService,
        (one: Message) => decodeDestination(one, 4),
        (one: Message) => decodeDestination(one, 6),
        decodeTimeouts,
        decodeInfo,
        decodeDaemon,
      ])
        try {
          read(message(payload));
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedMessageError);
        }
    }),
    { numRuns: 1000 },
  );
});
