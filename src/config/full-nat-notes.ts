import type { Address } from '../model/address.ts';
import { placeOf } from '../model/problem.ts';
import type { Note } from './adapters/adapter.ts';
import { entriesOf } from './desired.ts';
import { spanAt } from './read-values.ts';
import type { Configuration } from './schema/configuration.ts';
import { type MapNode, nodeAt, type Path } from './tree.ts';

/**
 * Real servers with full NAT whose connections end with a take-over, said once where the first of them is written: they answer to a local
 * address, which has to move with the virtual ones, and the other director has to be told. Pure.
 */
export function notesOfFullNat(
  { virtualServices, failover, dataPlane }: Configuration,
  root: MapNode,
): Note[] {
  // IPVS has no such method and says so; the proxy's connections end with its process, whatever their method.
  if (!failover || failover.vrrp.length === 0 || dataPlane === 'ipvs' || dataPlane === 'proxy') return [];
  const moving = new Set<Address>(
    failover.vrrp.flatMap(({ addresses, excludedAddresses }) =>
      [...addresses, ...excludedAddresses].map(({ address }) => address),
    ),
  );
  const { connectionSync: sync } = failover;
  const isTold = sync?.key !== undefined || sync?.keyFile !== undefined;
  for (const [i, service] of virtualServices.entries()) {
    const ends = entriesOf(service).flatMap(({ destinations }) =>
      destinations.flatMap(({ method, fullNat }) =>
        method === 'full-nat' ? [fullNat?.localAddresses ?? []] : [],
      ),
    );
    const staying = ends.some((ones) => ones.length === 0 || ones.some((one) => !moving.has(one)));
    if (ends.length === 0 || (!staying && isTold)) continue;
    const path: Path = ['virtualServices', i];
    const at = ([[...path, 'fullNat'], [...path, 'method'], path] as const).find((one) => nodeAt(root, one));
    const { source, start } = spanAt(root, at ?? path);
    const remedy = [
      ...(staying ? ['give "localAddresses" that are among the addresses of "failover.vrrp"'] : []),
      ...(isTold ? [] : ['give "failover.connectionSync" a "key"']),
    ].join(', and ');
    return [
      {
        kind: 'ignored',
        file: source.name,
        line: placeOf(source, start).line,
        reason: `connections of "${service.name}" with full NAT end with a take-over; so that they go on, ${remedy}`,
      },
    ];
  }
  return [];
}
