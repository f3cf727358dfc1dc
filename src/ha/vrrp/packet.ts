import {
  type Address,
  addressFromBytes,
  addressToBytes,
  type Family,
  familyOf,
} from '../../model/address.ts';

/** IP protocol number of VRRP (RFC 9568, 5.1.1.4). */
export const vrrpProtocol = 112;
/** Hop limit of everything sent, and wanted of what arrives by multicast (RFC 9568, 5.1.1.3). */
export const vrrpHopLimit = 255;
/** Where advertisements go without peers (RFC 9568, 5.1.1.2 and 5.1.2.2). */
export const multicastGroup: Record<Family, Address> = {
  4: '224.0.0.18' as Address,
  6: 'ff02::12' as Address,
};

/** What a master says, as often as its interval. */
export type Advertisement = {
  readonly version: 2 | 3;
  readonly routerId: number;
  /** 0: the master gives up (RFC 9568, 5.2.4). */
  readonly priority: number;
  /** Version 2 counts whole seconds, version 3 hundredths. */
  readonly intervalMs: number;
  readonly addresses: readonly Address[];
};

/** Version 2 only (RFC 2338, 5.3.6; taken out of RFC 3768 and still in use). */
export type AuthenticationType = 'none' | 'password' | 'ah';

/** An advertisement as it arrived. */
export type Received = Advertisement & {
  readonly authentication: AuthenticationType;
  /** The eight bytes behind a version 2 advertisement. */
  readonly password: Buffer;
};

/** Why bytes are no advertisement; each reason is counted on its own, as keepalived does. */
export type Malformed = 'length' | 'version' | 'type' | 'authentication-type' | 'checksum';

/** Between whom it travels: part of the checksum of version 3. */
export type Ends = { readonly source: Address; readonly destination: Address };

const advertisementType = 1;
const headerBytes = 8;
const passwordBytes = 8;
const authenticationTypes: readonly AuthenticationType[] = ['none', 'password', 'ah'];
/** 12 bits of hundredths of a second (RFC 9568, 5.2.7). */
const longestIntervalMs = 40_950;

/** The bytes behind the IP header. A password is cut after eight bytes. Throws RangeError for what no field holds. */
export function encodeAdvertisement(
  { version, routerId, priority, intervalMs, addresses }: Advertisement,
  ends: Ends,
  { type, secret }: { readonly type: AuthenticationType; readonly secret: string } = noAuthentication,
): Buffer {
  const family = familyOf(ends.source);
  if (addresses.length > 255 || addresses.some((one) => familyOf(one) !== family))
    throw new RangeError(`Cannot advertise ${addresses.length} addresses: wanted at most 255 of one family`);
  const interval = version === 2 ? intervalMs / 1000 : intervalMs / 10;
  if (!Number.isInteger(interval) || (version === 2 ? interval > 255 : intervalMs > longestIntervalMs))
    throw new RangeError(`Cannot advertise an interval of ${intervalMs} ms in version ${version}`);
  const head = Buffer.from([(version << 4) | advertisementType, routerId, priority, addresses.length]);
  const middle = Buffer.alloc(4);
  if (version === 2) middle.set([authenticationTypes.indexOf(type), interval]);
  else middle.writeUInt16BE(interval);
  const tail = Buffer.alloc(version === 2 ? passwordBytes : 0);
  if (type === 'password') tail.set(Buffer.from(secret).subarray(0, passwordBytes));
  const pdu = Buffer.concat([head, middle, ...addresses.map(addressToBytes), tail]);
  pdu.writeUInt16BE(checksum(version === 2 ? pdu : Buffer.concat([pseudoHeader(ends, pdu.length), pdu])), 6);
  return pdu;
}

const noAuthentication = { type: 'none', secret: '' } as const;

/**
 * Reads the bytes behind the IP header, in the order of checks of RFC 9568, 7.1. Takes version 3 over IPv4 with and without
 * a pseudo-header in the checksum: RFC 5798 has it, RFC 9568, 5.2.8, has not.
 */
export function decodeAdvertisement(pdu: Buffer, ends: Ends): Received | Malformed {
  if (pdu.length < headerBytes) return 'length';
  const version = pdu[0]! >> 4;
  const family = familyOf(ends.source);
  if (version !== 3 && (version !== 2 || family === 6)) return 'version';
  if ((pdu[0]! & 0xf) !== advertisementType) return 'type';
  const authentication = version === 2 ? authenticationTypes[pdu[4]!] : 'none';
  if (authentication === undefined) return 'authentication-type';
  const addressBytes = family === 4 ? 4 : 16;
  const tailAt = headerBytes + pdu[3]! * addressBytes;
  if (pdu.length !== tailAt + (version === 2 ? passwordBytes : 0)) return 'length';
  const bare = checksum(pdu) === 0;
  const withEnds = () => checksum(Buffer.concat([pseudoHeader(ends, pdu.length), pdu])) === 0;
  if (!(version === 3 ? withEnds() || (family === 4 && bare) : bare)) return 'checksum';
  return {
    version,
    routerId: pdu[1]!,
    priority: pdu[2]!,
    intervalMs: version === 2 ? pdu[5]! * 1000 : (pdu.readUInt16BE(4) & 0xfff) * 10,
    addresses: Array.from({ length: pdu[3]! }, (_, i) =>
      addressFromBytes(pdu.subarray(headerBytes + i * addressBytes, headerBytes + (i + 1) * addressBytes)),
    ),
    authentication,
    password: pdu.subarray(tailAt),
  };
}

/** RFC 8200, 8.1, and the same over IPv4 as for TCP (RFC 9293, 3.1). */
function pseudoHeader({ source, destination }: Ends, length: number): Buffer {
  const tail = Buffer.alloc(familyOf(source) === 4 ? 4 : 8);
  if (tail.length === 4) {
    tail[1] = vrrpProtocol;
    tail.writeUInt16BE(length, 2);
  } else {
    tail.writeUInt32BE(length);
    tail[7] = vrrpProtocol;
  }
  return Buffer.concat([addressToBytes(source), addressToBytes(destination), tail]);
}

/** RFC 1071. 0 over bytes that hold a right checksum. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
