import { addressToBytes, familyOf } from '../../model/address.ts';
import { sctpStateNames, tcpStateNames, udpStateNames } from '../../model/connection-states.ts';
import { type SyncedConnection, syncFlags } from '../../model/connection-sync.ts';
import { destinationKey, protocolNumbers, serviceKey } from '../../model/service-id.ts';
import type { Connection, ServiceEntry } from '../../model/table.ts';
import type { Destination } from '../../model/virtual-service.ts';

/** Why a connection of the kernel's cannot be told to another director. */
export type Untold = 'no-real-server' | 'persistence-engine' | 'two-families' | 'unknown-state';

/** The kernel's connections as directors tell each other of them, and how many cannot be told, by reason. */
export type Told = {
  readonly connections: readonly SyncedConnection[];
  readonly untold: Readonly<Partial<Record<Untold, number>>>;
};

/**
 * What the kernel's listing says of its connections, and its table of their services, as messages of connection sync have it
 * (ip_vs_sync_conn, net/netfilter/ipvs/ip_vs_sync.c). The listing has neither forwarding method nor firewall mark: they
 * are those of the real server, found as ip_vs_find_dest() finds it. A connection is told with what is left of its
 * lifetime, a template with the whole of it.
 */
export function toldOf(listed: readonly Connection[], services: readonly ServiceEntry[]): Told {
  const find = placesIn(services);
  const connections: SyncedConnection[] = [];
  const untold: Partial<Record<Untold, number>> = {};
  for (const one of listed) {
    const told = tell(one, find(one));
    if (typeof told === 'string') untold[told] = (untold[told] ?? 0) + 1;
    else connections.push(told);
  }
  return { connections, untold };
}

/** The service a connection belongs to, and its real server there. */
type Place = { readonly entry: ServiceEntry; readonly destination: Destination };

function tell(connection: Connection, place: Place | undefined): SyncedConnection | Untold {
  const { protocol, client, virtual, destination, template, active, engine } = connection;
  const family = familyOf(client.address);
  if (engine) return 'persistence-engine';
  if (family !== familyOf(destination.address)) return 'two-families';
  if (!place) return 'no-real-server';
  const state = stateNumber(connection);
  if (state === undefined) return 'unknown-state';
  const { id, persistence } = place.entry.service;
  const method = methodFlags[place.destination.method];
  const leftSeconds = Math.max(1, Math.ceil(connection.expiresInMs / 1000));
  return {
    family,
    protocol: protocol === 'ip' ? 0 : protocolNumbers[protocol],
    flags:
      method |
      (method === syncFlags.masquerade ? 0 : syncFlags.noOutput) |
      (template ? syncFlags.template : 0) |
      (template || active ? 0 : syncFlags.inactive),
    state,
    client: addressToBytes(client.address),
    clientPort: client.port,
    virtual: addressToBytes(virtual.address),
    virtualPort: virtual.port,
    real: addressToBytes(destination.address),
    realPort: destination.port,
    fwmark: id.kind === 'fwmark' ? id.mark : 0,
    timeoutSeconds: template ? (persistence?.timeoutSeconds ?? leftSeconds) : leftSeconds,
  };
}

const methodFlags = {
  masquerade: syncFlags.masquerade,
  tunnel: syncFlags.tunnel,
  'direct-routing': syncFlags.directRouting,
  // The kernel has none of it.
  'full-nat': syncFlags.masquerade,
} as const;

/** IP_VS_CTPL_S_NONE, IP_VS_CTPL_S_ASSURED. */
const templateStates = ['NONE', 'ASSURED'];
const stateNames = { tcp: tcpStateNames, udp: udpStateNames, sctp: sctpStateNames, ip: [] } as const;

function stateNumber({ template, protocol, state }: Connection): number | undefined {
  const names: readonly string[] = template ? templateStates : stateNames[protocol];
  const found = names.indexOf(state);
  return found < 0 ? undefined : found;
}

/**
 * Where connections belong: to the service of their address and port, to that of every port, or to one of a firewall mark. There
 * the real server has their port, or 0 for every port; templates of several ports and connections they rule say none, or the
 * client's (ip_vs_sched_persist), and then it is the one with the address.
 */
function placesIn(services: readonly ServiceEntry[]): (connection: Connection) => Place | undefined {
  const places = new Map<string, Place>();
  // Of several the first one counts.
  const put = (key: string, place: Place) => void (places.has(key) || places.set(key, place));
  for (const entry of services)
    for (const destination of entry.destinations) {
      const { id } = entry.service;
      const owners = id.kind === 'fwmark' ? [serviceKey(id), anyMark(id.family)] : [serviceKey(id)];
      for (const owner of owners)
        for (const member of [destinationKey(destination), destination.address])
          put(`${owner} ${member}`, { entry, destination });
    }
  return ({ protocol, client, virtual, destination }) => {
    const family = familyOf(client.address);
    const members = [destination, { ...destination, port: 0 }].map(destinationKey);
    const owners =
      protocol === 'ip'
        ? [serviceKey({ kind: 'fwmark', mark: markIn(addressToBytes(virtual.address)), family })]
        : [
            ...[virtual.port, 0].map((port) =>
              serviceKey({ kind: 'address', protocol, address: virtual.address, port }),
            ),
            anyMark(family),
          ];
    const keys = owners.flatMap((owner) =>
      [...members, destination.address].map((member) => `${owner} ${member}`),
    );
    return places.get(keys.find((key) => places.has(key)) ?? '');
  };
}

const anyMark = (family: 4 | 6): string => `a mark of IPv${family}`;

/** A template of a firewall mark has it in the place of the virtual address (ip_vs_sched_persist). */
const markIn = (address: Uint8Array): number => Buffer.from(address).readUInt32BE(0);
