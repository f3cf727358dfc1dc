import { connect, createServer, type Socket } from 'node:net';
import { familyOf, parseAddress } from '../../model/address.ts';
import { nextTcpState, tcpStateNames } from '../../model/connection-states.ts';
import type { Destination, DestinationId } from '../../model/virtual-service.ts';
import { admit, type Workshop } from '../userspace/admission.ts';
import type { Flow } from '../userspace/connection-table.ts';
import type { Listener } from '../userspace/engine.ts';
import type { Pool } from '../userspace/pool.ts';
import { encodeProxyHeader, type ProxyProtocolVersion } from './proxy-protocol.ts';

export type TcpOptions = {
  /** How long a real server may take to accept a connection. */
  readonly connectTimeoutMs: number;
  /** Sent to real servers in front of the client's bytes. */
  readonly proxyProtocol?: ProxyProtocolVersion | undefined;
};

/** Connections the kernel keeps until they are accepted; it cuts this down to its own limit. */
const backlog = 4096;

/** What is the real server's doing when connecting fails; all else is this host's. */
const failureOf = new Map<string | undefined, 'refused' | 'unanswered'>([
  ['ECONNREFUSED', 'refused'],
  ['ECONNRESET', 'refused'],
  ['ETIMEDOUT', 'unanswered'],
  ['EHOSTUNREACH', 'unanswered'],
]);

/** Segment flags (RFC 9293, 3.1) for the state machine. */
const [fin, syn, ack] = [0x01, 0x02, 0x10];

/** Takes connections to a virtual service. Rejects with what listen(2) says. */
export function listenTcp(
  workshop: Workshop,
  pool: Pool,
  virtual: DestinationId,
  options: TcpOptions,
): Promise<Listener> {
  const { address, port } = virtual;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) =>
    serve(workshop, pool, virtual, options, client),
  );
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address, port, backlog, ipv6Only: true }, () => {
      server.off('error', reject);
      server.on('error', () => {
        workshop.failures.acceptFailed++;
      });
      resolve({ close: () => server.close() });
    });
  });
}

/** One connection from its first byte to its end. Every way out passes through `leave`, once. */
function serve(
  workshop: Workshop,
  pool: Pool,
  virtual: DestinationId,
  options: TcpOptions,
  client: Socket,
): void {
  const { table, failures } = workshop;
  client.on('error', () => undefined);
  const from = remoteEnd(client);
  if (!from) {
    // It was gone before it could be looked at.
    client.destroy();
    return;
  }
  const admitted = admit(workshop, pool, from, virtual);
  if (!admitted) {
    letGo(client);
    return;
  }
  const { member, template } = admitted;
  const server = connect({
    host: member.address,
    port: member.port,
    family: familyOf(member.address),
    allowHalfOpen: true,
    noDelay: true,
    ...localEnd(member.destination, workshop.random),
  });
  const version =
    options.proxyProtocol ??
    (member.destination.fullNat?.clientAddress === 'proxy-protocol' ? 'v2' : undefined);
  const flow: Flow = {
    protocol: 'tcp',
    client: from,
    virtual,
    member,
    template,
    state: nextTcpState(tcpStateNames.indexOf('NONE'), 'input', syn),
    lastSeenMs: workshop.nowMs(),
    abort: () => {
      clearTimeout(connecting);
      table.leave(flow);
      letGo(client);
      letGo(server);
    },
  };
  const fail = (how: 'refused' | 'unanswered' | undefined) => {
    failures.connectFailed++;
    if (how) member.outcomes[how]++;
    flow.abort();
  };
  const connecting = setTimeout(fail, options.connectTimeoutMs, 'unanswered');
  table.enter(flow);

  let connected = false;
  server.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (connected) flow.abort();
    else fail(failureOf.get(code));
  });
  client.on('error', () => flow.abort());
  server.once('connect', () => {
    connected = true;
    member.outcomes.answered++;
    clearTimeout(connecting);
    table.move(flow, nextTcpState(flow.state, 'input', ack));
    if (version) server.write(encodeProxyHeader(version, from, virtual));
    carry(client, server, 'in');
    carry(server, client, 'out');
    client.resume();
  });
  const closed = () => {
    if (client.destroyed && server.destroyed) table.leave(flow);
  };
  client.once('close', closed);
  server.once('close', closed);

  /** Carries bytes one way, no faster than the receiver takes them, and the end of the stream behind them. */
  function carry(source: Socket, target: Socket, direction: 'in' | 'out'): void {
    source.on('data', (chunk) => {
      table.carried(flow, direction, chunk.length);
      if (!target.write(chunk)) source.pause();
    });
    target.on('drain', () => source.resume());
    source.once('end', () => {
      table.move(flow, nextTcpState(flow.state, direction === 'in' ? 'input' : 'output', fin));
      target.end();
    });
  }
}

/** Full NAT may say which address of this host a real server sees; one of several is taken by chance. */
function localEnd({ fullNat }: Destination, random: (bound: number) => number): { localAddress?: string } {
  const addresses = fullNat?.localAddresses ?? [];
  const localAddress = addresses[addresses.length > 1 ? random(addresses.length) : 0];
  return localAddress === undefined ? {} : { localAddress };
}

/** Who is at the other end; undefined when the connection is gone already. */
function remoteEnd(socket: Socket): DestinationId | undefined {
  const { remoteAddress, remotePort } = socket;
  // A link-local address comes with its zone behind a percent sign.
  const address = remoteAddress === undefined ? undefined : parseAddress(remoteAddress.split('%')[0]!);
  return address === undefined || remotePort === undefined ? undefined : { address, port: remotePort };
}

/**
 * Ends a connection by a reset, so that the peer sees that something was cut off; one whose peer was told its end is
 * closed instead: a reset would throw away what the kernel has yet to deliver to a slow reader.
 */
function letGo(socket: Socket): void {
  if (socket.destroyed) return;
  if (socket.connecting || socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
