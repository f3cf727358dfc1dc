import { createSocket, type Socket, type SocketType } from 'node:dgram';
import { familyOf, parseAddress } from '../../model/address.ts';
import { udpStateNames } from '../../model/connection-states.ts';
import { destinationKey } from '../../model/service-id.ts';
import type { DestinationId } from '../../model/virtual-service.ts';
import { admit, hasRoom, schedule, type Workshop } from '../userspace/admission.ts';
import type { Flow } from '../userspace/connection-table.ts';
import type { Listener } from '../userspace/engine.ts';
import type { Member, Pool, Template } from '../userspace/pool.ts';

/** Datagrams a flow keeps while its socket is being made. */
const mostWaiting = 64;

/** Bytes a socket may have unsent; what comes then is dropped, as a full device queue would. */
const mostUnsentBytes = 1 << 20;

/** A client as the socket names it. */
type Sender = { readonly address: string; readonly port: number };

/** A client's datagrams to one real server: a socket of their own, so that replies find back. */
type DatagramFlow = Flow & { readonly send: (datagram: Buffer) => void };

/** Takes datagrams to a virtual service. Rejects with what bind(2) says. */
export function listenUdp(workshop: Workshop, pool: Pool, virtual: DestinationId): Promise<Listener> {
  const { address, port } = virtual;
  const type: SocketType = familyOf(address) === 6 ? 'udp6' : 'udp4';
  const listener = createSocket({ type, ipv6Only: type === 'udp6' });
  /** By client, and while every datagram is scheduled for itself by client and destination. */
  const flows = new Map<string, DatagramFlow>();

  listener.on('message', (datagram, sender) => {
    const flow = flowOf(sender);
    if (!flow) return;
    workshop.table.carried(flow, 'in', datagram.length);
    flow.send(datagram);
  });

  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      listener.close();
      reject(error);
    };
    listener.once('error', fail);
    listener.bind({ address, port, exclusive: true }, () => {
      listener.off('error', fail);
      listener.on('error', () => {
        workshop.failures.acceptFailed++;
      });
      resolve({
        close() {
          // Replies leave through it.
          for (const flow of [...flows.values()]) flow.abort();
          listener.close();
        },
      });
    });
  });

  function flowOf(sender: Sender): DatagramFlow | undefined {
    const from = `${sender.address} ${sender.port}`;
    const { onePacket } = pool.service;
    const present = onePacket ? undefined : flows.get(from);
    if (present) return present;
    // A link-local address comes with its zone behind a percent sign; the reply needs it.
    const address = parseAddress(sender.address.split('%')[0]!);
    if (address === undefined) return undefined;
    const client = { address, port: sender.port };
    const assigned = onePacket
      ? schedule(workshop, pool, client, virtual)
      : admit(workshop, pool, client, virtual);
    if (!assigned) return undefined;
    const { member, template } = assigned;
    const key = onePacket ? `${from} ${destinationKey(member)}` : from;
    const again = flows.get(key);
    if (again) {
      for (const { counters } of [pool.traffic, member.traffic]) counters.connections++;
      return again;
    }
    if (onePacket && !hasRoom(workshop)) return undefined;
    const flow = startFlow(client, sender, member, template, () => flows.delete(key));
    flows.set(key, flow);
    return flow;
  }

  function startFlow(
    client: DestinationId,
    replyTo: Sender,
    member: Member,
    template: Template | undefined,
    forget: () => void,
  ): DatagramFlow {
    const { table, failures } = workshop;
    const socket = createSocket(type);
    let waiting: Buffer[] | undefined = [];
    let ended = false;
    const flow: DatagramFlow = {
      protocol: 'udp',
      client,
      virtual,
      member,
      template,
      state: udpStateNames.indexOf('UDP'),
      lastSeenMs: workshop.nowMs(),
      abort: () => {
        if (ended) return;
        ended = true;
        forget();
        table.leave(flow);
        socket.close();
      },
      send: (datagram) => {
        if (!waiting) transmit(socket, datagram, undefined, refused);
        else if (waiting.length < mostWaiting) waiting.push(datagram);
        else failures.datagramsDropped++;
      },
    };
    const refused = () => {
      if (ended) return;
      failures.connectFailed++;
      flow.abort();
    };
    // A connected socket takes nothing from others, and hears that the real server's port is closed.
    socket.on('error', refused);
    socket.on('connect', () => {
      const kept = waiting ?? [];
      waiting = undefined;
      for (const datagram of kept) transmit(socket, datagram, undefined, refused);
    });
    socket.on('message', (datagram) => {
      table.carried(flow, 'out', datagram.length);
      transmit(listener, datagram, replyTo);
    });
    socket.connect(member.port, member.address);
    table.enter(flow);
    return flow;
  }

  /** Sends now or never. `refused` is called when the other end answered an earlier datagram with a closed port. */
  function transmit(socket: Socket, datagram: Buffer, to?: Sender, refused?: () => void): void {
    const { failures } = workshop;
    try {
      if (socket.getSendQueueSize() > mostUnsentBytes) {
        failures.datagramsDropped++;
        return;
      }
      const sent = (error: NodeJS.ErrnoException | null) => {
        if (!error) return;
        failures.datagramsDropped++;
        if (error.code === 'ECONNREFUSED') refused?.();
      };
      if (to) socket.send(datagram, to.port, to.address, sent);
      else socket.send(datagram, sent);
    } catch {
      // The socket was closed in between.
      failures.datagramsDropped++;
    }
  }
}
