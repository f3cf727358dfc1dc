import type {
  DestinationId,
  ForwardingMethod,
  FullNat,
  SchedulerFlags,
  ServiceId,
} from '../../model/virtual-service.ts';
import type { ListFormat, SyncDaemon } from './command.ts';
import type { TunnelType } from './validity.ts';

/** What the options said so far; options act in the order they are given, so later ones see earlier ones. */
export type Draft = {
  readonly given: Set<string>;
  id?: ServiceId;
  scheduler: string;
  persistentSeconds?: number;
  /** As in Persistence; absent: not set by -M. */
  netmask?: number;
  onePacket: boolean;
  engine: string;
  schedulerFlags?: string;
  flags: SchedulerFlags;
  server?: DestinationId;
  method: ForwardingMethod;
  weight: number;
  upperThreshold: number;
  lowerThreshold: number;
  tunnelType: TunnelType;
  tunnelPort: number;
  fullNat: FullNat;
  daemon: { -readonly [Key in keyof SyncDaemon]: SyncDaemon[Key] };
  readonly formats: Set<ListFormat>;
  timeouts?: readonly [tcp: number, tcpFin: number, udp: number];
};

export const noFlags: SchedulerFlags = { flag1: false, flag2: false, flag3: false };

/** A draft with ipvsadm's defaults. */
export function newDraft(): Draft {
  return {
    given: new Set(),
    scheduler: '',
    onePacket: false,
    engine: '',
    flags: noFlags,
    method: 'direct-routing',
    weight: 1,
    upperThreshold: 0,
    lowerThreshold: 0,
    tunnelType: 'ipip',
    tunnelPort: 0,
    fullNat: { localAddresses: [], clientAddress: 'hidden' },
    daemon: { role: 'master', interface: '', syncId: 0 },
    formats: new Set(),
  };
}
