import { setTimeout as sleep } from 'node:timers/promises';
import type { Address } from '../../src/model/address.ts';
import { normaliseDestination } from '../../src/model/real-server.ts';
import { destinationKey, serviceKey } from '../../src/model/service-id.ts';
import { sysctlDefaults } from '../../src/model/sysctls.ts';
import type { Connection, Counters, Observed, Operation } from '../../src/model/table.ts';
import type { AddressServiceId, Destination, DestinationId } from '../../src/model/virtual-service.ts';
import type { Left } from '../kernel/wire.ts';
import { type Packet, tcp, udp } from '../packets/frame.ts';
import { at as endpointOf, virtualService } from '../packets/services.ts';
import { virtualAddresses } from '../packets/world.ts';
import type { Director } from './director.ts';
import {
  type DestinationWish,
  places,
  type Scenario,
  type ServiceWish,
  type Step,
  sysctls,
} from './scenario.ts';

/** Entries whose end is nearer than this are waited out, so that it is the same moment for both. */
const nearMs = 1000;
/** How far the two may be apart in what they say is left of an entry, one of them in whole seconds. */
const apartMs = 1500;
/** Between two looks at entries that are about to end; and how long such an end may take. */
const lookMs = 250;
const endsMs = 300_000;
/** Both have summed up their counters after so long: IPVS does every two seconds (ip_vs_est.c). */
const summedUpMs = 2200;
/** A tick of the kernel's timers: entries that end at once are gone. */
const tickMs = 12;
const shortTimeouts = { tcp: 15, tcpFin: 8, udp: 8 };
/** Connections without a destination have ended where expire_nodest_conn says so: ours look ten times a second. */
const sweptMs = 250;

type Talk = { readonly id: AddressServiceId; readonly client: DestinationId; to?: DestinationId };

/** Two directors did not do the same. */
export class Difference extends Error {}

/**
 * Does a scenario with both, step by step, and compares after each what left, what was refused, what is listed and every
 * connection. Throws Difference. Afterwards both are empty again. `base` is the first of the ports of its services.
 */
export async function compareIn(
  scenario: Scenario,
  base: number,
  directors: readonly [Director, Director],
): Promise<void> {
  const talks: Talk[] = [];
  let shown: Connection[] = [];
  let fresh = 0;
  const trail: string[] = [];
  const families = new Set(scenario.flatMap((step) => ('at' in step ? [places[step.at]!.family] : [])));
  await both([
    { kind: 'set-timeouts', timeouts: shortTimeouts },
    ...[...families].map((family): Operation => ({ kind: 'add-service', service: guards[family] })),
  ]);
  let difference: unknown;
  try {
    for (const [number, step] of scenario.entries()) {
      trail.push(`${number} ${JSON.stringify(step)}`);
      await within(`step ${number}, ${JSON.stringify(step)}`, () => carryOut(step));
      await sleep(step.do.startsWith('delete') ? sweptMs : tickMs);
      const summedUp = step.do === 'wait' && step.seconds * 1000 >= summedUpMs;
      await within(`after step ${number}, ${JSON.stringify(step)}`, () => compareTables(summedUp));
    }
    await within('at the end', async () => {
      await sleep(summedUpMs);
      await compareTables(true);
    });
  } catch (error) {
    difference = error;
  }
  await clear(difference !== undefined);
  if (difference) throw difference;

  async function carryOut(step: Step): Promise<void> {
    switch (step.do) {
      case 'add-service':
      case 'edit-service':
        return both([{ kind: step.do, service: serviceOf(step.at, step.wish) }]);
      case 'delete-service':
        // A destination that comes back to the same address may bring along what IPVS had not summed up.
        await sleep(summedUpMs);
        return both([{ kind: 'delete-service', id: idOf(step.at) }]);
      case 'add':
      case 'edit':
        return both([
          {
            kind: `${step.do}-destination`,
            id: idOf(step.at),
            destination: destinationOf(step.at, step.to, step.wish),
          },
        ]);
      case 'delete':
        return both([
          { kind: 'delete-destination', id: idOf(step.at), destination: placeOf(step.at, step.to) },
        ]);
      case 'zero':
        // IPVS counts from what it summed up last.
        await sleep(summedUpMs);
        return both([{ kind: 'zero', id: idOf(step.at) }]);
      case 'timeouts':
        return both([{ kind: 'set-timeouts', timeouts: step }]);
      case 'sysctl':
        await both([{ kind: 'set-sysctls', sysctls: { [step.name]: step.value } }]);
        // Defences are decided upon once a second.
        return sleep(2000);
      case 'wait':
        return sleep(step.seconds * 1000);
      case 'open': {
        const { protocol, family, address, port } = { ...places[step.at]!, ...idOf(step.at) };
        const client = { address: clientAddress(family, step.client), port: 2000 + step.port };
        // Every port there is.
        const id: AddressServiceId = { kind: 'address', protocol, address, port: port || 7000 + step.port };
        let talk: Talk = { id, client };
        if (await countsWhatEnded(talk)) talk = { id, client: { ...client, port: 3000 + fresh++ } };
        const same = talks.findIndex(
          (one) => JSON.stringify([one.id, one.client]) === JSON.stringify([talk.id, talk.client]),
        );
        if (same >= 0) talk = talks[same]!;
        else talks.push(talk);
        return say(talk, 'S', 0);
      }
      case 'client': {
        const talk = talks[step.talk % talks.length];
        if (!talk || (step.flags.includes('S') && (await countsWhatEnded(talk)))) return;
        return say(talk, step.flags, step.bytes);
      }
      case 'server':
        return answer(talks[step.talk % talks.length], step.flags, step.bytes);
      case 'shake': {
        const talk = talks[step.talk % talks.length];
        if (talk?.id.protocol !== 'tcp') return answer(talk, 'A', 10);
        await answer(talk, 'SA', 0);
        return say(talk, 'A', 0);
      }
    }
  }

  /** An entry that has ended counts in IPVS while what takes its place is scheduled: docs/reference/differences-from-ipvs.md. */
  async function countsWhatEnded({ id, client }: Talk): Promise<boolean> {
    const key = `${destinationKey(client)} ${destinationKey(id)}`;
    return shown.some(
      (one) =>
        !one.active &&
        !one.template &&
        `${destinationKey(one.client)} ${destinationKey(one.virtual)}` === key,
    );
  }

  async function both(operations: readonly Operation[]): Promise<void> {
    const [first, second] = [await directors[0].apply(operations), await directors[1].apply(operations)];
    const reasons = (refusals: typeof first) => refusals.map((refusal) => refusal?.reason);
    same('refused', reasons(first), reasons(second));
  }

  function say(talk: Talk, flags: string, bytes: number): void {
    const packet = make(talk.id.protocol, talk.client, talk.id, flags, bytes);
    const [left] = pass('c0', packet);
    if (!left || left.device === 'c0') return;
    const { ip, packet: found } = left;
    if (ip.protocol === 6 || ip.protocol === 17) {
      const to = { address: ip.destination, port: found.readUInt16BE(ip.transport + 2) };
      if (to.address === talk.id.address) delete talk.to;
      else talk.to = to;
    } else delete talk.to;
  }

  function answer(talk: Talk | undefined, flags: string, bytes: number): void {
    if (talk?.to) pass('r0', make(talk.id.protocol, talk.to, talk.client, flags, bytes));
  }

  function pass(device: 'c0' | 'r0', packet: Packet): Left[] {
    const [first, second] = [directors[0].send(device, packet), directors[1].send(device, packet)];
    trail.push(`  ${shortly(packet)} -> ${first.map(briefly)}`);
    same('what left', first.map(told), second.map(told));
    return first;
  }

  async function compareTables(withCounters: boolean): Promise<void> {
    for (const deadline = performance.now() + endsMs; ; ) {
      const [first, second] = [await directors[0].connections(), await directors[1].connections()];
      const near = [...first, ...second].map((one) => one.expiresInMs).filter((left) => left < nearMs);
      if (near.length > 0) {
        if (performance.now() > deadline)
          throw new Difference(`entries do not end: ${rows(first)}\n-- ${rows(second)}`);
        await sleep(Math.max(lookMs, Math.min(...near)));
        continue;
      }
      same('connections', rows(first), rows(second));
      const left = new Map(first.map((one) => [row(one), one.expiresInMs]));
      for (const one of second)
        if (Math.abs(one.expiresInMs - left.get(row(one))!) > apartMs)
          same(`time left of ${row(one)}`, left.get(row(one)), one.expiresInMs);
      shown = [...first];
      break;
    }
    let listings = await listed(withCounters);
    if (String(listings[0]) !== String(listings[1])) {
      // Ours counts an entry whose time is up until its timer has looked at it, ten times a second.
      await sleep(lookMs);
      listings = await listed(withCounters);
    }
    same('listing', ...listings);
  }

  async function listed(withCounters: boolean): Promise<readonly [string[], string[]]> {
    const [first, second] = [await directors[0].read(), await directors[1].read()];
    return [listing(first, withCounters), listing(second, withCounters)];
  }

  /** Ends every connection at once, and leaves everything else as it was before. */
  async function clear(inTheMiddle: boolean): Promise<void> {
    if (inTheMiddle) await sleep(summedUpMs);
    const usual = Object.fromEntries(sysctls.map(([name]) => [name, sysctlDefaults[name]]));
    await both([{ kind: 'set-sysctls', sysctls: { ...usual, expire_nodest_conn: 1 } }, { kind: 'flush' }]);
    for (const deadline = performance.now() + endsMs; ; await sleep(sweptMs)) {
      const lists = [await directors[0].connections(), await directors[1].connections()];
      if (lists.every(({ length }) => length === 0)) break;
      if (performance.now() > deadline)
        throw new Difference(`entries do not end: ${lists.map(rows).join('\n-- ')}`);
    }
    await both([{ kind: 'set-sysctls', sysctls: { expire_nodest_conn: usual.expire_nodest_conn! } }]);
  }

  async function within(where: string, work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error instanceof Difference) error.message = `${where}: ${error.message}\n${trail.join('\n')}`;
      throw error;
    }
  }

  function same(what: string, first: unknown, second: unknown): void {
    const lines = [first, second].map((value) =>
      (Array.isArray(value) ? value : [value]).map((one) =>
        typeof one === 'string' ? one : (JSON.stringify(one) ?? 'nothing'),
      ),
    );
    const [one, other] = lines as [string[], string[]];
    if (one.join('\n') === other.join('\n')) return;
    const differing = (of: string[], from: string[]) =>
      of.filter((line) => !from.includes(line)).join('\n  ');
    throw new Difference(
      `${what}\n${directors[0].name}:\n  ${differing(one, other)}\n${directors[1].name}:\n  ${differing(other, one)}`,
    );
  }

  function idOf(place: number): AddressServiceId {
    const { protocol, family, ...rest } = places[place]!;
    return {
      kind: 'address',
      protocol,
      address: virtualAddresses['anyPort' in rest ? 'otherIpv4' : family === 4 ? 'ipv4' : 'ipv6'] as Address,
      port: 'anyPort' in rest ? 0 : base + place,
    };
  }

  function placeOf(place: number, to: number): DestinationId {
    const { port } = idOf(place);
    const last = 11 + to;
    return {
      address: (places[place]!.family === 4 ? `10.1.0.${last}` : `fd10::${last}`) as Address,
      port: port && (to % 2 === 0 ? port : 8000 + to),
    };
  }

  function destinationOf(place: number, to: number, wish: DestinationWish): Destination {
    const { weight, method, upper, lower } = wish;
    const { address, port } = placeOf(place, to);
    const wanted = { address, port, method, weight, upperThreshold: upper, lowerThreshold: lower };
    return normaliseDestination(wanted, idOf(place));
  }

  function serviceOf(place: number, { scheduler, flags, persistence, onePacket }: ServiceWish) {
    const { protocol, family, ...rest } = places[place]!;
    const { seconds, bits } = persistence ?? { seconds: 12, bits: 32 };
    const netmask = family === 6 ? (bits === 32 ? 128 : 64) : (-1 << (32 - bits)) >>> 0;
    return {
      id: idOf(place),
      scheduler,
      schedulerFlags: { ...flags, flag3: false },
      ...((persistence || 'anyPort' in rest) && { persistence: { timeoutSeconds: seconds, netmask } }),
      onePacket: onePacket && protocol === 'udp',
    };
  }
}

/** Without a service of its family IPVS does not see packets: docs/reference/differences-from-ipvs.md. */
const guards = {
  4: virtualService(`tcp ${virtualAddresses.ipv4}:9`),
  6: virtualService(`tcp [${virtualAddresses.ipv6}]:9`),
};

const clientAddress = (family: 4 | 6, n: number): Address =>
  (family === 4 ? `203.0.${n >> 1}.${7 + 31 * n}` : `2001:db8:c${n >> 1}::${7 + 31 * n}`) as Address;

function make(
  protocol: AddressServiceId['protocol'],
  from: DestinationId,
  to: DestinationId,
  flags: string,
  bytes: number,
): Packet {
  const [source, destination] = [endpointOf(from.address, from.port), endpointOf(to.address, to.port)];
  const payload = Buffer.alloc(bytes, 'x');
  return protocol === 'tcp'
    ? tcp(source, destination, flags, { payload })
    : udp(source, destination, { payload });
}

const shortly = ({ source, destination, body }: Packet): string =>
  body.kind === 'tcp' || body.kind === 'udp'
    ? `${body.kind} ${endpointOf(source, body.sourcePort)} to ${endpointOf(destination, body.destinationPort)}`
    : '';
const briefly = ({ device, ip, packet }: Left): string =>
  `${device} ${ip.source} to ${ip.destination} ${ip.protocol} ${packet.toString('hex', ip.transport, ip.transport + 4)}`;

/** What left, but for numbers that the host's own packets have. */
function told({ device, to, packet, ip }: Left): string {
  const bytes = Buffer.from(packet);
  const isOwn = ip.protocol !== 6 && ip.protocol !== 17;
  // Flow label; identification and header checksum.
  if (ip.family === 6 && isOwn) bytes.writeUInt32BE(bytes.readUInt32BE() & 0x7ff00000);
  if (ip.family === 4 && isOwn) {
    bytes.fill(0, 4, 6);
    bytes.fill(0, 10, 12);
  }
  return `${device} ${to} ${bytes.toString('hex')}`;
}

const row = (one: Connection): string =>
  [
    ...[
      one.protocol,
      destinationKey(one.client),
      destinationKey(one.virtual),
      destinationKey(one.destination),
    ],
    ...[one.state, one.active ? 'active' : '', one.template ? 'template' : ''],
  ].join(' ');

const rows = (connections: readonly Connection[]): string[] => connections.map(row).sort();

/** Of a listing, what both planes say, line by line: docs/reference/differences-from-ipvs.md has the rest. */
function listing({ services, timeouts }: Reading, withCounters: boolean): string[] {
  const counted = ({ counters: { connections, packetsIn, packetsOut, bytesIn, bytesOut } }: Counted) =>
    withCounters
      ? `${connections} connections, in ${packetsIn} packets ${bytesIn} bytes, out ${packetsOut} ${bytesOut}`
      : '';
  const lines = services
    .map((one): [string, typeof one] => [serviceKey(one.service.id), one])
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, one]) => {
      const { scheduler, schedulerFlags, persistence, onePacket } = one.service;
      const { flag1, flag2, flag3 } = schedulerFlags;
      const settings = [
        scheduler,
        flag1,
        flag2,
        flag3,
        persistence?.timeoutSeconds,
        persistence?.netmask,
        onePacket,
      ];
      return [
        `${key} ${settings.join(' ')} ${counted(one)}`,
        ...one.destinations.map((state) => {
          const { address, port, method, tunnel, weight, upperThreshold, lowerThreshold } = state.destination;
          const { activeConnections, inactiveConnections, persistentConnections } = state;
          const wanted = [
            method,
            tunnel?.type,
            tunnel?.port,
            tunnel?.checksum,
            weight,
            upperThreshold,
            lowerThreshold,
          ];
          const counts = `active ${activeConnections} inactive ${inactiveConnections} persistent ${persistentConnections}`;
          return `  -> ${address} ${port} ${wanted.join(' ')} ${counts} ${counted(state)}`;
        }),
      ];
    });
  return [...lines, `timeouts ${timeouts.tcp} ${timeouts.tcpFin} ${timeouts.udp}`];
}

type Reading = Pick<Observed, 'services' | 'timeouts'>;
type Counted = { readonly counters: Counters };
