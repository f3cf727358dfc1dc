import { type Address, addressToBytes, familyOf } from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';
import { closeFd } from '../sys/ffi.ts';
import { findLink, interfaceFlags } from '../sys/netlink/link.ts';
import { listNeighbours } from '../sys/netlink/neighbour.ts';
import { lookupRoute } from '../sys/netlink/route.ts';
import type { Netlink } from '../sys/netlink/socket.ts';
import { families, openSocket, sendDatagram, socketTypes } from '../sys/socket.ts';

/** The kernel asks three times, a second apart, before it gives a neighbour up. */
const answerTimeoutMs = 3500;
const askAgainMs = 50;
const discardPort = 9;

/**
 * Makes sure that a gateway is on a network of this host and answers there. Rejects with HG_GATEWAY otherwise, after
 * at most 3.5 s.
 */
export async function refuseUnreachableGateway(netlink: Netlink, gateway: Address): Promise<void> {
  const refuse = (sentence: string, hint: string) =>
    new HeadgateError('HG_GATEWAY', `Cannot use gateway "${gateway}": ${sentence}`, { hint });
  const route = lookupRoute(netlink, gateway);
  const link = route?.index === undefined ? undefined : findLink(netlink, route.index);
  const elsewhere = 'give the address the director has on a network it shares with this host';
  if (route?.type === 'local') throw refuse('wanted the director, found an address of this host', elsewhere);
  if (!route || !link || route.gateway !== undefined)
    throw refuse('wanted an address on a network of this host, found none that it is on', elsewhere);
  if ((link.flags & (interfaceFlags.noArp | interfaceFlags.loopback)) !== 0) return;
  const deadline = performance.now() + answerTimeoutMs;
  for (;;) {
    const neighbour = listNeighbours(netlink, link.index).find(({ address }) => address === gateway);
    if (neighbour?.mac !== undefined && !['failed', 'incomplete'].includes(neighbour.state)) return;
    if (performance.now() >= deadline) break;
    if (neighbour?.state !== 'incomplete') sendSomething(gateway);
    await new Promise((resolve) => setTimeout(resolve, askAgainMs));
  }
  const question = familyOf(gateway) === 4 ? 'ARP' : 'neighbour discovery';
  throw refuse(
    `wanted an answer to ${question} on "${link.name}", found none within ${answerTimeoutMs / 1000} s`,
    'start the director first, and look whether cable, VLAN and address are right',
  );
}

/** A datagram to the discard port makes the kernel ask for the address. */
function sendSomething(gateway: Address): void {
  const six = familyOf(gateway) === 6;
  const target = Buffer.alloc(six ? 28 : 16);
  target.writeUInt16LE(six ? families.inet6 : families.inet, 0);
  target.writeUInt16BE(discardPort, 2);
  target.set(addressToBytes(gateway), six ? 8 : 4);
  const fd = openSocket(six ? families.inet6 : families.inet, socketTypes.datagram, 0);
  try {
    sendDatagram(fd, Buffer.alloc(1), target);
  } finally {
    closeFd(fd);
  }
}
