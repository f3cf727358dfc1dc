/** Bytes that came and were not read yet, in one growing buffer: a peer that sends single bytes costs no copies. */
export type Inbox = { bytes: Buffer; start: number; end: number };

export function newInbox(): Inbox {
  return { bytes: Buffer.alloc(0), start: 0, end: 0 };
}

/** How many bytes are there. */
export function waiting(inbox: Inbox): number {
  return inbox.end - inbox.start;
}

export function append(inbox: Inbox, chunk: Uint8Array): void {
  const length = waiting(inbox);
  if (length === 0) {
    // The usual answer is one chunk, and a socket hands each of its chunks over for good.
    inbox.bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    inbox.start = 0;
    inbox.end = chunk.length;
    return;
  }
  if (inbox.end + chunk.length > inbox.bytes.length) {
    const grown = Buffer.alloc(Math.max(1024, 2 * (length + chunk.length)));
    inbox.bytes.copy(grown, 0, inbox.start, inbox.end);
    inbox.bytes = grown;
    inbox.start = 0;
    inbox.end = length;
  }
  inbox.bytes.set(chunk, inbox.end);
  inbox.end += chunk.length;
}

/** Where `delimiter` begins, counted from the first unread byte, looked for from `from` on; -1 where it is not. */
export function positionOf(inbox: Inbox, delimiter: Uint8Array, from = 0): number {
  const found = inbox.bytes.subarray(inbox.start, inbox.end).indexOf(delimiter, Math.max(0, from));
  return found;
}

/** The first `count` bytes, which are read by that; `count` is at most `waiting`. */
export function take(inbox: Inbox, count: number): Buffer {
  const taken = inbox.bytes.subarray(inbox.start, inbox.start + count);
  inbox.start += count;
  return taken;
}
