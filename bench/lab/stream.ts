/**
 * Bulk transfers over plain TCP sockets, as a program of its own. Its calls block, so that nothing but the kernel and one
 * copy is between the two ends.
 *
 *   stream.ts source PORT | stream.ts sink PORT       serves connections one by one, for ever
 *   stream.ts down ADDRESS PORT SECONDS               reads for so long; prints {"bytes":N,"seconds":S}
 *   stream.ts up ADDRESS PORT SECONDS                 sends for so long and waits until all has arrived; the same
 */
import { addressToBytes, parseAddress } from '../../src/model/address.ts';
import { bindLibc, checked, closeFd } from '../../src/sys/ffi.ts';
import { bindSocket, families, openSocket, setSocketOption, socketTypes } from '../../src/sys/socket.ts';

const cConnect = bindLibc('connect', 'int', ['int', 'void *', 'uint']);
const cListen = bindLibc('listen', 'int', ['int', 'int']);
const cAccept = bindLibc('accept', 'int', ['int', 'void *', 'void *']);
const cSend = bindLibc('send', 'long', ['int', 'void *', 'size_t', 'int']);
const cRecv = bindLibc('recv', 'long', ['int', 'void *', 'size_t', 'int']);
const cShutdown = bindLibc('shutdown', 'int', ['int', 'int']);

const [solSocket, soReuseAddress, shutWrite, withoutSignal] = [1, 2, 1, 0x4000];
const chunk = Buffer.alloc(256 * 1024);

function socketAddress(text: string, port: number): Buffer {
  const structure = Buffer.alloc(16);
  structure.writeUInt16LE(families.inet, 0);
  structure.writeUInt16BE(port, 2);
  structure.set(addressToBytes(parseAddress(text)!), 4);
  return structure;
}

const send = (fd: number): number => cSend(fd, chunk, chunk.length, withoutSignal);
const receive = (fd: number): number => cRecv(fd, chunk, chunk.length, 0);

/** Repeats a call until it moves nothing more; the bytes moved. */
function untilEnd(call: (fd: number) => number, fd: number): number {
  let bytes = 0;
  for (let moved = call(fd); moved > 0; moved = call(fd)) bytes += moved;
  return bytes;
}

function serve(call: (fd: number) => number, port: number): never {
  const listening = openSocket(families.inet, socketTypes.stream, 0);
  setSocketOption(listening, solSocket, soReuseAddress, 1);
  bindSocket(listening, socketAddress('0.0.0.0', port));
  checked(cListen(listening, 16), 'listen');
  process.stdout.write('ready\n');
  for (;;) {
    const fd = checked(cAccept(listening, null, null), 'accept');
    untilEnd(call, fd);
    closeFd(fd);
  }
}

function transfer(direction: 'down' | 'up', address: string, port: number, seconds: number): void {
  const fd = openSocket(families.inet, socketTypes.stream, 0);
  const remote = socketAddress(address, port);
  checked(cConnect(fd, remote, remote.length), 'connect', `${address}:${port}`);
  const start = performance.now();
  const end = start + seconds * 1000;
  const call = direction === 'up' ? send : receive;
  const bytes = untilEnd((socket) => (performance.now() < end ? call(socket) : 0), fd);
  if (direction === 'up') {
    checked(cShutdown(fd, shutWrite), 'shutdown');
    untilEnd(receive, fd);
  }
  process.stdout.write(`${JSON.stringify({ bytes, seconds: (performance.now() - start) / 1000 })}\n`);
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'source') serve(send, Number(rest[0]));
else if (what === 'sink') serve(receive, Number(rest[0]));
else if (what === 'down' || what === 'up') transfer(what, rest[0]!, Number(rest[1]), Number(rest[2]));
else throw new RangeError(`stream.ts "${what}": wanted source, sink, down or up`);
