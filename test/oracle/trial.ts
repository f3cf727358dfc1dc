import { setTimeout as sleep } from 'node:timers/promises';
import { sysctlDefaults } from '../../src/model/sysctls.ts';
import type { Connection, Operation } from '../../src/model/table.ts';
import type { SchedulerName } from '../../src/model/virtual-service.ts';
import type { Left } from '../kernel/wire.ts';
import type { Packet } from '../packets/frame.ts';
import { additions } from '../packets/services.ts';
import { compareConnections, compareListings, Difference, endsMs, same } from './compare.ts';
import type { Director } from './director.ts';
import { rows } from './listing.ts';
import { places, type Scenario, type Step, sctpSysctls, sysctls } from './scenario.ts';
import {
  briefly,
  errorAbout,
  inPieces,
  make,
  serverOf,
  shortly,
  type Talk,
  told,
  toldOfPieces,
  wentThroughTunnel,
} from './talk.ts';
import { clientAddress, guards, keyOf, termsOf } from './terms.ts';

/** Both have summed up their counters after so long: IPVS does every two seconds (ip_vs_est.c). */
const summedUpMs = 2200;
/** A tick of the kernel's timers: entries that end at once are gone. */
const tickMs = 12;
const shortTimeouts = { tcp: 15, tcpFin: 8, udp: 8 };
/**
 * Connections without a destination have ended where expire_nodest_conn says so, and then their templates: ours look ten times a
 * second, and meet the two in any order.
 */
const sweptMs = 600;

/** Where a service looks at what an ICMP error quotes otherwise than ours: docs/reference/differences-from-ipvs.md. */
const looksElsewhere: readonly SchedulerName[] = ['dh', 'lblc', 'lblcr'];

/**
 * How far the end of a template and that of a connection it rules must be apart: a template that ends before goes on for a minute
 * (ip_vs_conn_expire), and the kernel's timers are late, by 256 ms for up to 16 s and by 2 s for up to 131 s (kernel/time/timer.c).
 */
const tiedMs = { short: 600, long: 4500 };
const shortStates = ['ESTABLISHED', 'FIN_WAIT', 'CLOSE', 'UDP'];
const shortLifeMs = 16_000;
/** How long another packet of the connection waits, before which nothing ends. */
const untiedMs = 600;
const mostUntied = 16;

/**
 * Does a scenario with both, step by step, and compares after each what left, what was refused, what is listed and every
 * connection. Throws Difference. Afterwards both are empty again. Its services' ports and its real servers go by its `number`. Returns
 * how many steps it has done: after one that leaves the rest to chance it is over.
 */
export async function compareIn(
  scenario: Scenario,
  number: number,
  directors: readonly [Director, Director],
): Promise<number> {
  const { base, idOf, placeOf, destinationOf, serviceOf, talkOf } = termsOf(number);
  const talks: Talk[] = [];
  let shown: readonly Connection[] = [];
  let fresh = 0;
  let datagrams = base;
  let schedulesErrors = false;
  let hasDeleted = false;
  // IPVS counts a datagram as one, ours its pieces: docs/reference/differences-from-ipvs.md.
  let isWhole = !scenario.some((step) => step.do === 'pieces');
  /** Where tunnels of services lead. */
  let tunnels: ReadonlySet<string> = new Set();
  /** No scenario asks for templates as long as those are that go on for the sake of their connections. */
  let hasLongTemplates = false;
  const trail: string[] = [];
  const families = new Set(scenario.flatMap((step) => ('at' in step ? [places[step.at]!.family] : [])));
  await both([
    { kind: 'set-timeouts', timeouts: shortTimeouts },
    ...additions([...families].map((family) => guards[family])),
  ]);
  let done = 0;
  let isOver = false;
  let difference: unknown;
  try {
    for (const [index, step] of scenario.entries()) {
      trail.push(`${index} ${JSON.stringify(step)}`);
      await within(`step ${index}, ${JSON.stringify(step)}`, () => carryOut(step));
      await sleep(step.do.startsWith('delete') ? sweptMs : tickMs);
      const summedUp = step.do === 'wait' && step.seconds * 1000 >= summedUpMs;
      await within(`after step ${index}, ${JSON.stringify(step)}`, () => compareTables(summedUp && isWhole));
      await within(`to keep ends apart, after step ${index}`, async () => {
        isOver = !(await untie());
      });
      done++;
      if (isOver) break;
    }
    await within('at the end', async () => {
      if (isOver) return;
      await sleep(summedUpMs);
      await compareTables(isWhole);
    });
  } catch (error) {
    difference = error;
  }
  await clear(difference !== undefined);
  // What an error said of a path is forgotten.
  for (const director of directors) director.forgetPaths();
  if (difference) throw difference;
  return done;

  async function carryOut(step: Step): Promise<void> {
    switch (step.do) {
      case 'add-service':
      case 'edit-service':
        return both([{ kind: step.do, service: serviceOf(step.at, step.wish) }]);
      case 'delete-service':
        hasDeleted = true;
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
        hasDeleted = true;
        await sleep(summedUpMs);
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
        // Connections to what was deleted before end at once in ours alone: docs/reference/differences-from-ipvs.md.
        if (step.name === 'expire_nodest_conn' && hasDeleted) return;
        await both([{ kind: 'set-sysctls', sysctls: { [step.name]: step.value } }]);
        if (step.name === 'schedule_icmp') schedulesErrors = step.value === 1;
        // Defences are decided upon once a second.
        return sleep(2000);
      case 'wait':
        return sleep(step.seconds * 1000);
      case 'open': {
        const client = {
          address: clientAddress(places[step.at]!.family, step.client),
          port: 2000 + step.port,
        };
        let talk = talkOf(step.at, client, step.port);
        if (countsWhatEnded(talk)) talk = talkOf(step.at, { ...client, port: 3000 + fresh++ }, step.port);
        const key = keyOf(talk);
        const same = talks.find((one) => keyOf(one) === key);
        if (same) talk = same;
        else talks.push(talk);
        return say(talk, 'S', 0);
      }
      case 'client': {
        const talk = talks[step.talk % talks.length];
        if (!talk || (step.flags.includes('S') && countsWhatEnded(talk))) return;
        return say(talk, step.flags, step.bytes);
      }
      case 'server':
        return answer(talks[step.talk % talks.length], step.flags, step.bytes);
      case 'shake': {
        const talk = talks[step.talk % talks.length];
        if (!talk || talk.protocol === 'udp') return answer(talk, 'A', 10);
        answer(talk, 'SA', 0);
        say(talk, 'A', 0);
        return talk.protocol === 'sctp' ? answer(talk, 'A', 0) : undefined;
      }
      case 'pieces': {
        const talk = talks[step.talk % talks.length];
        if (talk?.protocol !== 'udp' || mayBeTunnelled(talk)) return;
        const server = serverOf(talk);
        if (step.from === 'client') return sayInPieces(talk);
        return server && void pass('r0', inPieces(talk, server, talk.client, ++datagrams));
      }
      case 'error': {
        const talk = talks[step.talk % talks.length];
        const error = talk && errorAbout(talk, step);
        if (
          !error ||
          (step.about === 'reply' ? schedulesErrors && isSeenOtherwise(talk) : isUnknownTunnel(talk))
        )
          return;
        // IPVS counts the error that it sends and what that quotes, ours one of them.
        if (step.about === 'request' && wentThroughTunnel(talk)) isWhole = false;
        pass(error.device, [error.packet]);
      }
    }
  }

  /** An entry that has ended counts in IPVS while what takes its place is scheduled: docs/reference/differences-from-ipvs.md. */
  function countsWhatEnded(talk: Talk): boolean {
    const key = keyOf(talk);
    return shown.some((one) => !one.active && !one.template && keyOf(one) === key);
  }

  /** It has no connection, and what IPVS would make of an error about it is among the differences. */
  function isSeenOtherwise(talk: Talk): boolean {
    const key = keyOf(talk);
    if (shown.some((one) => !one.template && keyOf(one) === key)) return false;
    return (
      'mark' in places[talk.at]! ||
      scenario.some(
        (step) =>
          (step.do === 'add-service' || step.do === 'edit-service') &&
          step.at === talk.at &&
          (step.wish.onePacket || looksElsewhere.includes(step.wish.scheduler)),
      )
    );
  }

  /** Its last packet went through a tunnel that is no service's any more: docs/reference/differences-from-ipvs.md. */
  function isUnknownTunnel(talk: Talk): boolean {
    return wentThroughTunnel(talk) && !tunnels.has(talk.request!.ip.destination);
  }

  /** Its connection may lead through a tunnel, where IPVS cuts a datagram otherwise than ours, which leaves it in its pieces. */
  function mayBeTunnelled(talk: Talk): boolean {
    return scenario.some(
      (step) =>
        (step.do === 'add' || step.do === 'edit') && step.at === talk.at && step.wish.method === 'tunnel',
    );
  }

  async function both(operations: readonly Operation[]): Promise<void> {
    const [first, second] = [await directors[0].apply(operations), await directors[1].apply(operations)];
    const reasons = (refusals: typeof first) => refusals.map((refusal) => refusal?.reason);
    same(directors, 'refused', reasons(first), reasons(second));
  }

  function say(talk: Talk, flags: string, bytes: number): void {
    note(talk, pass('c0', [make(talk, talk.client, talk.virtual, flags, bytes)]));
  }

  function sayInPieces(talk: Talk): void {
    note(talk, pass('c0', inPieces(talk, talk.client, talk.virtual, ++datagrams)));
  }

  function note(talk: Talk, [left]: readonly Left[]): void {
    if (!left || left.device === 'c0') delete talk.request;
    else if (!left.ip.fragment) talk.request = left;
  }

  function answer(talk: Talk | undefined, flags: string, bytes: number): void {
    const server = talk && serverOf(talk);
    if (server) pass('r0', [make(talk, server, talk.client, flags, bytes)]);
  }

  function pass(device: 'c0' | 'r0', packets: readonly Packet[]): Left[] {
    const [first, second] = directors.map((director) =>
      packets.flatMap((packet) => director.send(device, packet)),
    ) as [Left[], Left[]];
    trail.push(`  ${shortly(packets[0]!)} -> ${first.map(briefly)}`);
    const tell = packets.length > 1 ? toldOfPieces : told;
    same(directors, 'what left', first.map(tell), second.map(tell));
    return first;
  }

  /**
   * Keeps the ends of templates and of their connections apart, by another packet of the connection. False where that cannot
   * be: which ends first is chance then, and what comes of it.
   */
  async function untie(): Promise<boolean> {
    for (let tries = 0; tries < mostUntied; tries++) {
      const tied = findTied();
      if (!tied) return true;
      await sleep(untiedMs);
      say(tied, tied.protocol === 'sctp' ? 'PA' : 'A', 0);
      // Its destination is deleted: what is dropped does not start its time over (ip_vs_in_hook).
      if (!tied.request) return false;
      await sleep(tickMs);
      await compareTables(false);
    }
    return findTied() === undefined;
  }

  function findTied(): Talk | undefined {
    const templates = shown.filter(({ template }) => template);
    hasLongTemplates ||= templates.some(({ expiresInMs }) => expiresInMs > shortLifeMs);
    const tied = shown.find((one) => {
      const isShort = !hasLongTemplates && one.protocol !== 'sctp' && shortStates.includes(one.state);
      const apart = isShort ? tiedMs.short : tiedMs.long;
      return (
        !one.template &&
        templates.some(
          ({ destination, expiresInMs }) =>
            destination.address === one.destination.address &&
            Math.abs(expiresInMs - one.expiresInMs) < apart,
        )
      );
    });
    return tied && talks.find((talk) => keyOf(talk) === keyOf(tied));
  }

  async function compareTables(withCounters: boolean): Promise<void> {
    shown = await compareConnections(directors, hasLongTemplates);
    const services = await compareListings(directors, withCounters);
    tunnels = new Set(
      services.flatMap(({ destinations }) =>
        destinations.flatMap(({ destination }) =>
          destination.method === 'tunnel' ? [destination.address] : [],
        ),
      ),
    );
  }

  /** Ends every connection at once, and leaves everything else as it was before. */
  async function clear(inTheMiddle: boolean): Promise<void> {
    if (inTheMiddle) await sleep(summedUpMs);
    const usual = Object.fromEntries(
      [...sysctls, ...sctpSysctls].map(([name]) => [name, sysctlDefaults[name]]),
    );
    await both([{ kind: 'set-sysctls', sysctls: { ...usual, expire_nodest_conn: 1 } }, { kind: 'flush' }]);
    for (const deadline = performance.now() + endsMs; ; await sleep(sweptMs)) {
      const lists = [await directors[0].connections(), await directors[1].connections()];
      if (lists.every(({ length }) => length === 0)) break;
      if (performance.now() > deadline)
        throw new Difference(`entries do not end: ${lists.map(rows).join('\n-- ')}`);
    }
    await both([{ kind: 'set-sysctls', sysctls: { expire_nodest_conn: sysctlDefaults.expire_nodest_conn } }]);
  }

  async function within(where: string, work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error instanceof Difference) error.message = `${where}: ${error.message}\n${trail.join('\n')}`;
      throw error;
    }
  }
}
