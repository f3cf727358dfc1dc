import { BerError, berTags, decodeBer, encodeBer, encodeSmall, encodeText, numberIn } from './ber.ts';

/** Messages of LDAP (RFC 4511) as far as binding and reading one entry need them. */

const { boolean, integer, octets, enumerated, sequence } = berTags;
/** Operations: tags of the application class (section 4.2 and following). */
const operations = {
  bind: 0x60,
  bindAnswer: 0x61,
  unbind: 0x42,
  search: 0x63,
  entry: 0x64,
  searchDone: 0x65,
  extended: 0x77,
  extendedAnswer: 0x78,
} as const;
const contextZero = 0x80;
const presentFilter = 0x87;
const startTlsName = '1.3.6.1.4.1.1466.20037';
/** RFC 4511, section 4.5.1.8: no attributes. */
const noAttributes = '1.1';

/** Result codes that a check may well see (RFC 4511, appendix A). */
const resultNames: Readonly<Record<number, string>> = {
  0: 'success',
  1: 'operationsError',
  2: 'protocolError',
  3: 'timeLimitExceeded',
  4: 'sizeLimitExceeded',
  8: 'strongerAuthRequired',
  10: 'referral',
  13: 'confidentialityRequired',
  32: 'noSuchObject',
  34: 'invalidDNSyntax',
  48: 'inappropriateAuthentication',
  49: 'invalidCredentials',
  50: 'insufficientAccessRights',
  51: 'busy',
  52: 'unavailable',
  53: 'unwillingToPerform',
  80: 'other',
};

/** What a server says: an entry by its name, the end of an operation, or something that is passed over. */
export type LdapAnswer = {
  /** The operation it belongs to; 0 is a notice of disconnection. */
  readonly id: number;
} & (
  | { readonly kind: 'entry'; readonly name: string }
  | {
      readonly kind: 'bind' | 'search' | 'extended';
      readonly code: number;
      /** `invalidCredentials`, with what the server says about it. */
      readonly text: string;
    }
  | { readonly kind: 'other' }
);

function message(id: number, operation: Buffer): Buffer {
  return encodeBer(sequence, encodeSmall(integer, id), operation);
}

/** A simple bind of version 3. */
export function encodeBind(id: number, user: string, password: string): Buffer {
  const parts = [encodeSmall(integer, 3), encodeText(octets, user), encodeText(contextZero, password)];
  return message(id, encodeBer(operations.bind, ...parts));
}

/** A search of one entry, whatever its class, without its attributes. */
export function encodeRead(id: number, base: string): Buffer {
  const parts = [
    encodeText(octets, base),
    encodeSmall(enumerated, 0), // the base object alone
    encodeSmall(enumerated, 0), // aliases are not followed
    encodeSmall(integer, 0), // no limit of size
    encodeSmall(integer, 0), // and time
    encodeBer(boolean, Buffer.of(0xff)), // types only
    encodeText(presentFilter, 'objectClass'),
    encodeBer(sequence, encodeText(octets, noAttributes)),
  ];
  return message(id, encodeBer(operations.search, ...parts));
}

/** RFC 4511, section 4.14. */
export function encodeStartTls(id: number): Buffer {
  return message(id, encodeBer(operations.extended, encodeText(contextZero, startTlsName)));
}

export function encodeUnbind(id: number): Buffer {
  return message(id, encodeBer(operations.unbind));
}

/** Reads one whole message. Throws BerError and nothing else. */
export function decodeAnswer(bytes: Buffer): LdapAnswer {
  const [outer] = decodeBer(bytes);
  if (outer?.tag !== sequence) throw new BerError('no sequence');
  const [number, operation] = decodeBer(outer.content);
  if (number?.tag !== integer || !operation) throw new BerError('no message of LDAP');
  const id = numberIn(number);
  switch (operation.tag) {
    case operations.entry:
      return { id, kind: 'entry', name: textIn(decodeBer(operation.content)[0]?.content) };
    case operations.bindAnswer:
      return { id, kind: 'bind', ...resultIn(operation.content) };
    case operations.searchDone:
      return { id, kind: 'search', ...resultIn(operation.content) };
    case operations.extendedAnswer:
      return { id, kind: 'extended', ...resultIn(operation.content) };
    default:
      return { id, kind: 'other' };
  }
}

function resultIn(content: Buffer): { code: number; text: string } {
  const [code, , diagnostic] = decodeBer(content);
  const number = numberIn(code);
  const said = textIn(diagnostic?.content);
  return {
    code: number,
    text: `${resultNames[number] ?? `code ${number}`}${said === '' ? '' : `: ${said}`}`,
  };
}

function textIn(content: Buffer | undefined): string {
  if (!content) throw new BerError('a text is missing');
  return content.toString('utf8');
}
