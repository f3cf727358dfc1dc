import { expect, test } from 'vitest';
import { parseAddress } from '../../model/address.ts';
import type { ServiceEntry } from '../../model/table.ts';
import { tellAll, traveller } from '../../model/travel.ts';
import type {
  Destination,
  ForwardingMethod,
  ServiceId,
  VirtualService,
} from '../../model/virtual-service.ts';
import { parseConnectionList } from '../ipvs/connection-list.ts';
import { uncountedAmong } from './look.ts';

const at = (address: string) => parseAddress(address)!;
const member = (method: ForwardingMethod, address: string, port: number): Destination => ({
  ...{ address: at(address), port, method, weight: 1, upperThreshold: 0, lowerThreshold: 0 },
  ...(method === 'tunnel' && { tunnel: { type: 'ipip', port: 0, checksum: 'none' } }),
});
const service = (id: ServiceId, destination: Destination, persistent?: number): ServiceEntry => ({
  service: {
    ...{
      id,
      scheduler: 'rr',
      schedulerFlags: { flag1: false, flag2: false, flag3: false },
      onePacket: false,
    },
    ...(persistent !== undefined && { persistence: { timeoutSeconds: persistent, netmask: 0xffffffff } }),
  } satisfies VirtualService,
  destinations: [destination],
});
const tcp = (address: string, port: number): ServiceId => ({
  ...{ kind: 'address', protocol: 'tcp', address: at(address), port },
});

const services = [
  service(tcp('192.0.2.10', 80), member('direct-routing', '10.0.0.1', 80)),
  service(tcp('192.0.2.11', 80), member('masquerade', '10.0.0.1', 8080)),
  service(tcp('192.0.2.12', 0), member('tunnel', '10.0.0.1', 0), 300),
  service({ kind: 'fwmark', mark: 7, family: 4 }, member('masquerade', '10.0.0.7', 8080), 600),
  service({ kind: 'fwmark', mark: 8, family: 4 }, member('masquerade', '10.0.0.7', 8443)),
  service({ kind: 'fwmark', mark: 9, family: 6 }, member('masquerade', '2001:db8::', 8080), 600),
  service(tcp('2001:db8::10', 80), member('direct-routing', '2001:db8::1', 80)),
];
/** A row of /proc/net/ip_vs_conn. */
const row = (protocol: string, places: string, state: string, left: number) =>
  `${protocol.padEnd(3)} ${places} ${state.padEnd(11)} ${String(left).padStart(7)}`;
const from = 'CB007105 9C41';
const tell = (...rows: string[]) =>
  tellAll(parseConnectionList(rows.join('\n')), traveller(services, { helpedPorts: [] }));

test('the forwarding method is that of the real server, and says whether answers are seen', () => {
  const { connections, untold } = tell(
    row('TCP', `${from} C000020A 0050 0A000001 0050`, 'ESTABLISHED', 877),
    row('TCP', `${from} C000020B 0050 0A000001 1F90`, 'FIN_WAIT', 100),
    row('TCP', `${from} C000020C 01BB 0A000001 01BB`, 'SYN_RECV', 59),
  );
  expect(untold).toEqual({});
  // IP_VS_CONN_F_DROUTE, _MASQ, _TUNNEL, _NOOUTPUT 0x80, _INACTIVE 0x100.
  expect(connections.map(({ flags }) => flags)).toEqual([0x83, 0x100, 0x82]);
  expect(connections[0]).toEqual({
    ...{ family: 4, protocol: 6, flags: 0x83, state: 1, fwmark: 0, timeoutSeconds: 877 },
    ...{ client: Uint8Array.of(203, 0, 113, 5), clientPort: 40001 },
    ...{ virtual: Uint8Array.of(192, 0, 2, 10), virtualPort: 80 },
    ...{ real: Uint8Array.of(10, 0, 0, 1), realPort: 80 },
  });
});

test('a template keeps its whole lifetime, and its connections their firewall mark', () => {
  const { connections } = tell(
    row('TCP', 'CB007105 0000 C000020C 0000 0A000001 0000', 'ASSURED', 20),
    row('IP', 'CB007105 0000 00000007 0000 0A000007 0000', 'NONE', 20),
    row('TCP', `${from} C0000263 0050 0A000007 1F90`, 'ESTABLISHED', 877),
  );
  // _TEMPLATE 0x1000.
  expect(
    connections.map(({ flags, state, timeoutSeconds, fwmark }) => [flags, state, timeoutSeconds, fwmark]),
  ).toEqual([
    [0x1082, 1, 300, 0],
    [0x1000, 0, 600, 7],
    [0, 1, 877, 7],
  ]);
});

test('of marks with one real server each has the connections to its own port', () => {
  const { connections } = tell(
    row('TCP', `${from} C0000263 01BB 0A000007 20FB`, 'ESTABLISHED', 877),
    row('TCP', `${from} C0000263 0050 0A000007 1F90`, 'ESTABLISHED', 877),
    // A template of a mark leads to the port that the client names.
    row('TCP', `${from} C0000263 1389 0A000007 1389`, 'ESTABLISHED', 877),
  );
  expect(connections.map(({ fwmark }) => fwmark)).toEqual([8, 7, 7]);
});

test('without persistence a mark leads to no other port than that of its real server', () => {
  const alone = traveller(
    services.filter(({ service: { id } }) => id.kind === 'fwmark' && id.mark === 8),
    { helpedPorts: [] },
  );
  const rows = [
    row('TCP', `${from} C0000263 01BB 0A000007 20FB`, 'ESTABLISHED', 877),
    row('TCP', `${from} C0000263 1389 0A000007 1389`, 'ESTABLISHED', 877),
  ];
  const { connections, untold } = tellAll(parseConnectionList(rows.join('\n')), alone);
  expect(connections).toMatchObject([{ realPort: 8443, fwmark: 8 }]);
  expect(untold).toEqual({ gone: 1 });
});

test('what a mark leads to another port is not counted at its real server by IPVS', () => {
  const count = (...rows: string[]) => uncountedAmong(parseConnectionList(rows.join('\n')), services);
  const counted = [
    row('IP', 'CB007105 0000 00000007 0000 0A000007 0000', 'NONE', 20),
    row('TCP', `${from} C0000263 0050 0A000007 1F90`, 'ESTABLISHED', 877),
    row('TCP', `${from} C000020C 01BB 0A000001 01BB`, 'SYN_RECV', 59),
    row('TCP', `${from} C000020A 0050 0A000063 0050`, 'ESTABLISHED', 877),
  ];
  expect(count(...counted)).toBe(0);
  expect(count(...counted, row('TCP', `${from} C0000263 1389 0A000007 1389`, 'ESTABLISHED', 877))).toBe(1);
});

test('IPv6', () => {
  const to = '2001:0db8:0000:0000:0000:0000:0000';
  const { connections } = tell(
    row('TCP', `${to}:0005 9C41 ${to}:0010 0050 ${to}:0001 0050`, 'ESTABLISHED', 9),
  );
  expect(connections).toMatchObject([{ family: 6, flags: 0x83, timeoutSeconds: 9 }]);
  expect(connections[0]!.real).toHaveLength(16);
});

test("a mark stands in the first word of its template's virtual address, whatever the family", () => {
  const rest = '0000:0000:0000:0000:0000:0000';
  const { connections } = tell(
    row('IP', `2001:0db8:${rest} 0000 0000:0009:${rest} 0000 2001:0db8:${rest} 0000`, 'NONE', 20),
  );
  expect(connections).toMatchObject([{ family: 6, fwmark: 9, protocol: 0 }]);
});

test('what cannot be told is counted by its reason', () => {
  const { connections, untold } = tell(
    row('TCP', `${from} C000020A 0050 0A000063 0050`, 'ESTABLISHED', 877),
    `${row('UDP', 'CB007105 0000 C000020A 13C4 0A000001 13C4', 'NONE', 60)} dns abc@x.y`,
    row('TCP', `${from} C000020A 0050 2001:0db8:0000:0000:0000:0000:0000:0001 0050`, 'ESTABLISHED', 877),
    row('TCP', `${from} C000020A 0050 0A000001 0050`, 'SOMETHING', 877),
  );
  expect(connections).toEqual([]);
  expect(untold).toEqual({
    ...{ gone: 1, engine: 1, family: 1, unknown: 1 },
  });
});
