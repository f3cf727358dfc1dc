import { isSilent, type PeerInstance, type PeerStatus, type PeerSync } from '../model/peer.ts';
import { span } from '../model/span.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import { table } from './columns.ts';

/** One row another director, `peer` before the first. */
export function peerRows({
  peers = [],
  aloneMs,
}: {
  readonly peers?: readonly PeerStatus[];
  readonly aloneMs?: number;
}): string[][] {
  if (aloneMs !== undefined) return [['peer', `none has been heard, for ${span(aloneMs)}`]];
  return peers.map((one, i) => [i === 0 ? 'peer' : '', peerText(one)]);
}

function peerText(peer: PeerStatus): string {
  const { host, source, agoMs, authenticated, configuration, sync, sameServices } = peer;
  const name = `${host} at ${source}${authenticated ? '' : ', without a key'}`;
  if (isSilent(peer)) return `${name}: not heard for ${span(agoMs)}`;
  const services =
    sameServices === undefined
      ? `version ${peer.version}, services not compared`
      : sameServices
        ? 'the same services'
        : 'other services';
  const words = [
    `heard ${seconds(agoMs)} ago`,
    `${services} (generation ${configuration.generation} there)`,
    ...(configuration.failed ? ['its file is not in force'] : []),
    ...sync.map(syncText),
  ];
  return `${name}: ${words.join(', ')}`;
}

function syncText({ role, lagMs, silentMs }: PeerSync): string {
  if (role === 'master') return `sync master, lag ${lagMs ?? 0} ms`;
  return silentMs === undefined
    ? 'sync backup, nothing received yet'
    : `sync backup, received ${span(silentMs)} ago`;
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)}s`;

/** Instances of this director and of the others, those of one name together; undefined where no other one has spoken. */
export function directorsText({
  host,
  vrrp = [],
  peers = [],
}: {
  readonly host: string;
  readonly vrrp?: readonly VrrpStatus[];
  readonly peers?: readonly PeerStatus[];
}): string | undefined {
  if (!peers.some((one) => one.vrrp.length > 0)) return undefined;
  const names = [...new Set([vrrp, ...peers.map((one) => one.vrrp)].flat().map(({ name }) => name))];
  const rows = names.flatMap((name) => [
    ...vrrp.filter((one) => one.name === name).map((one) => rowOf(`${host} (this one)`, one, 0)),
    ...peers.flatMap((peer) => peer.vrrp.filter((one) => one.name === name).map((one) => peerRow(peer, one))),
  ]);
  return table(heads, rows, 'PRIORITY');
}

const heads = ['INSTANCE', 'DIRECTOR', 'STATE', 'PRIORITY', 'SINCE', 'HEARD', 'REASON'] as const;

function peerRow(peer: PeerStatus, instance: PeerInstance): string[] {
  const { host, source, agoMs } = peer;
  const name = `${host} at ${source}`;
  if (!isSilent(peer)) return rowOf(name, instance, agoMs);
  const { state, priority } = instance;
  const said = `not heard for ${span(agoMs)}; it was ${state.toUpperCase()} then`;
  return [instance.name, name, '?', String(priority), '-', '-', said];
}

function rowOf(
  director: string,
  { name, state, priority, forMs, master, reason, standsBack }: PeerInstance,
  agoMs: number,
): string[] {
  const heard = state === 'backup' && master ? `${seconds(master.agoMs + agoMs)} ago` : '-';
  const why = standsBack ? `${reason}; it stands back` : reason;
  return [name, director, state.toUpperCase(), String(priority), span(forMs + agoMs), heard, why];
}
