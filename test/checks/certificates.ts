import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** A certificate with its key: files. */
export type Identity = { readonly certificate: string; readonly key: string };

/** An authority of our own, and what it signs: made by openssl, in a folder. */
export function authorityIn(folder: string) {
  const openssl = (...parameters: string[]) =>
    execFileSync('openssl', parameters, { cwd: folder, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    ...['req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=our authority'],
  );
  return {
    ca: join(folder, 'ca.pem'),
    /** For a name, valid for some days; -1: since yesterday no more. */
    sign(name: string, days: number, more = 'IP:127.0.0.1'): Identity {
      const base = `${name}.${days}`;
      openssl(
        ...[
          'req',
          ...newKey,
          '-keyout',
          `${base}.key`,
          '-out',
          `${base}.csr`,
          '-subj',
          `/CN=${name}`,
          '-addext',
          `subjectAltName=DNS:${name},${more}`,
        ],
      );
      openssl(
        ...[
          'x509',
          '-req',
          '-in',
          `${base}.csr`,
          '-CA',
          'ca.pem',
          '-CAkey',
          'ca.key',
          '-copy_extensions',
          'copy',
          '-days',
          String(days),
          '-out',
          `${base}.pem`,
        ],
      );
      return { certificate: join(folder, `${base}.pem`), key: join(folder, `${base}.key`) };
    },
    selfSigned(name: string): Identity {
      openssl(
        ...[
          'req',
          '-x509',
          ...newKey,
          '-keyout',
          `self.${name}.key`,
          '-out',
          `self.${name}.pem`,
          '-subj',
          `/CN=${name}`,
          '-addext',
          `subjectAltName=DNS:${name}`,
        ],
      );
      return { certificate: join(folder, `self.${name}.pem`), key: join(folder, `self.${name}.key`) };
    },
  };
}
