import { addressToBytes, familyOf } from './address.ts';
import { sctpStateNames, tcpStateNames } from './connection-states.ts';
import { markOfTemplate, type SyncedConnection, syncFlags } from './connection-sync.ts';
import { destinationKey, protocolNumbers, serviceFamily, serviceKey } from './service-id.ts';
import type { Connection, ServiceEntry } from './table.ts';
import type { Destination, ServiceId } from './virtual-service.ts';

/** A connection of the kernel's as another plane is told of it, or why it stays; and the service it is of, as far as one is found. */
export type Travel =
  | { readonly told: SyncedConnection; readonly service: ServiceId }
  | { readonly stays: StaysBecause; readonly service?: ServiceId };

/** Why a connection of the kernel's IPVS cannot be carried on by another plane. */
export const staysBecause = {
  helper: 'ip_vs_ftp rewrites what is said on it',
  data: 'it carries data of an FTP connection that ip_vs_ftp helps',
  expected: 'an application helper expects it; no client has opened it',
  engine: 'a template of another persistence engine than sip',
  gone: 'its real server is not in the table any more',
  family: 'its real server is of the other address family',
  unknown: 'its state is not known',
} as const;
export type StaysBecause = keyof typeof staysBecause;

/** What virtual services know FTP by, wherever it is helped. */
const ftp = { control: 21, data: 20, firstPassive: 1024 } as const;
const methodFlags = {
  masquerade: syncFlags.masquerade,
  tunnel: syncFlags.tunnel,
  'direct-routing': syncFlags.directRouting,
  // IPVS has none of it, and what has it stays in the ebpf plane.
  'full-nat': syncFlags.masquerade,
} as const;

/**
 * What becomes of each connection of the kernel's IPVS. Its list does not say which service a connection is of: that is looked
 * for as for a packet of it (ip_vs_service_find), firewall marks last, because no list tells a connection's mark.
 * `helpedPorts`: those at which ip_vs_ftp is at work in this network namespace.
 */
export function traveller(
  services: readonly ServiceEntry[],
  { helpedPorts }: { readonly helpedPorts: readonly number[] },
): (connection: Connection) => Travel {
  const byKey = new Map(services.map((entry) => [serviceKey(entry.service.id), entry]));
  const marked = services.filter(({ service: { id } }) => id.kind === 'fwmark');
  const places = new Map<ServiceEntry, ReadonlyMap<string, Destination>>();
  const find = (id: ServiceId) => byKey.get(serviceKey(id)) ?? [];

  function placesOf(entry: ServiceEntry): ReadonlyMap<string, Destination> {
    let found = places.get(entry);
    if (!found) {
      // By the address alone, too: a template of several ports says no port, and what a mark's template rules the client's (ip_vs_sched_persist). Of several the first counts.
      found = new Map(
        entry.destinations
          .toReversed()
          .flatMap((one) => [[one.address, one] as const, [destinationKey(one), one] as const]),
      );
      places.set(entry, found);
    }
    return found;
  }

  function servicesOf({ protocol, virtual, template }: Connection): readonly ServiceEntry[] {
    const { address, port } = virtual;
    if (protocol === 'ip') {
      const mark = markOfTemplate(0, addressToBytes(address));
      return [find({ kind: 'fwmark', mark, family: familyOf(address) })].flat();
    }
    const at = (other: number) => find({ kind: 'address', protocol, address, port: other });
    const isFtp = protocol === 'tcp' && (port === ftp.data || port >= ftp.firstPassive);
    const own = [at(port), isFtp ? at(ftp.control) : [], at(0)].flat();
    const family = familyOf(address);
    return template ? own : [...own, ...marked.filter(({ service: { id } }) => serviceFamily(id) === family)];
  }

  function homeOf(connection: Connection) {
    const { template, destination: real } = connection;
    const candidates = servicesOf(connection);
    const loose = candidates.filter(
      ({ service: { id, persistence } }) => template || (id.kind === 'fwmark' && persistence),
    );
    // The address alone says least: several marks may have one real server, each at a port of its own.
    return (
      homeIn(candidates, (at) => at(destinationKey(real)) ?? at(destinationKey({ ...real, port: 0 }))) ??
      homeIn(loose, (at) => at(real.address))
    );
  }

  /** The service of whose FTP connection this one carries data: the helper made it, at ports of both ends' choice (ip_vs_ftp_out, ip_vs_ftp_in). */
  function helpedServiceOf({ protocol, virtual, destination: real }: Connection): ServiceId | undefined {
    if (protocol !== 'tcp') return undefined;
    const candidates = helpedPorts.flatMap((port) =>
      find({ kind: 'address', protocol, address: virtual.address, port }),
    );
    const isHere = (one: Destination) => one.address === real.address && one.method === 'masquerade';
    return candidates.find(({ destinations }) => destinations.some(isHere))?.service.id;
  }

  /** The first of some services that has a destination as it is looked for. */
  function homeIn(
    entries: readonly ServiceEntry[],
    find: (at: (place: string) => Destination | undefined) => Destination | undefined,
  ) {
    for (const entry of entries) {
      const destination = find((place) => placesOf(entry).get(place));
      if (destination) return { service: entry.service, destination };
    }
    return undefined;
  }

  return (connection) => {
    const { protocol, client, virtual, destination: real, template, engine } = connection;
    const home = homeOf(connection);
    const stays = (why: StaysBecause): Travel => ({ stays: why, ...(home && { service: home.service.id }) });
    if (engine && engine.name !== 'sip') return stays('engine');
    if (familyOf(real.address) !== familyOf(client.address)) return stays('family');
    if (!home) {
      if (template) return stays(client.port === 0 ? 'expected' : 'gone');
      const control = helpedServiceOf(connection);
      return control ? { stays: 'data', service: control } : stays('gone');
    }
    const { persistence, id } = home.service;
    if (client.port === 0 && !(template && persistence)) return stays('expected');
    const { method } = home.destination;
    if (helpedPorts.includes(virtual.port) && protocol === 'tcp' && method === 'masquerade' && !template)
      return stays('helper');
    const state = stateNumber(connection);
    if (state === undefined) return stays('unknown');
    return {
      service: id,
      told: {
        family: familyOf(real.address),
        protocol: protocol === 'ip' ? 0 : protocolNumbers[protocol],
        flags:
          methodFlags[method] |
          (methodFlags[method] === syncFlags.masquerade ? 0 : syncFlags.noOutput) |
          (template ? syncFlags.template : 0) |
          (template || connection.active ? 0 : syncFlags.inactive),
        state,
        client: addressToBytes(client.address),
        clientPort: client.port,
        virtual: addressToBytes(virtual.address),
        virtualPort: virtual.port,
        real: addressToBytes(real.address),
        realPort: real.port,
        fwmark: id.kind === 'fwmark' ? id.mark : 0,
        timeoutSeconds: Math.max(
          1,
          template ? persistence!.timeoutSeconds : Math.ceil(connection.expiresInMs / 1000),
        ),
        ...(engine && { engine: { name: engine.name, data: Buffer.from(engine.data, 'latin1') } }),
      },
    };
  };
}

/** Connections of the kernel's as directors tell each other of them, and how many stay, by reason. */
export type Told = {
  readonly connections: readonly SyncedConnection[];
  readonly untold: Readonly<Partial<Record<StaysBecause, number>>>;
};

export function tellAll(listed: readonly Connection[], fateOf: (connection: Connection) => Travel): Told {
  const connections: SyncedConnection[] = [];
  const untold: Partial<Record<StaysBecause, number>> = {};
  for (const connection of listed) {
    const fate = fateOf(connection);
    if ('told' in fate) connections.push(fate.told);
    else untold[fate.stays] = (untold[fate.stays] ?? 0) + 1;
  }
  return { connections, untold };
}

/** The kernel's number of a state by its name. */
function stateNumber({ template, protocol, state }: Connection): number | undefined {
  if (template) return state === 'ASSURED' ? 1 : 0;
  if (protocol === 'udp') return 0;
  const names: readonly string[] = protocol === 'sctp' ? sctpStateNames : tcpStateNames;
  const number = names.indexOf(state);
  return number < 0 ? undefined : number;
}

/** A Map key: what a connection is found by in a table. */
export const travelKey = ({
  protocol,
  client,
  clientPort,
  virtual,
  virtualPort,
  flags,
  engine,
}: SyncedConnection): string =>
  `${protocol} ${client.join('.')} ${clientPort} ${virtual.join('.')} ${virtualPort} ${flags & syncFlags.template} ${engine ? Buffer.from(engine.data).toString('latin1') : ''}`;

/**
 * The same as it is told when it has ended: whoever hears of it forgets it in a second. A template has one more, because IPVS
 * keeps one whose connections are still there for another minute.
 */
export function ended(connection: SyncedConnection): SyncedConnection {
  if (connection.flags & syncFlags.template) return { ...connection, timeoutSeconds: 2 };
  return {
    ...connection,
    ...(connection.protocol === protocolNumbers.tcp && { state: tcpStateNames.indexOf('CLOSE') }),
    ...(connection.protocol === protocolNumbers.sctp && { state: sctpStateNames.indexOf('CLOSED') }),
    flags: connection.flags | syncFlags.inactive,
    timeoutSeconds: 1,
  };
}
