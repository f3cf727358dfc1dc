import type { Activity } from '../model/activity.ts';
import type { Address } from '../model/address.ts';
import type { ConnectionBatches, ConnectionCount, ConnectionFilter } from '../model/connection-batches.ts';
import type { RunningSync, SyncRefusal, SyncRole, SyncSettings } from '../model/connection-sync.ts';
import type { MemberOutcomes } from '../model/outcome.ts';
import type { Outlook } from '../model/outlook.ts';
import type { Observed, Operation, Refusal } from '../model/table.ts';
import type { Totals } from '../model/totals.ts';
import type { ServiceId } from '../model/virtual-service.ts';
import type { Lock } from '../sys/lock.ts';
import type { HostSurvey } from './host-survey.ts';

/** Settings that a data plane may store and list without acting on them. */
export type Ignored = 'persistence-engine' | 'when-gone' | 'maintenance-of-persistent';

/** What a data plane can do here, and why not where it cannot. */
export type Capabilities = {
  readonly name: 'ebpf' | 'ipvs' | 'proxy' | 'memory';
  /** One line a person can read: where the plane is attached, or what it lacks. */
  readonly description: string;
  /** What it stores and lists, and schedules as if it were not there; absent where there is nothing of the kind. */
  readonly ignores?: readonly Ignored[];
  /** Other programs can write to the same table; absent: nobody can but this program. */
  readonly shared?: true;
};

/** What whoever reads a table looks at. */
export type Look = {
  /**
   * What nobody looks at may be 0, because it is most of the work: counters and rates with `false`, counters with `rates`.
   * Default: true.
   */
  readonly counters?: boolean | 'rates';
};

/** Two BPF maps, pinned: bpf/lease.h has their records. */
export type LeasePlaces = { readonly leases: string; readonly addresses: string };

/**
 * A forwarding engine. All planes behave alike (test/conformance); what differs is named there with its reason.
 * Methods reject with a HeadgateError when the plane itself fails; a refused operation is a value, not an error.
 */
export type DataPlane = {
  readonly capabilities: Capabilities;
  /** A folder for what has to live exactly as long as the plane; absent where it ends with the process. */
  readonly directory?: string;
  /** What makes its holder the one writer: whoever has this plane can open another of the namespace under it. Absent: there is none. */
  readonly lock?: Pick<Lock, 'share'>;
  /**
   * Begins what the first change will need and what takes long, and goes on with it in the background: a hint. Nobody
   * sees anything of it, and what goes wrong with it is told by the change. Absent: nothing takes long.
   */
  getReady?(): Promise<void>;
  /** Services, destinations, counts, counters and timeouts as they are now. */
  read(look?: Look): Promise<Observed>;
  /**
   * Applies the operations in order. The result has one element per operation: undefined when it was applied, the
   * refusal when it was not; a refused operation changes nothing and the ones after it are still tried.
   */
  apply(operations: readonly Operation[]): Promise<readonly (Refusal | undefined)[]>;
  /** The live entries of the connection table. */
  connections(filter?: ConnectionFilter): ConnectionBatches;
  /** How many live entries are alike, without telling of each. Absent: who wants to know counts. */
  connectionCounts?(): Promise<readonly ConnectionCount[]>;
  /** What it has done in all. Absent, or undefined: it keeps no such count. */
  totals?(): Promise<Totals | undefined>;
  /** Where packets to these addresses would go, and where the turn of a service stands. Absent: the plane does not say. */
  outlook?(id: ServiceId | undefined, addresses: readonly Address[]): Promise<Outlook>;
  /**
   * What has become of TCP connections to each destination since the first call, whose answer has no connections in it; deleted
   * destinations may be among them. Absent: the plane does not say.
   */
  outcomes?(): Promise<readonly MemberOutcomes[]>;
  /** What the plane is busy with; undefined where it is not set up. Absent: the plane does not say. */
  activity?(): Promise<Activity | undefined>;
  /**
   * What the host looks like, for a diagnosis. Nothing is put right by it, nor by reading afterwards. May take seconds:
   * neighbours nobody knows are asked. Absent: the plane does not say.
   */
  survey?(): Promise<HostSurvey>;
  /**
   * Whether interfaces may have come, gone or changed since the last call; the first call says yes. Takes microseconds.
   * Absent: the plane is not put on interfaces.
   */
  interfacesChanged?(): boolean;
  /** Puts the plane on interfaces that came since it was opened, or have lost it. Resolves to their names. */
  cover?(): Promise<readonly string[]>;
  /**
   * Where a process that keeps virtual addresses says until when it has them; the plane is set up for that. With false
   * nothing is leased any more. Absent: the plane does not look.
   */
  leases?(wanted: boolean): Promise<LeasePlaces | undefined>;
  /** Starts a process that tells other directors of connections, or hears of theirs; it outlives its starter. */
  startSync?(settings: SyncSettings): Promise<SyncRefusal | undefined>;
  stopSync?(role: SyncRole): Promise<SyncRefusal | undefined>;
  /** The processes that run, masters first. Absent, as the two above: the plane has no connection sync. */
  syncDaemons?(): Promise<readonly RunningSync[]>;
  /** Lets go of what this process holds; forwarding goes on. */
  close(): Promise<void>;
  /** Removes the plane from the host: programs, maps, links. Idempotent; also cleans up after a dead process. */
  cleanUp(): Promise<void>;
};
