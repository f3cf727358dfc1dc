import { readFileSync } from 'node:fs';
import type { Cluster } from '../../lab/cluster.ts';
import type { Streams } from '../context.ts';
import type { NameKind } from './values.ts';

/** A name, and what stands beside it where a shell shows that. */
type Name = { readonly word: string; readonly about?: string };

/**
 * The hidden word `__complete KIND`: the names there are, one on a line, what they are behind a tab. Whatever goes wrong,
 * there is just no name: a message would land in the line somebody is typing.
 */
export async function printNames([kind]: readonly string[], { stdout }: Streams): Promise<void> {
  try {
    const names = await namesOf[kind as NameKind]?.();
    // Shells do not quote all they are given; what would need it is typed by hand.
    const plain = (names ?? []).filter(({ word }) => /^[\w.:@/%+[\]-]+$/.test(word));
    const lines = plain.map(({ word, about }) => (about === undefined ? word : `${word}\t${about}`));
    stdout.write([...new Set(lines)].map((line) => `${line}\n`).join(''));
  } catch {
    return;
  }
}

const namesOf: Readonly<Record<NameKind, () => Promise<readonly Name[]>>> = {
  services: readServices,
  'real-servers': async () => (await readServices()).flatMap(({ realServers }) => realServers),
  objects: async () => (await readServices()).flatMap((service) => [service, ...service.realServers]),
  generations: async () => {
    const { keptDirectory } = await import('../../control/embedded.ts');
    const { generationNumbers } = await import('../../control/generations.ts');
    return generationNumbers(keptDirectory()).map((number) => ({ word: String(number) }));
  },
  labs: async () => {
    const { labNames, readLab } = await import('../../lab/store.ts');
    return labNames().map((word) => ({ word, about: `from ${readLab(word)?.cluster.name ?? 'nothing'}` }));
  },
  nodes: async () =>
    (await clusters()).flatMap(({ nodes }) => nodes.map(({ name, role }) => ({ word: name, about: role }))),
  links: async () =>
    (await clusters()).flatMap(({ links }) =>
      links.flatMap(({ name, ports }) => [
        { word: name },
        ...ports.map(({ node }) => ({ word: `${name}:${node}` })),
      ]),
    ),
};

async function clusters(): Promise<readonly Cluster[]> {
  const { labNames, readLab } = await import('../../lab/store.ts');
  return labNames().flatMap((lab) => readLab(lab)?.cluster ?? []);
}

type Service = Name & { readonly realServers: readonly Name[] };

/** The services of the configuration that was applied last, else of the usual file. */
async function readServices(): Promise<readonly Service[]> {
  const { lastApplied } = await import('../../control/embedded.ts');
  return servicesIn(readFileSync(lastApplied()?.file ?? '/etc/headgate/headgate.yaml', 'utf8'));
}

/**
 * The services of a configuration with their real servers. The text is taken as it stands, its includes left out and
 * nothing judged: that takes a third of the time. Rejects where it is no configuration.
 */
export async function servicesIn(text: string): Promise<readonly Service[]> {
  const { parse } = await import('yaml');
  const { virtualServices } = parse(text) as {
    virtualServices: { name: string; address?: string | string[]; realServers?: Written[] }[];
  };
  return virtualServices.map(({ name, address, realServers = [] }) => {
    const addresses = [address ?? []].flat();
    return {
      word: name,
      about: addresses.join(', '),
      realServers: realServers.map((one) => ({
        word: `${name}/${one.name ?? withPort(one.address, addresses[0])}`,
        about: one.address,
      })),
    };
  });
}

type Written = { readonly name?: string; readonly address: string };

/** The address with its port; one that has none has that of the service. */
function withPort(address: string, service = ''): string {
  const port = /:(\d+)(\/|$)/.exec(service)?.[1];
  if (port === undefined || /^[^:]+:\d+$|\]:\d+$/.test(address)) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
