import { destinationKey, serviceKey } from '../../src/model/service-id.ts';
import type { Connection, Counters, Observed } from '../../src/model/table.ts';

/** What both planes say of a connection but for the time it has left. */
export const row = (one: Connection): string =>
  [
    ...[
      one.protocol,
      destinationKey(one.client),
      destinationKey(one.virtual),
      destinationKey(one.destination),
    ],
    ...[one.state, one.active ? 'active' : '', one.template ? 'template' : ''],
  ].join(' ');

export const rows = (connections: readonly Connection[]): string[] => connections.map(row).sort();

/** Of a listing, what both planes say, line by line: docs/reference/differences-from-ipvs.md has the rest. */
export function listing({ services, timeouts }: Reading, withCounters: boolean): string[] {
  const counted = ({ counters: { connections, packetsIn, packetsOut, bytesIn, bytesOut } }: Counted) =>
    withCounters
      ? `${connections} connections, in ${packetsIn} packets ${bytesIn} bytes, out ${packetsOut} ${bytesOut}`
      : '';
  const lines = services
    .map((one): [string, typeof one] => [serviceKey(one.service.id), one])
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, one]) => {
      const { scheduler, schedulerFlags, persistence, onePacket } = one.service;
      const { flag1, flag2, flag3 } = schedulerFlags;
      const settings = [
        scheduler,
        flag1,
        flag2,
        flag3,
        persistence?.timeoutSeconds,
        persistence?.netmask,
        onePacket,
      ];
      return [
        `${key} ${settings.join(' ')} ${counted(one)}`,
        ...one.destinations.map((state) => {
          const { address, port, method, tunnel, weight, upperThreshold, lowerThreshold } = state.destination;
          const { activeConnections, inactiveConnections, persistentConnections } = state;
          const wanted = [
            method,
            tunnel?.type,
            tunnel?.port,
            tunnel?.checksum,
            weight,
            upperThreshold,
            lowerThreshold,
          ];
          const counts = `active ${activeConnections} inactive ${inactiveConnections} persistent ${persistentConnections}`;
          return `  -> ${address} ${port} ${wanted.join(' ')} ${counts} ${counted(state)}`;
        }),
      ];
    });
  return [...lines, `timeouts ${timeouts.tcp} ${timeouts.tcpFin} ${timeouts.udp}`];
}

export type Reading = Pick<Observed, 'services' | 'timeouts'>;
type Counted = { readonly counters: Counters };
