import { type Address, addressToBytes } from '../model/address.ts';
import { type Knock, knock } from '../sys/tcp-knock.ts';
import type { CheckContext, Passed } from './check.ts';
import { endedBy, socketFailure } from './failure-words.ts';

/** Connects, and resets the connection as soon as it stands: the handshake alone, without a stream. Linux only. */
export function connectOnly(
  { target, signal, tell }: CheckContext,
  source: Address | undefined,
): Promise<Passed> {
  const { address, port } = target;
  return new Promise((resolve, reject) => {
    let way: Knock | undefined;
    let hasEnded = false;
    const ended = (failure: Error | undefined): void => {
      hasEnded = true;
      signal.removeEventListener('abort', onAbort);
      if (failure) reject(socketFailure('connect', failure, source));
      else {
        tell({ direction: 'note', text: `connected to ${address} port ${port}` });
        resolve({ detail: 'connected' });
      }
    };
    const onAbort = (): void => {
      // What has come in time counts, though this process was too busy to see it.
      way?.look();
      if (hasEnded) return;
      way?.close();
      reject(endedBy(signal, 'connect'));
    };
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      way = knock({ address: bytesOf(address), port }, source && bytesOf(source), ended);
    } catch (failure) {
      ended(failure as Error);
    }
  });
}

const known = new Map<Address, Uint8Array>();
/** Addresses that are remembered, far more than a director checks. */
const mostKnown = 65_536;

function bytesOf(address: Address): Uint8Array {
  const before = known.get(address);
  if (before) return before;
  if (known.size >= mostKnown) known.clear();
  const bytes = addressToBytes(address);
  known.set(address, bytes);
  return bytes;
}
