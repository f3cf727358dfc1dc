import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { type HeardPeer, openPeers, type Peers, type PeersPlace } from '../ha/peers/peers.ts';
import type { Address } from '../model/address.ts';
import type { RunningSync } from '../model/connection-sync.ts';
import type { PeerStatement, PeerStatus } from '../model/peer.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Table } from '../model/table.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import { secretOf } from './connection-sync.ts';
import type { FailoverWanted } from './failover-orders.ts';
import type { Standing } from './keeper.ts';
import type { Log } from './log.ts';

/** The other directors, as they speak of themselves. */
export type OtherDirectors = {
  /** Speaks and listens where the connection sync of a configuration does; without one, nowhere. */
  take(wanted: FailoverWanted | undefined): void;
  status(): readonly PeerStatus[];
  /**
   * How long it has listened and no other director has ever spoken, milliseconds; undefined: one has, or it listens nowhere, or without a key,
   * so that the other one may be of IPVS, which says nothing of itself.
   */
  aloneMs(): number | undefined;
  stop(): void;
};

export type OtherDirectorsOptions = {
  readonly version: string;
  readonly log: Log;
  readonly vrrp: () => readonly VrrpStatus[];
  readonly sync: () => readonly RunningSync[];
  readonly standing: () => Pick<Standing, 'wanted' | 'generation' | 'failure'>;
};

const intervalMs = 1_000;

export function openOtherDirectors(options: OtherDirectorsOptions): OtherDirectors {
  const { version, log, vrrp, sync, standing } = options;
  let place: PeersPlace | undefined;
  let peers: Peers | undefined;
  const heard = new Map<Address, HeardPeer>();
  let sinceMs = now();
  let complaint: string | undefined;
  let services: { readonly table: Table; readonly digest: string } | undefined;

  /** That of what is in force, reckoned once. */
  function ownServices(): string {
    const { table } = standing().wanted;
    if (services?.table !== table) services = { table, digest: digestOf(table) };
    return services.digest;
  }

  function statement(): PeerStatement {
    const { generation, failure } = standing();
    return {
      ...{ host: hostname(), version },
      vrrp: vrrp().map(({ name, state, reason, forMs, priority, master, standsBack }) => ({
        ...{ name, state, reason, forMs, priority },
        ...(master && { master }),
        ...(standsBack && { standsBack }),
      })),
      sync: sync().map(({ role, progress }) => ({
        role,
        ...(progress?.lagMs !== undefined && { lagMs: progress.lagMs }),
        ...(progress?.silentMs !== undefined && { silentMs: progress.silentMs }),
      })),
      configuration: { generation, services: ownServices(), failed: failure !== undefined },
    };
  }

  function exchange(): void {
    if (!place) return;
    try {
      peers ??= openPeers(place, heard, now, Date.now);
      if (!peers) {
        complain(`there is no interface ${place.interface}`);
        return;
      }
      const refused = peers.hear();
      if (refused !== undefined) complain(refused);
      peers.say(statement());
    } catch (error) {
      complain(error instanceof Error ? error.message : String(error));
      // Its device may be another one by now.
      peers?.close();
      peers = undefined;
    }
  }

  /** The same once. */
  function complain(reason: string): void {
    if (reason !== complaint) log('error', 'directors do not tell each other of themselves', { reason });
    complaint = reason;
  }

  const timer = setInterval(exchange, intervalMs);
  timer.unref();
  return {
    take(wanted) {
      const next = placeOf(wanted, complain);
      if (isDeepStrictEqual(next, place)) return;
      peers?.close();
      [place, peers, sinceMs] = [next, undefined, now()];
      heard.clear();
    },
    status() {
      const authenticated = place?.secret !== undefined;
      return [...heard.values()].map(({ source, heardMs, statement: said }) => ({
        ...said,
        ...{ source, authenticated, agoMs: Math.round(now() - heardMs) },
        ...(said.version === version && { sameServices: said.configuration.services === ownServices() }),
      }));
    },
    aloneMs: () =>
      place?.secret !== undefined && heard.size === 0 ? Math.round(now() - sinceMs) : undefined,
    stop() {
      clearInterval(timer);
      peers?.close();
      [place, peers] = [undefined, undefined];
    },
  };
}

const now = () => performance.now();

/** A secret that cannot be read is no reason to speak in clear. */
function placeOf(
  wanted: FailoverWanted | undefined,
  complain: (reason: string) => void,
): PeersPlace | undefined {
  const sync = wanted?.connectionSync;
  if (!sync) return undefined;
  const { interface: device, id, group, port, ttl } = sync;
  try {
    const secret = secretOf(sync);
    return {
      ...{ interface: device, id, port, ttl },
      ...(group !== undefined && { group }),
      ...(secret !== undefined && { secret }),
    };
  } catch (error) {
    complain(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** The same for the same virtual services and real servers, in whatever order. */
function digestOf({ services }: Table): string {
  const sorted = services
    .map(({ service, destinations }) => ({
      key: serviceKey(service.id),
      service,
      destinations: destinations
        .map((destination) => ({ key: destinationKey(destination), destination }))
        .toSorted(byKey),
    }))
    .toSorted(byKey);
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 32);
}

const byKey = (a: { readonly key: string }, b: { readonly key: string }) =>
  a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
