import { type Address, addressFromBytes, addressToBytes } from '../../model/address.ts';
import type { DestinationId } from '../../model/virtual-service.ts';
import type { ConnectionTable } from './connection-table.ts';
import type { Member, Pool, Template } from './pool.ts';

/** What the plane could not do for a client, by cause. */
export type Failures = {
  /** The connection table was full. */
  tableFull: number;
  /** No destination may serve. */
  noDestination: number;
  /** The chosen real server refused, was not reached, or took too long. */
  connectFailed: number;
  /** Datagrams that no queue had room for. */
  datagramsDropped: number;
  /** Connections that could not be accepted, for want of file descriptors for instance. */
  acceptFailed: number;
};

/** What listeners share. */
export type Workshop = {
  readonly table: ConnectionTable;
  readonly pools: ReadonlyMap<string, Pool>;
  readonly failures: Failures;
  /** Any steady clock, milliseconds. */
  readonly nowMs: () => number;
  /** A uniformly random integer in [0, bound). */
  readonly random: (bound: number) => number;
};

/** The destination of a new client at a virtual address; undefined, and counted, when there is no room for it or nobody to serve it. */
export function admit(
  workshop: Workshop,
  pool: Pool,
  client: DestinationId,
  virtual: DestinationId,
): { readonly member: Member; readonly template: Template | undefined } | undefined {
  const { table, pools, failures, nowMs } = workshop;
  let entries = table.flows.size;
  for (const { templates } of pools.values()) entries += templates.size;
  if (entries >= table.size) {
    failures.tableFull++;
    return undefined;
  }
  const { persistence } = pool.service;
  if (!persistence) {
    const member = choose(workshop, pool, client, virtual);
    return member && { member, template: undefined };
  }
  const masked = maskAddress(client.address, persistence.netmask);
  const found = pool.templates.get(masked);
  const member = found?.member ?? choose(workshop, pool, { address: masked, port: client.port }, virtual);
  if (!member) return undefined;
  const template = found ?? {
    member,
    client: { address: masked, port: 0 },
    virtual,
    expiresAtMs: 0,
    connections: 0,
  };
  template.expiresAtMs = nowMs() + persistence.timeoutSeconds * 1000;
  pool.templates.set(masked, template);
  return { member, template };
}

function choose(
  { failures, nowMs, random }: Workshop,
  pool: Pool,
  client: DestinationId,
  virtual: DestinationId,
): Member | undefined {
  const choice = pool.scheduling.choose(pool.members, {
    packet: {
      source: client.address,
      sourcePort: client.port,
      destination: virtual.address,
      destinationPort: virtual.port,
      inverse: false,
    },
    flags: pool.service.schedulerFlags,
    nowMs: nowMs(),
    random,
  });
  if (choice === undefined) failures.noDestination++;
  return choice === undefined ? undefined : pool.members[choice];
}

/** The address under a persistence netmask: IPv4 a 32-bit mask, IPv6 a prefix length. */
export function maskAddress(address: Address, netmask: number): Address {
  const bytes = addressToBytes(address);
  return addressFromBytes(
    bytes.map((byte, i) => {
      const mask =
        bytes.length === 4 ? netmask >>> (24 - 8 * i) : 0xff00 >> Math.min(8, Math.max(0, netmask - 8 * i));
      return byte & mask & 0xff;
    }),
  );
}
