import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/**
 * A stream over a connection, for a protocol that Node speaks. The connection stays ours: Node's session of HTTP/2
 * takes the handle of a socket that it is given, and then neither its end nor a reset is noticed reliably. `ended` is
 * told once, when the other side has ended.
 */
export function bridgeOver(socket: Socket, ended: () => void): Duplex {
  const bridge = new Duplex({
    read: () => {
      socket.resume();
    },
    write: (chunk: Buffer, _encoding, done) => {
      socket.write(chunk, done);
    },
    final: (done) => {
      socket.end();
      done();
    },
  });
  // What goes wrong with the connection is told by whoever opened it.
  bridge.on('error', () => {});
  let hasEnded = false;
  const end = (): void => {
    if (hasEnded) return;
    hasEnded = true;
    if (!bridge.destroyed) bridge.push(null);
    ended();
  };
  socket.on('data', (chunk: Buffer) => {
    if (!bridge.destroyed && !bridge.push(chunk)) socket.pause();
  });
  socket.once('end', end).once('close', end);
  if (socket.readableEnded || socket.destroyed) end();
  return bridge;
}
