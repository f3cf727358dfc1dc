import { closeSync, openSync } from 'node:fs';
import type { DataPlane } from '../../src/dataplane/data-plane.ts';
import { type AttachedProgram, type Instance, openInstance } from '../../src/dataplane/ebpf/instance.ts';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import { openEbpfPlane } from '../../src/dataplane/ebpf/plane.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import { gather } from '../../src/model/connection-batches.ts';
import type { Sysctls } from '../../src/model/sysctls.ts';
import type { Connection, Observed, Operation } from '../../src/model/table.ts';
import { type MapHandle, splitPerCpu } from '../../src/sys/bpf/map.ts';
import { type SkbContext, testRunSkb } from '../../src/sys/bpf/test-run.ts';
import { bindLibc, checked } from '../../src/sys/ffi.ts';
import { workFolder } from '../sys/bpf-support.ts';
import { openRawEntry } from './entry.ts';
import { encode, ethernet, type Packet } from './frame.ts';
import { lendInstance } from './loads.ts';
import { buildWorld, type DeviceName, macs, type World } from './world.ts';

/** What became of a packet. */
export type Verdict = 'pass' | 'drop' | 'redirect';
const verdicts: Readonly<Record<number, Verdict>> = { 4294967295: 'pass', 2: 'drop', 7: 'redirect' };

export type Outcome = {
  readonly verdict: Verdict;
  /** The bytes as the program left them, with the Ethernet header if there is one. */
  readonly bytes: Buffer;
  readonly mark: number;
};

export type EventName = Exclude<keyof typeof numbers.event, 'EVENT_COUNT'>;

/** The real program over real maps, in a network of its own. */
export type Harness = {
  readonly plane: DataPlane;
  readonly world: World;
  readonly instance: Instance;
  readonly destinations: Records<'destination'>;
  readonly services: Records<'service'>;
  /** Runs a program on a frame. */
  run(program: AttachedProgram, frame: Uint8Array, context: SkbContext): Outcome;
  /** An IP packet that comes in at a device, its Ethernet header addressed to that device. */
  receive(device: DeviceName, packet: Packet | Uint8Array, context?: SkbContext): Outcome;
  /** An IP packet that leaves through a device. */
  leave(device: DeviceName, packet: Packet | Uint8Array): Outcome;
  /** An IP packet that comes in at a device without Ethernet headers; entry.ts says which can. */
  receiveRaw(packet: Packet | Uint8Array): Outcome;
  /** Applies operations; rejects when one is refused. */
  apply(...operations: readonly Operation[]): Promise<void>;
  read(): Promise<Observed>;
  connections(): Promise<readonly Connection[]>;
  /** How often something happened since the plane was set up. */
  event(name: EventName): number;
  /** Lifetime of connections from their next change of state on, in every state; the program's own are in seconds. */
  setLifetimes(jiffies: number): void;
  /** Forgets the first fragments that were seen, which otherwise takes half a minute. */
  forgetFragments(): void;
  /** Forgets who got ICMP errors, so that no limit applies to the next few. */
  clearIcmpLimits(): void;
  close(): Promise<void>;
};

/**
 * Builds the network and sets up the plane in it; `name` tells harnesses apart. The calling thread is in the director's
 * namespace from here on, until the harness is closed: everything the plane does, now or later, it does there.
 */
export async function openHarness(
  name: string,
  connections = 4096,
  sysctls?: Partial<Sysctls>,
): Promise<Harness> {
  const world = buildWorld(`hgpkt-${name}-${process.pid}`);
  const folder = workFolder(true);
  const goHome = enterNetns(world.director);
  const plane = openEbpfPlane({
    ...{ bpffs: folder.path, instance: 'plane', connections },
    ...(sysctls && { sysctls }),
  });
  const opened: { close(): void }[] = [];
  let lent: { giveBack(): void } | undefined;
  const close = async () => {
    for (const item of opened.splice(0).reverse()) item.close();
    try {
      lent?.giveBack();
      await plane.cleanUp();
    } finally {
      goHome();
    }
    folder.remove();
    world.remove();
  };
  try {
    // With sysctls of its own a plane makes its instance itself: what the programs know of them is fixed.
    if (!sysctls) lent = await lendInstance(`${folder.path}/plane`, connections);
    // Tests fill tables with connections that nobody answers; defence.test.ts sets the share itself.
    await plane.apply([{ kind: 'set-sysctls', sysctls: { half_open_share: 0 } }]);
    const instance = openInstance(`${folder.path}/plane`);
    if (!instance) throw new Error('open the plane: there is none');
    opened.push(instance);
    const destinations = mapRecords(instance.map('destinations'), 'destination');
    opened.push(destinations);
    const services = mapRecords(instance.map('services'), 'service');
    opened.push(services);
    const program = (name: AttachedProgram) => {
      const found = instance.program(name);
      if (!found) throw new Error(`open program "${name}": the instance has none`);
      return found;
    };
    const rawEntry = openRawEntry(program('headgate_raw'));
    opened.push(rawEntry);

    const finish = (result: ReturnType<typeof testRunSkb>): Outcome => {
      const verdict = verdicts[result.returnValue];
      if (!verdict) throw new Error(`the program returned ${result.returnValue}, wanted a verdict`);
      return { verdict, bytes: result.data, mark: result.context.mark };
    };
    const run: Harness['run'] = (name, frame, context) => {
      const { fd } = program(name);
      return finish(testRunSkb(fd, frame, context));
    };
    return {
      plane,
      world,
      instance,
      destinations,
      services,
      run,
      receive: (device, packet, context = {}) =>
        run('headgate_ethernet', inbound(device, packet), { ifindex: world.index[device], ...context }),
      leave: (device, packet) =>
        run('headgate_egress', outbound(device, packet), { ifindex: world.index[device] }),
      receiveRaw: (packet) => finish(testRunSkb(rawEntry.fd, bytesOf(packet), { ifindex: world.index.c0 })),
      async apply(...operations) {
        const refusals = await plane.apply(operations);
        const at = refusals.findIndex((refusal) => refusal !== undefined);
        if (at >= 0) throw new Error(`${operations[at]!.kind}: refused, ${refusals[at]!.detail}`);
      },
      read: () => plane.read(),
      connections: () => gather(plane.connections()),
      event(name) {
        const map = instance.map('events');
        return splitPerCpu(map, map.lookup(numbers.event[name])!).reduce(
          (sum, cpu) => sum + Number(cpu.readBigUInt64LE(0)),
          0,
        );
      },
      setLifetimes(jiffies) {
        for (let state = 0; state < numbers.state.STATE_COUNT; state++) {
          instance.settings.set(0, 'timeout', jiffies, state);
        }
      },
      forgetFragments: () => empty(instance.map('fragments')),
      clearIcmpLimits: () => clearIcmpLimits(instance),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Forgets who got ICMP errors from the program of an instance. */
export function clearIcmpLimits(instance: Instance): void {
  empty(instance.map('icmp_peers'));
  instance.runtime.setBig(0, 'icmp_tokens', 0n);
}

function empty(map: MapHandle): void {
  for (const key of [...map.keys()]) map.delete(key);
}

const cSetns = bindLibc('setns', 'int', ['int', 'int']);

/** Takes the calling thread into a network namespace; the result takes it back. */
export function enterNetns(path: string): () => void {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  const there = openSync(path, 'r');
  checked(cSetns(there, 0), 'setns', `"${path}"`);
  closeSync(there);
  return () => {
    checked(cSetns(home, 0), 'setns', 'back');
    closeSync(home);
  };
}

const bytesOf = (packet: Packet | Uint8Array): Uint8Array =>
  packet instanceof Uint8Array ? packet : encode(packet);

/** The frame in which an IP packet comes in at a device. */
export function inbound(device: DeviceName, packet: Packet | Uint8Array): Buffer {
  return ethernet(bytesOf(packet), { to: macs[device].own, from: macs[device].far });
}

/** The frame in which an IP packet leaves through a device. */
export function outbound(device: DeviceName, packet: Packet | Uint8Array): Buffer {
  return ethernet(bytesOf(packet), { to: macs[device].far, from: macs[device].own });
}
