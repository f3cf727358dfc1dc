import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { errnoByName, errnoText } from '../sys/errno.ts';
import { CheckFailure } from './check.ts';
import type { TlsWish } from './tls-session.ts';

/** More than one cluster has different sets of certificates. */
const mostContexts = 64;

/** By the content of the files they were made of: a file that changed is another one. */
const contexts = new Map<string, SecureContext>();

/** What a handshake begins with. It is made once, because that costs more than the handshake. */
export async function secureContextOf(wish: TlsWish): Promise<SecureContext> {
  const [ca, cert, key] = await Promise.all([
    fileText('ca', wish.ca),
    fileText('certificate', wish.certificate),
    fileText('privateKey', wish.certificate && (wish.privateKey ?? wish.certificate)),
  ]);
  const passphrase = key === undefined ? undefined : wish.privateKeyPassword;
  const name = JSON.stringify([ca, cert, key, passphrase]);
  const known = contexts.get(name);
  if (known) return known;
  try {
    const made = createSecureContext({
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(passphrase !== undefined && { passphrase }),
    });
    if (contexts.size >= mostContexts) contexts.clear();
    contexts.set(name, made);
    return made;
  } catch (error) {
    const { reason, message } = error as Error & { reason?: string };
    const files = [wish.ca, wish.certificate, wish.privateKey].filter((path) => path !== undefined);
    throw new CheckFailure('tls', `cannot use ${files.join(', ')} for TLS: ${reason ?? message}`);
  }
}

async function fileText(key: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path, 'latin1');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const words = errnoText(errnoByName[code] ?? 0) ?? String(error);
    throw new CheckFailure('tls', `cannot read ${key} "${path}": ${words}`);
  }
}
