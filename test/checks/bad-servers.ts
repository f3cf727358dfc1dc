/** A process of its own: servers that misbehave, and a good one. Says their ports, as JSON; ends with its input. */
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { peer } from './site.ts';

/** The port of a server that behaves so. */
const serving = async (behave: (socket: Socket) => void): Promise<number> => (await peer(behave)).port;

/** A name server that answers each query with many answers to others. */
async function lying(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  socket.on('message', (query, { port }) => {
    const answer = Buffer.from(query);
    answer.writeUInt16BE(0x8180, 2);
    for (let i = 1; i <= 200; i++) {
      answer.writeUInt16BE((query.readUInt16BE(0) + i) & 0xffff, 0);
      socket.send(Buffer.from(answer), port);
    }
  });
  return socket.address().port;
}

/** Writes as long as the other side reads. */
function flood(socket: Socket, text: string): void {
  const chunk = text.repeat(Math.ceil(16_384 / text.length));
  const more = (): void => {
    while (socket.writable && socket.write(chunk));
  };
  socket.on('drain', more);
  more();
}

function drip(socket: Socket): void {
  const timer = setInterval(() => socket.write('2'), 20);
  socket.once('close', () => clearInterval(timer));
}

const ports = {
  good: await serving((socket) => socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\n'))),
  silent: await serving((socket) => socket.resume()),
  dripping: await serving((socket) => drip(socket.resume())),
  endless: await serving((socket) => {
    socket.resume().write('HTTP/1.0 200 OK\r\n\r\n');
    flood(socket, 'x');
  }),
  longLine: await serving((socket) => flood(socket.resume(), 'X')),
  resetting: await serving((socket) => socket.once('data', () => socket.resetAndDestroy())),
  ending: await serving((socket) => socket.resume().end()),
  liar: await lying(),
};
export type BadServers = typeof ports;
process.stdout.write(`${JSON.stringify(ports)}\n`);
process.stdin.resume().once('end', () => process.exit(0));
