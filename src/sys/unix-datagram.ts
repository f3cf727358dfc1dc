import { closeFd } from './ffi.ts';
import { bindSocket, families, openSocket, receiveDatagram, sendDatagram, socketTypes } from './socket.ts';

/** AF_UNIX datagram sockets (unix(7)), which Node has no API for. */

/** What sun_path holds. */
const longestPath = 108;

/** A sockaddr_un: of a file, or of an abstract name where the path begins with "@". Throws RangeError. */
export function unixAddress(path: string): Buffer {
  const name = Buffer.from(path);
  if (!/^[/@]./.test(path) || name.length >= longestPath)
    throw new RangeError(
      `unix socket "${path}": wanted an absolute path, or "@" and a name, shorter than ${longestPath} bytes`,
    );
  const family = Buffer.alloc(2);
  family.writeUInt16LE(families.unix);
  // An abstract name begins with a zero byte and ends with the address; a path ends with a zero byte.
  if (path.startsWith('@')) name[0] = 0;
  return Buffer.concat([family, name, ...(path.startsWith('@') ? [] : [Buffer.alloc(1)])]);
}

/** Sends texts to one address. */
export type DatagramSender = {
  /** False: the receiver's queue is full. Throws SystemError (ENOENT, ECONNREFUSED: nobody listens). */
  send(text: string): boolean;
  close(): void;
};

/** Opens a socket that sends to an address; nobody need listen there yet. */
export function openDatagramSender(path: string): DatagramSender {
  const address = unixAddress(path);
  const fd = openSocket(families.unix, socketTypes.datagram, 0);
  return { send: (text) => sendDatagram(fd, Buffer.from(text), address), close: () => closeFd(fd) };
}

/** Receives what others send to an address. */
export type DatagramReceiver = {
  /** The next text; undefined when none waits. */
  receive(): string | undefined;
  close(): void;
};

/** Listens at an address. Throws SystemError, EADDRINUSE where there is a socket already. */
export function openDatagramReceiver(path: string): DatagramReceiver {
  const fd = openSocket(families.unix, socketTypes.datagram, 0);
  const into = Buffer.alloc(64 * 1024);
  try {
    bindSocket(fd, unixAddress(path));
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return {
    receive() {
      const length = receiveDatagram(fd, into);
      return length === undefined ? undefined : into.toString('utf8', 0, Math.min(length, into.length));
    },
    close: () => closeFd(fd),
  };
}
