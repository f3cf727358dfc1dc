import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

/** The client's side of SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677). */

const derive = promisify(pbkdf2);

/** "n,," in base64: no channel binding, no other identity. */
const header = 'n,,';
/** A server that asks for more would use our processor up; servers use 4,096 to some ten thousands. */
const mostRounds = 500_000;

/** An exchange that is not what the RFC says, or is with someone who does not know the password. */
export class ScramError extends Error {}

/** The first message; `user` may be empty where the protocol around it has said it already. `nonce` is printable, without comma. */
export function clientFirst(user: string, nonce: string): string {
  return `${header}${clientFirstBare(user, nonce)}`;
}

function clientFirstBare(user: string, nonce: string): string {
  return `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`;
}

/** What answers the server's first message, and the proof that the server must give in its last one. */
export type ClientFinal = { readonly message: string; readonly serverProof: Buffer };

/** Answers the server's first message. Throws ScramError. */
export async function clientFinal(
  { user, password, nonce }: { readonly user: string; readonly password: string; readonly nonce: string },
  serverFirst: string,
): Promise<ClientFinal> {
  const [, serverNonce, salt, rounds] =
    /^r=([^,]+),s=([A-Za-z0-9+/=]+),i=([0-9]{1,9})(?:,|$)/.exec(serverFirst) ?? [];
  if (serverNonce === undefined) throw new ScramError('the server sends no salt');
  if (!serverNonce.startsWith(nonce) || serverNonce === nonce)
    throw new ScramError('the server answers someone else');
  const count = Number(rounds);
  if (count < 1 || count > mostRounds)
    throw new ScramError(`the server wants ${count} rounds: at most ${mostRounds} are done`);
  // What SASLprep (RFC 4013) makes of all but a few strange texts.
  const secret = password.normalize('NFKC');
  const salted = await derive(secret, Buffer.from(salt!, 'base64'), count, 32, 'sha256');
  const clientKey = sign(salted, 'Client Key');
  const withoutProof = `c=${Buffer.from(header).toString('base64')},r=${serverNonce}`;
  const signed = `${clientFirstBare(user, nonce)},${serverFirst},${withoutProof}`;
  const proof = sign(createHash('sha256').update(clientKey).digest(), signed);
  for (let i = 0; i < proof.length; i++) proof[i]! ^= clientKey[i]!;
  return {
    message: `${withoutProof},p=${proof.toString('base64')}`,
    serverProof: sign(sign(salted, 'Server Key'), signed),
  };
}

/** Judges the server's last message: only who knows the password can sign it. Throws ScramError. */
export function wantServerProof({ serverProof }: ClientFinal, serverFinal: string): void {
  const [, said] = /^v=([A-Za-z0-9+/=]+)(?:,|$)/.exec(serverFinal) ?? [];
  const proof = Buffer.from(said ?? '', 'base64');
  if (proof.length !== serverProof.length || !timingSafeEqual(proof, serverProof)) {
    throw new ScramError('the server does not know the password');
  }
}

function sign(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
