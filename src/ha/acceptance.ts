import { timingSafeEqual } from 'node:crypto';
import type { Address } from '../model/address.ts';
import type { RejectedAdvertisement } from '../model/vrrp.ts';
import type { Arrived } from './exchange.ts';
import type { InstanceSettings } from './settings.ts';
import { type Received, vrrpHopLimit } from './vrrp/packet.ts';

/**
 * Whether what arrived is an advertisement for this instance: then the advertisement; else why it is not, or undefined
 * where it is none of its business. RFC 9568, 7.1. Who is rejected does not keep a backup from taking over.
 */
export function accept(
  { said, hopLimit, from, header }: Arrived,
  { version, routerId, peers, authentication }: InstanceSettings,
): Received | RejectedAdvertisement | undefined {
  if (typeof said === 'string') return said;
  if (said.routerId !== routerId) return undefined;
  // By unicast it may come through routers.
  if (peers.length === 0 && hopLimit !== vrrpHopLimit) return 'hop-limit';
  if (peers.length > 0 && !peers.includes(from)) return 'peer';
  if (said.version !== version) return 'version';
  if (said.authentication !== authentication.type) return 'authentication-type';
  if (authentication.type === 'password' && !isPassword(said.password, authentication.secret))
    return 'authentication';
  if (authentication.type === 'ah' && !header?.isOf(authentication.secret)) return 'authentication';
  return said;
}

/** What an instance says of an advertisement that counts and that another configuration made. */
export function doubts(
  { intervalMs, addresses }: Received,
  { version, advertisementInterval, addresses: own }: InstanceSettings,
): RejectedAdvertisement[] {
  const isOwn = (one: Address) => own.some(({ address }) => address === one);
  return [
    // Version 3 takes the master's interval.
    ...(version === 2 && intervalMs !== advertisementInterval ? (['interval'] as const) : []),
    ...(addresses.length !== own.length || !addresses.every(isOwn) ? (['addresses'] as const) : []),
  ];
}

function isPassword(said: Buffer, secret: string): boolean {
  const wanted = Buffer.alloc(said.length);
  wanted.set(Buffer.from(secret).subarray(0, said.length));
  return timingSafeEqual(said, wanted);
}
