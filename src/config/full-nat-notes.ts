import type { Address } from '../model/address.ts';
import { placeOf } from '../model/problem.ts';
import type { Note } from './adapters/adapter.ts';
import { entriesOf } from './desired.ts';
import { spanAt } from './read-values.ts';
import type { Configuration } from './schema/configuration.ts';
import { type MapNode, nodeAt, type Path } from './tree.ts';

/** What full NAT does not do on the data plane that a configuration asks for, or not over a take-over. Pure. */
export const notesOfFullNat = (configuration: Configuration, root: MapNode): Note[] => [
  ...notesOfClientAddress(configuration, root),
  ...notesOfTakeOver(configuration, root),
];

function noteAt(root: MapNode, path: Path, reason: string): Note {
  const { source, start } = spanAt(root, path);
  return { kind: 'ignored', file: source.name, line: placeOf(source, start).line, reason };
}

const refusedWords = [
  [
    'ebpf',
    'proxy-protocol',
    'the ebpf data plane puts nothing before the first byte, and refuses real servers with clientAddress: proxy-protocol; take tcp-option, or dataPlane: proxy',
  ],
  [
    'proxy',
    'tcp-option',
    'a socket cannot give segments an option: the proxy data plane refuses real servers with clientAddress: tcp-option; take proxy-protocol, or dataPlane: ebpf',
  ],
] as const;

/** The way to tell the client's address that the data plane does not know, said once where it is first written. */
function notesOfClientAddress({ virtualServices, dataPlane }: Configuration, root: MapNode): Note[] {
  const [, word, reason] = refusedWords.find(([plane]) => plane === dataPlane) ?? [];
  if (word === undefined || reason === undefined) return [];
  for (const [i, service] of virtualServices.entries()) {
    const isUsed = entriesOf(service).some(({ destinations }) =>
      destinations.some(({ fullNat }) => fullNat?.clientAddress === word),
    );
    if (!isUsed) continue;
    const path: Path = ['virtualServices', i];
    const own = service.realServers.findIndex(({ fullNat }) => fullNat?.clientAddress === word);
    const written: Path[] = [
      ...(service.fullNat?.clientAddress === word ? [[...path, 'fullNat']] : []),
      [...path, 'realServers', own, 'fullNat'],
    ];
    return [noteAt(root, written.find((one) => nodeAt(root, one)) ?? path, reason)];
  }
  return [];
}

/**
 * Real servers with full NAT whose connections end with a take-over, said once where the first of them is written: they answer to a local
 * address, which has to move with the virtual ones, and the other director has to be told.
 */
function notesOfTakeOver({ virtualServices, failover, dataPlane }: Configuration, root: MapNode): Note[] {
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
    const remedy = [
      ...(staying ? ['give "localAddresses" that are among the addresses of "failover.vrrp"'] : []),
      ...(isTold ? [] : ['give "failover.connectionSync" a "key"']),
    ].join(', and ');
    return [
      noteAt(
        root,
        at ?? path,
        `connections of "${service.name}" with full NAT end with a take-over; so that they go on, ${remedy}`,
      ),
    ];
  }
  return [];
}
