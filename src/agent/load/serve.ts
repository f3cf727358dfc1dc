import { BlockList, connect, createServer, type Server, type Socket } from 'node:net';
import { familyOf, parseAddress } from '../../model/address.ts';
import { HeadgateError } from '../../model/errors.ts';
import { type SamplerOptions, startSampler } from './sampler.ts';

/** Where the agent listens by itself. */
export const loadPort = 9177;
/** Connections at one time, and in one second: a director asks once in a while. */
const mostOpen = 64;
const mostASecond = 100;
/** How long a connection may stay. */
const limitMs = 2000;

/** Found by `agent status`: a name in this network namespace, without a file and without privilege. */
const statusName = '\0headgate-load-agent';

/** What `headgate agent serve` says of itself. */
export type LoadAgentStatus = {
  readonly pid: number;
  readonly listen: string;
  readonly allowed: readonly string[];
  /** Connections that were answered, and those that were not: not allowed, or too many. */
  readonly answered: number;
  readonly refused: number;
  /** What it answers now. */
  readonly answer: string;
};

export type ServeOptions = SamplerOptions & {
  readonly address: string;
  readonly port: number;
  /** Prefixes that may ask; this host may always. */
  readonly allow: readonly string[];
};

/** Listens, and answers everybody who may ask. Rejects with HG_USAGE, HG_AGENT_LISTEN. */
export async function startLoadAgent(
  options: ServeOptions,
): Promise<{ readonly listen: string; stop(): Promise<void> }> {
  const { address, port, allow } = options;
  const allowed = readAllowed(allow);
  const sampler = await startSampler(options);
  const open = new Set<Socket>();
  const counts = { answered: 0, refused: 0 };
  let [second, inSecond] = [0, 0];

  function mayAsk(socket: Socket): boolean {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) [second, inSecond] = [now, 0];
    const peer = parseAddress((socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, ''));
    if (!peer || !allowed.check(peer, `ipv${familyOf(peer)}`)) return false;
    return open.size < mostOpen && ++inSecond <= mostASecond;
  }

  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    if (!mayAsk(socket)) {
      counts.refused++;
      socket.resetAndDestroy();
      return;
    }
    counts.answered++;
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.setTimeout(limitMs, () => socket.destroy());
    // What a director sends is not needed; unread it would turn the end of the connection into a reset.
    socket.resume();
    socket.end(sampler.answer());
  });
  try {
    await listening(server, { host: address, port }).catch((error: NodeJS.ErrnoException) => {
      // Every address, on a host without IPv6.
      const isWithout = error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL';
      if (address !== '::' || !isWithout) throw error;
      return listening(server, { host: '0.0.0.0', port });
    });
  } catch (error) {
    sampler.stop();
    const { code, message } = error as NodeJS.ErrnoException;
    throw new HeadgateError(
      'HG_AGENT_LISTEN',
      `Cannot listen on "${shown(address, port)}": ${listenWords[code ?? ''] ?? message}`,
    );
  }
  const bound = server.address() as { address: string; port: number };
  const listen = shown(bound.address, bound.port);
  const status = (): LoadAgentStatus => ({
    ...{ pid: process.pid, listen, allowed: allow, ...counts, answer: sampler.answer() },
  });
  const teller = createServer((socket) => {
    socket.on('error', () => socket.destroy()).setTimeout(limitMs, () => socket.destroy());
    socket.resume();
    socket.end(JSON.stringify(status()));
  });
  // A second agent in this network namespace is one that status does not show.
  await listening(teller, { path: statusName }).catch(() => undefined);
  return {
    listen,
    async stop() {
      sampler.stop();
      for (const socket of open) socket.destroy();
      await Promise.all([server, teller].map((one) => new Promise((done) => one.close(done))));
    },
  };
}

const listenWords: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'this host does not have that address',
  EACCES: 'this user may not listen at a port below 1024',
};

const shown = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

function listening(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(where, () => {
      server.off('error', reject).on('error', () => undefined);
      resolve();
    });
  });
}

/** Prefixes such as 10.0.0.0/24, or addresses. Throws HG_USAGE. */
function readAllowed(prefixes: readonly string[]): BlockList {
  const list = new BlockList();
  list.addSubnet('127.0.0.0', 8, 'ipv4');
  list.addAddress('::1', 'ipv6');
  for (const prefix of prefixes) {
    const [text = '', length] = prefix.split('/', 2);
    const address = parseAddress(text);
    const most = address && familyOf(address) === 4 ? 32 : 128;
    const bits = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : -1;
    if (!address || bits < 0 || bits > most)
      throw new HeadgateError(
        'HG_USAGE',
        `Cannot allow "${prefix}": wanted an address or a prefix such as 10.0.0.0/24`,
        {
          hint: 'headgate agent serve --allow 10.0.0.0/24',
        },
      );
    list.addSubnet(address, bits, `ipv${familyOf(address)}`);
  }
  return list;
}

/** The load agent of this network namespace; undefined: none answers. */
export function findLoadAgent(): Promise<LoadAgentStatus | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(statusName);
    socket.setTimeout(limitMs, () => socket.destroy());
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', () => resolve(undefined));
    socket.on('close', () => {
      try {
        resolve(JSON.parse(text) as LoadAgentStatus);
      } catch {
        resolve(undefined);
      }
    });
  });
}
