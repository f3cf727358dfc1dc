import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { openProxyPlane, type ProxyOptions, type ProxyPlane } from '../../src/dataplane/proxy/plane.ts';
import { type Address, parseAddress } from '../../src/model/address.ts';
import { destinationOf } from '../../src/model/real-server.ts';
import type { DestinationState, Operation } from '../../src/model/table.ts';
import type {
  AddressServiceId,
  Destination,
  DestinationId,
  SchedulerName,
  VirtualService,
} from '../../src/model/virtual-service.ts';

/** A proxy plane, real servers and clients on loopback addresses of this machine. */
export type Site = {
  readonly plane: ProxyPlane;
  /** Applies operations, none of which may be refused. */
  change(...operations: Operation[]): Promise<void>;
  /** A real server that says its name and then echoes, both ways half-closed properly. */
  server(name: string, handler?: (socket: Socket) => void, host?: string): Promise<RealServer>;
  datagramServer(name: string, host?: string): Promise<DestinationId>;
  /** A virtual service on a free port of `host`. */
  service(
    settings?: Partial<VirtualService> & { protocol?: 'tcp' | 'udp'; host?: string },
  ): Promise<AddressServiceId>;
  client(id: DestinationId, from?: string, localPort?: number): Promise<Client>;
  datagramClient(id: DestinationId): Promise<{ ask(text: string): Promise<string>; socket: DatagramSocket }>;
  destination(id: AddressServiceId, server: DestinationId): Promise<DestinationState>;
  close(): Promise<void>;
};

export type RealServer = DestinationId & { readonly sockets: Socket[]; readonly listening: Server };

/** A TCP client that keeps what it was told. */
export type Client = {
  readonly socket: Socket;
  readonly text: () => string;
  /** How the connection ended: `end` by a FIN, else the error's code. */
  readonly ended: Promise<string>;
  /** Resolves to the first line. */
  line(): Promise<string>;
};

export const loopback = (text: string): Address => parseAddress(text)!;

export function memberOf(
  id: AddressServiceId,
  server: DestinationId,
  settings: Partial<Destination> = {},
): Destination {
  return destinationOf({ method: 'masquerade', ...settings, address: server.address, port: server.port }, id);
}

export function add(
  id: AddressServiceId,
  server: DestinationId,
  settings: Partial<Destination> = {},
): Operation {
  return { kind: 'add-destination', id, destination: memberOf(id, server, settings) };
}

export function edit(id: AddressServiceId, server: DestinationId, settings: Partial<Destination>): Operation {
  return { kind: 'edit-destination', id, destination: memberOf(id, server, settings) };
}

export function serviceOf(id: AddressServiceId, settings: Partial<VirtualService> = {}): VirtualService {
  return {
    id,
    scheduler: 'rr' satisfies SchedulerName,
    schedulerFlags: { flag1: false, flag2: false, flag3: false },
    onePacket: false,
    ...settings,
  };
}

/** Waits until `look` does not throw. */
export async function until<T>(look: () => T | Promise<T>, timeoutMs = 5000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await sleep(10);
  }
}

export function openSite(options: ProxyOptions = {}): Site {
  const plane = openProxyPlane(options);
  const closing: (() => void)[] = [];

  const site: Site = {
    plane,
    async change(...operations) {
      expect(await plane.apply(operations)).toEqual(operations.map(() => undefined));
    },
    async server(name, handler = (socket) => echo(name, socket), host = '127.0.0.1') {
      const sockets: Socket[] = [];
      const listening = createServer({ allowHalfOpen: true }, (socket) => {
        sockets.push(socket);
        socket.on('error', () => undefined);
        handler(socket);
      });
      listening.listen(0, host);
      await once(listening, 'listening');
      closing.push(() => {
        listening.close();
        for (const socket of sockets) socket.destroy();
      });
      return { address: loopback(host), port: (listening.address() as AddressInfo).port, sockets, listening };
    },
    async datagramServer(name, host = '127.0.0.1') {
      const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
      socket.on('message', (datagram, from) => socket.send(`${name} ${datagram}`, from.port, from.address));
      socket.bind(0, host);
      await once(socket, 'listening');
      closing.push(() => socket.close());
      return { address: loopback(host), port: socket.address().port };
    },
    async service({ protocol = 'tcp', host = '127.0.0.1', ...settings } = {}) {
      const id: AddressServiceId = {
        kind: 'address',
        protocol,
        address: loopback(host),
        port: await freePort(host),
      };
      await site.change({ kind: 'add-service', service: serviceOf(id, settings) });
      return id;
    },
    async client({ address, port }, from, localPort) {
      const local = {
        ...(from !== undefined && { localAddress: from }),
        ...(localPort !== undefined && { localPort }),
      };
      const socket = connect({ host: address, port, allowHalfOpen: true, ...local });
      closing.push(() => socket.destroy());
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk;
      });
      const ended = new Promise<string>((resolve) => {
        socket.once('end', () => resolve('end'));
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code!));
      });
      await Promise.race([once(socket, 'connect'), ended]);
      const line = () =>
        until(() => {
          if (!text.includes('\n')) throw new Error(`no line came: "${text}"`);
          return text.split('\n')[0]!;
        });
      return { socket, text: () => text, ended, line };
    },
    async datagramClient({ address, port }) {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      closing.push(() => socket.close());
      socket.connect(port, address);
      await once(socket, 'connect');
      return {
        socket,
        async ask(text) {
          socket.send(text);
          const [reply] = await once(socket, 'message', { signal: AbortSignal.timeout(5000) });
          return String(reply);
        },
      };
    },
    async destination(id, server) {
      const { services } = await plane.read();
      const service = services.find(
        ({ service }) => service.id.kind === 'address' && service.id.port === id.port,
      );
      return service!.destinations.find(({ destination }) => destination.port === server.port)!;
    },
    async close() {
      await plane.close();
      for (const end of closing.splice(0)) end();
    },
  };
  return site;
}

function echo(name: string, socket: Socket): void {
  socket.write(`${name}\n`);
  socket.pipe(socket);
}

export async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
