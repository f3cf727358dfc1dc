import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Names } from '../../src/cli/ipvsadm/names.ts';
import { type Io, runIpvsadm } from '../../src/cli/ipvsadm/run.ts';
import { runRestore, runSave } from '../../src/cli/ipvsadm/scripts.ts';
import { servicesFrom } from '../../src/config/ipvsadm/names.ts';
import type { Controller } from '../../src/control/controller.ts';
import { type Address, addressFromBytes, familyOf, parseAddress } from '../../src/model/address.ts';
import type { Connection, Counters } from '../../src/model/table.ts';
import { type GoldenObservation, goldenFolder, type Lines, splitWords } from './ipvsadm/golden.ts';
import type { Counts } from './memory-controller.ts';

export type Answer = { readonly status: number; readonly stdout: string; readonly stderr: string };

/** Standard input and output for a test: what was written is in `text()`. */
export function testIo(
  stdin: string | Uint8Array = '',
  env: Io['env'] = {},
): { io: Io; text(): { stdout: string; stderr: string } } {
  const stdout: string[] = [];
  const stderr: string[] = [];
  const io: Io = {
    stdin: (async function* () {
      yield stdin;
    })(),
    stdout: { write: (text) => stdout.push(text) },
    stderr: { write: (text) => stderr.push(text) },
    env,
    names: goldenNames,
  };
  return { io, text: () => ({ stdout: stdout.join(''), stderr: stderr.join('') }) };
}

/** Runs one of the ipvsadm programs against a controller, with the names of the golden files' machine. */
export async function answer(
  run: string,
  stdin: string | Uint8Array,
  controller: Controller,
): Promise<Answer> {
  const { io, text } = testIo(stdin);
  const words = splitWords(run);
  const program =
    words[0] === 'ipvsadm-save' ? runSave : words[0] === 'ipvsadm-restore' ? runRestore : runIpvsadm;
  const status = await program(words, io, async () => controller);
  return { status, ...text() };
}

/** The hosts and services the golden files were recorded with. */
export const goldenNames: Names = {
  ...servicesFrom(readFileSync(join(goldenFolder, 'services'), 'utf8')),
  addressOf: async (host) =>
    hosts.find(({ address, names }) => familyOf(address) === 4 && names.includes(host))?.address,
  hostOf: async (wanted) => hosts.find(({ address }) => address === wanted)?.names[0],
};

const hosts = readFileSync(join(goldenFolder, 'hosts'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [address, ...names] = line.split(/\s+/);
    const parsed = parseAddress(address ?? '');
    return parsed ? [{ address: parsed, names }] : [];
  });

/** What the kernel held, for a controller that plays it back. */
export function observation(observed: GoldenObservation): {
  counts: Counts;
  connections: Connection[];
} {
  const connections = new Map(
    [...rows(observed.persistent ?? [])].map(([key, cells]) => [
      key,
      { persistent: Number(cells[1]), active: Number(cells[2]), inactive: Number(cells[3]) },
    ]),
  );
  return {
    counts: { counters: counters(observed.stats ?? []), rates: counters(observed.rates ?? []), connections },
    connections: (observed.connections ?? [])
      .slice(1)
      .flatMap((line) => (line === '' ? [] : [connection(line)])),
  };
}

function counters(lines: Lines): Map<string, Counters> {
  return new Map(
    [...rows(lines)].map(([key, cells]) => {
      const [connections = 0n, packetsIn = 0n, packetsOut = 0n, bytesIn = 0n, bytesOut = 0n] =
        cells.map(BigInt);
      return [key, { connections, packetsIn, packetsOut, bytesIn, bytesOut }];
    }),
  );
}

// The numbers of each line of a listing, by the keys of the memory controller.
function* rows(lines: Lines): Iterable<[string, string[]]> {
  let service = '';
  for (const line of lines.slice(3)) {
    const [head = '', name = '', ...rest] = line.trim().split(/\s+/);
    const v6 = rest[0] === 'IPv6';
    const cells = (v6 ? rest.slice(1) : rest).filter((cell) => /^\d+$/.test(cell));
    if (head === '->') yield [`${service} ${name}`, cells];
    else if (head !== '') {
      service = head === 'FWM' ? `fwmark ${name}${v6 ? ' ipv6' : ''}` : `${head.toLowerCase()} ${name}`;
      yield [service, cells];
    }
  }
}

// One row of /proc/net/ip_vs_conn: addresses and ports are hexadecimal, IPv6 addresses written out.
function connection(line: string): Connection {
  const [
    protocol = '',
    from = '',
    fromPort = '',
    to = '',
    toPort = '',
    dest = '',
    destPort = '',
    state = '',
    expires = '',
    name,
    data,
  ] = line.trim().split(/\s+/);
  const endpoint = (address: string, port: string) => ({
    address: procAddress(address),
    port: Number.parseInt(port, 16),
  });
  return {
    protocol: protocol.toLowerCase() as Connection['protocol'],
    client: endpoint(from, fromPort),
    virtual: endpoint(to, toPort),
    destination: endpoint(dest, destPort),
    state,
    active: state === 'ESTABLISHED',
    template: Number.parseInt(fromPort, 16) === 0,
    expiresInMs: Number(expires) * 1000,
    ...(name === undefined ? {} : { engine: { name, data: data ?? '' } }),
  };
}

function procAddress(text: string): Address {
  const address = text.includes(':')
    ? parseAddress(text.replace(/^\[|\]$/g, ''))
    : addressFromBytes(Buffer.from(text, 'hex'));
  if (!address) throw new Error(`Reading /proc/net/ip_vs_conn: "${text}" is no address`);
  return address;
}
