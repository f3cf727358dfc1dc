import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { openProxyPlane } from '../../src/dataplane/proxy/plane.ts';
import { type Address, addressFromBytes } from '../../src/model/address.ts';
import { gather } from '../../src/model/connection-batches.ts';
import type { DestinationId } from '../../src/model/virtual-service.ts';
import { createNamedNetns, deleteNamedNetns, netnsPath } from '../../src/sys/netns.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { enterNetns } from '../packets/harness.ts';
import { until } from '../proxy/site.ts';
import type { Conversation, Rig, Subject } from './rig.ts';

const answerTimeoutMs = 5000;

/** Real sockets in a network namespace where 127.0.0.0/8 and fd99::/64 are this machine's. */
async function start(): Promise<Rig> {
  const netns = `hgconf-${process.pid}`;
  createNamedNetns(netns);
  const goHome = enterNetns(netnsPath(netns));
  for (const words of ['link set lo up', '-6 route add local fd99::/64 dev lo']) {
    const { status, stderr } = spawnSync('ip', words.split(' '), { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${words}: ${stderr}`);
  }
  // Every address of the route above may be bound.
  writeSysctl('net.ipv6.ip_nonlocal_bind', 1);
  const plane = openProxyPlane();
  const closing: (() => void)[] = [];
  let virtualPort = 1000;
  let servers = 0;

  return {
    plane,
    templateSeconds: 2,
    afterEnd: 'nothing',
    afterDelete: 'reset',
    service: async (family, protocol) => ({
      kind: 'address',
      protocol,
      address: (family === 4 ? '127.0.0.1' : 'fd99::1') as Address,
      port: virtualPort++,
    }),
    async realServer(family, transport) {
      const n = servers++ % 200;
      const host = family === 4 ? `127.1.0.${n + 1}` : `fd99::1:${(n + 1).toString(16)}`;
      return transport === 'tcp' ? listen(host) : bind(host);
    },
    client: (family, n) =>
      addressFromBytes(
        family === 4
          ? Uint8Array.of(127, 9, n >> 8, n & 255)
          : Uint8Array.of(0xfd, 0x99, 0, 0, 0, 0, 0, 0, 7, n & 255, n >> 8, 0, 0, 9, n & 31, 7),
      ),
    wait: (seconds) => sleep(seconds * 1000),
    forget: (conversation) => conversation.reset(),
    open: (id, client) => (id.protocol === 'tcp' ? talk(id, client) : exchange(id, client)),
    async close() {
      await plane.close();
      for (const end of closing.splice(0).reverse()) end();
      goHome();
      deleteNamedNetns(netns);
    },
  };

  async function listen(host: string): Promise<DestinationId> {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      const { port } = server.address() as AddressInfo;
      socket.write(`${host} ${port}\n`);
      socket.on('data', () => socket.write(`${host} ${port}\n`));
    });
    server.listen(0, host);
    await once(server, 'listening');
    closing.push(() => server.close());
    return { address: host as Address, port: (server.address() as AddressInfo).port };
  }

  async function bind(host: string): Promise<DestinationId> {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.bind(0, host);
    await once(socket, 'listening');
    const { port } = socket.address();
    socket.on('message', (_, from) => socket.send(`${host} ${port}\n`, from.port, from.address));
    closing.push(() => socket.close());
    return { address: host as Address, port };
  }

  async function talk(id: DestinationId, client: DestinationId): Promise<Conversation | undefined> {
    const socket = connect({
      host: id.address,
      port: id.port,
      localAddress: client.address,
      localPort: client.port,
      allowHalfOpen: true,
    });
    socket.on('error', () => undefined);
    closing.push(() => socket.destroy());
    const server = await line(socket);
    if (server === undefined) return undefined;
    const gone = () =>
      until(async () => {
        const left = (await gather(plane.connections())).some((row) => sameEnd(row.client, client));
        if (left) throw new Error(`the connection of ${client.address}:${client.port} is still there`);
      });
    return {
      server,
      async say() {
        if (socket.destroyed) return undefined;
        socket.write('?\n');
        return line(socket);
      },
      async reset() {
        socket.resetAndDestroy();
        await gone();
      },
      async finish() {
        socket.end();
        await gone();
      },
    };
  }

  async function exchange(id: DestinationId, client: DestinationId): Promise<Conversation | undefined> {
    const socket = createSocket(client.address.includes(':') ? 'udp6' : 'udp4');
    socket.bind(client.port, client.address);
    await once(socket, 'listening');
    closing.push(() => socket.close());
    const say = async (timeoutMs = answerTimeoutMs): Promise<DestinationId | undefined> => {
      socket.send('?', id.port, id.address);
      try {
        const [text] = await once(socket, 'message', { signal: AbortSignal.timeout(timeoutMs) });
        return placeIn(String(text));
      } catch {
        return undefined;
      }
    };
    const server = await say(300);
    const none = async () => undefined;
    return server && { server, say: () => say(), reset: none, finish: none };
  }
}

const sameEnd = (a: DestinationId, b: DestinationId): boolean => a.address === b.address && a.port === b.port;

function placeIn(line: string): DestinationId {
  const [address, port] = line.trim().split(' ') as [Address, string];
  return { address, port: Number(port) };
}

/** The next line a real server sends; undefined when the connection ends instead. */
function line(socket: Socket): Promise<DestinationId | undefined> {
  return new Promise((resolve) => {
    const done = (server: DestinationId | undefined) => {
      socket.off('data', take).off('close', end).off('end', end);
      resolve(server);
    };
    const take = (chunk: Buffer) => done(placeIn(String(chunk)));
    const end = () => done(undefined);
    socket.on('data', take).on('close', end).on('end', end);
  });
}

const gone =
  'a socket cannot be silent: the client of a deleted destination sees a reset, so that it can try again';

const onePort = 'a socket listens on one port';

export const proxy: Subject = {
  name: 'proxy',
  deviations: {
    'a deleted destination is silent, and has its connections again when it is back': gone,
    'a flush leaves connections that nobody serves': gone,
    'reset: a datagram of a deleted destination’s client is refused, the next one goes to another':
      'sockets send no ICMP: the datagram goes to another at once',
    'a persistent service for every port takes what none with the port does': onePort,
    'a service for every port without persistence refuses clients': onePort,
    'direct routing and tunnels are taken': 'they need packets, and a socket has none',
  },
  steps: process.env.LONG ? 2000 : 150,
  start,
};
