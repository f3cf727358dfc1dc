import type { Address } from './address.ts';
import type { SyncRole } from './connection-sync.ts';
import type { VrrpStatus } from './vrrp.ts';

/** What a director says of itself to the others, once a second. Pure data. */
export type PeerStatement = {
  readonly host: string;
  readonly version: string;
  readonly vrrp: readonly PeerInstance[];
  readonly sync: readonly PeerSync[];
  readonly configuration: {
    readonly generation: number;
    /** The same where the virtual services and real servers of the configurations are. */
    readonly services: string;
    /** Its file as it is now is not in force. */
    readonly failed: boolean;
  };
};

export type PeerInstance = Pick<
  VrrpStatus,
  'name' | 'state' | 'reason' | 'forMs' | 'priority' | 'master' | 'standsBack'
>;

/** A process of its connection sync. */
export type PeerSync = { readonly role: SyncRole; readonly lagMs?: number; readonly silentMs?: number };

/** Another director, as it spoke of itself last; spans of time are as they were then. */
export type PeerStatus = PeerStatement & {
  readonly source: Address;
  /** What it says was made with the key of both. */
  readonly authenticated: boolean;
  /** How long ago it spoke. */
  readonly agoMs: number;
  /** Whether its configuration has the virtual services and real servers of this one's; absent: it is of another version. */
  readonly sameServices?: boolean;
};

/** A director speaks once a second; after this without a word it is not there, or not heard. */
export const peerSilentMs = 5_000;

export const isSilent = ({ agoMs }: Pick<PeerStatus, 'agoMs'>): boolean => agoMs > peerSilentMs;

/** Where directors tell each other of themselves: beside the port of their connection sync, where IPVS does not listen. */
export const peerPort = (syncPort: number): number => (syncPort === 65_535 ? syncPort - 1 : syncPort + 1);
