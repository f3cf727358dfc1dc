import { errnoName, errnoText } from '../errno.ts';
import { closeFd } from '../ffi.ts';
import { withNetns } from '../netns.ts';
import {
  bindSocket,
  families,
  openSocket,
  receiveDatagram,
  sendDatagram,
  setReceiveBuffer,
  setReceiveTimeout,
  setSocketOption,
  socketTypes,
} from '../socket.ts';
import {
  type Acknowledgement,
  controlTypes,
  decodeAcknowledgement,
  decodeMessages,
  encodeMessage,
  encodeSeries,
  type Message,
  messageFlags,
} from './message.ts';

export const netlinkProtocols = { route: 0, netfilter: 12, generic: 16 } as const;

const solNetlink = 270;
const optionCapAck = 10;
const optionExtAck = 11;
const optionStrictCheck = 12;
const answerTimeoutMs = 5000;
const dumpAttempts = 8;
/** The kernel fills at most 32 KiB per datagram of a dump; the rest is room for one large message. */
const receiveLength = 128 * 1024;

/** A request the kernel refused. `code` is the name of the error number, `kernelText` the kernel's own sentence. */
export class NetlinkError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly kernelText: string | undefined;

  constructor(action: string, { errno, text }: Acknowledgement) {
    const code = errnoName(errno);
    const words = errnoText(errno);
    super(
      `${action}: ${code}${words ? `, ${words}` : ''}${text ? ` (the kernel says: ${text.replace(/\.$/, '')})` : ''}`,
    );
    this.name = 'NetlinkError';
    this.errno = errno;
    this.code = code;
    this.kernelText = text;
  }
}

/** An open netlink socket. It stays in the network namespace it was opened in, whatever its process does later. */
export type Netlink = {
  /** Sends one request and waits for its acknowledgement; returns the messages the kernel answered with. */
  request(action: string, type: number, flags: number, parts: readonly Buffer[]): Message[];
  /** The same for a look-up: an empty list where the kernel says that there is no such thing. */
  tryRequest(type: number, flags: number, parts: readonly Buffer[]): Message[];
  /**
   * Look-ups of one answer each, many in one datagram: what `decode` makes of their answers, in order, undefined where there
   * is no such thing. A payload is overwritten when `decode` has returned.
   */
  lookUp<T>(type: number, requests: readonly Buffer[], decode: (payload: Buffer) => T): (T | undefined)[];
  /** Sends requests of an nfnetlink subsystem as one transaction: all of them or none take effect. */
  batch(action: string, subsystem: number, requests: readonly BatchRequest[]): void;
  /** Sends a dump request and returns all of the answer. A dump the kernel marks as inconsistent is repeated. */
  dump(action: string, type: number, parts: readonly Buffer[]): Message[];
  /**
   * The same, with the number of datagrams the answer came in. What is listed may change between two of them, and not every
   * subsystem marks that.
   */
  dumpInPages(
    action: string,
    type: number,
    parts: readonly Buffer[],
  ): { readonly answers: Message[]; readonly pages: number };
  close(): void;
};

/** A request to create, change or delete something. */
export type BatchRequest = { readonly type: number; readonly parts: readonly Buffer[] };

/** NFNL_MSG_BATCH_BEGIN and _END (include/uapi/linux/netfilter/nfnetlink.h). */
const batchTypes = { begin: 16, end: 17 } as const;

/** Look-ups in one datagram: as many answers must fit in the receive buffer, each with a page of its own at worst. */
const mostTogether = 32;

const absent = new Set(['ENODEV', 'ENOENT', 'ESRCH', 'ENETUNREACH', 'EHOSTUNREACH']);

/**
 * Opens a netlink socket: rtnetlink in the caller's namespace unless told otherwise. `netns` is a path such as
 * `/run/netns/name` or `/proc/PID/ns/net`. Every call is answered or fails within five seconds.
 */
export function openNetlink({
  protocol = netlinkProtocols.route,
  netns,
}: {
  protocol?: number;
  netns?: string;
} = {}): Netlink {
  const open = () => openSocket(families.netlink, socketTypes.raw, protocol);
  const fd = netns === undefined ? open() : withNetns(netns, open);
  try {
    const address = Buffer.alloc(12);
    address.writeUInt16LE(families.netlink, 0);
    bindSocket(fd, address);
    setSocketOption(fd, solNetlink, optionCapAck, 1);
    setSocketOption(fd, solNetlink, optionExtAck, 1);
    setSocketOption(fd, solNetlink, optionStrictCheck, 1);
    setReceiveBuffer(fd, 1024 * 1024);
    setReceiveTimeout(fd, answerTimeoutMs);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return netlinkOn(fd);
}

/** Runs `work` with a netlink socket that is closed afterwards. */
export function withNetlink<T>(
  options: { protocol?: number; netns?: string },
  work: (netlink: Netlink) => T,
): T {
  const netlink = openNetlink(options);
  try {
    return work(netlink);
  } finally {
    netlink.close();
  }
}

function netlinkOn(fd: number): Netlink {
  let sequence = 0;
  let open = true;
  const buffer = Buffer.allocUnsafeSlow(receiveLength);

  function exchange(action: string, type: number, flags: number, parts: readonly Buffer[]) {
    if (!open) throw new Error(`${action}: the netlink socket is closed`);
    sequence = (sequence + 1) >>> 0;
    send(action, encodeMessage(type, flags | messageFlags.request, sequence, parts));
    return collect(action);
  }

  function send(action: string, request: Buffer): void {
    if (!sendDatagram(fd, request))
      throw new Error(`${action}: the kernel takes no more netlink requests now`);
  }

  /** The next datagram, which the one after it overwrites. */
  function peek(action: string): Message[] {
    const length = receiveDatagram(fd, buffer, { wait: true });
    if (length === undefined)
      throw new Error(`${action}: no answer from the kernel within ${answerTimeoutMs} ms`);
    if (length > buffer.length)
      throw new Error(`${action}: an answer of ${length} bytes, at most ${buffer.length} fit`);
    return decodeMessages(buffer.subarray(0, length));
  }

  /** The next datagram, for good. */
  const receive = (action: string): Message[] =>
    peek(action).map((message) => ({ ...message, payload: Buffer.from(message.payload) }));

  /** Asks for several things at once. Without an acknowledgement each has one answer: the thing, or an error. */
  function lookUpTogether<T>(
    type: number,
    requests: readonly Buffer[],
    decode: (payload: Buffer) => T,
  ): (T | undefined)[] {
    const action = 'look up over netlink';
    if (!open) throw new Error(`${action}: the netlink socket is closed`);
    if (sequence + requests.length >= 2 ** 32) sequence = 0;
    const first = sequence + 1;
    sequence += requests.length;
    send(action, encodeSeries(type, messageFlags.request, first, requests));
    const found: (T | undefined)[] = requests.map(() => undefined);
    for (let missing = requests.length; missing > 0; )
      for (const message of peek(action)) {
        const place = message.sequence - first;
        if (place < 0 || place >= requests.length) continue;
        missing--;
        if (message.type !== controlTypes.error) {
          found[place] = decode(message.payload);
          continue;
        }
        const acknowledgement = decodeAcknowledgement(message);
        if (!absent.has(errnoName(acknowledgement.errno))) throw new NetlinkError(action, acknowledgement);
      }
    return found;
  }

  /** What the kernel answers to the last sequence number, up to its acknowledgement. */
  function collect(action: string) {
    const answers: Message[] = [];
    let interrupted = false;
    let pages = 0;
    for (;;) {
      const before = answers.length;
      for (const message of receive(action)) {
        if (message.sequence !== sequence) continue;
        interrupted ||= (message.flags & messageFlags.dumpInterrupted) !== 0;
        if (message.type === controlTypes.error || message.type === controlTypes.done) {
          if (answers.length > before) pages++;
          return { answers, interrupted, pages, acknowledgement: decodeAcknowledgement(message) };
        }
        if (message.type !== controlTypes.noop) answers.push(message);
      }
      if (answers.length > before) pages++;
    }
  }

  function dumpInPages(action: string, type: number, parts: readonly Buffer[]) {
    for (let attempt = 1; ; attempt++) {
      const { answers, interrupted, pages, acknowledgement } = exchange(
        action,
        type,
        messageFlags.dump,
        parts,
      );
      if (acknowledgement.errno !== 0) throw new NetlinkError(action, acknowledgement);
      if (!interrupted || attempt === dumpAttempts) return { answers, pages };
    }
  }

  return {
    request(action, type, flags, parts) {
      const { answers, acknowledgement } = exchange(action, type, flags | messageFlags.ack, parts);
      if (acknowledgement.errno !== 0) throw new NetlinkError(action, acknowledgement);
      return answers;
    },
    tryRequest(type, flags, parts) {
      const action = 'look up over netlink';
      const { answers, acknowledgement } = exchange(action, type, flags | messageFlags.ack, parts);
      if (absent.has(errnoName(acknowledgement.errno))) return [];
      if (acknowledgement.errno !== 0) throw new NetlinkError(action, acknowledgement);
      return answers;
    },
    lookUp<T>(type: number, requests: readonly Buffer[], decode: (payload: Buffer) => T) {
      const found: (T | undefined)[] = [];
      for (let at = 0; at < requests.length; at += mostTogether)
        found.push(...lookUpTogether(type, requests.slice(at, at + mostTogether), decode));
      return found;
    },
    batch(action, subsystem, requests) {
      if (!open) throw new Error(`${action}: the netlink socket is closed`);
      // One number for all: the first answer is an error of any of them, or the last one's acknowledgement.
      sequence = (sequence + 1) >>> 0;
      const frame = Buffer.from([0, 0, subsystem >> 8, subsystem & 255]);
      const flags = messageFlags.request;
      const last = requests.length - 1;
      const messages = requests.map(({ type, parts }, i) =>
        encodeMessage(
          type,
          flags | messageFlags.create | (i === last ? messageFlags.ack : 0),
          sequence,
          parts,
        ),
      );
      const begin = encodeMessage(batchTypes.begin, flags, sequence, [frame]);
      const end = encodeMessage(batchTypes.end, flags, sequence, [frame]);
      send(action, Buffer.concat([begin, ...messages, end]));
      const { acknowledgement } = collect(action);
      if (acknowledgement.errno !== 0) throw new NetlinkError(action, acknowledgement);
    },
    dump: (action, type, parts) => dumpInPages(action, type, parts).answers,
    dumpInPages,
    close() {
      if (open) closeFd(fd);
      open = false;
    },
  };
}
