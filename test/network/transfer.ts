import { createHash } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { patternBytes } from '../../src/lab/pattern.ts';

const chunkBytes = 64 * 1024;

/** What a transfer amounted to. */
export type Transferred = { readonly bytes: number; readonly sha256: string };

/** Called with the bytes moved so far; the transfer goes on when it is done. */
type Progress = (bytes: number) => Promise<void> | void;

const digests = new Map<number, string>();

/** Digest of the first `bytes` of the pattern the lab's real servers send. */
export function patternDigest(bytes: number): string {
  let digest = digests.get(bytes);
  if (!digest) {
    const hash = createHash('sha256');
    for (let at = 0; at < bytes; at += chunkBytes)
      hash.update(patternBytes(at, Math.min(chunkBytes, bytes - at)));
    digest = hash.digest('hex');
    digests.set(bytes, digest);
  }
  return digest;
}

/** Fetches `bytes` of the pattern over HTTP on an open connection. */
export async function download(
  socket: Socket,
  bytes: number,
  onProgress: Progress = () => undefined,
): Promise<Transferred> {
  const response = await answer(socket, 'GET', `/big?bytes=${bytes}`);
  const hash = createHash('sha256');
  let count = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    hash.update(chunk);
    count += chunk.length;
    await onProgress(count);
  }
  return { bytes: count, sha256: hash.digest('hex') };
}

/** Sends `bytes` of the pattern over HTTP; what the real server says it received. */
export async function upload(
  socket: Socket,
  bytes: number,
  onProgress: Progress = () => undefined,
): Promise<Transferred> {
  const response = await answer(socket, 'PUT', '/', async (send) => {
    for (let at = 0; at < bytes; at += chunkBytes) {
      await send(patternBytes(at, Math.min(chunkBytes, bytes - at)));
      await onProgress(at);
    }
  });
  let text = '';
  for await (const chunk of response) text += chunk;
  const { bytes: received, sha256 } = JSON.parse(text) as Transferred;
  return { bytes: received, sha256 };
}

function answer(
  socket: Socket,
  method: string,
  path: string,
  body: (send: (chunk: Buffer) => Promise<void>) => Promise<void> = async () => undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const exchange = request(
      { method, path, createConnection: () => socket, headers: { host: 'lab' } },
      resolve,
    );
    exchange.once('error', reject);
    socket.setTimeout(10_000, () => exchange.destroy(new Error('nothing moved for 10 s')));
    const send = (chunk: Buffer) =>
      new Promise<void>((sent) => {
        if (exchange.write(chunk)) sent();
        else exchange.once('drain', sent);
      });
    body(send).then(() => exchange.end(), reject);
  });
}
