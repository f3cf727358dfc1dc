import type { SyncDaemon, SyncRole } from '../../model/connection-sync.ts';
import { serviceFamily, serviceKey } from '../../model/service-id.ts';
import type { Operation, ServiceState } from '../../model/table.ts';
import type { ServiceId, Timeouts } from '../../model/virtual-service.ts';
import { findFamily, genericHeader } from '../../sys/netlink/generic.ts';
import { MalformedMessageError, type Message, u32 } from '../../sys/netlink/message.ts';
import { type Netlink, NetlinkError, netlinkProtocols, openNetlink } from '../../sys/netlink/socket.ts';
import { decodeDaemon, decodeDestination, decodeInfo, decodeService, decodeTimeouts } from './decode.ts';
import {
  encodeDaemon,
  encodeDaemonRole,
  encodeDestination,
  encodeDestinationId,
  encodeService,
  encodeServiceId,
} from './encode.ts';
import { commands, daemonState, familyName, familyVersion, topAttribute } from './protocol.ts';
import { mostReadings, wholeList } from './whole-list.ts';

/** The IPVS of the network namespace a socket was opened in. Every call throws NetlinkError or MalformedMessageError. */
export type Kernel = {
  /** "1.2.1", and buckets of the connection table. */
  info(): { readonly version: string; readonly tableSize: number };
  timeouts(): Timeouts;
  /** Services in the kernel's order, destinations in the order they were added. */
  services(): ServiceState[];
  /** One service; undefined where it is not there. */
  service(id: ServiceId): ServiceState['service'] | undefined;
  destinations(id: ServiceId): ServiceState['destinations'];
  /** Carries out an operation on the table. */
  carryOut(operation: TableOperation): void;
  /** Sync daemons that run, the master first. */
  daemons(): SyncDaemon[];
  startDaemon(daemon: SyncDaemon): void;
  stopDaemon(role: SyncRole): void;
  close(): void;
};

/** What goes by netlink: everything but sysctls. */
export type TableOperation = Exclude<Operation, { readonly kind: 'set-sysctls' }>;

/** Undefined where the kernel has no IPVS. */
export function openKernel(): Kernel | undefined {
  const netlink = openNetlink({ protocol: netlinkProtocols.generic });
  try {
    const family = findFamily(netlink, familyName);
    if (family !== undefined) return kernelOn(netlink, family);
  } catch (error) {
    netlink.close();
    throw error;
  }
  netlink.close();
  return undefined;
}

function kernelOn(netlink: Netlink, first: number): Kernel {
  let family = first;

  function request(action: string, command: number, parts: readonly Buffer[] = []): Message[] {
    return netlink.request(action, family, 0, [genericHeader(command, familyVersion), ...parts]);
  }

  function one(action: string, command: number): Message {
    const [answer] = request(action, command);
    if (!answer) throw new MalformedMessageError(`${action}: the kernel acknowledges and says nothing`);
    return answer;
  }

  /** A whole list, also while others change it. */
  const list = <T>(
    action: string,
    command: number,
    parts: readonly Buffer[],
    decode: (message: Message) => T,
    keyOf: (one: T) => string,
  ): T[] =>
    wholeList(() => {
      const head = genericHeader(command, familyVersion);
      const { answers, pages } = netlink.dumpInPages(action, family, [head, ...parts]);
      return { found: answers.map(decode), pages };
    }, keyOf);

  const listServices = () =>
    list(
      'list virtual services',
      commands.getService,
      [],
      (message) => decodeService(message),
      (found) => (found ? serviceKey(found.service.id) : ''),
    ).flatMap((found) => found ?? []);

  const destinations = (id: ServiceId): ServiceState['destinations'] =>
    list(
      `list the destinations of ${serviceKey(id)}`,
      commands.getDestination,
      [encodeServiceId(id)],
      (message) => decodeDestination(message, serviceFamily(id)),
      ({ destination: { address, port } }) => `${address} ${port}`,
    ).reverse();

  return {
    info: () => decodeInfo(one('read the version of IPVS', commands.getInfo)),
    timeouts: () => decodeTimeouts(one('read timeouts', commands.getConfig)),
    services() {
      for (let reading = 1; ; reading++) {
        const services = listServices();
        const whole = services.map((found) => ({ ...found, destinations: destinations(found.service.id) }));
        const gone = whole.some(({ destinations }) => destinations.length === 0);
        // A service without destinations may have gone before they were asked for.
        if (!gone || reading === mostReadings) return whole;
        const still = new Set(listServices().map(({ service }) => serviceKey(service.id)));
        if (whole.every(({ service }) => still.has(serviceKey(service.id)))) return whole;
      }
    },
    service(id) {
      const action = `look for ${serviceKey(id)}`;
      try {
        const [answer] = request(action, commands.getService, [encodeServiceId(id)]);
        return answer && decodeService(answer)?.service;
      } catch (error) {
        if (error instanceof NetlinkError && error.code === 'ESRCH') return undefined;
        throw error;
      }
    },
    destinations,
    carryOut(operation) {
      const [command, parts] = encodeOperation(operation);
      const action = operation.kind.replace('-', ' ');
      try {
        request(action, command, parts);
      } catch (error) {
        // Without entries the module can be taken away and come back, with another number; a missing family is ENOENT, too.
        if (!(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error;
        const now = findFamily(netlink, familyName);
        if (now === undefined || now === family) throw error;
        family = now;
        request(action, command, parts);
      }
    },
    daemons: () =>
      list('list sync daemons', commands.getDaemon, [], decodeDaemon, ({ role }) => role).sort(
        (a, b) => daemonState[a.role] - daemonState[b.role],
      ),
    startDaemon(daemon) {
      request(`start the ${daemon.role} sync daemon`, commands.newDaemon, [encodeDaemon(daemon)]);
    },
    stopDaemon(role) {
      request(`stop the ${role} sync daemon`, commands.deleteDaemon, [encodeDaemonRole(role)]);
    },
    close: netlink.close,
  };
}

/** The command and the attributes of an operation. */
export function encodeOperation(operation: TableOperation): [command: number, parts: Buffer[]] {
  switch (operation.kind) {
    case 'add-service':
      return [commands.newService, [encodeService(operation.service)]];
    case 'edit-service':
      return [commands.setService, [encodeService(operation.service)]];
    case 'delete-service':
      return [commands.deleteService, [encodeServiceId(operation.id)]];
    case 'add-destination':
      return [
        commands.newDestination,
        [encodeServiceId(operation.id), encodeDestination(operation.destination)],
      ];
    case 'edit-destination':
      return [
        commands.setDestination,
        [encodeServiceId(operation.id), encodeDestination(operation.destination)],
      ];
    case 'delete-destination':
      return [
        commands.deleteDestination,
        [encodeServiceId(operation.id), encodeDestinationId(operation.destination)],
      ];
    case 'set-timeouts': {
      const { tcp = 0, tcpFin = 0, udp = 0 } = operation.timeouts;
      // The kernel leaves alone what is 0.
      return [
        commands.setConfig,
        [
          u32(topAttribute.timeoutTcp, tcp),
          u32(topAttribute.timeoutTcpFin, tcpFin),
          u32(topAttribute.timeoutUdp, udp),
        ],
      ];
    }
    case 'zero':
      return [commands.zero, operation.id ? [encodeServiceId(operation.id)] : []];
    case 'flush':
      return [commands.flush, []];
  }
}
