import { type Address, addressFromBytes, addressToBytes, familyOf } from '../model/address.ts';
import { formatMac, parseMac } from '../sys/netlink/ip.ts';
import { advertisedTargetFilter, arpSenderFilter, type FrameSocket, openFrameSocket } from '../sys/raw.ts';
import { solicitation } from './announce.ts';
import type { Device } from './exchange.ts';

/** Another host that says it has one of the addresses. */
export type Claim = { readonly address: Address; readonly mac: string };

/** Asks the network of a device who has addresses of ours: by ARP (RFC 5227), and by neighbour solicitation (RFC 4861). */
export type Claims = {
  /** What others said since the last time; and asks again. Throws SystemError (ENETDOWN). */
  look(): readonly Claim[];
  close(): void;
};

const [arp, ipv6] = [0x0806, 0x86dd];
const [arpSenderMacAt, arpSenderAt, arpLength] = [22, 28, 42];
/** Ethernet, IPv6, and a neighbour advertisement up to the MAC address in its first option. */
const [targetAt, optionAt, advertisementLength] = [62, 78, 86];
const targetLinkAddress = 2;
/** Of a flood no more is read at once. */
const mostFrames = 100;

/** IPv6 addresses are asked for from an IPv6 `source` only. */
export function openClaims(
  device: Device & { readonly mac: string },
  addresses: readonly Address[],
  source: Address,
): Claims | undefined {
  const own = parseMac(device.mac);
  const of = (family: 4 | 6) => addresses.filter((one) => familyOf(one) === family);
  const opened: Claims[] = [];
  try {
    if (of(4).length > 0) {
      const filter = arpSenderFilter(of(4).map(addressToBytes));
      const socket = openFrameSocket(device.index, { protocol: arp, filter });
      opened.push(
        claimsOn(
          socket,
          (frame) => claimInArp(frame, own),
          of(4).map((one) => probe(own, one)),
        ),
      );
    }
    if (familyOf(source) === 6 && of(6).length > 0) {
      const asked = of(6);
      const filter = advertisedTargetFilter(asked.map(addressToBytes));
      const socket = openFrameSocket(device.index, { protocol: ipv6, filter });
      const questions = asked.map((one) => solicitation(own, source, one));
      opened.push(claimsOn(socket, (frame) => claimInAdvertisement(frame, own, asked), questions));
    }
  } catch (error) {
    for (const one of opened) one.close();
    throw error;
  }
  if (opened.length === 0) return undefined;
  return {
    look: () => opened.flatMap((one) => one.look()),
    close() {
      for (const one of opened) one.close();
    },
  };
}

function claimsOn(
  socket: FrameSocket,
  read: (frame: Buffer) => Claim | undefined,
  questions: readonly Buffer[],
): Claims {
  return {
    look() {
      const found = new Map<Address, Claim>();
      for (let i = 0, frame = socket.receive(); frame && i < mostFrames; i++, frame = socket.receive()) {
        const claim = read(frame.bytes);
        if (claim) found.set(claim.address, claim);
      }
      for (const question of questions) socket.send(question);
      return [...found.values()];
    },
    close: () => socket.close(),
  };
}

/** The address another host speaks from in an ARP frame. */
function claimInArp(frame: Buffer, own: Buffer): Claim | undefined {
  if (frame.length < arpLength) return undefined;
  const mac = frame.subarray(arpSenderMacAt, arpSenderMacAt + 6);
  if (mac.equals(own)) return undefined;
  return { address: addressFromBytes(frame.subarray(arpSenderAt, arpSenderAt + 4)), mac: formatMac(mac) };
}

/** The address another host advertises that it has. */
function claimInAdvertisement(frame: Buffer, own: Buffer, asked: readonly Address[]): Claim | undefined {
  if (frame.length < optionAt) return undefined;
  const address = addressFromBytes(frame.subarray(targetAt, targetAt + 16));
  const hasOption = frame.length >= advertisementLength && frame[optionAt] === targetLinkAddress;
  const at = hasOption ? optionAt + 2 : 6;
  const mac = frame.subarray(at, at + 6);
  // The filter knows the last four bytes of an address.
  return mac.equals(own) || !asked.includes(address) ? undefined : { address, mac: formatMac(mac) };
}

/** RFC 5227, 1.1: an ARP request from nobody. */
function probe(mac: Buffer, address: Address): Buffer {
  const head = Buffer.from([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
  const target = Buffer.from(addressToBytes(address));
  return Buffer.concat([Buffer.alloc(6, 0xff), mac, head, mac, Buffer.alloc(4), Buffer.alloc(6), target]);
}
