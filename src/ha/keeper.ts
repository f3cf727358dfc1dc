import { isDeepStrictEqual } from 'node:util';
import { familyOf } from '../model/address.ts';
import { type Fitness, fitnessOf, type VrrpState, type VrrpStatus } from '../model/vrrp.ts';
import { isSystemError } from '../sys/ffi.ts';
import type { InterfaceAddress } from '../sys/netlink/address.ts';
import { openGuard } from '../sys/netlink/address-guard.ts';
import type { Link } from '../sys/netlink/link.ts';
import { watchLinks } from '../sys/netlink/link-watch.ts';
import { waitAnyReadable } from '../sys/socket.ts';
import { openErrands } from './errands.ts';
import { type Exchange, openExchange } from './exchange.ts';
import { groupFault, othersOf } from './groups.ts';
import { type Instance, openInstance } from './instance.ts';
import { type Leased, openLeases } from './leases.ts';
import { noPaths, putPaths, takePaths } from './paths.ts';
import { faultOf, type Place, type Seat, seatOf } from './place.ts';
import type { InstanceSettings, Orders, RefusingAddress } from './settings.ts';
import { type Holder, openVirtualDevices, virtualDeviceOf, virtualDevices } from './virtual-mac.ts';

/** Who hears of what happens. */
export type KeeperListener = {
  entered(instance: string, state: VrrpState, reason: string, priority: number): void;
  /** The kernel refused something. */
  failed(instance: string, what: string, error: unknown): void;
};

/** All VRRP instances of a director. */
export type Keeper = {
  /** Does as it is told: an instance that is told the same as before goes on as it is. */
  order(orders: Orders): void;
  /** Waits for the network until something is due, at most `patienceMs`, and does it. Blocks the event loop. */
  turn(patienceMs: number): void;
  /** These instances hand their addresses over, and stand back; or step forward again. */
  handOver(names: readonly string[], reason: string): void;
  takeBack(names: readonly string[]): void;
  status(): readonly VrrpStatus[];
  /** Says that all addresses are given up; each is served until its successor speaks. Then `isResigning` is false. */
  resign(): void;
  isResigning(): boolean;
  /** Gives all addresses up, says so, and closes. */
  stop(): void;
};

/** The sockets of a device and family, and who listens there. */
type Station = { readonly exchange: Exchange; listeners: Instance[] };

/** Goes with this process. */
const guardTable = 'headgate-vrrp';
/** Devices that change are told by the kernel; addresses that come and go are looked for as often as this. */
const lookMs = 1000;
/** For what the kernel has still to renew at the end. */
const patientMs = 1000;

/** A keeper without instances. `now` is monotonic, milliseconds. */
export function openKeeper(now: () => number, listener: KeeperListener): Keeper {
  const links = watchLinks();
  const stations = new Map<string, Station>();
  const leases = openLeases();
  const virtual = openVirtualDevices();
  const guard = openGuard(guardTable);
  let guarded: readonly RefusingAddress[] = [];
  let instances: readonly Instance[] = [];
  let orders: Orders = { instances: [], tracking: {}, groups: {}, always: noPaths };
  let lookAtMs = 0;
  const errands = openErrands();
  /** Whether a look is under way, and what has come since it began. */
  let [looking, lookAgain] = [false, false];
  const renewing = new Map<number, { readonly instance: Instance; readonly device: Holder }>();
  let renewals = 0;
  let leading = false;
  let resigning = false;

  function order(next: Orders): void {
    if (!isDeepStrictEqual(orders.always, next.always)) {
      takePaths(orders.always, pathFailed);
      putPaths(next.always, pathFailed);
    }
    // Before there is an address that it is for.
    if (!isDeepStrictEqual(guarded, next.refusing ?? []))
      attempt('keep away what is for its addresses', () => {
        guard.set(next.refusing ?? []);
        guarded = next.refusing ?? [];
      });
    orders = next;
    const before = instances;
    instances = next.instances.map(
      (settings) => before.find((one) => isDeepStrictEqual(one.settings, settings)) ?? open(settings),
    );
    for (const one of before) if (!instances.includes(one)) one.stop(now());
    attempt('use the leases of the data plane', () => leases.use(next.leases));
    look();
  }

  function attempt(what: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      listener.failed('every instance', what, error);
    }
  }

  const pathFailed = (what: string, error: unknown) => listener.failed('always', what, error);

  function open(settings: InstanceSettings): Instance {
    const { name } = settings;
    const instance: Instance = openInstance(settings, now(), {
      entered(state, reason, priority) {
        listener.entered(name, state, reason, priority);
        if (state === 'fault') lookAtMs = 0;
        else if (!leading) lead(name, state, reason);
      },
      holds: (untilMs) => leases.hold(name, untilMs, now()),
      renew(device, addresses, seconds) {
        renewing.set(++renewals, { instance, device });
        errands.send({ kind: 'renew', number: renewals, device, addresses, seconds });
      },
      failed: (what, error) => listener.failed(name, what, error),
    });
    return instance;
  }

  /** The others of its groups do as an instance does. */
  function lead(name: string, state: 'master' | 'backup', reason: string): void {
    leading = true;
    for (const { group, member } of othersOf(name, orders.groups))
      instances
        .find(({ settings }) => settings.name === member)
        ?.follow(state, `${name} of group ${group}: ${reason}`, now());
    leading = false;
  }

  /** Looks where instances stand, to tell them then. What the kernel does not tell now is asked again: nobody moves for it. */
  function look(): void {
    lookAtMs = now() + lookMs;
    lookAgain = looking;
    if (looking) return;
    looking = true;
    errands.send({ kind: 'look' });
  }

  function receiveErrands(): void {
    for (let outcome = errands.done(); outcome; outcome = errands.done()) {
      if (outcome.kind === 'renewed') {
        const { instance, device } = renewing.get(outcome.number)!;
        renewing.delete(outcome.number);
        if (outcome.failed !== undefined)
          listener.failed(instance.settings.name, 'hold its addresses', new Error(outcome.failed));
        instance.renewed(device);
        continue;
      }
      looking = false;
      if ('failed' in outcome)
        listener.failed('every instance', 'look at the interfaces', new Error(outcome.failed));
      else if (!resigning) settle(outcome.links, outcome.addresses);
      if (lookAgain) look();
    }
  }

  function settle(devices: readonly Link[], addresses: readonly InterfaceAddress[]): void {
    attempt('lease its addresses', () => leases.assign(leasedOf(instances, devices, addresses)));
    for (const station of stations.values()) station.listeners = [];
    const places = new Map<string, Place>();
    for (const instance of instances) {
      const seat = seatOf(instance.settings, devices, addresses);
      places.set(instance.settings.name, 'fault' in seat ? seat : place(seat, instance, devices));
    }
    const fitness = new Map(
      instances.map(({ settings }) => [
        settings.name,
        fitnessAt(settings, places.get(settings.name)!, devices),
      ]),
    );
    for (const instance of instances) {
      const { name } = instance.settings;
      const { priority, fault: own } = fitness.get(name)!;
      const fault = own ?? groupFault(name, orders.groups, fitness);
      const waits = orders.awaits !== undefined && { waits: true as const };
      instance.judge(places.get(name)!, { priority, ...waits, ...(fault !== undefined && { fault }) }, now());
    }
    tellTaken();
    attempt('take virtual MAC addresses away', () => {
      const bases = instances.flatMap(({ settings }) => {
        const base = settings.virtualMac && devices.find(({ name }) => name === settings.interface);
        return base ? [{ name: base.name, virtual: virtualDeviceOf(settings, base.index) }] : [];
      });
      const names = new Set(bases.map((one) => one.virtual));
      virtual.keep(names, new Set(bases.map(({ name }) => name)), devices);
    });
    // What was given up has been said by now.
    for (const [key, { exchange, listeners }] of stations)
      if (listeners.length === 0) {
        exchange.close();
        stations.delete(key);
      }
  }

  /** What its place, its interfaces and what the daemon says make of an instance. */
  function fitnessAt(
    { name, trackInterfaces }: InstanceSettings,
    where: Place,
    devices: readonly Link[],
  ): Fitness {
    const { priority, tracked } = orders.tracking[name] ?? { priority: 1, tracked: [] };
    const interfaces = trackInterfaces.map((one) => ({
      what: `interface ${one.name}`,
      weight: one.weight,
      ...(one.reverse && { reverse: one.reverse }),
      ...faultOf(one.name, devices),
    }));
    const fitness = fitnessOf(priority, [...interfaces, ...tracked]);
    return 'fault' in where ? { ...fitness, fault: where.fault } : fitness;
  }

  function place({ device: base, source }: Seat, instance: Instance, devices: readonly Link[]): Place {
    const { settings } = instance;
    const family = familyOf(settings.addresses[0]!.address);
    const isAuthenticated = settings.authentication.type === 'ah';
    const key = `${family} ${base.index} ${base.name}${isAuthenticated ? ' authenticated' : ''}`;
    let what = `listen on ${base.name}`;
    try {
      const station = stations.get(key) ?? {
        exchange: openExchange(family, base, isAuthenticated),
        listeners: [],
      };
      stations.set(key, station);
      station.listeners.push(instance);
      what = `have a virtual MAC address on ${base.name}`;
      const link = settings.virtualMac && devices.find(({ index }) => index === base.index);
      const device = link ? virtual.on(settings, link, devices) : base;
      return { base, device, source, exchange: station.exchange };
    } catch (error) {
      return { fault: `cannot ${what}: ${error instanceof Error ? error.message : error}` };
    }
  }

  function receiveAll(): void {
    for (const [key, { exchange, listeners }] of stations) {
      try {
        for (let arrived = exchange.receive(); arrived; arrived = exchange.receive())
          for (const instance of listeners) instance.heard(arrived, now());
      } catch (error) {
        // Its device went, or went down.
        if (!isSystemError(error, 'ENETDOWN', 'ENODEV')) listener.failed(key, 'receive', error);
        lookAtMs = 0;
      }
    }
  }

  function work(some: readonly Instance[]): void {
    for (const instance of some) if (now() >= instance.dueMs()) instance.work(now());
    tellTaken();
  }

  /**
   * A group has all of its addresses before the network hears of the first: a client's way and the way back of masquerading move
   * in one moment. A master that yields to the word of its successor serves until then.
   */
  function tellTaken(): void {
    for (const instance of instances) instance.tellTaken();
    for (const instance of instances) instance.advertiseTaken(now());
  }

  const named = (names: readonly string[]) =>
    instances.filter(({ settings }) => names.includes(settings.name));

  return {
    order,
    handOver(names, reason) {
      // Each says so itself.
      leading = true;
      for (const one of named(names)) one.standBack(reason, now());
      leading = false;
    },
    takeBack(names) {
      for (const one of named(names)) one.stepForward(now());
    },
    turn(patienceMs) {
      const dueMs = Math.min(lookAtMs, ...instances.map((one) => one.dueMs()));
      const waitMs = Math.min(patienceMs, Math.max(0, dueMs - now()));
      waitAnyReadable([links.fd, ...[...stations.values()].map(({ exchange }) => exchange.fd)], waitMs);
      // A master that slept must know it before it hears who took its place; a backup hears first.
      work(instances.filter((one) => one.isMaster()));
      receiveAll();
      work(instances);
      receiveErrands();
      if (!resigning && (links.changed() || now() >= lookAtMs)) look();
    },
    status: () => instances.map((one) => one.status(now())),
    resign() {
      resigning = true;
      for (const one of instances) one.resign(now());
    },
    isResigning: () => instances.some((one) => one.isResigning()),
    stop() {
      // What is renewed behind its back would stay.
      const untilMs = now() + patientMs;
      while (renewing.size > 0 && now() < untilMs) {
        waitAnyReadable([], 1);
        receiveErrands();
      }
      errands.close();
      for (const one of instances) one.stop(now());
      instances = [];
      attempt('give up its leases', leases.close);
      takePaths(orders.always, pathFailed);
      attempt('take virtual MAC addresses away', () => virtual.keep(new Set(), new Set(), virtualDevices()));
      for (const { exchange } of stations.values()) exchange.close();
      stations.clear();
      links.close();
      guard.close();
    },
  };
}

/** Every virtual address, and which of them the host has for good besides. */
function leasedOf(
  instances: readonly Instance[],
  devices: readonly Link[],
  found: readonly InterfaceAddress[],
): Leased[] {
  const own = new Set(
    found.flatMap(({ address, validSeconds }) => (validSeconds === undefined ? address : [])),
  );
  const indexOf = (wanted: string) => devices.find(({ name }) => name === wanted)?.index ?? 0;
  return instances.flatMap(({ settings }) => {
    const base = indexOf(settings.interface);
    return [...settings.addresses, ...settings.excludedAddresses].map(({ address }) => ({
      instance: settings.name,
      address,
      ifindex: settings.virtualMac ? indexOf(virtualDeviceOf(settings, base)) : base,
      resident: own.has(address),
    }));
  });
}
