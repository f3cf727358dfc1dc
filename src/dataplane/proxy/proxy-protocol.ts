import { addressToBytes, familyOf } from '../../model/address.ts';
import type { DestinationId } from '../../model/virtual-service.ts';

/**
 * The PROXY protocol, sender's side: tells a real server, in front of the first byte, who the client is.
 * Source of all rules: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 and 2.2.
 */
const proxyProtocolVersions = ['v1', 'v2'] as const;
export type ProxyProtocolVersion = (typeof proxyProtocolVersions)[number];

const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
/** Version 2, command PROXY. */
const versionAndCommand = 0x21;
/** Address family in the high four bits; the low ones say stream. */
const familyAndTransport = { 4: 0x11, 6: 0x21 } as const;

/** The header of a TCP connection from `client` to `virtual`, which are of one address family. */
export function encodeProxyHeader(
  version: ProxyProtocolVersion,
  client: DestinationId,
  virtual: DestinationId,
): Uint8Array {
  return version === 'v1' ? encodeText(client, virtual) : encodeBinary(client, virtual);
}

function encodeText(client: DestinationId, virtual: DestinationId): Uint8Array {
  const words = [
    'PROXY',
    `TCP${familyOf(client.address)}`,
    ...[client, virtual].map(addressText),
    ...[client, virtual].map(({ port }) => String(port)),
  ];
  return new TextEncoder().encode(`${words.join(' ')}\r\n`);
}

/** Section 2.1 knows groups of hexadecimal digits only, so an address with a dotted tail is written out. */
function addressText({ address }: DestinationId): string {
  if (familyOf(address) === 4 || !address.includes('.')) return address;
  const bytes = addressToBytes(address);
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16));
  return groups.join(':');
}

function encodeBinary(client: DestinationId, virtual: DestinationId): Uint8Array {
  const addresses = [client, virtual].flatMap(({ address }) => [...addressToBytes(address)]);
  const ports = [client, virtual].flatMap(({ port }) => [port >> 8, port & 0xff]);
  const length = addresses.length + ports.length;
  return Uint8Array.of(
    ...signature,
    versionAndCommand,
    familyAndTransport[familyOf(client.address)],
    length >> 8,
    length & 0xff,
    ...addresses,
    ...ports,
  );
}
