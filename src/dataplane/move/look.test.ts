import { expect, test } from 'vitest';
import type { Address } from '../../model/address.ts';
import type { Operation } from '../../model/table.ts';
import type { Destination } from '../../model/virtual-service.ts';
import { type MemoryPlane, openMemoryPlane, tcpFlags } from '../memory/plane.ts';
import { lookBefore } from './look.ts';

const virtual = { address: '192.0.2.10' as Address, port: 80 };
const plain = { flag1: false, flag2: false, flag3: false };

/** A service with one real server. */
const serviceAt = (
  address: string,
  real: string,
  settings: Partial<Destination> = {},
): readonly Operation[] => {
  const id = { ...virtual, kind: 'address', protocol: 'tcp', address: address as Address } as const;
  const limits = { weight: 1, upperThreshold: 0, lowerThreshold: 0 };
  const destination = { address: real as Address, port: 80, method: 'direct-routing', ...limits } as const;
  return [
    { kind: 'add-service', service: { id, scheduler: 'rr', schedulerFlags: plain, onePacket: false } },
    { kind: 'add-destination', id, destination: { ...destination, ...settings } },
  ];
};

/** Two tables, of which the one that a move is from is in use. */
async function sides(kernel: readonly Operation[], own: readonly Operation[], connections = 1024) {
  const open = async (operations: readonly Operation[], size: number): Promise<MemoryPlane> => {
    const plane = openMemoryPlane({ connections: size });
    expect(await plane.apply(operations)).toEqual(operations.map(() => undefined));
    return plane;
  };
  return {
    ipvs: await open(kernel, 1024),
    ebpf: await open(own, connections),
    hasEbpf: () => own.length > 0,
    usesIpvs: () => false,
    standsBack: () => false,
    ownSync: { syncDaemons: async () => [] },
  };
}

const fullNat = {
  method: 'full-nat',
  fullNat: { localAddresses: [], clientAddress: 'hidden' },
} satisfies Partial<Destination>;
const tunnel = {
  method: 'tunnel',
  tunnel: { type: 'ipip', port: 0, checksum: 'none' },
} satisfies Partial<Destination>;

test.each([
  ['full NAT', '10.0.0.1', fullNat, 'IPVS has no full NAT: 10.0.0.1:80 of tcp 192.0.2.10:80'],
  [
    'a real server of the other family',
    '2001:db8::1',
    tunnel,
    'IPVS cannot be told of connections while a real server is of another address family than its service: [2001:db8::1]:80 of tcp 192.0.2.10:80',
  ],
])('%s does not move to IPVS', async (_what, real, settings, reason) => {
  const planes = await sides([], serviceAt(virtual.address, real, settings));
  await expect(lookBefore(planes, 'ebpf-to-ipvs')).rejects.toMatchObject({
    code: 'HG_MOVE',
    message: `Cannot move: ${reason}`,
  });
});

test('services of the kernel that are none of the plane in use are not taken into it', async () => {
  const planes = await sides(
    [...serviceAt('192.0.2.10', '10.0.0.1'), ...serviceAt('192.0.2.11', '10.0.0.1')],
    serviceAt('192.0.2.10', '10.0.0.1'),
  );
  await expect(lookBefore(planes, 'ipvs-to-ebpf')).rejects.toMatchObject({
    code: 'HG_MOVE',
    message:
      "Cannot move: the data plane ebpf is in use here with 1 virtual service, and the kernel's table has others: tcp 192.0.2.11:80",
  });
});

test('a table that is too small for what there is to carry is refused, with the size that is enough', async () => {
  const planes = await sides(serviceAt(virtual.address, '10.0.0.1'), [], 16);
  for (let port = 1; port <= 13; port++) {
    const client = { address: '198.51.100.1' as Address, port };
    const syn = { direction: 'in', bytes: 40, flags: tcpFlags.syn } as const;
    expect(planes.ipvs.packet(client, { ...virtual, protocol: 'tcp' }, syn).kind).toBe('forwarded');
    const moving = lookBefore(planes, 'ipvs-to-ebpf');
    if (port < 13) expect((await moving).plan).toMatchObject({ needed: true, connections: port });
    else
      await expect(moving).rejects.toMatchObject({
        code: 'HG_MOVE',
        message: 'Cannot move: there are 13 entries to carry, and the table of ebpf holds 16',
        hint: 'HEADGATE_CONNECTIONS=32 headgate migrate ipvs-to-ebpf',
      });
  }
});
