import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, isIPv4, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { parseArgs } from 'node:util';
import { patternBytes } from './pattern.ts';

/**
 * A real server for labs, run as a program: `--name NAME [--http PORT]... [--tcp PORT]... [--udp PORT]...`.
 * Prints `{"ready":true}` and ends when its standard input does, so it never outlives who started it, except with `--stay`.
 *
 * HTTP: any path answers the name; `/big?bytes=N` streams the pattern; PUT and POST answer the length and SHA-256 of what
 * came; `/counts` tells what was served. TCP: says the name and a line end, then echoes. UDP: answers the name, a blank
 * and the datagram, from the address it was sent to.
 */

const chunkBytes = 64 * 1024;

type Counts = { http: number; tcp: number; udp: number; bytesSent: number; bytesReceived: number };

/** Serves HTTP as described above, counting into `counts`. */
function answer(name: string, counts: Counts, request: IncomingMessage, response: ServerResponse): void {
  counts.http++;
  const url = new URL(request.url ?? '/', 'http://lab');
  if (request.method === 'PUT' || request.method === 'POST') {
    digestUpload(name, counts, request, response);
  } else if (url.pathname === '/big') {
    streamPattern(counts, Number(url.searchParams.get('bytes') ?? 0), response);
  } else if (url.pathname === '/counts') {
    response.setHeader('content-type', 'application/json').end(`${JSON.stringify({ name, ...counts })}\n`);
  } else {
    response.end(`${name}\n`);
  }
}

function digestUpload(
  name: string,
  counts: Counts,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const hash = createHash('sha256');
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    bytes += chunk.length;
    counts.bytesReceived += chunk.length;
  });
  request.on('end', () => {
    response.setHeader('content-type', 'application/json');
    response.end(`${JSON.stringify({ name, bytes, sha256: hash.digest('hex') })}\n`);
  });
}

function streamPattern(counts: Counts, bytes: number, response: ServerResponse): void {
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    response.statusCode = 400;
    response.end('bytes: wanted a whole number, 0 or more\n');
    return;
  }
  response.setHeader('content-length', bytes);
  let sent = 0;
  const more = () => {
    while (sent < bytes) {
      const chunk = patternBytes(sent, Math.min(chunkBytes, bytes - sent));
      sent += chunk.length;
      counts.bytesSent += chunk.length;
      if (!response.write(chunk)) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  more();
}

/** Listens on every address, both families; on IPv4 alone where the kernel has no IPv6. */
function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EAFNOSUPPORT' && error.code !== 'EADDRNOTAVAIL') return reject(error);
      server.once('error', reject).listen(port, '0.0.0.0', resolve);
    });
    server.listen({ port, host: '::', backlog: 4096 }, resolve);
  });
}

/** One socket per local address: a reply from a wildcard socket would not carry the virtual address. */
async function listenUdp(name: string, counts: Counts, port: number): Promise<void> {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map(({ address }) => address)
    .filter((address) => !address.startsWith('fe80:'));
  for (const address of new Set(addresses)) {
    const socket = isIPv4(address) ? createSocket('udp4') : createSocket({ type: 'udp6', ipv6Only: true });
    socket.on('message', (datagram, from) => {
      counts.udp++;
      counts.bytesReceived += datagram.length;
      const reply = Buffer.concat([Buffer.from(`${name} `), datagram]);
      counts.bytesSent += reply.length;
      socket.send(reply, from.port, from.address);
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject).bind({ port, address }, resolve);
    });
  }
}

function echoServer(name: string, counts: Counts): Server {
  return createTcpServer((socket) => {
    counts.tcp++;
    socket.on('error', () => socket.destroy());
    socket.write(`${name}\n`);
    socket.pipe(socket);
  });
}

async function main(): Promise<void> {
  const ports = { type: 'string', multiple: true, default: [] as string[] } as const;
  const { values } = parseArgs({
    options: { name: { type: 'string' }, http: ports, tcp: ports, udp: ports, stay: { type: 'boolean' } },
  });
  const name = values.name;
  if (name === undefined) throw new Error('real server: wanted --name NAME');
  const counts: Counts = { http: 0, tcp: 0, udp: 0, bytesSent: 0, bytesReceived: 0 };
  for (const port of values.http)
    await listen(
      createServer((request, response) => answer(name, counts, request, response)),
      Number(port),
    );
  for (const port of values.tcp) await listen(echoServer(name, counts), Number(port));
  for (const port of values.udp) await listenUdp(name, counts, Number(port));
  if (!values.stay) process.stdin.resume().on('end', () => process.exit(0));
  process.stdout.write('{"ready":true}\n');
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
});
