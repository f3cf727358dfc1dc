import { closeSync, openSync, readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { type Address, addressFromBytes, parseAddress } from '../../model/address.ts';
import { among, type ConnectionBatches, type ConnectionFilter } from '../../model/connection-batches.ts';
import { tcpActive, tcpStateNames } from '../../model/connection-states.ts';
import type { Connection } from '../../model/table.ts';
import type { DestinationId } from '../../model/virtual-service.ts';
import { inPlane } from './in-plane.ts';

/** Bytes of rows that are read without a pause. */
const bytesAtOnce = 256 * 1024;

/** The connection table of the caller's network namespace; empty where IPVS is not loaded. */
export async function* readConnectionList(filter: ConnectionFilter = {}): ConnectionBatches {
  const file = inPlane('read the connections', openList);
  if (file === undefined) return;
  try {
    const buffer = Buffer.alloc(bytesAtOnce);
    let begun = '';
    for (let isOver = false; !isOver; ) {
      // The kernel hands over whole rows, a page of them at a time.
      let length = 0;
      while (length < bytesAtOnce / 2 && !isOver) {
        const read = readSync(file, buffer, length, bytesAtOnce - length, null);
        length += read;
        isOver = read === 0;
      }
      const text = begun + buffer.toString('latin1', 0, length);
      const whole = isOver ? text.length : text.lastIndexOf('\n') + 1;
      begun = text.slice(whole);
      const found = among(parseConnectionList(text.slice(0, whole)), filter);
      if (found.length > 0) yield found;
      if (!isOver) await setImmediate();
    }
  } finally {
    closeSync(file);
  }
}

function openList(): number | undefined {
  try {
    // Of the thread, whose namespace need not be the process's.
    return openSync('/proc/thread-self/net/ip_vs_conn', 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The rows of /proc/net/ip_vs_conn (ip_vs_conn_seq_show, net/netfilter/ipvs/ip_vs_conn.c): addresses and ports in
 * hexadecimal, IPv6 in full, seconds until the end, and the name of a persistence engine with what it keeps, as it stands. A
 * real server may be of another family than its client. Lines that are no rows are passed over.
 */
export function parseConnectionList(text: string): Connection[] {
  return text.split('\n').flatMap((line) => readRow(line) ?? []);
}

/** What a persistence engine keeps comes behind one blank, and may hold blanks itself. */
const rowForm =
  /^\s*(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\d+)\s*?(?: (\S+)(?: (.*))?)?$/;

function readRow(line: string): Connection | undefined {
  const [, protocol, client, clientPort, virtual, virtualPort, real, realPort, state, expires, name, data] =
    rowForm.exec(line) ?? [];
  if (!isProtocol(protocol) || state === undefined) return undefined;
  const from = place(client, clientPort);
  const to = place(virtual, virtualPort);
  const destination = place(real, realPort);
  if (!from || !to || !destination) return undefined;
  // A template has no client port, and of all entries none but templates have these states without one.
  const template = from.port === 0 && (state === 'NONE' || state === 'ASSURED');
  return {
    protocol: protocolWords[protocol],
    client: from,
    virtual: to,
    destination,
    state,
    active: !template && isActive(protocol, state),
    template,
    expiresInMs: Number(expires) * 1000,
    ...(name !== undefined && { engine: { name, data: data ?? '' } }),
  };
}

const protocolWords = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp', SCT: 'sctp', IP: 'ip' } as const;

const isProtocol = (word: string | undefined): word is keyof typeof protocolWords =>
  word !== undefined && Object.hasOwn(protocolWords, word);

/** Of SCTP established ones alone (ip_vs_proto_sctp.c). */
function isActive(protocol: keyof typeof protocolWords, state: string): boolean {
  if (protocol === 'TCP') return tcpActive[(tcpStateNames as readonly string[]).indexOf(state)] === true;
  return protocol.startsWith('SCT') && state === 'ESTABLISHED';
}

function place(address: string | undefined, port: string | undefined): DestinationId | undefined {
  const found = hexAddress(address ?? '');
  return found && /^[0-9A-Fa-f]{1,4}$/.test(port ?? '')
    ? { address: found, port: Number.parseInt(port!, 16) }
    : undefined;
}

function hexAddress(text: string): Address | undefined {
  if (/^[0-9A-Fa-f]{8}$/.test(text)) return addressFromBytes(Buffer.from(text, 'hex'));
  return text.includes(':') ? parseAddress(text.replace(/^\[(.*)\]$/, '$1')) : undefined;
}
