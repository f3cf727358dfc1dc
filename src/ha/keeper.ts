import { isDeepStrictEqual } from 'node:util';
import { familyOf } from '../model/address.ts';
import { type Fitness, fitnessOf, type VrrpState, type VrrpStatus } from '../model/vrrp.ts';
import { isSystemError } from '../sys/ffi.ts';
import { type InterfaceAddress, listAddresses } from '../sys/netlink/address.ts';
import { type Link, listLinks } from '../sys/netlink/link.ts';
import { watchLinks } from '../sys/netlink/link-watch.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { waitAnyReadable } from '../sys/socket.ts';
import { type Exchange, openExchange } from './exchange.ts';
import { groupFault, othersOf } from './groups.ts';
import { type Instance, openInstance } from './instance.ts';
import { faultOf, type Place, type Seat, seatOf } from './place.ts';
import type { InstanceSettings, Orders } from './settings.ts';

/** Who hears of what happens. */
export type KeeperListener = {
  entered(instance: string, state: VrrpState, reason: string): void;
  /** The kernel refused something. */
  failed(instance: string, what: string, error: unknown): void;
};

/** All VRRP instances of a director. */
export type Keeper = {
  /** Does as it is told: an instance that is told the same as before goes on as it is. */
  order(orders: Orders): void;
  /** Waits for the network until something is due, at most `patienceMs`, and does it. Blocks the event loop. */
  turn(patienceMs: number): void;
  status(): readonly VrrpStatus[];
  /** Gives all addresses up, says so, and closes. */
  stop(): void;
};

/** The sockets of a device and family, and who listens there. */
type Station = { readonly exchange: Exchange; listeners: Instance[] };

/** Devices that change are told by the kernel; addresses that come and go are looked for as often as this. */
const lookMs = 1000;

/** A keeper without instances. `now` is monotonic, milliseconds. */
export function openKeeper(now: () => number, listener: KeeperListener): Keeper {
  const links = watchLinks();
  const stations = new Map<string, Station>();
  let instances: readonly Instance[] = [];
  let orders: Orders = { instances: [], tracking: {}, groups: {} };
  let lookAtMs = 0;
  let leading = false;

  function order(next: Orders): void {
    orders = next;
    const before = instances;
    instances = next.instances.map(
      (settings) => before.find((one) => isDeepStrictEqual(one.settings, settings)) ?? open(settings),
    );
    for (const one of before) if (!instances.includes(one)) one.stop(now());
    look();
  }

  function open(settings: InstanceSettings): Instance {
    const { name } = settings;
    return openInstance(settings, now(), {
      entered(state, reason) {
        listener.entered(name, state, reason);
        if (state === 'fault') lookAtMs = 0;
        else if (!leading) lead(name, state, reason);
      },
      failed: (what, error) => listener.failed(name, what, error),
    });
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

  /** Looks where instances stand, and tells them. What the kernel does not tell now is asked again: nobody moves for it. */
  function look(): void {
    lookAtMs = now() + lookMs;
    let seen: readonly [readonly Link[], readonly InterfaceAddress[]];
    try {
      seen = withNetlink({}, (netlink) => [listLinks(netlink), listAddresses(netlink)]);
    } catch (error) {
      listener.failed('every instance', 'look at the interfaces', error);
      return;
    }
    const [devices, addresses] = seen;
    for (const station of stations.values()) station.listeners = [];
    const places = new Map<string, Place>();
    for (const instance of instances) {
      const seat = seatOf(instance.settings, devices, addresses);
      places.set(instance.settings.name, 'fault' in seat ? seat : place(seat, instance));
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
      instance.judge(places.get(name)!, { priority, ...(fault !== undefined && { fault }) }, now());
    }
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
      ...faultOf(one.name, devices),
    }));
    const fitness = fitnessOf(priority, [...interfaces, ...tracked]);
    return 'fault' in where ? { ...fitness, fault: where.fault } : fitness;
  }

  function place(seat: Seat, instance: Instance): Place {
    const { device } = seat;
    const family = familyOf(instance.settings.addresses[0]!.address);
    const key = `${family} ${device.index} ${device.name}`;
    try {
      const station = stations.get(key) ?? { exchange: openExchange(family, device), listeners: [] };
      stations.set(key, station);
      station.listeners.push(instance);
      return { ...seat, exchange: station.exchange };
    } catch (error) {
      return { fault: `cannot listen on ${device.name}: ${error instanceof Error ? error.message : error}` };
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
  }

  return {
    order,
    turn(patienceMs) {
      const dueMs = Math.min(lookAtMs, ...instances.map((one) => one.dueMs()));
      const waitMs = Math.min(patienceMs, Math.max(0, dueMs - now()));
      waitAnyReadable([links.fd, ...[...stations.values()].map(({ exchange }) => exchange.fd)], waitMs);
      // A master that slept must know it before it hears who took its place; a backup hears first.
      work(instances.filter((one) => one.isMaster()));
      receiveAll();
      work(instances);
      if (links.changed() || now() >= lookAtMs) look();
    },
    status: () => instances.map((one) => one.status(now())),
    stop() {
      for (const one of instances) one.stop(now());
      instances = [];
      for (const { exchange } of stations.values()) exchange.close();
      stations.clear();
      links.close();
    },
  };
}
