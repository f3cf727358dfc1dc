import { randomBytes, randomInt } from 'node:crypto';
import { type Address, addressFromBytes, addressToBytes, type Family, familyOf } from '../model/address.ts';
import { type EchoSocket, openEchoSocket } from '../sys/echo-socket.ts';
import { type CheckContext, CheckFailure, type CheckOf, type Passed } from './check.ts';
import { decodeEcho, type EchoMessage, encodeEcho } from './echo-message.ts';
import { endedBy, socketFailure } from './failure-words.ts';

/** What a request carries: what ping(8) sends. */
const dataLength = 56;
/** Node cannot wait for a raw socket, so it is looked at: often after something was sent, and less often later. */
const soonMs = 1;
const laterMs = 10;
const soonForMs = 20;
/** How many packets are read at one look: a flood of them must not hold up everything else. */
const packetsAtOnce = 256;

type Heard = (message: EchoMessage, from: Address) => void;

/** All pings of a version of IP from one source: they share a socket, which hears every echo reply of this host. */
type Station = {
  readonly family: Family;
  readonly socket: EchoSocket;
  readonly waiting: Map<number, Heard>;
  /** When something was sent last. */
  sentMs: number;
  look?: NodeJS.Timeout;
};

/** Echo requests of this process have one identifier; they differ by sequence. */
const id = randomInt(0x10000);
let lastSequence = randomInt(0x10000);
const stations = new Map<string, Station>();

/** Sends ICMP echo requests until one is answered. An ICMP error about one is bad, and ends it at once. */
export async function runPing(check: CheckOf<'ping'>, context: CheckContext): Promise<Passed> {
  const { target, signal, tell } = context;
  if (signal.aborted) throw endedBy(signal, 'expect');
  const family = familyOf(target.address);
  const to = addressToBytes(target.address);
  const data = randomBytes(dataLength);
  const station = stationFor(family, check.source);
  const sequences: number[] = [];
  const beganMs = performance.now();
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  try {
    return await new Promise<Passed>((resolve, reject) => {
      onAbort = () => reject(endedBy(signal, 'expect'));
      signal.addEventListener('abort', onAbort, { once: true });
      const hear: Heard = (message, from) => {
        if (message.kind === 'error') {
          if (!message.destination.equals(to)) return;
          tell({ direction: 'received', text: `${message.words}, from ${from}` });
          return reject(new CheckFailure('expect', `${message.words}, says ${from}`));
        }
        if (from !== target.address || !message.data.equals(data)) return;
        tell({ direction: 'received', text: `echo reply ${message.sequence} from ${from}` });
        resolve({ detail: `echo reply from ${from}` });
      };
      const send = (): void => {
        const sequence = nextSequence(station);
        sequences.push(sequence);
        station.waiting.set(sequence, hear);
        tell({ direction: 'sent', text: `echo request ${sequence}` });
        try {
          station.socket.send(encodeEcho(family, { id, sequence }, data), to);
        } catch (error) {
          reject(socketFailure('send', error as Error, check.source));
          return;
        }
        station.sentMs = performance.now();
        lookLater(station);
        // By the clock, so that one that was late makes none of the others late.
        const dueMs = beganMs + (sequences.length * check.timeout) / check.attempts;
        if (sequences.length < check.attempts) timer = setTimeout(send, dueMs - performance.now());
      };
      send();
    });
  } finally {
    clearTimeout(timer);
    if (onAbort) signal.removeEventListener('abort', onAbort);
    for (const sequence of sequences) station.waiting.delete(sequence);
    closeIdle();
  }
}

function stationFor(family: Family, source: Address | undefined): Station {
  const name = `${family} ${source ?? ''}`;
  const known = stations.get(name);
  if (known) return known;
  try {
    const socket = openEchoSocket(family, source && addressToBytes(source));
    const station: Station = { family, socket, waiting: new Map(), sentMs: 0 };
    stations.set(name, station);
    return station;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EPERM') throw new CheckFailure('run', 'cannot send ICMP: it takes CAP_NET_RAW');
    throw socketFailure('run', error as Error, source);
  }
}

/** A number that no request waits under. */
function nextSequence({ waiting }: Station): number {
  if (waiting.size > 0xffff) throw new CheckFailure('run', 'too many pings at the same time');
  do {
    lastSequence = (lastSequence + 1) & 0xffff;
  } while (waiting.has(lastSequence));
  return lastSequence;
}

/** Looks at what has come, soon after something was sent and then less and less often. */
function lookLater(station: Station): void {
  clearTimeout(station.look);
  const delayMs = performance.now() - station.sentMs < soonForMs ? soonMs : laterMs;
  station.look = setTimeout(() => {
    read(station);
    if (station.waiting.size > 0) lookLater(station);
  }, delayMs);
}

function read({ family, socket, waiting }: Station): void {
  for (let i = 0; i < packetsAtOnce; i++) {
    const received = receive(socket);
    if (!received) return;
    const message = decodeEcho(family, received.packet);
    if (message?.id === id) waiting.get(message.sequence)?.(message, addressFromBytes(received.from));
  }
}

/** An error of the socket says nothing about one real server: whoever waits goes on waiting. */
function receive(socket: EchoSocket): ReturnType<EchoSocket['receive']> {
  try {
    return socket.receive();
  } catch {
    return undefined;
  }
}

function closeIdle(): void {
  for (const [name, station] of stations) {
    if (station.waiting.size > 0) continue;
    stations.delete(name);
    clearTimeout(station.look);
    station.socket.close();
  }
}
