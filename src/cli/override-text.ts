import { count } from '../model/count.ts';
import { decisionText, type Override, type OverrideStatus } from '../model/override.ts';

const nameOf = ({ service, realServer }: Pick<Override, 'service' | 'realServer'>): string =>
  `${service}/${realServer}`;

/** What stays over a configuration: `web/web1 stays in maintenance: new disk, since 2026-11-21T09:14:02Z, by anna`. */
export const overrideLine = (override: Override): string =>
  `${nameOf(override)} stays ${decisionText(override)}`;

/** What a real server is now: `web/web1 is draining: 17 connections left`. */
export function statusLine(status: OverrideStatus): string {
  const name = nameOf(status);
  if (status.state === 'ready')
    return `${name} is ready${status.changed ? '' : ' already'}${weightText(status)}`;
  return `${name} is ${status.state === 'drain' ? 'draining' : 'in maintenance'}: ${leftText(status.connections)}`;
}

export const leftText = (connections: number): string =>
  connections === 0 ? 'no connection left' : `${count(connections, 'connection')} left`;

function weightText({ weights, ...status }: OverrideStatus): string {
  if (weights.length === 0) return `, but not in the table: headgate describe ${nameOf(status)} says why`;
  const those = [...new Set(weights.map(({ weight }) => weight))].join(' and ');
  const other = weights.find(({ weight, configured }) => configured !== undefined && weight !== configured);
  return `, with weight ${those}${other ? `: changed at runtime, the configuration says ${other.configured}` : ''}`;
}
