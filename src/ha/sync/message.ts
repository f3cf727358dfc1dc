import { type SyncedConnection, syncFlags } from '../../model/connection-sync.ts';

/*
 * The messages of IPVS's connection sync, version 1 in both directions and version 0 as it comes
 * (net/netfilter/ipvs/ip_vs_sync.c of Linux 6.12). All numbers are in network order.
 *
 *     version 1   0 | sync id | length (2) | connections | 1 | 0 (2)        records start at multiples of 4
 *       record    family | protocol | version << 12 | length (2) | flags (4) | state (2) | ports: client, virtual, real |
 *                 fwmark (4) | timeout, seconds (4) | addresses: client, virtual, real | options: type, length, data
 *     version 0   connections | sync id | length (2)
 *       record    0 | protocol | ports (6) | addresses (12) | flags (2) | state (2) | 24 bytes of sequence numbers by flag
 */

export const headerBytes = 8;
/** What a message holds at most: the number of its connections is one byte. */
export const mostConnections = 255;
const recordBytes = { 4: 36, 6: 72 } as const;
const headerBytes0 = 4;
const recordBytes0 = 24;
const sequenceBytes = 24;
const sequenceFlags = syncFlags.inSequence | syncFlags.outSequence;
/** Option types: bit 6 says that it may be skipped by who does not know it. */
const option = {
  ...{ sequences: 1, engineData: 2, engineName: 3 },
  /** Ours: port and address of a connection's local end (full NAT). */
  local: 0x20,
  ...{ skippable: 0x40, number: 0x3f },
} as const;
const optionHeadBytes = 2;
const portBytes = 2;
const mostEngineData = 255;
const mostEngineName = 16;

export type SyncVersion = 0 | 1;

/** A message as it came. */
export type SyncMessage = {
  readonly version: SyncVersion;
  readonly id: number;
  readonly connections: readonly SyncedConnection[];
  /** Records that make no sense or want what we do not have, one reason each. */
  readonly refused: readonly string[];
};

/** Records stand at multiples of it. */
const padded = (bytes: number) => (bytes + 3) & ~3;

/** The bytes a connection takes in a message, with those between it and the next; 0: one of this version cannot hold it. */
export function recordLength(connection: SyncedConnection, version: SyncVersion = 1): number {
  const options = optionsOf(connection);
  if (version === 1)
    return padded(
      options.reduce<number>(
        (sum, [, { length }]) => sum + optionHeadBytes + length,
        recordBytes[connection.family],
      ),
    );
  return connection.family === 4 && options.length === 0 ? recordBytes0 : 0;
}

/** What of a connection has no place but options: type and data, in the kernel's order (ip_vs_sync_conn). */
function optionsOf({ engine, local }: SyncedConnection): (readonly [type: number, data: Uint8Array])[] {
  return [
    ...(engine
      ? [
          [option.engineData, engine.data] as const,
          [option.engineName, Buffer.from(engine.name, 'latin1')] as const,
        ]
      : []),
    ...(local
      ? [
          [
            option.local | option.skippable,
            Uint8Array.of(local.port >> 8, local.port & 255, ...local.address),
          ] as const,
        ]
      : []),
  ];
}

/** Writes a message of version 1. At most 255 connections, all of them within 65,535 bytes. */
export function encodeMessage(id: number, connections: readonly SyncedConnection[]): Buffer {
  const length = connections.reduce((sum, one) => sum + recordLength(one), headerBytes);
  if (connections.length > mostConnections || length > 0xffff)
    throw new RangeError(`write sync message: ${connections.length} connections, ${length} bytes`);
  const message = Buffer.alloc(length);
  message[1] = id;
  message[4] = connections.length;
  message[5] = 1;
  let at = headerBytes;
  for (const one of connections) at = writeRecord(message, padded(at), one);
  message.writeUInt16BE(at, 2);
  // Nothing stands behind the last.
  return message.subarray(0, at);
}

/** Writes a message of version 0, which has neither lifetimes nor firewall marks. At most 255 connections, all of IPv4. */
export function encodeOldMessage(id: number, connections: readonly SyncedConnection[]): Buffer {
  const odd = connections.some(({ family }) => family !== 4);
  if (odd || connections.length > mostConnections)
    throw new RangeError(`write sync message of version 0: ${connections.length} connections`);
  const message = Buffer.alloc(headerBytes0 + connections.length * recordBytes0);
  message.set([connections.length, id]);
  message.writeUInt16BE(message.length, 2);
  for (const [i, one] of connections.entries()) {
    const at = headerBytes0 + i * recordBytes0;
    message[at + 1] = one.protocol;
    for (const [j, port] of [one.clientPort, one.virtualPort, one.realPort].entries())
      message.writeUInt16BE(port, at + 2 + 2 * j);
    for (const [j, address] of [one.client, one.virtual, one.real].entries())
      message.set(address, at + 8 + 4 * j);
    message.writeUInt16BE(one.flags & 0xffff, at + 20);
    message.writeUInt16BE(one.state, at + 22);
  }
  return message;
}

/** Byte 5 of a message of version 1 is 1. */
const endMark = 0x45;

/**
 * Says that the whole table has been told, at the first `ports` of the ports (1 to 64), each of which hears an end of its own. To IPVS,
 * and to who does not know it, a message of version 0 without connections.
 */
export function encodeEnd(id: number, ports: number): Buffer {
  const message = encodeMessage(id, []);
  message.set([endMark, 1, ports], 5);
  return message;
}

/** Whether a message says that. */
export const isEnd = (bytes: Uint8Array): boolean =>
  bytes.length === headerBytes && bytes[0] === 0 && bytes[4] === 0 && bytes[5] === endMark && bytes[6] === 1;

/** By how many ports the table came that a message says the end of; 0: it does not say, all of the receiver's. */
export const portsOfEnd = (end: Uint8Array): number => end[7]!;

function writeRecord(message: Buffer, at: number, connection: SyncedConnection): number {
  const { family, client, virtual, real } = connection;
  message[at] = family === 6 ? 1 : 0;
  message[at + 1] = connection.protocol;
  message.writeUInt32BE(connection.flags >>> 0, at + 4);
  message.writeUInt16BE(connection.state, at + 8);
  message.writeUInt16BE(connection.clientPort, at + 10);
  message.writeUInt16BE(connection.virtualPort, at + 12);
  message.writeUInt16BE(connection.realPort, at + 14);
  message.writeUInt32BE(connection.fwmark, at + 16);
  message.writeUInt32BE(connection.timeoutSeconds, at + 20);
  const width = family === 6 ? 16 : 4;
  for (const [i, address] of [client, virtual, real].entries()) message.set(address, at + 24 + i * width);
  let optionAt = at + recordBytes[family];
  for (const [type, data] of optionsOf(connection)) {
    message.set([type, data.length], optionAt);
    message.set(data, optionAt + optionHeadBytes);
    optionAt += optionHeadBytes + data.length;
  }
  message.writeUInt16BE(optionAt - at, at + 2);
  return optionAt;
}

/** Reads a message; a sentence where it is none. Never throws, whatever the bytes. */
export function decodeMessage(bytes: Uint8Array): SyncMessage | string {
  const message = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (message.length < 4) return `${message.length} bytes are no message`;
  const length = message.readUInt16BE(2);
  if (length !== message.length) return `its length says ${length}, its bytes are ${message.length}`;
  // As ip_vs_process_message() tells the two apart.
  const isNew =
    message.length >= headerBytes && message[5] === 1 && message[0] === 0 && message.readUInt16BE(6) === 0;
  return isNew ? decodeNew(message) : decodeOld(message);
}

function decodeNew(message: Buffer): SyncMessage | string {
  const count = message[4]!;
  const connections: SyncedConnection[] = [];
  const refused: string[] = [];
  let at = headerBytes;
  for (let i = 0; i < count; i++) {
    if (at + recordBytes[4] > message.length) return `connection ${i + 1} of ${count} is cut off`;
    const size = message.readUInt16BE(at + 2) & 0xfff;
    const end = at + size;
    if (end > message.length) return `connection ${i + 1} of ${count} is longer than what is left`;
    if (message.readUInt16BE(at + 2) >> 12 !== 0)
      return `connection ${i + 1} of ${count} has another version than 0`;
    const read = readRecord(message, at, end);
    if (typeof read === 'string') refused.push(read);
    else connections.push(read);
    if (size < recordBytes[4]) return `connection ${i + 1} of ${count} has ${size} bytes`;
    at = (end + 3) & ~3;
  }
  return { version: 1, id: message[1]!, connections, refused };
}

function readRecord(message: Buffer, at: number, end: number): SyncedConnection | string {
  const type = message[at]!;
  if (type > 1) return `a connection of type ${type}`;
  const family = type === 1 ? 6 : 4;
  if (end - at < recordBytes[family]) return `an IPv${family} connection of ${end - at} bytes`;
  const width = family === 6 ? 16 : 4;
  const address = (index: number) =>
    Uint8Array.from(message.subarray(at + 24 + index * width, at + 24 + (index + 1) * width));
  const options = readOptions(message, at + recordBytes[family], end, width);
  if (typeof options === 'string') return options;
  return {
    ...options,
    family,
    protocol: message[at + 1]!,
    flags: message.readUInt32BE(at + 4),
    state: message.readUInt16BE(at + 8),
    clientPort: message.readUInt16BE(at + 10),
    virtualPort: message.readUInt16BE(at + 12),
    realPort: message.readUInt16BE(at + 14),
    fwmark: message.readUInt32BE(at + 16),
    timeoutSeconds: message.readUInt32BE(at + 20),
    client: address(0),
    virtual: address(1),
    real: address(2),
  };
}

/** What options say of their connection, or why they make it unusable (ip_vs_proc_sync_conn). `width`: bytes of an address. */
function readOptions(
  message: Buffer,
  from: number,
  end: number,
  width: number,
): Pick<SyncedConnection, 'local' | 'engine'> | string {
  let local: SyncedConnection['local'];
  let name: string | undefined;
  let data: Uint8Array | undefined;
  const seen = new Set<number>();
  for (let at = from; at < end; ) {
    if (end - at < 2) return 'an option that is cut off';
    const [type, length] = [message[at]!, message[at + 1]!];
    at += 2;
    if (length === 0 || at + length > end) return `an option of ${length} bytes`;
    const number = type & option.number;
    if (seen.has(number)) return `option ${number} twice`;
    seen.add(number);
    at += length;
    if (number === option.sequences) {
      if (length !== sequenceBytes) return `sequence numbers of ${length} bytes`;
      return 'a connection with rewritten sequence numbers';
    }
    if (number === option.engineData || number === option.engineName) {
      const most = number === option.engineData ? mostEngineData : mostEngineName;
      if (length > most) return `persistence data of ${length} bytes`;
      const said = Uint8Array.from(message.subarray(at - length, at));
      if (number === option.engineData) data = said;
      else name = Buffer.from(said).toString('latin1');
    } else if (number === option.local) {
      if (length !== portBytes + width) return `a local end of ${length} bytes`;
      const address = Uint8Array.from(message.subarray(at - width, at));
      local = { address, port: message.readUInt16BE(at - length) };
    } else if ((type & option.skippable) === 0) return `unknown option ${number}`;
  }
  if (data && name === undefined) return 'persistence data of no engine';
  // A name alone says nothing (ip_vs_conn_fill_param_sync).
  return { ...(local && { local }), ...(data && name !== undefined && { engine: { name, data } }) };
}

function decodeOld(message: Buffer): SyncMessage | string {
  const count = message[0]!;
  const connections: SyncedConnection[] = [];
  const refused: string[] = [];
  let at = headerBytes0;
  for (let i = 0; i < count; i++) {
    if (at + recordBytes0 > message.length) return `connection ${i + 1} of ${count} is cut off`;
    const flags = message.readUInt16BE(at + 20);
    const address = (offset: number) => Uint8Array.from(message.subarray(at + offset, at + offset + 4));
    const rewritten = (flags & sequenceFlags) !== 0;
    if (rewritten) {
      if (at + recordBytes0 + sequenceBytes > message.length)
        return `connection ${i + 1} of ${count} is cut off`;
      refused.push('a connection with rewritten sequence numbers');
    } else {
      connections.push({
        family: 4,
        protocol: message[at + 1]!,
        flags,
        state: message.readUInt16BE(at + 22),
        clientPort: message.readUInt16BE(at + 2),
        virtualPort: message.readUInt16BE(at + 4),
        realPort: message.readUInt16BE(at + 6),
        client: address(8),
        virtual: address(12),
        real: address(16),
        fwmark: 0,
        timeoutSeconds: 0,
      });
    }
    at += recordBytes0 + (rewritten ? sequenceBytes : 0);
  }
  return { version: 0, id: message[1]!, connections, refused };
}
