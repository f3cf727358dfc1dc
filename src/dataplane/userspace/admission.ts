import type { Address } from '../../model/address.ts';
import { maskAddress } from '../../model/persistence.ts';
import type { Sysctls } from '../../model/sysctls.ts';
import type { DestinationId } from '../../model/virtual-service.ts';
import type { ConnectionTable } from './connection-table.ts';
import type { Member, Pool, Template } from './pool.ts';

const ftpPort = 21;

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
  readonly sysctls: { -readonly [Name in keyof Sysctls]: Sysctls[Name] };
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
): Assignment | undefined {
  return hasRoom(workshop) ? schedule(workshop, pool, client, virtual) : undefined;
}

/** What serves a client. */
export type Assignment = { readonly member: Member; readonly template: Template | undefined };

/** Whether the table takes so many more entries; counted when it does not. */
export function hasRoom({ table, pools, failures }: Workshop, more = 1): boolean {
  let entries = table.flows.size;
  for (const { templates } of pools.values()) entries += templates.size;
  if (entries + more <= table.size) return true;
  failures.tableFull++;
  return false;
}

/** The destination of a client, by its template where the service is persistent. The flow itself may need room yet. */
export function schedule(
  workshop: Workshop,
  pool: Pool,
  client: DestinationId,
  virtual: DestinationId,
): Assignment | undefined {
  const { persistence } = pool.service;
  if (!persistence) {
    const member = choose(workshop, pool, client, virtual);
    return member && { member, template: undefined };
  }
  const masked = maskAddress(client.address, persistence.netmask);
  const found = pool.templates.get(masked);
  const template =
    found && takesBack(found.member, workshop)
      ? found
      : newTemplate(workshop, pool, client, virtual, masked, persistence.timeoutSeconds);
  if (!template) return undefined;
  template.expiresAtMs = workshop.nowMs() + template.lifetimeMs;
  return { member: template.member, template };
}

/** Whether templates bring clients to a destination (ip_vs_check_template); its load does not matter for that. */
function takesBack({ available, weight, destination }: Member, { sysctls }: Workshop): boolean {
  const expires = sysctls.expire_quiescent_template === 1 || destination.expiresTemplates === true;
  return available && (weight !== 0 || !expires);
}

/** The netmask says whom the template is for; the scheduler sees the client as it is (ip_vs_sched_persist). */
function newTemplate(
  workshop: Workshop,
  pool: Pool,
  client: DestinationId,
  virtual: DestinationId,
  masked: Address,
  timeoutSeconds: number,
): Template | undefined {
  // The template and the connection it is for.
  if (!hasRoom(workshop, 2)) return undefined;
  const member = choose(workshop, pool, client, virtual);
  if (!member) return undefined;
  // For the one port of the service; FTP's is for all, so that data follow control.
  const { id } = pool.service;
  const own = id.kind === 'address' && id.port === virtual.port && id.port !== ftpPort;
  const template: Template = {
    member,
    client: { address: masked, port: 0 },
    virtual: { address: virtual.address, port: own ? virtual.port : 0 },
    destination: { address: member.address, port: own ? member.port : 0 },
    assured: false,
    lifetimeMs: timeoutSeconds * 1000,
    expiresAtMs: 0,
    connections: 0,
  };
  pool.templates.set(masked, template);
  return template;
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
